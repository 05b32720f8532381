"""Rule types by the name a rule file gives them: which options each has, and what is refused."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from alerts.rules import (
    BadData,
    Concentration,
    DropLimit,
    Limit,
    ModelDegraded,
    PolicyEvent,
    Premium,
    PriceLevel,
    PriceSpike,
    Rule,
    RuleOptions,
    Severity,
    Shortfall,
    SilentPipeline,
    StaleSource,
    StockCover,
    Undelivered,
    VolumeDrop,
)
from alerts.rules.models import CRPS_LIMIT, HELD_LIMIT
from alerts.ruleset.tables import Table, unknown
from forecasting.results import QUANTILE_LEVELS

DIRECTIONS = ("tighten", "loosen", "neutral", "unknown")
"""Which way a government's decision pushes supply."""

COVER_QUANTILES = (0.1, 0.5, 0.9)
"""What a projection keeps of its stock cover."""

_PROBABILITY = "a probability, 0–1"
_MOST_RISE = 10.0  # 1,000 %: no price rose so far in the months that a rule looks at
_SCALES: Mapping[str, tuple[float, float, str]] = {
    # By the unit of an indicator: its limits lie above the first number, up to the second.
    "0-10000": (1.0, 10_000.0, "an index from 0 to 10,000"),
    "0-100000": (1.0, 100_000.0, "an index from 0 to 100,000"),
    "share": (0.0, 1.0, "a share from 0 to 1"),
}
_MOST = 1e12  # above any price in any currency; finite, so that `inf` is refused


@dataclass(frozen=True, slots=True)
class Known:
    """The names that rules may use; None where they aren't known, and any is taken."""

    series: Collection[str]
    markets: Collection[str]
    scenarios: Collection[str]
    series_units: Mapping[str, str] = field(default_factory=dict)
    sources: Collection[str] | None = None  # watched for their age
    publishers: Collection[str] | None = None  # read, row by row
    indicators: Collection[str] | None = None
    kinds: Collection[str] | None = None  # of governments' decisions
    materials: Collection[str] | None = None
    # By name, where they are known: "price", "trade" or "reference"; units such as "share"; what it is.
    series_kinds: Mapping[str, str] = field(default_factory=dict)
    indicator_units: Mapping[str, str] = field(default_factory=dict)
    series_titles: Mapping[str, str] = field(default_factory=dict)


def build(kind: str, name: str, table: Table, options: RuleOptions, known: Known) -> Rule:
    """The rule of a table, whose type is one of TYPES; raises RuleFileError for its first mistake."""
    return _BUILDERS[kind](name, table, options, known)


def subjects_of(rule: Rule) -> tuple[str, ...]:
    """The series, markets or sources that a rule names; empty for those that watch whatever there is."""
    match rule:
        case PriceSpike() | PriceLevel() | Premium() | VolumeDrop() | ModelDegraded():
            return rule.series
        case Shortfall() | Concentration() | StockCover():
            return rule.market
        case StaleSource() | BadData():
            return rule.source
        case _:
            return ()


def _price_spike(name: str, table: Table, options: RuleOptions, known: Known) -> Rule:
    level = None
    if table.has("quantile"):
        if not table.is_own("quantile"):
            problem = (
                "with a quantile the limits are rises, no chances: "
                "state `type` and the limits beside it, to replace the rule"
            )
            raise table.error(at="quantile", problem=problem)
        if table.has("rise"):
            problem = "isn't used with `quantile`: the limits are the rises (0.25 = 25 %)"
            raise table.error(at=table.newest("rise", "quantile"), problem=f"`rise` {problem}")
        level = _level(table, QUANTILE_LEVELS, 0.5)
        limits = _limits(table, "a rise (0.25 = 25 %)", high=_MOST_RISE, percent=True)
    else:
        limits = _limits(table, _PROBABILITY)
    return PriceSpike(
        name=name,
        series=_prices(table, "series", known),
        limits=limits,
        rise=table.number(
            "rise",
            0.25,
            low=0,
            high=_MOST_RISE,
            what="a rise (0.25 = 25 %)",
            above_low=True,
            percent=True,
        ),
        horizon_months=table.count("horizon_months", 3, low=1, high=60),
        since_months=table.count("since_months", 3, low=0, high=60),
        max_age_days=_max_age(table, 100),
        quantile=level,
        options=options,
    )


