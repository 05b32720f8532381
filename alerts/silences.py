"""Silences: what nobody wants to hear of, until when, who says so and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Silence:
    """Labels that have to fit (values may hold `*`), and until when nothing of it is posted."""

    id: str
    match: tuple[tuple[str, str], ...]
    until: datetime
    reason: str
    author: str
    made_at: datetime
    ended_at: datetime | None = None

    def is_active(self, at: datetime) -> bool:
        """Whether it lasts at that instant."""
        ended = self.until if self.ended_at is None else min(self.until, self.ended_at)
        return self.made_at <= at < ended

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether every label it names fits."""
        return all(fnmatchcase(labels.get(name, ""), value) for name, value in self.match)
