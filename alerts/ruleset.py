"""Rule files: TOML into rules and routes, every mistake named with its file, place and allowed values."""

import re
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from alerts.errors import RuleFileError
from alerts.routing import Route, nearest
from alerts.rules import (
    DropLimit,
    Limit,
    PriceSpike,
    Rule,
    RuleOptions,
    Severity,
    Shortfall,
    StaleSource,
    VolumeDrop,
    short_hash,
)
from alerts.rules.models import CRPS_LIMIT, HELD_LIMIT, ModelDegraded

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_CHANNEL = re.compile(r"#[^\s#@<>&,.A-Z]{1,80}|[CGD][A-Z0-9]{6,20}")
_WEB_ADDRESS = re.compile(r"https?://[^\s<>|\"]+")
_BAD_LINE = re.compile(r"\(at line (\d+), column (\d+)\)")


@dataclass(frozen=True, slots=True)
class Ruleset:
    """Every rule that is switched on, in file order, and the routes they use."""

    rules: tuple[Rule, ...]
    routes: Mapping[str, Route]
    version: str  # changes with any limit, subject or route


@dataclass(frozen=True, slots=True)
class _Known:
    series: Collection[str]
    markets: Collection[str]
    scenarios: Collection[str]


@dataclass(frozen=True, slots=True)
class _Source:
    """A table of a rule file, and where to look for it when something is wrong."""

    file: str
    text: str
    table: Mapping[str, Any]


def load_ruleset(
    texts: Sequence[tuple[str, str]],
    *,
    known_series: Collection[str],
    known_markets: Collection[str],
    known_scenarios: Collection[str],
) -> Ruleset:
    """Rules of all files, given as (file name, TOML text), the later ones having the last word.

    A later table of the same name that states its `type` replaces the earlier rule; without `type` it
    changes only the keys that it names. `enabled = false` removes a rule. Raises RuleFileError.
    """
    known = _Known(known_series, known_markets, known_scenarios)
    rule_tables: dict[str, list[_Source]] = {}
    routes: dict[str, Route] = {}
    for file, text in texts:
        document = _parse(file, text)
        top = _Table(_Source(file, text, document), "")
        rules = top.table("rules")
        for name, route in top.table("routes").items():
            routes[name] = _route(_Source(file, text, route), name)
        top.refuse_unknown("table")
        for name, table in rules.items():
            source = _Source(file, text, _as_table(table, file, f"rules.{name}"))
            _check_name(name, source, "rules")
            if "type" in source.table or name not in rule_tables:
                _check_first(name, source, tuple(rule_tables))
                rule_tables[name] = [source]
            else:
                rule_tables[name].append(source)
    found = [_rule(name, sources, routes, known) for name, sources in rule_tables.items()]
    switched_on = tuple(rule for rule in found if rule is not None)
    version = short_hash(
        *(
            part
            for rule in switched_on
            for part in (rule.name, rule.type, rule.version, rule.options, _subjects(rule))
        ),
        *sorted((route.name, route.channel) for route in routes.values()),
    )
    return Ruleset(switched_on, MappingProxyType(routes), version)