def _price_level(name: str, table: Table, options: RuleOptions, known: Known) -> Rule:
    direction = table.choice("direction", "above", ("above", "below"), "direction")
    series = _prices(table, "series", known)
    unit = table.text("unit", "")
    units = _units(series, known)
    for one, stored in units.items():
        if unit and stored != unit:
            raise table.error(
                at=table.newest("unit", "series"), problem=f"{unit!r}, but {one} is in {stored!r}"
            )
    _require_one_unit(table, units)
    horizon = table.count("horizon_months", 0, low=0, high=60)
    if horizon == 0 and table.has("quantile"):
        problem = (
            "needs `horizon_months`: without one, the newest price is judged, and that has none"
        )
        raise table.error(at=table.newest("quantile", "horizon_months"), problem=problem)
    return PriceLevel(
        name=name,
        series=series,
        limits=_limits(table, "a price", high=_MOST, falling=direction == "below"),
        direction=direction,
        unit=unit,
        horizon_months=horizon,
        quantile=_level(table, QUANTILE_LEVELS, 0.5),
        max_age_days=_max_age(table, 100),
        options=options,
    )


def _premium(name: str, table: Table, options: RuleOptions, known: Known) -> Rule:
    against = _prices(table, "against", known)
    if len(against) > 1:
        raise table.error(at="against", problem="one series is needed: China's price")
    series = _prices(table, "series", known)
    if against[0] in series:
        at = table.newest("against", "series")
        raise table.error(at=at, problem=f"{against[0]!r} can't be compared with itself")
    _require_one_unit(table, _units((*series, *against), known))
    return Premium(
        name=name,
        series=series,
        against=against[0],
        limits=_limits(table, "a share above China's price (0.3 = 30 %)", high=1000),
        max_age_days=_max_age(table, 100),
        options=options,
    )


def _shortfall(name: str, table: Table, options: RuleOptions, known: Known) -> Rule:
    scenario = _scenario(table, known)
    tail = None
    if table.has("tail"):
        part = table.sub("tail", allowed=("severity", "enter", "exit"))
        tail = _limit(part, part.severity("severity", Severity.WARNING), "a share, 0–1")
        part.refuse_unknown("key")
    return Shortfall(
        name=name,
        market=table.names("market", known.markets, "market"),
        limits=_limits(table, "a share of demand, 0–1"),
        scenario=scenario,
        horizon_months=table.count("horizon_months", 6, low=1, high=120),
        quantile=table.number("quantile", 0.5, low=0, high=1, what=_PROBABILITY),
        tail=tail,
        max_age_days=_max_age(table, 120),
        options=options,
    )


def _concentration(name: str, table: Table, options: RuleOptions, known: Known) -> Rule:
    (indicator, *more) = table.names("indicator", known.indicators, "indicator", ("hhi_origins",))
    if more:
        raise table.error(at="indicator", problem="one indicator is needed")
    unit = known.indicator_units.get(indicator, "")
    limits = _limits(table, "the indicator's value", high=100_000)
    _check_scale(table, limits, indicator, unit)
    return Concentration(
        name=name,
        market=table.names("market", known.markets, "market"),
        scenario=_scenario(table, known),
        limits=limits,
        indicator=indicator,
        max_age_days=_max_age(table, 400),
        options=options,
    )


def _stock_cover(name: str, table: Table, options: RuleOptions, known: Known) -> Rule:
    return StockCover(
        name=name,
        market=table.names("market", known.markets, "market"),
        scenario=_scenario(table, known),
        limits=_limits(table, "a number of days", high=3650, falling=True),
        horizon_months=table.count("horizon_months", 3, low=1, high=120),
        quantile=_level(table, COVER_QUANTILES, 0.5),
        max_age_days=_max_age(table, 120),
        options=options,
    )


def _volume_drop(name: str, table: Table, options: RuleOptions, known: Known) -> Rule:
    limits = []
    for severity, part in table.severities(("enter", "exit", "months_running")):
        limit = DropLimit(
            severity=severity,
            enter=part.number("enter", None, low=0, high=10, above_low=True),
            exit=part.number("exit", None, low=0, high=10),
            months_running=part.count("months_running", 1, low=1, high=12),
        )
        part.refuse_unknown("key")
        if limit.exit <= limit.enter:
            raise part.error(
                at="exit",
                problem=f"{limit.exit:g} must be above `enter` ({limit.enter:g}): a volume is bad when it falls",
            )
        limits.append(limit)
    for lower, higher in pairwise(limits):
        if higher.enter >= lower.enter and higher.months_running <= lower.months_running:
            raise table.error(
                at=_newest_of(table, higher.severity, lower.severity),
                problem=f"{_word(lower.severity)} could never be reached: "
                f"{_word(higher.severity)} begins before it, or together with it; "
                "let the higher one begin lower, or after more `months_running`",
            )
    series = table.names("series", known.series, "series", titles=known.series_titles)
    for one in series:
        if known.series_kinds.get(one) == "price":
            problem = (
                f"{one!r} is a price; a volume is needed: prices have price_spike and price_level"
            )
            raise table.error(at=table.newest("series", "type"), problem=problem)
    return VolumeDrop(
        name=name,
        series=series,
        limits=tuple(limits),
        clear_months=table.count("clear_months", 2, low=1, high=12),
        min_known_months=table.count("min_known_months", 4, low=1, high=12),
        max_age_days=_max_age(table, 120),
        options=options,
    )


