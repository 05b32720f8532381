"""The rule on volumes: a month far below the ordinary months before it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import ClassVar

from alerts.rules.reading import (
    DEFAULT_OPTIONS,
    ChartRef,
    Fact,
    NotEvaluated,
    Reading,
    RuleOptions,
    Severity,
    labels_of_series,
    short_hash,
)
from alerts.rules.words import (
    WEAK,
    against,
    count_word,
    evidence_note,
    fitted,
    month_end,
    month_of,
    months_after,
    months_at,
    months_text,
    ordinal_word,
    unjudged,
)
from alerts.wording import amount, change, day, days, listing, month, months_between, percent
from forecasting.results import ObservedPoint, ObservedSeries, Situation


@dataclass(frozen=True, slots=True)
class DropLimit:
    """A severity of a falling volume: so many months running, each below `enter` x the mean before them."""

    severity: Severity
    enter: float
    exit: float
    months_running: int = 1


@dataclass(frozen=True, slots=True)
class VolumeDrop:
    """A monthly volume far below the mean of the twelve ordinary months before it.

    A month that was itself below the enter limit when it came is no ordinary month: it is left out, and
    the mean reaches further back instead. So a collapse is never judged by itself, and one that lasts
    doesn't become the new normal. It clears when `clear_months` months running are back at the exit
    limit or above.
    """

    type: ClassVar[str] = "volume_drop"

    name: str
    series: tuple[str, ...]
    limits: tuple[DropLimit, ...]
    clear_months: int = 2
    min_known_months: int = 4
    max_age_days: int = 120  # from the end of the newest month
    options: RuleOptions = DEFAULT_OPTIONS

    @property
    def version(self) -> str:
        parts = [
            part
            for limit in self.limits
            for part in (limit.severity.name, limit.enter, limit.exit, limit.months_running)
        ]
        return short_hash(
            self.type, *parts, self.clear_months, self.min_known_months, self.max_age_days
        )

    def evaluate(self, situation: Situation) -> tuple[Reading | NotEvaluated, ...]:
        """One reading a series; too few or too old figures are not judged."""
        return tuple(self._evaluate(subject, situation) for subject in self.series)

    def fingerprint(self, subject: str) -> str:
        return short_hash(self.name, subject, "observed", "below", "share of trailing mean")

    def _evaluate(self, subject: str, situation: Situation) -> Reading | NotEvaluated:
        observed = situation.observed.get(subject)
        if observed is None or not observed.points:
            return unjudged(self, subject, f"{subject}: no figures are known")
        if observed.frequency != "month":
            why = f"{observed.title}: a {observed.frequency}ly series, months are needed"
            return unjudged(self, subject, why)
        newest = month_of(observed.points[-1].period)
        age = (situation.known_at.date() - month_end(newest)).days
        if age > self.max_age_days:
            why = (
                f"{observed.title}: newest month is {month(newest)}, {days(age)} old; "
                f"the rule judges up to {days(self.max_age_days)}"
            )
            return unjudged(self, subject, why)
        judged = self._judged(observed)
        if newest not in judged:
            return unjudged(self, subject, self._no_mean(observed, judged, newest))
        return self._read(observed, judged, newest, situation)

    def _judged(self, observed: ObservedSeries) -> dict[date, "_Judged"]:
        """Every month that has a mean to be judged by. Forward in time: each decides for the later ones."""
        by_month = {month_of(point.period): point for point in observed.points}
        judged: dict[date, _Judged] = {}
        for judged_month, point in by_month.items():
            base, left_out = self._ordinary(by_month, judged, judged_month)
            mean = _mean(base)
            if len(base) >= self.min_known_months and mean > 0:
                judged[judged_month] = _Judged(point, tuple(base), tuple(left_out), mean)
        return judged

    def _ordinary(
        self,
        by_month: Mapping[date, ObservedPoint],
        judged: Mapping[date, "_Judged"],
        judged_month: date,
    ) -> tuple[list[ObservedPoint], list[ObservedPoint]]:
        """The known months that a month's mean is made of, and the low ones passed over, newest first."""
        enter, start = max(limit.enter for limit in self.limits), min(by_month)
        base: list[ObservedPoint] = []
        left_out: list[ObservedPoint] = []
        slots, back = _MEAN_MONTHS, months_after(judged_month, -1)
        while slots > 0 and back >= start:
            before = by_month.get(back)
            if before is not None and back in judged and judged[back].share < enter:
                left_out.append(before)
            else:
                slots -= 1  # also for a month that is not known
                if before is not None:
                    base.append(before)
            back = months_after(back, -1)
        return base, left_out

    def _no_mean(
        self, observed: ObservedSeries, judged: Mapping[date, "_Judged"], newest: date
    ) -> str:
        """Why the newest month has no mean to be judged by: too few months before it, or one of nothing."""
        by_month = {month_of(point.period): point for point in observed.points}
        base, _ = self._ordinary(by_month, judged, newest)
        if len(base) < self.min_known_months:
            return (
                f"{observed.title}: fewer than {months_text(self.min_known_months)} known "
                f"in the year before {month(newest)}"
            )
        return (
            f"{observed.title}: the mean of the {months_text(len(base))} known before {month(newest)} "
            f"is {amount(_mean(base), observed.unit)}; a mean above 0 is needed"
        )

    def _read(
        self,
        observed: ObservedSeries,
        judged: Mapping[date, "_Judged"],
        newest: date,
        situation: Situation,
    ) -> Reading:
        ordered = sorted(self.limits, key=lambda limit: limit.severity)
        crossed = [
            limit
            for limit in ordered
            if len(_running(judged, newest, limit.enter)) >= limit.months_running
        ]
        limit = crossed[-1] if crossed else ordered[0]
        severity = limit.severity if crossed else None
        back = [judged.get(months_after(newest, -count)) for count in range(self.clear_months)]
        # A severity lasts until months enough are back, whatever single months do in between.
        exits = {
            each.severity: max(one.exit for one in ordered if one.severity >= each.severity)
            for each in ordered
        }
        holds = max(
            (
                held
                for held, leave in exits.items()
                if (severity is not None and held <= severity)
                or any(one is None or one.share < leave for one in back)
            ),
            default=None,
        )
        # Before it is crossed, the run that is told is the newest month alone.
        run = _running(judged, newest, limit.enter) or [judged[newest]]
        window = run[-1]  # the mean of the first month of the run holds for all of them
        unit = observed.unit
        share = run[0].share
        value = amount(run[0].point.value, unit)
        finding = f"{value} in {month(newest)}, {against(share)} the 12-month mean"
        if len(run) > 1:
            finding += f", {ordinal_word(len(run))} month running"
        used = (*(one.point for one in run), *window.base)
        facts = [Fact("Newest month", f"{value} ({month(newest)}), {percent(share)} of the mean")]
        if len(run) > 1:
            before = run[1]
            facts.append(
                Fact(
                    "Month before",
                    f"{amount(before.point.value, unit)} ({month(before.point.period)}), "
                    f"{percent(before.share)} of the mean",
                )
            )
        if len(run) > 2:
            months = months_between([one.point.period for one in run])
            facts.append(Fact("Running below the limit", f"{len(run)} months ({months})"))
        facts.append(
            Fact(
                "12-month mean",
                f"{amount(window.mean, unit)}, from {_known_months(window.base)} "
                f"({months_between([point.period for point in window.base])})",
            )
        )
        left_out = run[0].left_out
        if left_out:
            facts.append(
                Fact(
                    "Left out of the mean",
                    f"{months_text(len(left_out))} below the limit "
                    f"({months_between([point.period for point in left_out])})",
                )
            )
        facts += [
            Fact(
                "Limit",
                _drop_limit_text(limit) + (f" ({severity.name.lower()})" if severity else ""),
            ),
            Fact("Confidence", evidence_note(used)),
        ]
        return Reading(
            rule=self.name,
            rule_version=self.version,
            type=self.type,
            route=self.options.route,
            subject=observed.series,
            subject_title=observed.title,
            fingerprint=self.fingerprint(observed.series),
            input_id=self._input_id(observed, judged, newest),
            value=share,
            unit="of the mean",
            limit=limit.enter,
            severity=severity,
            is_clear=holds is None,
            headline=fitted(observed.title, finding),
            facts=tuple(facts),
            drivers=_month_drivers(run[:3], observed),
            evidence=_drop_evidence(used, window, newest),
            data_through=newest,
            chart=ChartRef("volume", observed.series, level=window.mean),
            runbook=self.options.runbook,
            advice=self.options.advice,
            owner=self.options.owner,
            measured=f"{percent(share)} of the 12-month mean",
            standing=f"{_standing_months(run[: limit.months_running])}; "
            f"the {f'{severity.name.lower()} ' if severity else ''}limit is "
            f"{_drop_limit_text(limit)}.",
            exits=tuple(
                (
                    held,
                    f"{months_at(self.clear_months)} {percent(leave)} of the 12-month mean or above",
                )
                for held, leave in exits.items()
            ),
            direction="below",
            holds=holds,
            labels=labels_of_series(self, observed.series, situation),
            rests_on=(observed.series,),
        )

    def _input_id(
        self, observed: ObservedSeries, judged: Mapping[date, "_Judged"], newest: date
    ) -> str:
        """Changes with every figure that the answer rests on, and with nothing else."""
        reach = max(self.clear_months, *(limit.months_running for limit in self.limits))
        asked = [judged.get(months_after(newest, -count)) for count in range(reach)]
        first = min(
            min(point.period for point in (one.point, *one.base, *one.left_out))
            for one in asked
            if one is not None
        )
        points = [point for point in observed.points if point.period >= first]
        return short_hash(
            *(p for x in points for p in (x.period, x.value, x.known_at, x.confidence)),
            *(point.period for point in judged[newest].left_out),
        )


