"""Why the expected shortfall of a market differs between two projections: bars that add up, and a sentence."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from forecasting.results import ChangeBar, ComponentShare, MarketProjection, Waterfall

SMALL = 0.01
"""Bars below this share of all bars' sizes together are folded into one of their side."""
ORDERED_FOR = "Imports ordered for it"
OTHER = {"supply": "Other supply lines", "demand": "Other demand lines"}
BUFFER = "Stock and surplus"
NAMED_IN_SENTENCE = 3
ROUNDING = 1e-9
"""Changes below this share of a line's own amount are what floating point leaves of no change."""

_SIDES = ("supply", "demand", "loss", "buffer")

Key = tuple[str, str]  # side, name


class CannotExplainError(Exception):
    """Two projections can't be compared; market, projection and what is missing are in the text."""


def waterfall(
    before: MarketProjection, after: MarketProjection, *, before_words: str, after_words: str
) -> Waterfall:
    """What each line adds to the expected shortfall over the months both have, in the market's unit.

    Both say mean tonnes of each line and mean shortfall, and on average

        shortfall = demand - arrivals - stock used + surplus that nobody needed.

    So a bar is the change of a demand, or the change of a supply with its sign turned: positive adds to
    the shortfall. Arrivals are after licences. What licences keep back more is a bar of its own ("loss"),
    and is added to the licensed supplies again, so that theirs say what was ordered less: see `_kept_by`.
    A line that only one projection has counts whole. Where imports fill what demand needs (they close the
    balance), they follow it from one projection to the next, and are one bar: it mirrors those of demand
    and of what is made at home, but for orders that rebuild stock. The last bar is the rest: stock and
    surplus. Raises CannotExplainError.
    """
    words = (before_words, after_words)
    months = _common_months(before, after, words)
    before_t = _expected_t(before, months, before_words)
    after_t = _expected_t(after, months, after_words)
    old = _amounts(before, months, before_words)
    new = _amounts(after, months, after_words)
    changes = _changes(old, new)
    kept = math.fsum(change for (side, _), change in changes.items() if side == "loss")
    size = {key: max(0.0, old.get(key, 0.0)) + max(0.0, new.get(key, 0.0)) for key in changes}
    kept_by = _kept_by(kept, changes, size, _licensed(before, after, old, new))
    lines = []
    for (side, name), change in changes.items():
        if side == "supply":
            lines.append(ChangeBar(name, side, -(change + kept_by.get((side, name), 0.0)) + 0.0))
        # Without a supply that it can be told apart from, what is kept back is in the arrivals already.
        elif side == "demand" or kept_by:
            lines.append(ChangeBar(name, side, change))
    closing = _closing(before) | _closing(after)
    if before.scenario == after.scenario and closing:
        ordered = [bar for bar in lines if bar.side == "supply" and bar.name in closing]
        net = math.fsum(bar.tonnes for bar in ordered)
        lines = [ChangeBar(ORDERED_FOR, "supply", net), *(b for b in lines if b not in ordered)]
    noise = ROUNDING * max([1e-3, *(abs(value) for value in (*old.values(), *new.values()))])
    lines = [bar for bar in lines if abs(bar.tonnes) > noise]
    buffer = ChangeBar(
        BUFFER, "buffer", math.fsum([after_t, -before_t, *(-bar.tonnes for bar in lines)])
    )
    return Waterfall(
        market=after.market,
        title=after.title,
        unit=after.unit,
        before=before_words,
        after=after_words,
        months=months,
        before_t=before_t,
        after_t=after_t,
        bars=(*_folded(lines, buffer), buffer),
    )