def _policy_event(name: str, table: Table, options: RuleOptions, known: Known) -> Rule:
    return PolicyEvent(
        name=name,
        kinds=table.names("kinds", known.kinds, "kind", ("export_control",)),
        directions=table.names("directions", DIRECTIONS, "direction", ("tighten",)),
        materials=table.names("materials", known.materials, "material", ()),
        days=table.count("days", 30, low=1, high=3650),
        severity=table.severity("severity", Severity.WARNING),
        options=options,
    )


def _stale_source(name: str, table: Table, options: RuleOptions, known: Known) -> Rule:
    return StaleSource(
        name=name,
        source=table.names("source", known.sources, "source", ()),
        severity=table.severity("severity", Severity.WARNING),
        options=options,
    )


def _bad_data(name: str, table: Table, options: RuleOptions, known: Known) -> Rule:
    return BadData(
        name=name,
        source=table.names("source", known.publishers, "source", ()),
        limits=_limits(table, "a share of rows turned away, 0–1"),
        min_rows=table.count("min_rows", 5, low=1, high=1_000_000),
        max_age_days=_max_age(table, 14),
        options=options,
    )


def _silent_pipeline(name: str, table: Table, options: RuleOptions, known: Known) -> Rule:
    return SilentPipeline(
        name=name,
        hours=table.count("hours", 26, low=1, high=8760),
        severity=table.severity("severity", Severity.CRITICAL),
        options=options,
    )


def _undelivered(name: str, table: Table, options: RuleOptions, known: Known) -> Rule:
    for key, value in (
        ("for_evaluations", options.for_evaluations),
        ("out_of", options.window),
        ("clear_evaluations", options.clear_evaluations),
    ):
        if value > 1:
            # A refused message stays as it is, and the same finding counts once: it would never open.
            problem = "isn't used here: what stays the same counts once; use `minutes`"
            raise table.error(at=key, problem=problem)
    return Undelivered(
        name=name,
        minutes=table.count("minutes", 30, low=5, high=10_080),
        severity=table.severity("severity", Severity.WARNING),
        options=options,
    )


def _model_degraded(name: str, table: Table, options: RuleOptions, known: Known) -> Rule:
    severity = table.severity("severity", Severity.WARNING)
    crps, held = CRPS_LIMIT, HELD_LIMIT
    if table.has("crps"):
        part = table.sub("crps", allowed=("enter", "exit"))
        crps = _limit(part, severity, "a ratio to the random walk's error", high=100)
        part.refuse_unknown("key")
    if table.has("held"):
        part = table.sub("held", allowed=("enter", "exit"))
        held = _limit(part, severity, "a share of outcomes, 0–1", falling=True)
        part.refuse_unknown("key")
    return ModelDegraded(
        name=name,
        series=table.names("series", known.series, "series", ()),
        crps=replace(crps, severity=severity),
        held=replace(held, severity=severity),
        cutoffs=table.count("cutoffs", 8, low=2, high=1000),
        max_age_days=_max_age(table, 120),
        options=options,
    )


_Builder = Callable[[str, Table, RuleOptions, Known], Rule]
_BUILDERS: Mapping[str, _Builder] = {
    PriceSpike.type: _price_spike,
    PriceLevel.type: _price_level,
    Premium.type: _premium,
    Shortfall.type: _shortfall,
    Concentration.type: _concentration,
    StockCover.type: _stock_cover,
    VolumeDrop.type: _volume_drop,
    PolicyEvent.type: _policy_event,
    StaleSource.type: _stale_source,
    BadData.type: _bad_data,
    ModelDegraded.type: _model_degraded,
    SilentPipeline.type: _silent_pipeline,
    Undelivered.type: _undelivered,
}
TYPES = tuple(sorted(_BUILDERS))
"""Every rule type that a file can state."""