def _parse(file: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what = str(error)
        at = _BAD_LINE.search(what)
        place = f"line {at.group(1)}" if at else f"line {text.count(chr(10)) + 1}"
        problem = _BAD_LINE.sub("", what).replace(" (at end of document)", " at the end").strip()
        if "Cannot declare" in problem:
            problem = f"{problem}: a name can be used once in a file"
        raise RuleFileError(file, place, f"not valid TOML: {problem}") from error


def _as_table(value: object, file: str, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        problem = f"a table is needed, [{place}], not {_kind(value)}"
        raise RuleFileError(file, place, problem)
    return value


def _check_name(name: str, source: _Source, room: str) -> None:
    if not _NAME.fullmatch(name):
        problem = "a name is made of small letters, digits and hyphens, 64 at most"
        raise RuleFileError(source.file, f"{room}.{name}", problem)


def _check_first(name: str, source: _Source, earlier: tuple[str, ...]) -> None:
    """A rule's first table must say its type: without one, it was meant to change an earlier rule."""
    if "type" not in source.table:
        problem = (
            f"`type` is missing, and there is no earlier rule of this name to change"
            f"{nearest(name, earlier)}; types: {', '.join(sorted(_TYPES))}"
        )
        raise RuleFileError(source.file, f"rules.{name}{_line_of(source, name, None)}", problem)


def _route(source: _Source, name: str) -> Route:
    place = f"routes.{name}"
    table = _Table(replace(source, table=_as_table(source.table, source.file, place)), place)
    _check_name(name, source, "routes")
    channel = table.text("channel", "")
    table.refuse_unknown("key")
    if not _CHANNEL.fullmatch(channel):
        raise table.error(
            at="channel",
            problem=f'{channel!r} is not a channel; write "#magnet-supply" or an id like "C0123456789"',
        )
    return Route(name, channel)


def _rule(
    name: str, sources: Sequence[_Source], routes: Mapping[str, Route], known: _Known
) -> Rule | None:
    merged: dict[str, Any] = {}
    for source in sources:
        merged.update(source.table)
    table = _Table(replace(sources[-1], table=merged), f"rules.{name}", tuple(sources))
    if not table.flag("enabled", default=True):
        return None
    kind = table.text("type", "")
    build = _TYPES.get(kind)
    if build is None:
        allowed = tuple(sorted(_TYPES))
        raise table.error(
            at="type",
            problem=f"unknown rule type {kind!r}{nearest(kind, allowed)}; types: {', '.join(allowed)}",
        )
    of_operators = kind in (StaleSource.type, ModelDegraded.type)
    options = _options(table, "operators" if of_operators else "buyers")
    rule = build(name, table, options, known)
    table.refuse_unknown("key")
    if options.route not in routes:
        defined = tuple(sorted(routes))
        raise table.error(
            at="route",
            problem=f"no route {options.route!r} is defined{nearest(options.route, defined)}; "
            f"defined: {', '.join(defined) or 'none'}; add [routes.{options.route}] with a channel",
        )
    return rule


def _options(table: "_Table", default_route: str) -> RuleOptions:
    runbook = table.text("runbook", "")
    if runbook and not _WEB_ADDRESS.fullmatch(runbook):
        raise table.error(at="runbook", problem=f"{runbook!r} is not a web address (https://…)")
    return RuleOptions(
        for_evaluations=table.count("for_evaluations", 1, low=1, high=100),
        clear_evaluations=table.count("clear_evaluations", 1, low=1, high=100),
        cooldown=timedelta(days=table.number("cooldown_days", 14, low=0, high=3650)),
        route=table.text("route", default_route),
        owner=table.text("owner", ""),
        runbook=runbook,
        advice=table.text("advice", ""),
    )


def _price_spike(name: str, table: "_Table", options: RuleOptions, known: _Known) -> Rule:
    return PriceSpike(
        name=name,
        series=table.names("series", known.series, "series"),
        limits=_rising_limits(table, "a probability, 0–1"),
        rise=table.number("rise", 0.25, low=0, high=100, above_low=True),
        horizon_months=table.count("horizon_months", 3, low=1, high=60),
        since_months=table.count("since_months", 3, low=0, high=60),
        max_age_days=table.count("max_age_days", 100, low=1, high=3650),
        options=options,
    )


def _shortfall(name: str, table: "_Table", options: RuleOptions, known: _Known) -> Rule:
    scenario = table.text("scenario", "base")
    if scenario not in known.scenarios:
        raise table.error(at="scenario", problem=_unknown("scenario", scenario, known.scenarios))
    tail = None
    if table.has("tail"):
        part = table.sub("tail")
        tail = _rising_limit(part, part.severity("severity", Severity.WARNING), "a share, 0–1")
        part.refuse_unknown("key")
    return Shortfall(
        name=name,
        market=table.names("market", known.markets, "market"),
        limits=_rising_limits(table, "a share of demand, 0–1"),
        scenario=scenario,
        horizon_months=table.count("horizon_months", 6, low=1, high=120),
        quantile=table.number("quantile", 0.5, low=0, high=1, what="a probability, 0–1"),
        tail=tail,
        max_age_days=table.count("max_age_days", 120, low=1, high=3650),
        options=options,
    )


def _volume_drop(name: str, table: "_Table", options: RuleOptions, known: _Known) -> Rule:
    limits = []
    for severity, part in table.severities():
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
        if higher.enter > lower.enter and higher.months_running <= lower.months_running:
            raise table.error(
                at=higher.severity.name.lower(),
                problem=f"{_word(lower.severity)} could never be reached: "
                f"{_word(higher.severity)} begins before it",
            )
    return VolumeDrop(
        name=name,
        series=table.names("series", known.series, "series"),
        limits=tuple(limits),
        clear_months=table.count("clear_months", 2, low=1, high=12),
        min_known_months=table.count("min_known_months", 4, low=1, high=12),
        max_age_days=table.count("max_age_days", 120, low=1, high=3650),
        options=options,
    )


def _stale_source(name: str, table: "_Table", options: RuleOptions, known: _Known) -> Rule:
    return StaleSource(
        name=name,
        source=table.names("source", None, "source") if table.has("source") else (),
        severity=table.severity("severity", Severity.WARNING),
        options=options,
    )


def _model_degraded(name: str, table: "_Table", options: RuleOptions, known: _Known) -> Rule:
    severity = table.severity("severity", Severity.WARNING)
    crps, held = CRPS_LIMIT, HELD_LIMIT
    if table.has("crps"):
        part = table.sub("crps")
        what = "a ratio to the random walk's error"
        crps = _rising_limit(part, severity, what, high=100)
        part.refuse_unknown("key")
    if table.has("held"):
        part = table.sub("held")
        held = _falling_limit(part, severity, "a share of outcomes, 0–1")
        part.refuse_unknown("key")
    return ModelDegraded(
        name=name,
        series=table.names("series", known.series, "series") if table.has("series") else (),
        crps=replace(crps, severity=severity),
        held=replace(held, severity=severity),
        cutoffs=table.count("cutoffs", 8, low=2, high=1000),
        max_age_days=table.count("max_age_days", 120, low=1, high=3650),
        options=options,
    )


_Builder = Callable[[str, "_Table", RuleOptions, _Known], Rule]
_TYPES: Mapping[str, _Builder] = {
    PriceSpike.type: _price_spike,
    Shortfall.type: _shortfall,
    VolumeDrop.type: _volume_drop,
    StaleSource.type: _stale_source,
    ModelDegraded.type: _model_degraded,
}


def _rising_limits(table: "_Table", what: str) -> tuple[Limit, ...]:
    limits = []
    for severity, part in table.severities():
        limits.append(_rising_limit(part, severity, what))
        part.refuse_unknown("key")
    for lower, higher in pairwise(limits):
        if higher.enter <= lower.enter:
            raise table.error(
                at=higher.severity.name.lower(),
                problem=f"`enter` ({higher.enter:g}) must be above that of {_word(lower.severity)} "
                f"({lower.enter:g}), or {_word(lower.severity)} could never be reached",
            )
    return tuple(limits)


def _rising_limit(part: "_Table", severity: Severity, what: str, high: float = 1) -> Limit:
    enter = part.number("enter", None, low=0, high=high, what=what, above_low=True)
    leave = part.number("exit", None, low=0, high=high, what=what)
    if leave >= enter:
        raise part.error(at="exit", problem=f"{leave:g} must be below `enter` ({enter:g})")
    return Limit(severity, enter, leave)


def _falling_limit(part: "_Table", severity: Severity, what: str) -> Limit:
    enter = part.number("enter", None, low=0, high=1, what=what, above_low=True)
    leave = part.number("exit", None, low=0, high=1, what=what)
    if leave <= enter:
        raise part.error(at="exit", problem=f"{leave:g} must be above `enter` ({enter:g})")
    return Limit(severity, enter, leave)


class _Table:
    """Reads typed values from one table and remembers which keys it knows, to refuse all others."""

    def __init__(self, source: _Source, place: str, sources: tuple[_Source, ...] = ()) -> None:
        self._values = source.table
        self._place = place
        self._sources = sources or (source,)
        self._asked: list[str] = []

    def error(self, *, at: str, problem: str) -> RuleFileError:
        """The error for one key, blaming the file and line that set it last."""
        top = at.split(".")[0]
        source = next(
            (source for source in reversed(self._sources) if top in source.table),
            self._sources[-1],
        )
        place = f"{self._place}.{at}" if self._place else at
        name = self._place.split(".")[1] if "." in self._place else ""
        inner = self._place.split(".")[2:]
        return RuleFileError(source.file, f"{place}{_line_of(source, name, [*inner, at])}", problem)

    def has(self, key: str) -> bool:
        self._asked.append(key)
        return key in self._values

    def table(self, key: str) -> Mapping[str, Any]:
        if not self.has(key):
            return {}
        return _as_table(self._values[key], self._sources[-1].file, key)

    def sub(self, key: str) -> "_Table":
        """A table inside this one, such as a severity's limits."""
        self._asked.append(key)
        value = self._values[key]
        if not isinstance(value, dict):
            raise self.error(
                at=key, problem=f"a table is needed, {{ enter = …, exit = … }}, not {_kind(value)}"
            )
        owners = tuple(source for source in self._sources if key in source.table)
        return _Table(
            replace(owners[-1], table=value),
            f"{self._place}.{key}",
            (replace(owners[-1], table=value),),
        )

    def severities(self) -> list[tuple[Severity, "_Table"]]:
        """The limits given, lowest severity first; at least one is needed."""
        names = [severity.name.lower() for severity in Severity]
        given = [(Severity[name.upper()], self.sub(name)) for name in names if self.has(name)]
        if not given:
            raise self.error(
                at="warning", problem=f"no limit is given; set at least one of {', '.join(names)}"
            )
        return given

    def text(self, key: str, default: str) -> str:
        if not self.has(key):
            return default
        value = self._values[key]
        if not isinstance(value, str):
            raise self.error(at=key, problem=f"a text is needed, not {_kind(value)}")
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        value = self._values[key] if self.has(key) else default
        if not isinstance(value, bool):
            raise self.error(at=key, problem=f"true or false is needed, not {_kind(value)}")
        return value

    def number(
        self,
        key: str,
        default: float | None,
        *,
        low: float,
        high: float,
        what: str = "a number",
        above_low: bool = False,
    ) -> float:
        if not self.has(key):
            if default is None:
                raise self.error(at=key, problem=f"missing; {what} is needed")
            return default
        value = self._values[key]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(at=key, problem=f"{what} is needed, not {_kind(value)}")
        # Written so that a NaN is refused as well.
        if not (low < value <= high if above_low else low <= value <= high):
            bounds = f"above {low:g}, up to {high:g}" if above_low else f"{low:g} to {high:g}"
            raise self.error(
                at=key, problem=f"{value:g} is out of range; {what} is needed ({bounds})"
            )
        return float(value)

    def count(self, key: str, default: int, *, low: int, high: int) -> int:
        value = self._values[key] if self.has(key) else default
        if isinstance(value, bool) or not isinstance(value, int):
            given = f"{value:g}" if isinstance(value, float) else _kind(value)
            raise self.error(at=key, problem=f"a whole number is needed, not {given}")
        if not low <= value <= high:
            raise self.error(at=key, problem=f"{value} is out of range; {low} to {high} is allowed")
        return value

    def severity(self, key: str, default: Severity) -> Severity:
        word = self.text(key, default.name.lower())
        names = tuple(severity.name.lower() for severity in Severity)
        if word not in names:
            raise self.error(
                at=key, problem=f"{_unknown('severity', word, names)}; {', '.join(names)} exist"
            )
        return Severity[word.upper()]

    def names(self, key: str, known: Collection[str] | None, what: str) -> tuple[str, ...]:
        """One name or a list of them, each known."""
        if not self.has(key):
            raise self.error(
                at=key, problem=f"missing; the name of a {what}, or a list of names, is needed"
            )
        value = self._values[key]
        words = [value] if isinstance(value, str) else value
        if not isinstance(words, list) or not words or not all(isinstance(w, str) for w in words):
            raise self.error(at=key, problem=f"the name of a {what}, or a list of names, is needed")
        for word in words:
            if known is not None and word not in known:
                raise self.error(at=key, problem=_unknown(what, word, known))
            if words.count(word) > 1:
                raise self.error(at=key, problem=f"{word!r} is named twice")
        return tuple(words)

    def refuse_unknown(self, what: str) -> None:
        """Refuse a key that nothing asked for: most often it is misspelt."""
        allowed = tuple(dict.fromkeys(self._asked))
        for key in self._values:
            if key not in allowed:
                raise self.error(
                    at=key,
                    problem=f"unknown {what}{nearest(key, allowed)}; allowed: {', '.join(sorted(allowed))}",
                )


def _unknown(what: str, word: str, known: Collection[str]) -> str:
    names = tuple(sorted(known))
    hint = nearest(word, names)
    if not hint:
        shown = ", ".join(names[:12]) + (" …" if len(names) > 12 else "")
        hint = f"; known: {shown or 'none'}"
    return f"unknown {what} {word!r}{hint}"


def _subjects(rule: Rule) -> tuple[str, ...]:
    match rule:
        case PriceSpike() | VolumeDrop() | ModelDegraded():
            return rule.series
        case Shortfall():
            return rule.market
        case StaleSource():
            return rule.source
        case _:
            return ()


def _word(severity: Severity) -> str:
    return f"`{severity.name.lower()}`"


def _kind(value: object) -> str:
    """A TOML value's kind as its author would call it."""
    words = {bool: "true or false", int: "a number", float: "a number", str: "a text"}
    words |= {list: "a list", dict: "a table"}
    return words.get(type(value), "a date or time")


def _line_of(source: _Source, name: str, keys: list[str] | None) -> str:
    """The line of a rule's table or of one of its keys, as far as a plain look at the text tells."""
    if not name:
        return ""
    header = re.compile(rf'\s*\[\s*(?:rules|routes)\s*\.\s*"?{re.escape(name)}"?\s*(\.|\])')
    inside = False
    found = 0
    for ordinal, line in enumerate(source.text.splitlines(), start=1):
        if line.lstrip().startswith("["):
            inside = header.match(line) is not None
            found = found or (ordinal if inside else 0)
        elif inside and keys and re.match(rf'\s*"?{re.escape(keys[0])}"?\s*[.=]', line):
            found = ordinal
            break
    return f" (line {found})" if found else ""