def sentence(explained: Waterfall) -> str:
    """One line: from where to where, and the largest changes of the lines themselves (less supply is negative)."""
    whole, short = explained.unit, explained.unit.split()[0]
    count = len(explained.months)
    start = f"Expected shortfall over {count} month{'' if count == 1 else 's'}"
    before, after = _tonnes(explained.before_t), _tonnes(explained.after_t)
    if before == after:
        start = f"{start} stays at {after} {whole}"
    else:
        verb = "rises" if explained.after_t > explained.before_t else "falls"
        start = f"{start} {verb} from {before} {short} to {after} {whole}"
    told = [bar for bar in explained.bars if _tonnes(bar.tonnes) != "0"]
    lines = [bar for bar in told if bar.side != "buffer"]
    parts = [_change_words(bar, short) for bar in lines[:NAMED_IN_SENTENCE]]
    smaller = len(lines) - NAMED_IN_SENTENCE
    if smaller > 0:
        parts.append(f"{smaller} smaller change{'' if smaller == 1 else 's'}")
    least = SMALL * math.fsum(abs(bar.tonnes) for bar in explained.bars)
    for bar in told:
        if bar.side == "buffer" and abs(bar.tonnes) >= least:
            taken = f"{_tonnes(abs(bar.tonnes))} {short}"
            parts.append(
                f"stock and surplus take up {taken}"
                if bar.tonnes < 0
                else f"{taken} go to stock or surplus"
            )
    return f"{start}: {', '.join(parts)}." if parts else f"{start}."


def _common_months(
    before: MarketProjection, after: MarketProjection, words: tuple[str, str]
) -> tuple[date, ...]:
    if before.market != after.market:
        message = (
            f"{before.market} ({words[0]}) and {after.market} ({words[1]}): "
            "only projections of one market can be compared"
        )
        raise CannotExplainError(message)
    if before.unit != after.unit:
        message = (
            f"{after.market}: unit: {words[0]} is in {before.unit!r}, {words[1]} in {after.unit!r}; "
            "both must be in the same unit"
        )
        raise CannotExplainError(message)
    known = {month.month for month in after.months}
    common = tuple(sorted(month.month for month in before.months if month.month in known))
    if not common:
        message = (
            f"{after.market}: months: {words[0]} has {_span(before)}, {words[1]} has {_span(after)}; "
            "at least one month must be in both"
        )
        raise CannotExplainError(message)
    return common


def _span(projection: MarketProjection) -> str:
    if not projection.months:
        return "none"
    first, last = projection.months[0].month, projection.months[-1].month
    return f"{first:%Y-%m} to {last:%Y-%m}"


def _expected_t(projection: MarketProjection, months: Sequence[date], words: str) -> float:
    wanted = set(months)
    values = {
        month.month: month.expected_shortfall_t
        for month in projection.months
        if month.month in wanted
    }
    for month, value in values.items():
        if not math.isfinite(value):
            message = (
                f"{projection.market}: {words}: expected_shortfall_t of {month:%Y-%m} is {value}; an older "
                "version made this projection: project the market again as of that day"
            )
            raise CannotExplainError(message)
    return math.fsum(values.values())


def _amounts(projection: MarketProjection, months: Sequence[date], words: str) -> dict[Key, float]:
    """Tonnes of each line over the months, in the projection's order; what is only shown isn't among them."""
    wanted = set(months)
    amounts: dict[Key, float] = {}
    for component in projection.components:
        if component.side == "memo":
            continue
        _require_months(projection, component, words)
        total = math.fsum(
            tonnes
            for month, tonnes in zip(projection.months, component.monthly_t, strict=True)
            if month.month in wanted
        )
        key = (component.side, component.name)
        amounts[key] = amounts.get(key, 0.0) + total
    return amounts


def _require_months(projection: MarketProjection, component: ComponentShare, words: str) -> None:
    where = f"{projection.market}: {words}: {component.side} {component.name!r}"
    if component.side not in _SIDES[:3]:
        message = f"{where}: side: allowed are supply, demand, loss and memo"
        raise CannotExplainError(message)
    if len(component.monthly_t) != len(projection.months):
        message = (
            f"{where}: monthly_t: {len(component.monthly_t)} values for {len(projection.months)} months; "
            "an older version made this projection: project the market again as of that day"
        )
        raise CannotExplainError(message)
    bad = next((value for value in component.monthly_t if not math.isfinite(value)), None)
    if bad is not None:
        message = f"{where}: monthly_t: {bad} is among the values; only finite tonnes are allowed"
        raise CannotExplainError(message)


