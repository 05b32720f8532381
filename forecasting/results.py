"""Plain values that forecasting hands to the rest: the only module that alerts may import."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

QUANTILE_LEVELS: tuple[float, ...] = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)
"""Levels that every forecast carries; 0.1–0.9 is the 80 % interval, 0.025–0.975 the 95 % one."""

MEDIAN = QUANTILE_LEVELS.index(0.5)


@dataclass(frozen=True, slots=True)
class ObservedPoint:
    """One value of one period, as known at a moment. `period` is the first day of what is measured."""

    period: date
    value: float
    known_at: datetime
    source_id: str
    confidence: str


@dataclass(frozen=True, slots=True)
class ObservedSeries:
    """A series as known at a moment, ordered by period, one point a period."""

    series: str
    title: str
    unit: str
    frequency: str  # "day" | "month" | "year"
    points: tuple[ObservedPoint, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """A model's rolling-origin result on one series, errors on the log scale where values allow it."""

    model: str
    cutoffs: int
    rel_crps: float  # mean CRPS divided by the Gaussian random walk's over the same cutoffs
    rel_mae: float  # mean absolute error divided by the Gaussian random walk's
    coverage_80: float  # share of outcomes inside the 80 % interval, 0–1
    coverage_95: float
    # Of stored scores that are older than these figures nothing is known: NaN.
    coverage_50: float = float("nan")
    mase: float = float("nan")  # mean absolute error in mean one-period changes before the cutoff
    bias: float = float(
        "nan"
    )  # mean of forecast minus outcome: positive means too much was forecast


@dataclass(frozen=True, slots=True)
class CutoffCheck:
    """What the service would have said at one past cutoff, with the evidence known there, beside the walk."""

    cutoff: date  # last period seen
    model: str  # that would have spoken
    crps: float  # mean over the horizon, on logarithms where values allow it
    walk_crps: float  # the Gaussian random walk's over the same steps
    held_80: float  # share of outcomes inside the 80 % interval, 0–1


@dataclass(frozen=True, slots=True)
class Scorecard:
    """How each model did at past cutoffs of one series, and whether the one that speaks still deserves it."""

    series: str
    title: str
    unit: str
    frequency: str  # "day" | "week" | "month" | "year"
    horizon: int  # periods ahead
    model: str  # that speaks now
    reason: str  # one sentence: why
    scores: tuple[Score, ...]
    checks: tuple[CutoffCheck, ...]  # oldest first, one a cutoff
    pit_share: tuple[
        float, ...
    ]  # share of outcomes in each tenth of what was forecast; 0.1 each is calibrated
    vintage: datetime  # newest known_at among the observations used

    def recent(self, cutoffs: int) -> tuple[float, float]:
        """CRPS against the Gaussian walk's, and share held by the 80 % interval, at the newest cutoffs.

        NaN when there is no check, and for the ratio when the walk never erred.
        """
        newest = self.checks[-cutoffs:] if cutoffs > 0 else ()
        walk = sum(check.walk_crps for check in newest)
        own = sum(check.crps for check in newest)
        ratio = own / walk if walk > 0 else float("nan")
        held = sum(check.held_80 for check in newest) / len(newest) if newest else float("nan")
        return ratio, held


@dataclass(frozen=True, slots=True)
class SeriesForecast:
    """Quantiles and sample paths of one series over a horizon, and why this model speaks.

    `quantiles[step][level]` follows `QUANTILE_LEVELS`; `paths[path][step]` are equally likely futures
    that agree with the quantiles. Both are in `unit`.
    """

    forecast_id: str  # equal for equal observations, models and horizon, whenever it is made
    series: str
    title: str
    unit: str
    frequency: str  # "month" | "year"
    cutoff: date  # last observed period
    last_value: float
    history: tuple[
        tuple[date, float], ...
    ]  # the periods that the model saw, for charts and for rises
    periods: tuple[date, ...]
    quantiles: tuple[tuple[float, ...], ...]
    paths: tuple[tuple[float, ...], ...]
    model: str
    reason: str  # one sentence: why this model speaks for this series
    scores: tuple[Score, ...]
    observations: int
    vintage: datetime  # newest known_at among the observations used

    def probability_above(self, level: float, within: int) -> float:
        """Share of paths that exceed `level` at least once in the first `within` steps, 0–1."""
        if not 1 <= within <= len(self.periods):
            message = f"{self.series}: horizon {within} asked, 1–{len(self.periods)} forecast"
            raise ValueError(message)
        hits = sum(1 for path in self.paths if max(path[:within]) > level)
        return hits / len(self.paths)


