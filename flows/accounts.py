"""What each step did: counts for tables, lines for people."""

from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from alerts.ledger import OutboxSummary
from alerts.lifecycle import Decision, Incident, Reason
from forecasting.results import MarketProjection, SeriesForecast


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
    error: str = ""


@dataclass(frozen=True, slots=True)
class IngestReport:
    """Every source that was asked, and the rows that were turned away."""

    sources: tuple[SourceReport, ...]
    rejected: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        names = ("read", "new", "revised", "unchanged", "quarantined")
        return {name: sum(getattr(one, name) for one in self.sources) for name in names}

    def lines(self) -> list[str]:
        lines = []
        for one in self.sources:
            lines.append(
                f"{one.source}: {one.read} rows read: {one.new} new, {one.revised} revised, "
                f"{one.unchanged} unchanged, {one.quarantined} quarantined"
                + (f"; {one.error}" if one.error else "")
            )
        return [*lines, *self.rejected]


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
class MarketReport:
    """Projections, base case first within a market, and why the other markets have none."""

    projections: tuple[MarketProjection, ...]
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        return {"projections": len(self.projections), "refused": len(self.refused)}

    def lines(self) -> list[str]:
        lines = [
            f"{one.market}, {one.scenario}: first month with more than 5 % unmet: "
            f"{one.first_month_above(0.05) or 'none'}"
            for one in self.projections
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
class OutboxReport:
    """What was shown now, and what the outbox still holds and why."""

    sent: int
    left: OutboxSummary
    has_channel: bool

    @property
    def counts(self) -> dict[str, int]:
        waiting = self.left.pending + self.left.sending
        return {
            "sent": self.sent,
            "pending": waiting,
            "unknown": self.left.unknown,
            "dead": self.left.dead,
        }

    def lines(self) -> list[str]:
        counts = self.counts
        lines = [", ".join(f"{count} {word}" for word, count in counts.items())]
        if not self.has_channel and counts["pending"]:
            lines.append(
                f"LODESTONE_SLACK_TOKEN is not set: {counts['pending']} messages wait in the outbox"
            )
        return [*lines, *self.left.problems]


@dataclass(frozen=True, slots=True)
class OutlookReport:
    """Where the page was written."""

    path: Path

    @property
    def counts(self) -> dict[str, int]:
        return {"written": 1}

    def lines(self) -> list[str]:
        return [f"outlook written to {self.path}"]
