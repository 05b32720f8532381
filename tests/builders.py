"""The smallest valid values, so that a test names only what it is about."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from alerts.lifecycle import Incident, State
from alerts.rules import ChartRef, Fact, Reading, Severity
from forecasting.results import (
    QUANTILE_LEVELS,
    ComponentShare,
    CutoffCheck,
    Interval,
    MarketMonth,
    MarketProjection,
    ObservedPoint,
    ObservedSeries,
    Score,
    Scorecard,
    SeriesForecast,
    Situation,
    SourceState,
    quantile,
)

NOW = datetime(2025, 6, 21, 23, 59, 59, tzinfo=UTC)

MAGNET_EXPORTS_T = {
    # China's exports of rare-earth magnets in tonnes, and how sure the figure is
    "2024-05": (4760, "low"),
    "2024-06": (5150, "medium"),
    "2024-07": (5278, "high"),
    "2024-08": (5337, "low"),
    "2024-09": (4914, "medium"),
    "2024-10": (4725, "high"),
    # November and December 2024 are not known
    "2025-01": (4982, "low"),
    "2025-02": (4982, "low"),
    "2025-03": (5300, "low"),
    "2025-04": (2629, "medium"),
    "2025-05": (1238, "high"),
    "2025-06": (3188, "high"),
    "2025-07": (5577, "high"),
    "2025-08": (6146, "high"),
}


def end_of(day: str) -> datetime:
    """The last second of a day: what `--as-of DAY` knows."""
    return datetime.fromisoformat(f"{day}T23:59:59+00:00")


def month_after(period: date, count: int) -> date:
    ordinal = period.year * 12 + period.month - 1 + count
    return date(ordinal // 12, ordinal % 12 + 1, 1)


def make_observed(
    values: Mapping[str, float | tuple[float, str]],
    *,
    known_at: datetime | None = None,
    series: str = "cn_magnet_exports",
    title: str = "China's exports of rare-earth magnets (customs line 85051110)",
    unit: str = "t",
    frequency: str = "month",
) -> ObservedSeries:
    """Months by name, "2025-05"; each is published on the 20th of the next one, at noon."""
    points = []
    for name, given in sorted(values.items()):
        value, confidence = given if isinstance(given, tuple) else (given, "high")
        period = date.fromisoformat(f"{name}-01")
        following = month_after(period, 1)
        published = datetime(following.year, following.month, 20, 12, tzinfo=UTC)
        if known_at is None or published <= known_at:
            points.append(ObservedPoint(period, float(value), published, "TEST", confidence))
    return ObservedSeries(series, title, unit, frequency, tuple(points))


def exports_known_on(day: str, **changes: Any) -> Situation:
    """What was known of China's magnet exports at the end of a day."""
    known_at = end_of(day)
    observed = make_observed(MAGNET_EXPORTS_T | changes, known_at=known_at)
    return Situation(known_at=known_at, observed={observed.series: observed})


def make_forecast(
    history: Sequence[float] = (60.0, 60.5, 61.0, 61.5),
    *,
    cutoff: date = date(2025, 5, 1),
    series: str = "nd_oxide",
    title: str = "Neodymium oxide, FOB China",
    monthly_spread: float = 0.05,
    monthly_drift: float = 0.0,
    horizon: int = 12,
    n_paths: int = 400,
    **changes: Any,
) -> SeriesForecast:
    """A monthly forecast whose paths are a log random walk from the newest price."""
    draw = random.Random(7)
    paths = []
    for _ in range(n_paths):
        level, path = history[-1], []
        for _ in range(horizon):
            level *= 1 + monthly_drift + draw.gauss(0, monthly_spread)
            path.append(level)
        paths.append(tuple(path))
    steps = [tuple(sorted(path[step] for path in paths)) for step in range(horizon)]
    months = [month_after(cutoff, back + 1 - len(history)) for back in range(len(history))]
    forecast = SeriesForecast(
        forecast_id="f-0123456789abcdef",
        series=series,
        title=title,
        unit="USD/kg",
        frequency="month",
        cutoff=cutoff,
        last_value=history[-1],
        history=tuple(zip(months, history, strict=True)),
        periods=tuple(month_after(cutoff, step + 1) for step in range(horizon)),
        quantiles=tuple(tuple(quantile(step, q) for q in QUANTILE_LEVELS) for step in steps),
        paths=tuple(paths),
        model="random_walk",
        reason="Random walk speaks for this series: nothing beat it in 24 past cutoffs; "
        "its 80 % interval held 79 % of outcomes.",
        scores=(),
        observations=60,
        vintage=datetime(2025, 5, 31, 12, tzinfo=UTC),
    )
    return replace(forecast, **changes)


