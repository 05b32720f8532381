"""What each step did: counts for tables, lines for people."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from alerts.incident import Decision, Incident, Reason
from alerts.silences import Silence
from flows.sentences import BASE, ModelVerdict, change_sentence
from flows.storage.observations import IngestRun
from flows.validation import RejectedRow
from forecasting.results import MarketProjection, Scorecard, SeriesForecast, Waterfall

ROWS_SHOWN = 20
"""Refused rows that a report tells; all of them are kept in quarantine."""


@dataclass(frozen=True, slots=True)
class SourceReport:
    """What became of one source's rows: read = new + revised + unchanged + quarantined."""

    source: str
    read: int = 0
    new: int = 0
    revised: int = 0
    unchanged: int = 0
    quarantined: int = 0
    newest_period: date | None = None
    age_days: int | None = None  # since the newest figure became known
    next_expected: date | None = None  # when the figure after the newest one is usually out
    error: str = ""
    is_unread: bool = False  # a publisher gave nothing at all: worth another visit
    samples: tuple[RejectedRow, ...] = ()  # the first of the rows that were turned away
    gaps: tuple[str, ...] = ()  # periods that the calendar has and the source has not
    notes: tuple[str, ...] = ()  # what was left out on purpose

    def lines(self) -> list[str]:
        told = (
            f"{self.source}: {self.read} rows read: {self.new} new, {self.revised} revised, "
            f"{self.unchanged} unchanged, {self.quarantined} quarantined"
        )
        lines = [f"{told}; {self.error}" if self.error else told]
        lines += [f"  {note}" for note in self.notes]
        lines += [f"  {row.file} row {row.row}: {row.reason}" for row in self.samples]
        if self.quarantined > len(self.samples):
            left = self.quarantined - len(self.samples)
            lines.append(f"  and {left} more: lodestone data quarantine {self.source}")
        return lines


def together(reports: Iterable[SourceReport]) -> SourceReport:
    """One report of a publisher whose bundled figures and own reply were read one after the other."""
    first, *others = reports
    merged = first
    for one in others:
        ages = [age for age in (merged.age_days, one.age_days) if age is not None]
        newest = [when for when in (merged.newest_period, one.newest_period) if when is not None]
        expected = [when for when in (merged.next_expected, one.next_expected) if when is not None]
        merged = SourceReport(
            source=first.source,
            read=merged.read + one.read,
            new=merged.new + one.new,
            revised=merged.revised + one.revised,
            unchanged=merged.unchanged + one.unchanged,
            quarantined=merged.quarantined + one.quarantined,
            newest_period=max(newest, default=None),
            age_days=min(ages, default=None),
            next_expected=max(expected, default=None),
            error="; ".join(part for part in (merged.error, one.error) if part),
            is_unread=merged.is_unread or one.is_unread,
            samples=(*merged.samples, *one.samples)[:ROWS_SHOWN],
            gaps=(*merged.gaps, *one.gaps),
            notes=(*merged.notes, *one.notes),
        )
    return merged


@dataclass(frozen=True, slots=True)
class IngestReport:
    """Every source that was asked."""

    sources: tuple[SourceReport, ...]

    @property
    def counts(self) -> dict[str, int]:
        names = ("read", "new", "revised", "unchanged", "quarantined")
        return {name: sum(getattr(one, name) for one in self.sources) for name in names}

    @property
    def samples(self) -> tuple[RejectedRow, ...]:
        return tuple(row for one in self.sources for row in one.samples)

    def lines(self) -> list[str]:
        return [line for one in self.sources for line in one.lines()]


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """A publisher group whose age is watched."""

    group: str
    title: str
    newest_period: date | None
    age_days: int | None  # since the figure became known that the group is as old as
    limit_days: int
    is_stale: bool


@dataclass(frozen=True, slots=True)
class SeriesStatus:
    """What is kept of one series."""

    series: str
    group: str
    periods: int
    missing: int  # periods of the calendar between the first and the newest that are not there
    vintages: int
    first_period: date
    newest_period: date
    age_days: int  # since the newest figure became known
    next_expected: date