def _limits(
    table: Table, what: str, *, high: float = 1, falling: bool = False, percent: bool = False
) -> tuple[Limit, ...]:
    """One limit a severity; a higher severity has to begin beyond the lower one."""
    limits = []
    for severity, part in table.severities():
        limits.append(_limit(part, severity, what, high=high, falling=falling, percent=percent))
        part.refuse_unknown("key")
    side = "below" if falling else "above"
    for lower, higher in pairwise(limits):
        begins_beyond = higher.enter < lower.enter if falling else higher.enter > lower.enter
        if not begins_beyond:
            at = _newest_of(table, higher.severity, lower.severity)
            whose = "" if at == higher.severity.name.lower() else f" of {_word(higher.severity)}"
            raise table.error(
                at=at,
                problem=f"`enter` ({higher.enter:g}){whose} must be {side} that of {_word(lower.severity)} "
                f"({lower.enter:g}), or {_word(lower.severity)} could never be reached",
            )
    return tuple(limits)


def _newest_of(table: Table, *severities: Severity) -> str:
    """The severity whose limits were set last: a user's warning above a shipped critical is the user's."""
    return table.newest(*(severity.name.lower() for severity in severities))


def _limit(
    part: Table,
    severity: Severity,
    what: str,
    *,
    high: float = 1,
    falling: bool = False,
    percent: bool = False,
) -> Limit:
    enter = part.number("enter", None, low=0, high=high, what=what, above_low=True, percent=percent)
    leave = part.number("exit", None, low=0, high=high, what=what, percent=percent)
    if falling and leave <= enter:
        raise part.error(at="exit", problem=f"{leave:g} must be above `enter` ({enter:g})")
    if not falling and leave >= enter:
        raise part.error(at="exit", problem=f"{leave:g} must be below `enter` ({enter:g})")
    return Limit(severity, enter, leave)


def _max_age(table: Table, default: int) -> int:
    return table.count("max_age_days", default, low=1, high=3650)


def _scenario(table: Table, known: Known) -> str:
    scenario = table.text("scenario", "base")
    if scenario not in known.scenarios:
        raise table.error(at="scenario", problem=unknown("scenario", scenario, known.scenarios))
    return scenario


def _level(table: Table, allowed: Sequence[float], default: float) -> float:
    """A quantile that is kept: others would have to be made up."""
    level = table.number("quantile", default, low=0, high=1, what=_PROBABILITY)
    if level not in allowed:
        listed = ", ".join(f"{one:g}" for one in allowed)
        raise table.error(at="quantile", problem=f"{level:g} is not kept; allowed: {listed}")
    return level


def _prices(table: Table, key: str, known: Known) -> tuple[str, ...]:
    """Series that are prices, as far as the kinds of series are known."""
    named = table.names(key, known.series, "series", titles=known.series_titles)
    for one in named:
        kind = known.series_kinds.get(one, "price")
        if kind != "price":
            problem = f"{one!r} is no price but of kind {kind!r}; this rule type needs prices"
            raise table.error(at=table.newest(key, "type"), problem=problem)
    return named


def _check_scale(table: Table, limits: Sequence[Limit], indicator: str, unit: str) -> None:
    """Raises RuleFileError for a share given to an index, and the other way round: neither would ever end."""
    scale = _SCALES.get(unit)
    if scale is None:
        return
    low, high, words = scale
    for limit in limits:
        for key, value in (("enter", limit.enter), ("exit", limit.exit)):
            # An exit may be 0, the lowest that any indicator can be.
            if value > high or (key == "enter" and value <= low):
                hint = ""
                if low and value <= 1:
                    hint = f"; {value:g} as a share of it is {value * high:,.0f}"
                elif not low and value <= 100:
                    hint = f"; write {value / 100:g} for {value:g} %"
                severity = limit.severity.name.lower()
                raise table.sub(severity).error(
                    at=key,
                    problem=f"{value:g} is no value of {indicator}, which is {words}{hint}",
                )


def _units(series: Sequence[str], known: Known) -> dict[str, str]:
    return {one: known.series_units[one] for one in series if one in known.series_units}


def _require_one_unit(table: Table, units: Mapping[str, str]) -> None:
    """A limit, and a comparison, means one thing in one unit only."""
    if len(set(units.values())) > 1:
        listed = ", ".join(f"{one} in {unit}" for one, unit in units.items())
        raise table.error(
            at=table.newest("series", "against"),
            problem=f"these differ in unit: {listed}; one rule judges one",
        )


def _word(severity: Severity) -> str:
    return f"`{severity.name.lower()}`"