def _closing(projection: MarketProjection) -> set[str]:
    """Names of the imports that fill what demand needs."""
    return {line.name for line in projection.components if line.closes and line.side == "supply"}


def _changes(old: Mapping[Key, float], new: Mapping[Key, float]) -> dict[Key, float]:
    keys = sorted({*old, *new}, key=lambda key: (_SIDES.index(key[0]), key[1]))
    return {key: new.get(key, 0.0) - old.get(key, 0.0) for key in keys}


def _licensed(
    before: MarketProjection,
    after: MarketProjection,
    old: Mapping[Key, float],
    new: Mapping[Key, float],
) -> tuple[Key, ...]:
    """The supplies that a licence holds back: those that both have; if there is none, those of either."""
    either = tuple(dict.fromkeys([*_licensed_of(before), *_licensed_of(after)]))
    both = tuple(key for key in either if key in old and key in new)
    return both or either


def _licensed_of(projection: MarketProjection) -> list[Key]:
    """As the trace says; without a trace those that come from a named country that isn't the importer."""
    supplies = [line for line in projection.components if line.side == "supply"]
    traced = {
        step.component
        for step in projection.trace
        if step.side == "supply" and step.step == "licence"
    }
    if projection.trace:
        return [(line.side, line.name) for line in supplies if line.name in traced]
    return [
        (line.side, line.name)
        for line in supplies
        if line.origin and line.origin != projection.importer
    ]


def _kept_by(
    kept: float,
    changes: Mapping[Key, float],
    size: Mapping[Key, float],
    licensed: Sequence[Key],
) -> dict[Key, float]:
    """The change of what licences keep back, shared among the licensed supplies; the parts add up to it.

    A projection says it in total only. Supplies whose arrivals moved against it share it in proportion to
    their moves: when nothing else has changed between two scenarios, each gets its own part to the tonne.
    What their moves don't explain is shared in proportion to the supplies' size.
    """
    moves = {key: max(0.0, math.copysign(1.0, -kept) * changes[key]) for key in licensed}
    moved = math.fsum(moves.values())
    explained = math.copysign(min(abs(kept), moved), kept)
    whole = math.fsum(size[key] for key in licensed)
    parts = {}
    for key in licensed:
        share = size[key] / whole if whole > 0 else 1 / len(licensed)
        parts[key] = (explained * moves[key] / moved if moved > 0 else 0.0) + (
            kept - explained
        ) * share
    return parts


def _folded(lines: Sequence[ChangeBar], buffer: ChangeBar) -> Iterable[ChangeBar]:
    """What licences keep back, then the largest; two or more small ones of a side become one, after the named."""
    least = SMALL * math.fsum(abs(bar.tonnes) for bar in (*lines, buffer))
    named = list(lines)
    others = []
    for side, name in OTHER.items():
        small = [bar for bar in lines if bar.side == side and abs(bar.tonnes) < least]
        # One small bar alone would lose its name for nothing.
        if len(small) > 1:
            named = [bar for bar in named if bar not in small]
            others.append(ChangeBar(name, side, math.fsum(bar.tonnes for bar in small)))
    named.sort(
        key=lambda bar: (bar.side != "loss", -abs(bar.tonnes), _SIDES.index(bar.side), bar.name)
    )
    return (*named, *others)


def _change_words(bar: ChangeBar, unit: str) -> str:
    change = -bar.tonnes if bar.side == "supply" else bar.tonnes
    return f"{bar.name} {'−' if change < 0 else '+'}{_tonnes(abs(change))} {unit}"


def _tonnes(value: float) -> str:
    """Whole tonnes; below ten with one decimal, since a small market is short by little."""
    text = f"{value:,.1f}" if abs(value) < 10 else f"{value:,.0f}"
    text = text.removesuffix(".0")
    return "0" if text == "-0" else text.replace("-", "−")
