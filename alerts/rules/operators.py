"""Rules for operators: whether the service itself can be believed."""

from dataclasses import dataclass
from datetime import date
from typing import ClassVar

from alerts.rules.reading import (
    FOR_OPERATORS,
    Fact,
    NotEvaluated,
    Reading,
    RuleOptions,
    Severity,
    short_hash,
)
from alerts.rules.words import fitted, unjudged
from alerts.wording import day, days, period
from forecasting.results import Situation, SourceState

_STALE_ADVICE = (
    "Newer prices come with lodestone ingest --live. Newer export and yearly figures go into your snapshot "
    "folder (LODESTONE_SNAPSHOT_DIR), then lodestone ingest: its report names rejected rows by file and field. "
    "Alerts that need this source stay as they were."
)


@dataclass(frozen=True, slots=True)
class StaleSource:
    """A publisher whose newest figure is older than the catalogue allows: for operators, not buyers."""

    type: ClassVar[str] = "stale_source"

    name: str
    source: tuple[str, ...] = ()  # empty: every source
    severity: Severity = Severity.WARNING
    options: RuleOptions = FOR_OPERATORS

    @property
    def version(self) -> str:
        return short_hash(self.type, self.severity.name)

    def evaluate(self, situation: Situation) -> tuple[Reading | NotEvaluated, ...]:
        """One reading a source that the service watches."""
        names = self.source or tuple(sorted(situation.sources))
        return tuple(self._evaluate(name, situation) for name in names)

    def fingerprint(self, subject: str) -> str:
        return short_hash(self.name, subject, "now", "above", "days since newest figure")

    def _evaluate(self, subject: str, situation: Situation) -> Reading | NotEvaluated:
        state = situation.sources.get(subject)
        if state is None:
            return unjudged(self, subject, f"{subject}: no such source is watched")
        asked_on = day(situation.known_at)
        if state.newest_known_at is None:
            age, is_stale, weeks = 0, True, 0
            measured = "without any figure"
            finding = "no figure has ever arrived"
            since = "none yet"
            standing = "No figure has ever arrived."
        else:
            age = max((situation.known_at - state.newest_known_at).days, 0)
            is_stale = state.is_stale(situation.known_at)
            # Told again by the week: an edit a day would say nothing new.
            weeks = (age - state.limit_days) // 7 if is_stale else 0
            finding = f"no new figure for {days(age)} (limit {days(state.limit_days)})"
            if not is_stale:
                finding = f"newest figure {days(age)} old (limit {days(state.limit_days)})"
            since = f"known since {day(state.newest_known_at)}"
            measured = f"{days(age)} old"
            standing = (
                f"On {asked_on} the newest figure was {days(age)} old; "
                f"the limit is {days(state.limit_days)}."
            )
        facts = [
            Fact("Source", state.title),
            Fact("Newest figure", since),
            Fact("Limit", days(state.limit_days)),
        ]
        if state.newest_period is not None:
            facts.append(Fact("Newest period", period(state.newest_period, state.frequency)))
        if is_stale:
            facts.append(Fact("Meanwhile", "rules that need it can't notice anything new"))
        return Reading(
            rule=self.name,
            rule_version=self.version,
            type=self.type,
            route=self.options.route,
            subject=subject,
            subject_title=state.title,
            fingerprint=self.fingerprint(subject),
            input_id=short_hash(
                state.title,
                state.newest_period,
                state.newest_known_at,
                state.limit_days,
                f"stale for {weeks} weeks" if is_stale else "fresh",
            ),
            value=float(age),
            unit="days",
            limit=float(state.limit_days),
            severity=self.severity if is_stale else None,
            is_clear=not is_stale,
            headline=fitted(state.title, finding),
            facts=tuple(facts),
            data_through=_last_month(state),
            runbook=self.options.runbook,
            advice=self.options.advice or _STALE_ADVICE,
            owner=self.options.owner,
            measured=measured,
            standing=standing,
            exits=(
                (
                    self.severity,
                    f"every watched series of this source has a {'newer ' if age else ''}figure",
                ),
            ),
            holds=self.severity if is_stale else None,
        )


def _last_month(state: SourceState) -> date | None:
    """The month that the newest period ends in."""
    if state.newest_period is None or state.frequency != "year":
        return state.newest_period
    return state.newest_period.replace(month=12)
