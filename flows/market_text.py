"""What `lodestone outlook` prints of a market: months, what changed, scenarios, indicators, and where numbers come from."""

import math
import textwrap
from collections.abc import Mapping, Sequence

from alerts.wording import chance, day, month, number, percent, percent_span
from flows.sentences import (
    BASE,
    SUMMARY_MONTHS,
    change_sentence,
    indicator_value,
    market_sentence,
    signed_tonnes,
    tonnes_of,
)
from forecasting.results import (
    MarketProjection,
    TraceStep,
    Waterfall,
    quantile,
)

WIDTH = 120
"""Columns that every line fits into."""
BAR_WIDTH = 30
"""Columns of the longest bar of a waterfall."""
UNMET_SHARES = (0.05, 0.1, 0.25, 0.5)
"""Shares of demand whose chance to stay unmet is told."""
_SIDES = {
    "supply": "supply",
    "demand": "demand",
    "loss": "kept back",
    "memo": "not balanced",
}


def overview_lines(
    projections: Sequence[MarketProjection], changes: Mapping[tuple[str, str], Waterfall]
) -> list[str]:
    """A market in short: its sentence, the base case by month, and one sentence on what changed."""
    base = projections[0]
    lines = [*_wrapped(market_sentence(projections)), "", *month_lines(base)]
    change = changes.get((base.market, base.scenario))
    if change is not None:
        lines += ["", *_wrapped(change_sentence(change), indent="  ")]
    return [*lines, ""]


def market_lines(
    shown: MarketProjection,
    projections: Sequence[MarketProjection],
    change: Waterfall | None,
    unexplained: str = "",
) -> list[str]:
    """A market in full under the scenario shown, beside the others that were projected with it."""
    base = next((one for one in projections if one.scenario == BASE), None)
    beside = base if base is not None and base is not shown else None
    told = [shown] if beside is None else [beside, shown]
    lines = [*_wrapped(market_sentence(told)), "", *month_lines(shown, beside), ""]
    lines += risk_lines(shown)
    if change is not None:
        lines += ["", *change_lines(change)]
    elif unexplained:
        lines += ["", *_wrapped(f"What changed can't be told: {unexplained}", indent="  ")]
    elif shown.scenario == BASE:
        lines += ["", "  What changed can't be told: this is the first projection kept."]
    if shown.scenario == BASE and len(projections) > 1:
        lines += ["", *scenario_lines(projections)]
    lines += ["", *component_lines(shown)]
    if shown.indicators:
        lines += ["", *indicator_lines(shown)]
    if shown.notes:
        lines.append("")
    lines += [line for note in shown.notes for line in _wrapped(note, indent="  ")]
    return [*lines, ""]


def month_lines(shown: MarketProjection, beside: MarketProjection | None = None) -> list[str]:
    """The balance month by month in tonnes, medians; `beside` adds the base case's unmet share."""
    head = (
        f"  {'month':<8} {'supply':>9} {'demand':>9} {'shortfall':>10}   "
        f"{'unmet, 80 % range':<24} {'any shortfall':>13} {'stock, days':>12}"
    )
    lines = [
        *_wrapped(f"{shown.title} ({shown.market}), {shown.scenario_title}"),
        *_wrapped(
            f"{shown.unit} a month ({shown.product}), medians; unmet as a share of demand",
            indent="  ",
        ),
        head + (f"   {'unmet, base case':>16}" if beside else ""),
    ]
    for place, one in enumerate(shown.months):
        share = one.shortfall_share
        wide = f"{percent(share.p50)} ({percent_span(share.p10, share.p90)})"
        any_shortfall = "–" if math.isnan(one.shortfall_chance) else chance(one.shortfall_chance)
        line = (
            f"  {month(one.month):<8} {tonnes_of(one.supply_t.p50):>9} {tonnes_of(one.demand_t.p50):>9} "
            f"{tonnes_of(one.shortfall_t.p50):>10}   {wide:<24} {any_shortfall:>13} "
            f"{one.stock_cover_days.p50:>12.0f}"
        )
        if beside:
            line += f"   {percent(beside.months[place].shortfall_share.p50):>16}"
        lines.append(line)
    return lines


def risk_lines(shown: MarketProjection) -> list[str]:
    """How likely it is that more than some shares of demand stay unmet, soon and over all months; and since when."""
    whole = len(shown.months)
    head = "Chance that more of demand stays unmet than"
    lines = [f"  {head} {''.join(f'{percent(share):>15}' for share in UNMET_SHARES)}"]
    for months in dict.fromkeys((min(SUMMARY_MONTHS, whole), whole)):
        over = "over the next month" if months == 1 else f"over the next {months} months"
        told = (chance(shown.probability_above(share, months)) for share in UNMET_SHARES)
        lines.append(f"    {over:<{len(head) - 2}} {''.join(f'{one:>15}' for one in told)}")
    limit = UNMET_SHARES[0]
    first = shown.first_month_above(limit)
    since = month(first) if first else "none"
    return [*lines, f"  First month with more than {percent(limit)} unmet, at even odds: {since}"]


