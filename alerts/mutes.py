"""Mute windows: hours, days and holidays of a time zone in which nothing below a severity is posted."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from alerts.rules.reading import Severity

EVERY_DAY = frozenset(range(7))
MILD = frozenset({Severity.INFO, Severity.WARNING})
"""What a mute holds back unless it says otherwise: a critical alert can't wait for the morning."""

LOOK_AHEAD = timedelta(days=370)
"""How far ends are followed. Windows that cover a whole year leave no time at all to post in."""

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Mute:
    """Windows by the wall clock of a time zone; each belongs to the day on which it begins.

    From `begins` up to, not including, `ends`; with `ends` before `begins`, of the next morning; with both
    equal, the whole day. Holidays are muted all day, whatever their weekday. Days: 0 is Monday.
    """

    name: str
    timezone: str
    days: frozenset[int] = EVERY_DAY
    begins: time = time.min
    ends: time = time.min
    holidays: frozenset[date] = frozenset()
    severities: frozenset[Severity] = MILD

    @property
    def is_all_day(self) -> bool:
        return self.begins == self.ends

    def covered(self, at: datetime) -> datetime | None:
        """The end (UTC) of the latest window around an aware instant; None when it lies in none."""
        zone = ZoneInfo(self.timezone)
        here = at.astimezone(zone).date()
        # A window lasts 24 hours at most; where a clock jumps across midnight, a day more.
        days = (here + _DAY * offset for offset in (-2, -1, 0, 1))
        ends = [
            end
            for day in days
            for begin, end in self._windows(day, zone)
            if begin <= at.astimezone(UTC) < end
        ]
        return max(ends, default=None)

    def _windows(self, day: date, zone: ZoneInfo) -> Iterator[tuple[datetime, datetime]]:
        """The windows that begin on a local day, as instants in UTC."""
        is_holiday = day in self.holidays
        if is_holiday:
            yield _reached(day, time.min, zone), _passed(day + _DAY, time.min, zone)
        if day.weekday() in self.days:
            last = day if self.begins < self.ends else day + _DAY
            begins, ends = (time.min, time.min) if self.is_all_day else (self.begins, self.ends)
            yield _reached(day, begins, zone), _passed(last, ends, zone)


def muted_until(mutes: Iterable[Mute], severity: Severity, at: datetime) -> datetime | None:
    """When the windows around an aware instant end (UTC), for that severity; None: it isn't muted.

    Windows that touch or overlap are one: from Friday evening over the weekend to Monday morning. Windows
    without a gap within `LOOK_AHEAD` are followed no further.
    """
    holding = [mute for mute in mutes if severity in mute.severities]
    reached = at.astimezone(UTC)
    limit = reached + LOOK_AHEAD
    while reached < limit:
        ends = [end for mute in holding if (end := mute.covered(reached)) is not None]
        if not ends:
            break
        reached = max(ends)
    return reached if reached > at else None


def leaves_no_time(mutes: Iterable[Mute], severity: Severity, at: datetime) -> bool:
    """Whether nothing of that severity could be posted in the year after an aware instant."""
    until = muted_until(mutes, severity, at)
    return until is not None and until - at >= LOOK_AHEAD


def _reached(day: date, clock: time, zone: ZoneInfo) -> datetime:
    """The instant (UTC) at which a wall clock first shows this time, or jumps past it."""
    return _instant(datetime.combine(day, clock), zone, fold=0)


def _passed(day: date, clock: time, zone: ZoneInfo) -> datetime:
    """The instant (UTC) at which a wall clock shows this time for the last time, or jumps past it."""
    return _instant(datetime.combine(day, clock), zone, fold=1)


def _instant(wall: datetime, zone: ZoneInfo, *, fold: int) -> datetime:
    found = wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == wall:
        return found
    # The clock jumps over this time. Read with the offset after the jump it lies before it, and the other
    # way round: the jump itself is where the offset changes between the two.
    before = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    after = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    offset = before.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = before + (after - before) // _SECOND // 2 * _SECOND
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after