@dataclass(frozen=True, slots=True)
class Interval:
    """The tenth, fiftieth and ninetieth percentile of one quantity."""

    p10: float
    p50: float
    p90: float


@dataclass(frozen=True, slots=True)
class MarketMonth:
    """One month of a balance. Quantities in tonnes a month, shares of demand 0–1."""

    month: date
    supply_t: Interval
    demand_t: Interval
    shortfall_t: Interval
    shortfall_share: Interval
    stock_cover_days: Interval
    # Of stored projections that are older than these figures nothing is known: NaN.
    expected_shortfall_t: float = float("nan")  # mean over all draws
    shortfall_chance: float = float("nan")  # share of draws with any shortfall, 0–1


@dataclass(frozen=True, slots=True)
class ComponentShare:
    """One line of a balance over the horizon: what it is, how much, and what it rests on."""

    name: str
    side: str  # "supply" | "demand" | "loss" (kept back) | "memo" (shown, not balanced)
    tonnes_per_year: Interval
    variance_share: float  # its part in the uncertainty of the shortfall, 0–1
    source: str
    confidence: str  # weakest confidence word among its inputs
    origin: str = ""  # of a supply: country it comes from
    stage: str = ""  # of a supply: what that country contributes
    use: str = ""  # of a demand: what for
    # Mean over all draws, tonnes in each month of the projection, after licences: adds up to supply and
    # demand. Empty for projections that are older than this figure.
    monthly_t: tuple[float, ...] = ()
    closes: bool = False  # it fills what the other lines leave: imports that follow demand


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One thing a line of a balance rests on, in the order in which it is applied."""

    component: str
    side: str
    # "activity" | "level" | "plant" | "factor" | "share" | "growth" | "limit" | "licence" | "scenario" |
    # "common" (of all lines) | "result" (tonnes a year of the whole line)
    step: str
    name: str  # series, factor, project or regime
    low: float
    central: float
    high: float
    unit: str
    source: str
    confidence: str
    known_at: datetime | None = None  # vintage of an observed figure; None for a factor
    note: str = ""


@dataclass(frozen=True, slots=True)
class Indicator:
    """One measure of exposure, with the words that place it."""

    name: str  # "hhi_origins", "stock_cover", …
    title: str
    value: float
    unit: str  # "", "share", "days", "0-10000"
    reading: str  # "high: above 2,500", …; empty when nothing places it
    confidence: str
    source: str


@dataclass(frozen=True, slots=True)
class MarketProjection:
    """The distribution of a market's shortfall, month by month, under one scenario.

    `shortfall_t_paths[path][month]` and `demand_t_paths[path][month]` share their draws, and the same
    draws serve every scenario of a market, so that differences between scenarios are clean.
    """

    projection_id: str
    market: str
    title: str
    product: str
    unit: str
    scenario: str
    scenario_title: str
    months: tuple[MarketMonth, ...]
    shortfall_t_paths: tuple[tuple[float, ...], ...]
    demand_t_paths: tuple[tuple[float, ...], ...]
    components: tuple[ComponentShare, ...]
    notes: tuple[str, ...]  # assumptions and weak evidence a reader must know
    data_through: (
        date  # newest month of licensed exports; without any, the newest period of its series
    )
    vintage: datetime
    importer: str = ""  # "" is the world
    trace: tuple[TraceStep, ...] = ()
    indicators: tuple[Indicator, ...] = ()

    def probability_above(self, share: float, months: int) -> float:
        """Chance that more than `share` of the demand of the first `months` months stays unmet, 0–1."""
        shares = self.shortfall_shares(months)
        return sum(1 for one in shares if one > share) / len(shares)

    def shortfall_shares(self, months: int) -> tuple[float, ...]:
        """Shortfall over the first `months` months as a share of demand, one value a path, sorted."""
        if not 1 <= months <= len(self.months):
            message = f"{self.market}: horizon {months} asked, 1–{len(self.months)} projected"
            raise ValueError(message)
        pairs = zip(self.shortfall_t_paths, self.demand_t_paths, strict=True)
        totals = ((sum(short[:months]), sum(asked[:months])) for short, asked in pairs)
        # Nothing is missing where nothing is asked for.
        return tuple(sorted(short / asked if asked > 0 else 0.0 for short, asked in totals))

    def first_month_above(self, share: float) -> date | None:
        """First month whose median shortfall share exceeds `share`, or None."""
        return next((m.month for m in self.months if m.shortfall_share.p50 > share), None)


@dataclass(frozen=True, slots=True)
class ChangeBar:
    """What one cause adds to the expected shortfall over the compared months; negative lowers it."""

    name: str
    side: str  # "supply" | "demand" | "loss" | "buffer" (stock used, or surplus that nobody needed)
    tonnes: float


@dataclass(frozen=True, slots=True)
class Waterfall:
    """Why the expected shortfall differs between two projections of a market: bars that add up."""

    market: str
    title: str
    unit: str
    before: str  # words: "as known on 21 March 2025", "base case"
    after: str
    months: tuple[date, ...]  # those that both projections have
    before_t: float  # expected shortfall over those months
    after_t: float
    # What licences keep back first, then the largest, buffer last; before_t + their sum = after_t.
    bars: tuple[ChangeBar, ...]


def quantile(sorted_values: tuple[float, ...], level: float) -> float:
    """Linear-interpolated quantile of values already sorted; the same rule as numpy's default."""
    if not sorted_values:
        message = "a quantile needs at least one value"
        raise ValueError(message)
    position = level * (len(sorted_values) - 1)
    below = int(position)
    above = min(below + 1, len(sorted_values) - 1)
    weight = position - below
    return sorted_values[below] * (1 - weight) + sorted_values[above] * weight