def change_lines(change: Waterfall) -> list[str]:
    """A waterfall as signed tonnes and bars of plus and minus signs; what is added widens the shortfall."""
    count = len(change.months)
    span = " to ".join(dict.fromkeys(month(change.months[at]) for at in (0, -1)))
    over = f"{count} month{'' if count == 1 else 's'}, {span}"
    longest = max((abs(bar.tonnes) for bar in change.bars), default=0.0)
    names = [change.before, *(bar.name for bar in change.bars), change.after]
    width = min(60, max(map(len, names)))
    lines = [f"  Why it changed: expected shortfall over {over}, {change.unit}"]
    lines += _row(change.before, tonnes_of(change.before_t), width)
    for bar in change.bars:
        sign = "-" if bar.tonnes < 0 else "+"
        length = round(BAR_WIDTH * abs(bar.tonnes) / longest) if longest else 0
        size = tonnes_of(abs(bar.tonnes))
        # What rounds to nothing has no direction to show.
        told = size if size == "0" else f"{sign}{size}"
        lines += _row(bar.name, told, width, sign * length)
    return lines + _row(change.after, tonnes_of(change.after_t), width)


def _row(name: str, figure: str, width: int, bar: str = "") -> list[str]:
    *above, last = textwrap.wrap(name, width) or [""]
    return [
        *(f"    {part}" for part in above),
        f"    {last:<{width}} {figure:>10}  {bar}".rstrip(),
    ]


def scenario_lines(projections: Sequence[MarketProjection]) -> list[str]:
    """One line a scenario: the unmet share of the next months, and the expected shortfall against the base case."""
    near = min(SUMMARY_MONTHS, len(projections[0].months))
    whole = len(projections[0].months)
    width = max(len(one.scenario) for one in projections)
    lines = [
        *_wrapped(
            f"Scenarios: unmet share of demand over the next {near} months, 80 % range; expected "
            f"shortfall over {whole} months, {projections[0].unit}",
            indent="  ",
        ),
        f"    {'':<{width}} {'unmet':<24} {'shortfall':>10} {'to base':>10}",
    ]
    base = _expected_t(projections[0])
    for one in projections:
        shares = one.shortfall_shares(near)
        low, middle, high = (quantile(shares, level) for level in (0.1, 0.5, 0.9))
        wide = f"{percent(middle)} ({percent_span(low, high)})"
        expected = _expected_t(one)
        against = "" if one is projections[0] else signed_tonnes(expected - base)
        line = f"    {one.scenario:<{width}} {wide:<24} {tonnes_of(expected):>10} {against:>10}  "
        # A long name of a scenario leaves little room beside it.
        room = max(20, WIDTH - len(line))
        first, *more = textwrap.wrap(one.scenario_title, room) or [""]
        lines.append(f"{line}{first}".rstrip())
        lines += [f"{'':<{WIDTH - room}}{part}" for part in more]
    return lines


def component_lines(projection: MarketProjection) -> list[str]:
    """One line a component: tonnes a year with their range, its part in the uncertainty, the evidence."""
    made_of = f"Made of, {projection.unit} a year"
    lines = [f"  {made_of:<56} {'median, 80 % range':<28} {'of uncertainty':>14}  evidence"]
    for one in projection.components:
        tonnes = one.tonnes_per_year
        wide = f"{tonnes_of(tonnes.p50)} ({tonnes_of(tonnes.p10)} to {tonnes_of(tonnes.p90)})"
        *above, last = textwrap.wrap(f"{_SIDES.get(one.side, one.side)}: {one.name}", 56)
        lines += [f"  {part}" for part in above]
        lines.append(f"  {last:<56} {wide:<28} {percent(one.variance_share):>14}  {one.confidence}")
    return lines


def indicator_lines(projection: MarketProjection) -> list[str]:
    """One line an indicator: its figure, how it reads, and how sure it is."""
    lines = ["  Indicators"]
    for one in projection.indicators:
        reading = f", {one.reading}" if one.reading else ""
        text = f"{one.title}: {indicator_value(one)}{reading} ({one.confidence})"
        lines += _wrapped(text, indent="    ")
    return lines


def trace_lines(projection: MarketProjection) -> list[str]:
    """Where each number comes from: line by line every series, plant and factor, in order of its use."""
    lines = [
        *_wrapped(
            f"{projection.title} ({projection.market}), {projection.scenario_title}: where each number "
            "comes from (low, central, high)"
        ),
    ]
    if not projection.trace:
        return [*lines, "  No trace is kept with this projection.", ""]
    parts = dict.fromkeys((step.side, step.component) for step in projection.trace)
    for side, component in parts:
        # What concerns all lines has no side.
        title = f"{side}: {component}" if side in ("supply", "demand") else component
        lines += ["", *_wrapped(title, indent="  ")]
        for step in projection.trace:
            if (step.side, step.component) == (side, component):
                lines += _step_lines(step)
    return [*lines, ""]


def _step_lines(step: TraceStep) -> list[str]:
    figures = (step.low, step.central, step.high)
    figure = number(step.central) if len(set(figures)) == 1 else ", ".join(map(number, figures))
    known = "" if step.known_at is None else f", known {day(step.known_at)}"
    name = "" if step.step == "result" else f"{step.name}: "
    head = f"{step.step:<9} {name}{figure} {step.unit}  [{step.confidence}{known}]"
    told = "; ".join(text for text in (step.source, step.note) if text)
    return [
        *textwrap.wrap(head, WIDTH, initial_indent="    ", subsequent_indent=" " * 14),
        *textwrap.wrap(told, WIDTH, initial_indent=" " * 14, subsequent_indent=" " * 14),
    ]


def _wrapped(text: str, *, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  " if indent else ""
    )


def _expected_t(projection: MarketProjection) -> float:
    return math.fsum(one.expected_shortfall_t for one in projection.months)