def make_projection(
    shares: Sequence[float] = (0.0, 0.02, 0.04, 0.06, 0.1),
    *,
    months: int = 12,
    demand_t: float = 1000.0,
    **changes: Any,
) -> MarketProjection:
    """A market whose paths are short by a constant share of demand each, one path a share.

    Its lines say the same tonnes in each month: a twelfth of their middle year.
    """
    ordered = tuple(sorted(shares))
    middle = Interval(*(quantile(ordered, level) for level in (0.1, 0.5, 0.9)))
    short_t = Interval(*(demand_t * share for share in (middle.p10, middle.p50, middle.p90)))
    demand = Interval(demand_t, demand_t, demand_t)
    supply = Interval(
        demand_t * (1 - middle.p90), demand_t * (1 - middle.p50), demand_t * (1 - middle.p10)
    )
    first = date(2025, 7, 1)
    grid = tuple(
        MarketMonth(
            month_after(first, step),
            supply,
            demand,
            short_t,
            middle,
            Interval(20.0, 30.0, 40.0),
            expected_shortfall_t=demand_t * sum(shares) / len(shares),
            shortfall_chance=sum(share > 0 for share in shares) / len(shares),
        )
        for step in range(months)
    )
    projection = MarketProjection(
        projection_id="m-0123456789abcdef",
        market="world-ndfeb",
        title="World NdFeB magnets",
        product="finished sintered NdFeB magnets",
        unit="t",
        scenario="base",
        scenario_title="Base case: no new measure, licences as observed",
        months=grid,
        shortfall_t_paths=tuple((demand_t * share,) * months for share in shares),
        demand_t_paths=tuple((demand_t,) * months for _ in shares),
        components=tuple(
            replace(line, monthly_t=(line.tonnes_per_year.p50 / 12,) * months)
            for line in (
                ComponentShare(
                    "Mined in China", "supply", Interval(9000, 10000, 11000), 0.62, "USGS", "high"
                ),
                ComponentShare(
                    "Electric cars", "demand", Interval(3000, 4000, 5200), 0.31, "IEA", "low"
                ),
                ComponentShare(
                    "Wind turbines", "demand", Interval(900, 1000, 1100), 0.02, "IRENA", "medium"
                ),
                ComponentShare("Air conditioners", "memo", Interval(1, 2, 3), 0.9, "guess", "low"),
            )
        ),
        notes=("Grades are not told apart.",),
        data_through=date(2025, 5, 1),
        vintage=datetime(2025, 6, 20, 12, tzinfo=UTC),
    )
    return replace(projection, **changes)


