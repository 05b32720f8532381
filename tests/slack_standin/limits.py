"""How many requests the real service takes: one post a second and channel, tiers for the rest."""

import time
from collections.abc import Callable
from dataclasses import dataclass

_READS = {"conversations.history", "conversations.replies"}


@dataclass
class Limits:
    """Slack's rate limits as token buckets; what is beyond waits as many seconds as `wait` says."""

    post_seconds: float = 1.0
    """Between two posts in a channel, in the long run."""
    burst: int = 3
    """Posts that a channel takes at once; Slack tolerates "short bursts" without a number."""
    edits_per_minute: int = 50
    reads_per_minute: int = 50
    """History and replies each; both are Tier 3 for an internal app."""
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}  # what -> (tokens, as of)

    def wait(self, method: str, channel: str) -> float:
        """Seconds until the request would be taken; 0 takes it."""
        if method in ("chat.postMessage", "webhook"):
            return self._take(f"post {channel}", self.burst, 1 / self.post_seconds)
        if method in ("chat.update", "chat.delete"):
            return self._take(method, self.edits_per_minute, self.edits_per_minute / 60)
        if method in _READS:
            return self._take(method, self.reads_per_minute, self.reads_per_minute / 60)
        return 0.0

    def _take(self, what: str, most: int, per_second: float) -> float:
        now = self.clock()
        tokens, as_of = self._buckets.get(what, (float(most), now))
        tokens = min(float(most), tokens + (now - as_of) * per_second)
        # A hair less than one is one: sums of seconds are not exact.
        is_taken = tokens >= 1 - 1e-9
        self._buckets[what] = (tokens - 1 if is_taken else tokens, now)
        return 0.0 if is_taken else (1 - tokens) / per_second