@dataclass(frozen=True, slots=True)
class DataStatus:
    """The state of the figures: groups that are watched, series that are kept, and the last visits."""

    groups: tuple[GroupStatus, ...]
    series: tuple[SeriesStatus, ...]
    visits: tuple[IngestRun, ...]

    def lines(self) -> list[str]:
        lines = [
            f"{'STALE' if one.is_stale else 'ok':<6} {one.title}: "
            + (
                "no figure has arrived"
                if one.age_days is None
                else f"newest {one.newest_period}, known for {one.age_days} days (limit {one.limit_days})"
            )
            for one in self.groups
        ]
        if self.series:
            lines += [
                "",
                f"{'series':<44} {'periods':>8} {'missing':>8} {'vintages':>9}  "
                f"{'newest':<10} {'age, days':>9}  next expected",
            ]
        lines += [
            f"{one.series:<44} {one.periods:>8} {one.missing:>8} {one.vintages:>9}  "
            f"{one.newest_period!s:<10} {one.age_days:>9}  {one.next_expected}"
            for one in self.series
        ]
        if self.visits:
            lines += ["", "last visits"]
        lines += [
            f"{one.source:<20} {one.at:%Y-%m-%d %H:%M} UTC  {one.read} read, {one.new} new, "
            f"{one.revised} revised, {one.unchanged} unchanged, {one.quarantined} quarantined"
            + (f"; {one.error}" if one.error else "")
            for one in self.visits
        ]
        return (
            lines
            if self.series or self.visits
            else [*lines, "nothing is kept yet: lodestone ingest"]
        )


@dataclass(frozen=True, slots=True)
class ForecastReport:
    """The forecasts made, and why the other series have none."""

    forecasts: tuple[SeriesForecast, ...]
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        return {"forecast": len(self.forecasts), "refused": len(self.refused)}

    def lines(self) -> list[str]:
        lines = [f"{one.series}: {one.reason}" for one in self.forecasts]
        return [*lines, *(f"{series}: no forecast: {why}" for series, why in self.refused.items())]


@dataclass(frozen=True, slots=True)
class BacktestReport:
    """The scorecards made, what the rule on models says of each, and why the other series have none."""

    cards: tuple[Scorecard, ...]
    verdicts: dict[str, ModelVerdict] = field(default_factory=dict)  # by series
    refused: dict[str, str] = field(default_factory=dict)
    newest: int = 8  # cutoffs that the verdicts rest on

    @property
    def counts(self) -> dict[str, int]:
        return {"scorecards": len(self.cards), "refused": len(self.refused)}

    def lines(self) -> list[str]:
        lines = [f"{one.series}: {self.verdicts[one.series]}; {one.reason}" for one in self.cards]
        return [*lines, *(f"{series}: no backtest: {why}" for series, why in self.refused.items())]


@dataclass(frozen=True, slots=True)
class MarketReport:
    """Projections, base case first within a market, why each changed, and why the other markets have none."""

    projections: tuple[MarketProjection, ...]
    refused: dict[str, str] = field(default_factory=dict)
    # By market and scenario: a base case against what was said before, a scenario against its base case.
    changes: Mapping[tuple[str, str], Waterfall] = field(default_factory=dict)
    unexplained: Mapping[tuple[str, str], str] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        return {"projections": len(self.projections), "refused": len(self.refused)}

    def lines(self) -> list[str]:
        lines = [
            f"{one.market}, {one.scenario}: first month with more than 5 % unmet: "
            f"{one.first_month_above(0.05) or 'none'}"
            for one in self.projections
        ]
        lines += [
            f"{market}: {change_sentence(change)}"
            for (market, scenario), change in self.changes.items()
            if scenario == BASE
        ]
        lines += [
            f"{market}, {scenario}: what changed can't be told: {why}"
            for (market, scenario), why in self.unexplained.items()
        ]
        return [
            *lines,
            *(f"{market}: no projection: {why}" for market, why in self.refused.items()),
        ]


@dataclass(frozen=True, slots=True)
class AlertsReport:
    """What was decided for each rule and subject, and the incidents now open."""

    decisions: tuple[Decision, ...]
    incidents: tuple[Incident, ...]
    unjudged: tuple[str, ...] = ()
    silences: tuple[Silence, ...] = ()  # that last

    @property
    def counts(self) -> dict[str, int]:
        reasons = [decision.reason for decision in self.decisions]
        return {
            "evaluated": len(reasons),
            "opened": reasons.count(Reason.OPENED) + reasons.count(Reason.REOPENED),
            "resolved": reasons.count(Reason.RESOLVED),
            "not_evaluated": reasons.count(Reason.KEPT_LAST),
            "already_evaluated": reasons.count(Reason.ALREADY_EVALUATED),
            "open": len(self.incidents),
        }

    def lines(self) -> list[str]:
        shown = [f"{one.severity.name.lower()}: {one.reading.headline}" for one in self.incidents]
        return [*(shown or ["nothing crosses a limit"]), *self.unjudged]


@dataclass(frozen=True, slots=True)
class OutlookReport:
    """Where the page was written."""

    path: Path

    @property
    def counts(self) -> dict[str, int]:
        return {"written": 1}

    def lines(self) -> list[str]:
        return [f"outlook written to {self.path}"]