@dataclass(frozen=True, slots=True)
class SourceState:
    """How fresh one publisher's data is, for the operator's rules."""

    source: str
    title: str
    newest_period: date | None
    newest_known_at: datetime | None
    limit_days: int  # older than this is stale
    frequency: str = "month"  # of the series that the state speaks of

    def is_stale(self, at: datetime) -> bool:
        """Whether the newest figure is older than its limit, or none has ever arrived."""
        return self.newest_known_at is None or (at - self.newest_known_at).days > self.limit_days


@dataclass(frozen=True, slots=True)
class PolicyAct:
    """A government's decision as a reader hears of it, from the day on which it was known for sure."""

    act: str  # equal for the same decision, whenever it is read
    title: str
    kind: str  # "export_control", "quota", …: the words of its file
    direction: str  # "tighten" | "loosen" | "neutral" | "unknown"
    known_on: date
    materials: str  # as the file names them
    source: str
    confidence: str
    detail: str = ""  # one or two sentences, or empty
    elements: tuple[str, ...] = ()  # rare earths that the materials name, by symbol, sorted


@dataclass(frozen=True, slots=True)
class SourceVisit:
    """The last visit to a publisher: what it gave and what was turned away."""

    source: str
    at: datetime
    read: int  # rows
    quarantined: int
    error: str = ""
    samples: tuple[str, ...] = ()  # why rows were turned away, the commonest first


@dataclass(frozen=True, slots=True)
class UnsentMessage:
    """A message that its channel doesn't have, though no mute window keeps it."""

    state: str  # "dead": given up; "unknown": it may have arrived; "waiting"
    since: datetime  # when that began; of one that waits: when it was due
    written_at: datetime
    reason: str  # what went wrong and what mends it; empty: nobody has tried yet
    is_tried: bool = True


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything the rules may look at, as known at one moment."""

    known_at: datetime
    observed: Mapping[str, ObservedSeries] = field(default_factory=dict)
    forecasts: Mapping[str, SeriesForecast] = field(default_factory=dict)
    refusals: Mapping[str, str] = field(default_factory=dict)  # series -> why it has no forecast
    projections: Mapping[tuple[str, str], MarketProjection] = field(default_factory=dict)
    sources: Mapping[str, SourceState] = field(default_factory=dict)
    scorecards: Mapping[str, Scorecard] = field(default_factory=dict)  # by series
    policy_acts: tuple[PolicyAct, ...] = ()  # known at the moment, oldest first
    visits: Mapping[str, SourceVisit] = field(default_factory=dict)  # by source
    last_judged_at: datetime | None = None  # when the rules of this book were judged before
    # By rule that can tell of it and channel: what did not arrive there, oldest first; empty: nothing.
    undelivered: Mapping[tuple[str, str], tuple[UnsentMessage, ...]] = field(default_factory=dict)
    # What rests on what: series of each market (its exports too), publisher of each series.
    market_series: Mapping[str, frozenset[str]] = field(default_factory=dict)
    series_source: Mapping[str, str] = field(default_factory=dict)
    # Rare earths whose price a series is, by symbol: "Dy", "Nd,Pr"; without those that price none.
    series_material: Mapping[str, str] = field(default_factory=dict)
    # Calibrated chances of a rise: (series, share 0-1 above the newest price, periods ahead) -> 0-1.
    rise_chances: Mapping[tuple[str, float, int], float] = field(default_factory=dict)
