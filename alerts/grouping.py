"""What is told together: one alert explains another, several at once share a message, a storm is one digest."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain

from alerts.incident import Decision, Incident, State, labels_of
from alerts.messages import DRILL
from alerts.rules import Reading, RuleOptions, Severity
from alerts.silences import Silence
from alerts.telling import Around
from alerts.wording import day

PRICE_TYPES = frozenset({"price_spike", "price_level", "premium"})
STORM = 8
"""More first messages than this, in one channel at one evaluation, are one digest with a thread."""

TOGETHER = timedelta(days=1)
"""What is posted within this is told together."""

_RANKS = {"stale_source": 0, "shortfall": 1}


def rank(type: str) -> int:
    """The order of judging: what may explain others comes before them."""
    return _RANKS.get(type, 2)


@dataclass(frozen=True, slots=True)
class Desk:
    """How a service tells: where each incident goes, when someone is called, what rests on which publisher."""

    channel_of: Callable[[Reading, Severity], str] = lambda reading, _: reading.route
    call_after: Callable[[Reading, Severity], timedelta | None] = lambda *_: None
    # The end of the mute window (UTC) that a message has to wait for now; None: it may be posted at once.
    quiet_until: Callable[[Reading, Severity], datetime | None] = lambda *_: None
    # Publisher of each series whose figures are too old to judge prices by; None: not known here, so what
    # is held for it stays held.
    stale_series: Mapping[str, str] | None = field(default_factory=dict)
    options: Mapping[str, RuleOptions] = field(default_factory=dict)  # by rule
    storm: int = STORM


class Company:
    """The open incidents that stand around one: which of them explains it, which silence covers it."""

    def __init__(
        self,
        desk: Desk,
        silences: Sequence[Silence],
        now: datetime,
        standing: Iterable[Incident],
        is_readable: Callable[[Incident], bool] = lambda _: True,
    ) -> None:
        """`is_readable` says whether the message of an incident stands in its channel, or will in a moment."""
        self._desk = desk
        self._is_readable = is_readable
        self._now = now
        self._silences = [one for one in silences if one.is_active(now)]
        self._by_id: dict[str, Incident] = {}
        # By publisher; more than one rule may watch it.
        self._stale: defaultdict[str, dict[str, None]] = defaultdict(dict)
        # By series that they count, so that each drop meets only those that it may be a part of.
        self._shortfalls: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._same: defaultdict[tuple[str, str], dict[str, None]] = defaultdict(dict)
        for one in standing:
            self.note(one)

    def note(self, incident: Incident) -> None:
        """How an incident stands from now on."""
        was_here = self._by_id.pop(incident.id, None)
        if was_here is not None:
            self._stale[was_here.subject].pop(incident.id, None)
            if was_here.type == "shortfall":
                for series in was_here.reading.rests_on:
                    self._shortfalls[series].pop(incident.id, None)
            self._same[was_here.type, was_here.subject].pop(incident.id, None)
        if not incident.state.is_open:
            return
        self._by_id[incident.id] = incident
        self._same[incident.type, incident.subject][incident.id] = None
        if not self._explains(incident):
            return
        if incident.type == "stale_source":
            self._stale[incident.subject][incident.id] = None
        elif incident.type == "shortfall":
            for series in incident.reading.rests_on:
                self._shortfalls[series][incident.id] = None

    def around(self, reading: Reading, before: Incident | None) -> Around:
        """What bears on telling a reading: the silence or the alert that holds it, and when to call."""
        # One that has ended is as loud as its return, not as it was.
        stands = before.severity if before is not None and before.state.is_open else None
        severity = max((s for s in (reading.severity, stands) if s), default=Severity.INFO)
        call_after = self._desk.call_after(reading, severity)
        labels = labels_of(reading, severity)
        for silence in self._silences:
            if silence.matches(labels):
                who = f" by {silence.author}" if silence.author else ""
                why = f"silenced{who} until {day(silence.until)}: {silence.reason}"
                return Around(held=why, call_after=call_after)
        explained = self._explained(reading, severity, before)
        if explained is None:
            return Around(call_after=call_after)
        return Around(
            held=f"told as part of: {explained.reading.headline}",
            held_by=explained.id,
            call_after=call_after,
        )

    def _explained(
        self, reading: Reading, severity: Severity, before: Incident | None
    ) -> Incident | None:
        """The open incident in the same channel that says it already, or says why it means little."""
        if reading.type in PRICE_TYPES:
            stale = self._stale_behind(reading, before)
            if stale is not None:
                return stale
        mine = self._desk.channel_of(reading, severity)
        if reading.type == "volume_drop":
            parts = (self._shortfalls.get(series, {}) for series in reading.rests_on)
            for key in dict.fromkeys(chain.from_iterable(parts)):
                one = self._by_id[key]
                is_told = self._is_told_with(one, before)
                if is_told and one.severity >= severity and self._channel(one) == mine:
                    return one
        for key in self._same.get((reading.type, reading.subject), ()):
            one = self._by_id[key]
            louder = one.severity > severity and self._explains(one)
            if louder and one.rule != reading.rule and self._channel(one) == mine:
                return one
        return None

    def _stale_behind(self, reading: Reading, before: Incident | None) -> Incident | None:
        """The alert on a silent publisher, when a price rests on those of its figures that are old."""
        if self._desk.stale_series is None:
            kept = None if before is None else self._by_id.get(before.held_by)
            return kept if kept is not None and self._explains(kept) else None
        for series in reading.rests_on:
            for key in self._stale.get(self._desk.stale_series.get(series, ""), ()):
                return self._by_id[key]
        return None

    def _explains(self, incident: Incident) -> bool:
        """Whether readers can know of it: what nobody can read explains nothing."""
        is_told = incident.told_state is State.FIRING and not incident.held
        return is_told and self._is_readable(incident)

    def _is_told_with(self, explaining: Incident, before: Incident | None) -> bool:
        """Whether the post that explains it names it as news: not one that was made weeks ago.

        A fall of exports that comes after the shortfall was told is new, and is posted by itself.
        """
        if before is not None and before.state.is_open:
            # Named in it from the beginning; what has a message of its own goes on in that.
            return before.told_state is None and before.held_by == explaining.id
        told_at = explaining.told_at
        return told_at is not None and self._now - told_at < TOGETHER

    def _channel(self, incident: Incident) -> str:
        return self._desk.channel_of(incident.reading, incident.severity)


def leaders(decisions: Sequence[Decision], desk: Desk) -> dict[str, str]:
    """Which first message is told in the thread of which: incident ids, member to leader.

    Incidents that are told for the first time at one evaluation, in one channel and at one time, share a
    message when they concern one market, or come from one rule. More than `desk.storm` in a channel share
    one whatever they are. The most severe leads; a later incident never joins: nobody would see it under an
    old message. Nor does one that may be posted now join one that is muted: it would wait until the morning.
    """
    first = [
        decision.incident
        for decision in decisions
        if decision.incident is not None and _is_first_telling(decision)
    ]
    posts: defaultdict[tuple[str, datetime | None], list[Incident]] = defaultdict(list)
    for one in first:
        of = one.reading, one.severity
        posts[desk.channel_of(*of), desk.quiet_until(*of)].append(one)
    found: dict[str, str] = {}
    for members in posts.values():
        groups: defaultdict[str, list[Incident]] = defaultdict(list)
        for one in members:
            storm = len(members) > desk.storm
            groups["" if storm else _cause(one)].append(one)
        for group in groups.values():
            head, *others = sorted(group, key=lambda one: -one.severity)
            found |= {one.id: head.id for one in others}
    return found


def besides(standing: Iterable[Incident]) -> dict[str, tuple[str, ...]]:
    """Headlines that an incident has to name, by its id: what it explains, and what is open in its thread.

    `standing` is everything open. A leader that has ended still names what is open in its thread: its
    message is where readers find it. It explains nothing any more.
    """
    standing = [one for one in standing if one.state.is_open]
    open_ids = {one.id for one in standing}
    found: defaultdict[str, list[Incident]] = defaultdict(list)
    for one in standing:
        if one.told_state is not None and one.leader:
            found[one.leader].append(one)
        elif one.told_state is None and one.held_by in open_ids:
            found[one.held_by].append(one)
    # In an order of their own: in the database's, the message would be edited for nothing.
    return {
        owner: tuple(one.reading.headline for one in sorted(members, key=_age))
        for owner, members in found.items()
    }


def _age(incident: Incident) -> tuple[datetime, str]:
    return incident.opened_at, incident.id


def _is_first_telling(decision: Decision) -> bool:
    incident = decision.incident
    # Drills never share a message: they are counted to see whether all of them arrive.
    is_alert = incident is not None and incident.type != DRILL
    return is_alert and decision.says and incident is not None and incident.revision == 1


def _cause(incident: Incident) -> str:
    labels = dict(incident.reading.labels)
    return f"market {labels['market']}" if "market" in labels else f"rule {incident.rule}"