def make_scorecard(
    ratios: Sequence[float] = (0.9,) * 16,
    held: Sequence[float] | float = 0.8,
    *,
    newest: date = date(2024, 11, 1),
    **changes: Any,
) -> Scorecard:
    """A monthly series tested at cutoffs a quarter apart: its error against the walk's, oldest first."""
    shares = [held] * len(ratios) if isinstance(held, int | float) else held
    checks = tuple(
        CutoffCheck(
            cutoff=month_after(newest, -3 * (len(ratios) - 1 - place)),
            model="theta",
            crps=0.1 * ratio,
            walk_crps=0.1,
            held_80=share,
        )
        for place, (ratio, share) in enumerate(zip(ratios, shares, strict=True))
    )
    card = Scorecard(
        series="dy_oxide",
        title="Dysprosium oxide, FOB China",
        unit="USD/kg",
        frequency="month",
        horizon=6,
        model="theta",
        reason="Theta speaks for dy_oxide: its CRPS was 6 % below the random walk's in 16 past cutoffs; "
        "its 80 % interval held 79 % of outcomes.",
        scores=(
            Score("gaussian_walk", 16, 1.0, 1.0, 0.74, 0.93, 0.47, 2.1, 0.01),
            Score("theta", 16, 0.92, 0.95, 0.79, 0.94, 0.49, 1.9, -0.02),
        ),
        checks=checks,
        pit_share=(0.12, 0.09, 0.1, 0.08, 0.11, 0.1, 0.09, 0.1, 0.08, 0.13),
        vintage=datetime(2025, 6, 20, 12, tzinfo=UTC),
    )
    return replace(card, **changes)


def make_source(
    age_days: float | None = 10, *, now: datetime = NOW, limit_days: int = 45, **changes: Any
) -> SourceState:
    """A source whose newest figure became known so many days before `now`; None: it never delivered."""
    known_at = None if age_days is None else now - timedelta(days=age_days)
    state = SourceState(
        source="prices",
        title="Rare-earth oxide prices (KOMIS)",
        newest_period=None if known_at is None else known_at.date().replace(day=1),
        newest_known_at=known_at,
        limit_days=limit_days,
    )
    return replace(state, **changes)


def make_reading(
    severity: Severity | None = Severity.WARNING, *, is_clear: bool | None = None, **changes: Any
) -> Reading:
    """A reading of a drop in volume; quiet and clear when `severity` is None, unless told otherwise."""
    reading = Reading(
        rule="magnet-exports-drop",
        rule_version="v1",
        type="volume_drop",
        route="buyers",
        subject="cn_magnet_exports",
        subject_title="China's exports of rare-earth magnets",
        fingerprint="0123456789abcdef",
        input_id="input-1",
        value=1.02 if severity is None else 0.52,
        unit="of the mean",
        limit=0.6,
        severity=severity,
        is_clear=(severity is None) if is_clear is None else is_clear,
        headline="China's exports of rare-earth magnets: 2,629 t in Apr 2025, "
        "48 % below the 12-month mean",
        facts=(
            Fact("Newest month", "2,629 t (Apr 2025), 52 % of the mean"),
            Fact("12-month mean", "5,048 t, from 9 known months"),
        ),
        drivers=("Apr 2025: 2,629 t, -50 % on Mar 2025; known from 20 May 2025.",),
        evidence=("5 of 10 months rest on low-confidence figures.",),
        data_through=date(2025, 4, 1),
        chart=ChartRef("volume", "cn_magnet_exports"),
        direction="below",
    )
    return replace(reading, **changes)


def make_incident(state: State = State.FIRING, **changes: Any) -> Incident:
    """An incident that opened a week before `NOW` and was told then."""
    opened_at = NOW - timedelta(days=7)
    reading = changes.pop("reading", make_reading())
    incident = Incident(
        id="6f1c0a52-0000-5000-8000-000000000001",
        book="live",
        fingerprint=reading.fingerprint,
        rule=reading.rule,
        rule_version=reading.rule_version,
        type=reading.type,
        route=reading.route,
        subject=reading.subject,
        subject_title=reading.subject_title,
        severity=Severity.WARNING,
        state=state,
        opened_at=opened_at,
        changed_at=opened_at,
        since=opened_at,
        episode=0 if state is State.PENDING else 1,
        revision=0 if state is State.PENDING else 1,
        true_runs=1,
        clear_runs=0,
        reading=reading,
        reading_at=opened_at,
        read_at=opened_at,
        peak=Severity.WARNING,
        told_state=None if state is State.PENDING else State.FIRING,
        told_at=None if state is State.PENDING else opened_at,
    )
    return replace(incident, **changes)
