"""The operators' rule on models: whether what speaks for a series still does better than nothing."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from alerts.rules.limits import Limit
from alerts.rules.reading import (
    FOR_OPERATORS,
    ChartRef,
    Fact,
    NotEvaluated,
    Reading,
    RuleOptions,
    Severity,
    labels_of_series,
    short_hash,
)
from alerts.rules.words import fitted
from alerts.wording import day, days, listing, percent, period
from forecasting.results import CutoffCheck, Scorecard, SeriesForecast, Situation

_ADVICE = (
    "Price alerts of this series, and balances that use it, rest on these forecasts: read their chances as "
    "less sure than they say. Look at the series' page of the last backtest run in Prefect, where the scores of every model "
    "stand side by side. Consider another choice of models (LODESTONE_MODELS) if one of them held up, and "
    "look for a change of the market or a broken source if none did."
)

_PERIODS = {"day": 1, "week": 7, "month": 31, "year": 366}  # at most so many days
_YEAR = timedelta(days=_PERIODS["year"])

_UNSEEN_DAYS = 14
"""How long a new figure may wait for a backtest: it runs weekly, and one that failed is no news yet."""

CRPS_LIMIT = Limit(Severity.WARNING, 1.15, 1.05)
HELD_LIMIT = Limit(Severity.WARNING, 0.55, 0.65)


@dataclass(frozen=True, slots=True)
class ModelDegraded:
    """Forecasts that lately did worse than a plain random walk, or whose ranges held too little: for operators.

    `crps` bounds the error against the walk's from above, `held` the share of outcomes inside the 80 %
    range from below; either is enough to open, both have to be passed to end. They share a severity.
    """

    type: ClassVar[str] = "model_degraded"

    name: str
    series: tuple[str, ...] = ()  # empty: every series that has a scorecard
    crps: Limit = CRPS_LIMIT
    held: Limit = HELD_LIMIT
    cutoffs: int = 8
    # Of the newest figure that the backtest saw; one of a yearly series may be a year older.
    max_age_days: int = 120
    options: RuleOptions = FOR_OPERATORS

    @property
    def version(self) -> str:
        limits = [part for it in (self.crps, self.held) for part in (it.enter, it.exit)]
        return short_hash(
            self.type, self.crps.severity.name, *limits, self.cutoffs, self.max_age_days
        )

    def evaluate(self, situation: Situation) -> tuple[Reading | NotEvaluated, ...]:
        """One reading a series; too few tests, or an old backtest, are not judged."""
        names = self.series or tuple(sorted(situation.scorecards))
        return tuple(self._evaluate(name, situation) for name in names)

    def fingerprint(self, subject: str) -> str:
        return short_hash(self.name, subject, "backtest", "above", "error against the walk")

    def _evaluate(self, subject: str, situation: Situation) -> Reading | NotEvaluated:
        card = situation.scorecards.get(subject)
        forecast = situation.forecasts.get(subject)
        if card is None:
            named = forecast or situation.observed.get(subject)
            why = (
                f"{named.title if named else subject}: no backtest yet: "
                "start the flow backtest in Prefect, or wait for Sunday"
            )
            return self._unjudged(subject, why)
        if len(card.checks) < self.cutoffs:
            why = f"{card.title}: {len(card.checks)} past cutoffs tested, {self.cutoffs} needed"
            return self._unjudged(subject, why)
        age = situation.known_at - card.vintage
        limit = timedelta(days=self.max_age_days)
        if card.frequency == "year":
            limit += _YEAR  # until the next figure is out, the newest one grows a year old
        if age.days > limit.days:
            why = (
                f"{card.title}: the last backtest saw figures known on {day(card.vintage)}, "
                f"{days(age.days)} ago; the rule judges up to {days(limit.days)}"
            )
            return self._unjudged(subject, why)
        if forecast is not None and _unseen_days(card, forecast, situation) > _UNSEEN_DAYS:
            why = (
                f"{card.title}: the last backtest has not seen the figures since "
                f"{day(card.vintage)}; look at the flow backtest"
            )
            return self._unjudged(subject, why)
        # Sums are off in their last digits: a limit that is met exactly must count as met.
        ratio, held = (round(value, 9) for value in card.recent(self.cutoffs))
        if math.isnan(ratio):
            why = f"{card.title}: the random walk never erred there, so nothing can be compared"
            return self._unjudged(subject, why)
        speaks = forecast.model if forecast else card.model
        return self._read(card, ratio, held, speaks, situation)

    def _unjudged(self, subject: str, why: str) -> NotEvaluated:
        fingerprint = self.fingerprint(subject)
        return NotEvaluated(self.name, self.version, self.type, subject, fingerprint, why)

    def _read(
        self, card: Scorecard, ratio: float, held: float, speaks: str, situation: Situation
    ) -> Reading:
        severity = self.crps.severity
        is_worse, is_missed = ratio >= self.crps.enter, held < self.held.enter
        is_open = is_worse or is_missed
        is_clear = ratio < self.crps.exit and held >= self.held.exit
        by_held = is_missed and not is_worse  # the measure that decided is the one that is told
        newest = card.checks[-self.cutoffs :]
        steps = f"{card.horizon} {card.frequency}{'' if card.horizon == 1 else 's'}"
        span = f"{_period(card, newest[0])} to {_period(card, newest[-1])}"
        word = f" ({severity.name.lower()})" if is_open else ""
        return Reading(
            rule=self.name,
            rule_version=self.version,
            type=self.type,
            route=self.options.route,
            subject=card.series,
            subject_title=card.title,
            fingerprint=self.fingerprint(card.series),
            input_id=self._input_id(card),
            value=held if by_held else ratio,
            unit="of outcomes held" if by_held else 'times the error of "as today"',
            limit=self.held.enter if by_held else self.crps.enter,
            severity=severity if is_open else None,
            is_clear=is_clear,
            headline=fitted(card.title, self._finding(ratio, held)),
            facts=(
                Fact(
                    "Error over the whole distribution (CRPS)",
                    f'{ratio:.2f} times that of "as today" (a plain random walk)',
                ),
                Fact("80 % range held", f"{percent(held)} of outcomes"),
                Fact(
                    "Limits",
                    f"{self.crps.enter:.2f} times, or fewer than {percent(self.held.enter)} held{word}",
                ),
                Fact("Judged on", f"{self.cutoffs} past cutoffs, {span}, each {steps} ahead"),
                Fact("Who would have spoken there", _speakers(newest)),
                Fact("Who speaks now", _title(speaks)),
            ),
            drivers=self._drivers(card, is_worse=is_worse, is_missed=is_missed),
            evidence=(
                f"Over the whole past: {card.reason}",
                f"Figures known by {day(card.vintage)}.",
            ),
            chart=ChartRef("scorecard", card.series, level=float(self.cutoffs)),
            runbook=self.options.runbook,
            advice=self.options.advice or _ADVICE,
            owner=self.options.owner,
            measured=f'{ratio:.2f} times the error of "as today", with {percent(held)} held',
            # The limits stand among the facts.
            standing=f"At the newest {self.cutoffs} cutoffs the error of its forecasts was "
            f'{_compared(ratio)} that of "as today", and the 80 % range held {percent(held)} of outcomes.',
            exits=(
                (
                    severity,
                    f'the error is below {self.crps.exit:.2f} times that of "as today" and the '
                    f"80 % range holds {percent(self.held.exit)} of outcomes or more",
                ),
            ),
            direction="below" if by_held else "above",
            holds=None if is_clear else severity,
            labels=labels_of_series(self, card.series, situation),
            rests_on=(card.series,),
        )

    def _finding(self, ratio: float, held: float) -> str:
        over = f"over the last {self.cutoffs} cutoffs"
        parts = []
        if ratio >= self.crps.enter:
            parts.append(f'error {_compared(ratio)} "as today"')
        if held < self.held.enter:
            parts.append(f"80 % ranges held {percent(held)}")
        if not parts:
            parts = [f'error {_compared(ratio)} "as today", 80 % ranges held {percent(held)}']
        return f"{', '.join(parts)} {over}"

    def _drivers(self, card: Scorecard, *, is_worse: bool, is_missed: bool) -> tuple[str, ...]:
        lines = []
        if is_worse:
            lines.append('Saying "as today", with the range of a plain random walk, was closer.')
        if is_missed:
            lines.append(
                "Outcomes left the 80 % range more often than the one time in five it allows: "
                "chances told in alerts were too sure."
            )
        newest = card.checks[-self.cutoffs :]
        worst = max(newest, key=lambda check: check.crps - check.walk_crps)
        if worst.crps > worst.walk_crps > 0:
            lines.append(
                f"Worst against it: from {_period(card, worst)}, error "
                f'{_compared(worst.crps / worst.walk_crps)} that of "as today", '
                f"{percent(worst.held_80)} held."
            )
        earlier = card.checks[: -self.cutoffs]
        walk = sum(check.walk_crps for check in earlier)
        if walk > 0:
            ratio = sum(check.crps for check in earlier) / walk
            held = sum(check.held_80 for check in earlier) / len(earlier)
            count = "1 cutoff" if len(earlier) == 1 else f"{len(earlier)} cutoffs"
            lines.append(
                f'At the {count} before: error {_compared(ratio)} that of "as today", '
                f"{percent(held)} held."
            )
        return tuple(lines)

    def _input_id(self, card: Scorecard) -> str:
        """Changes with every figure that the answer rests on, not with the day the backtest ran."""
        newest = card.checks[-self.cutoffs :]
        parts = [(c.cutoff, c.model, c.crps, c.walk_crps, c.held_80) for c in newest]
        return short_hash(card.model, card.horizon, *(part for row in parts for part in row))


def _speakers(checks: Sequence[CutoffCheck]) -> str:
    """Who would have spoken how often: "theta at 5, random walk at 3"."""
    counts = Counter(check.model for check in checks).most_common()
    return listing([f"{_title(name)} at {count}" for name, count in counts])


def _period(card: Scorecard, check: CutoffCheck) -> str:
    return period(check.cutoff, card.frequency)


def _unseen_days(card: Scorecard, forecast: SeriesForecast, situation: Situation) -> int:
    """How many days the first figure that came after the backtest has waited for one, 0 when none came.

    Only the newest figure's day is known: the first one came on it, or a period after what was tested.
    """
    if forecast.vintage <= card.vintage:
        return 0
    following = card.vintage + timedelta(days=_PERIODS[card.frequency])
    return (situation.known_at - min(forecast.vintage, following)).days


def _compared(ratio: float) -> str:
    """A ratio of errors as its size: "23 % larger than", "5 % smaller than", "as large as"."""
    gap = ratio - 1
    if abs(gap) <= 0.005:
        return "as large as"
    return f"{percent(abs(gap))} {'larger' if gap > 0 else 'smaller'} than"


def _title(model: str) -> str:
    """As the sentences of the choice begin: "Random walk"."""
    return model.replace("_", " ").capitalize()