_MEAN_MONTHS = 12


@dataclass(frozen=True, slots=True)
class _Judged:
    """One month, the known ordinary months that it is judged by, and the low ones passed over."""

    point: ObservedPoint
    base: tuple[ObservedPoint, ...]
    left_out: tuple[ObservedPoint, ...]
    mean: float

    @property
    def share(self) -> float:
        return self.point.value / self.mean


def _mean(base: Sequence[ObservedPoint]) -> float:
    """In the unit of the points; 0 of none."""
    return sum(one.value for one in base) / len(base) if base else 0.0


def _known_months(base: Sequence[ObservedPoint]) -> str:
    return "1 known month" if len(base) == 1 else f"{len(base)} known months"


def _running(judged: Mapping[date, _Judged], newest: date, enter: float) -> list[_Judged]:
    """The months in a row below the limit that end with the newest one, newest first."""
    run: list[_Judged] = []
    period = newest
    while period in judged and judged[period].share < enter:
        run.append(judged[period])
        period = months_after(period, -1)
    return run


def _month_drivers(run: Sequence[_Judged], observed: ObservedSeries) -> tuple[str, ...]:
    """Each judged month: how it moved, and from when that was known."""
    by_month = {month_of(point.period): point for point in observed.points}
    lines = []
    for point in (one.point for one in run):
        before = by_month.get(months_after(month_of(point.period), -1))
        moved = (
            f", {change(point.value / before.value - 1)} on {month(before.period)}"
            if before is not None and before.value > 0
            else ""
        )
        lines.append(
            f"{month(point.period)}: {amount(point.value, observed.unit)}{moved}; "
            f"known from {day(point.known_at)}."
        )
    return tuple(lines)


def _drop_evidence(used: Sequence[ObservedPoint], window: _Judged, newest: date) -> tuple[str, ...]:
    evidence = []
    weak = [point.period for point in used if point.confidence in WEAK]
    if weak:
        evidence.append(f"Months with low-confidence figures: {months_between(weak)}.")
        if newest in weak:
            evidence.append(f"The newest month itself ({month(newest)}) is one of them.")
    missing = _MEAN_MONTHS - len(window.base)
    if missing:
        evidence.append(
            f"{missing} of the 12 months that the mean should have "
            f"{'is' if missing == 1 else 'are'} not known; it is the mean of the others."
        )
    return tuple(evidence)


def _drop_limit_text(limit: DropLimit) -> str:
    running = (
        f"{count_word(limit.months_running)} months running " if limit.months_running > 1 else ""
    )
    return f"{running}below {percent(limit.enter)} of the 12-month mean"


def _standing_months(run: Sequence[_Judged]) -> str:
    parts = [f"{month(one.point.period)} at {percent(one.share)}" for one in run]
    return f"{listing(parts)} of the 12-month mean"
