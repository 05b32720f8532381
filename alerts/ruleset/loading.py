"""Rule files of several hands into one set: rules, routes and mutes, each checked against the others."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from alerts.errors import RuleFileError
from alerts.mutes import Mute, leaves_no_time
from alerts.routing import (
    ANY_BEARERS,
    DECISIONS,
    Bearer,
    Route,
    default_route,
    fits,
    nearest,
)
from alerts.rules import Rule, RuleOptions, Severity, short_hash
from alerts.ruleset.builders import TYPES, Known, build, subjects_of
from alerts.ruleset.places import (
    check_escalation,
    read_labels,
    read_mention,
    read_mute,
    read_route,
)
from alerts.ruleset.tables import Origin, Table, as_table, check_name, line_of, merged, parse

_WEB_ADDRESS = re.compile(r"https?://[^\s<>|\"]+")
_RESERVED = "evaluation-errors"  # what failing rules are told under
_A_YEAR_OF = datetime(
    2024, 1, 1, tzinfo=UTC
)  # any: a set of mutes that leaves no time leaves none here


@dataclass(frozen=True, slots=True)
class Ruleset:
    """Every rule that is switched on, in file order, the routes they use and the hours they keep quiet."""

    rules: tuple[Rule, ...]
    routes: Mapping[str, Route]
    # Changes with whatever changes a judgement, or where it goes: not with advice, owners or mutes.
    version: str
    mutes: Mapping[str, Mute] = field(default_factory=dict)
    # Values of each label as far as they are known: what routes and silences can name.
    labels: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def mutes_of(self, options: RuleOptions) -> tuple[Mute, ...]:
        """The windows in which nothing of a rule with these options is posted."""
        return tuple(self.mutes[name] for name in options.mutes)


def load_ruleset(
    texts: Sequence[tuple[str, str]],
    *,
    known_series: Collection[str],
    known_markets: Collection[str],
    known_scenarios: Collection[str],
    series_units: Mapping[str, str] | None = None,
    known_sources: Collection[str] | None = None,
    known_publishers: Collection[str] | None = None,
    known_indicators: Collection[str] | None = None,
    known_kinds: Collection[str] | None = None,
    known_materials: Collection[str] | None = None,
    series_kinds: Mapping[str, str] | None = None,
    series_titles: Mapping[str, str] | None = None,
    indicator_units: Mapping[str, str] | None = None,
) -> Ruleset:
    """Rules of all files, given as (file name, TOML text), the later ones having the last word.

    A later rule of the same name that states its `type` replaces the earlier one; without `type` it changes
    only the keys that it names, as later routes and mutes do. `enabled = false` removes a rule. What is
    known may be left out: it is not checked then. `known_sources` are those watched for their age,
    `known_publishers` those whose rows are read. `series_kinds` are "price", "trade" or "reference" by
    series; `indicator_units` "share", "0-10000" or another, by indicator. Raises RuleFileError.
    """
    known = Known(
        known_series,
        known_markets,
        known_scenarios,
        series_units or {},
        known_sources,
        known_publishers,
        known_indicators,
        known_kinds,
        known_materials,
        series_kinds or {},
        indicator_units or {},
        series_titles or {},
    )
    files = _Files(texts)
    mutes = {name: read_mute(name, table) for name, table in files.tables("mutes")}
    labels = _label_values(files, known)
    bearers = _bearers(files)
    routes = {
        name: read_route(name, table, labels, bearers) for name, table in files.tables("routes")
    }
    for name, table in files.tables("routes"):
        check_escalation(routes[name], table, routes)
    rules = []
    for name, table in files.tables("rules"):
        if table.flag("enabled", default=True):
            rules.append(_rule(name, table, routes, mutes, known))
    return Ruleset(
        tuple(rules),
        MappingProxyType(routes),
        _version(rules, routes.values()),
        MappingProxyType(mutes),
        MappingProxyType(labels),
    )


class _Files:
    """What all files say, by room ("rules", "routes", "mutes") and name, in the order of the first mention."""

    def __init__(self, texts: Sequence[tuple[str, str]]) -> None:
        self._rooms: dict[str, dict[str, list[Origin]]] = {"rules": {}, "routes": {}, "mutes": {}}
        for file, text in texts:
            top = Table(Origin(file, text, parse(file, text)), "")
            tables = {room: top.table(room) for room in self._rooms}
            top.refuse_unknown("table")
            for room, found in tables.items():
                for name, values in found.items():
                    origin = Origin(file, text, as_table(values, file, f"{room}.{name}"))
                    check_name(name, origin, room)
                    self._add(room, name, origin)

    def tables(self, room: str) -> Iterable[tuple[str, Table]]:
        """Each name with its table, fresh: a table remembers what it was asked."""
        return ((name, merged(room, name, found)) for name, found in self._rooms[room].items())

    def _add(self, room: str, name: str, origin: Origin) -> None:
        found = self._rooms[room]
        if room != "rules" or (name in found and "type" not in origin.table):
            found.setdefault(name, []).append(origin)
            return
        if name == _RESERVED:
            problem = f"the name {name!r} is taken: rules that fail are told under it"
            raise RuleFileError(
                origin.file, f"rules.{name}{line_of(origin, room, name, [])}", problem
            )
        if "type" not in origin.table:
            # Without one, it was meant to change an earlier rule.
            problem = (
                f"`type` is missing, and there is no earlier rule of this name to change"
                f"{nearest(name, tuple(found))}; types: {', '.join(TYPES)}"
            )
            raise RuleFileError(
                origin.file, f"rules.{name}{line_of(origin, room, name, [])}", problem
            )
        found[name] = [origin]


def _label_values(files: _Files, known: Known) -> dict[str, frozenset[str]]:
    """Values that each label can have; a rule that is switched off counts, it may be on tomorrow."""
    names = [name for name, _ in files.tables("rules")]
    values: dict[str, set[str]] = {
        "type": {*TYPES, "evaluation_error"},
        "rule": {*names, _RESERVED},
        "series": set(known.series),
        "market": set(known.markets),
        "scenario": set(known.scenarios),
        "source": set(),
        "material": set(known.materials or ()),
    }
    if known.sources is not None and known.publishers is not None:
        values["source"] = {*known.sources, *known.publishers}
    if values["source"]:
        # A reading is about a series, a market, a source, a rule that failed, the service, a decision, or a channel.
        values["subject"] = set().union(
            *(values[label] for label in ("series", "market", "source", "rule")),
            {"pipeline", f"{DECISIONS}*"},
            (table.text("channel", "") for _, table in files.tables("routes")),
        ) - {""}
    for _, table in files.tables("rules"):
        for label, value in read_labels(table):
            values.setdefault(label, set()).add(value)
    return {label: frozenset(found) for label, found in values.items()}


def _bearers(files: _Files) -> tuple[Bearer, ...]:
    """What can bear labels: each rule as it stands, and any type, of which a rule may be added."""
    stated = []
    for name, table in files.tables("rules"):
        kind = table.text("type", "")
        if kind not in TYPES:
            if not table.flag("enabled", default=True):
                continue
            # Told here: a route that names this rule would be blamed for it otherwise.
            kind = table.choice("type", "", TYPES, "rule type")
        own = frozenset(label for label, _ in read_labels(table))
        stated.append(Bearer(kind, name, own))
    return (*stated, *ANY_BEARERS)


def _rule(
    name: str,
    table: Table,
    routes: Mapping[str, Route],
    mutes: Mapping[str, Mute],
    known: Known,
) -> Rule:
    kind = table.choice("type", "", TYPES, "rule type")
    rule = build(kind, name, table, _options(table, mutes), known)
    table.refuse_unknown("key")
    _check_route(rule, table, routes)
    _check_mutes(rule, table, mutes)
    return rule


def _options(table: Table, mutes: Mapping[str, Mute]) -> RuleOptions:
    runbook = table.text("runbook", "")
    if runbook and not _WEB_ADDRESS.fullmatch(runbook):
        raise table.error(at="runbook", problem=f"{runbook!r} is not a web address (https://…)")
    for_evaluations = table.count("for_evaluations", 1, low=1, high=100)
    out_of = table.count("out_of", for_evaluations, low=1, high=100)
    if out_of < for_evaluations:
        problem = f"`out_of` ({out_of}) must be at least `for_evaluations` ({for_evaluations}), 100 at most"
        raise table.error(at=table.newest("out_of", "for_evaluations"), problem=problem)
    return RuleOptions(
        for_evaluations=for_evaluations,
        out_of=out_of if table.has("out_of") else 0,
        clear_evaluations=table.count("clear_evaluations", 1, low=1, high=100),
        cooldown=timedelta(days=table.number("cooldown_days", 14, low=0, high=3650)),
        route=table.text("route", ""),
        owner=table.text("owner", ""),
        runbook=runbook,
        advice=table.text("advice", ""),
        labels=read_labels(table),
        mention=read_mention(table),
        mutes=table.names("mute", mutes, "mute", ()),
    )


def _check_route(rule: Rule, table: Table, routes: Mapping[str, Route]) -> None:
    """Raises RuleFileError when the rule's route is not defined, or when it might end up nowhere."""
    named = rule.options.route
    wanted = named or default_route(rule.type)
    if wanted in routes or (not named and _is_sure_of_a_route(rule, routes)):
        return
    defined = tuple(sorted(routes))
    what = "no route" if named else "no `route` is given, none is sure to fit, and no route"
    raise table.error(
        at="route",
        problem=f"{what} {wanted!r} is defined{nearest(wanted, defined)}; "
        f"defined: {', '.join(defined) or 'none'}; add [routes.{wanted}] with a channel",
    )


def _is_sure_of_a_route(rule: Rule, routes: Mapping[str, Route]) -> bool:
    """Whether some route fits every reading that the rule can give, whatever it finds.

    Only what is certain beforehand counts: its type, its name, its own labels.
    """
    certain = {"type": rule.type, "rule": rule.name, **dict(rule.options.labels)}
    return any(one.match and fits(one.match, certain) for one in routes.values())


def _check_mutes(rule: Rule, table: Table, mutes: Mapping[str, Mute]) -> None:
    """Raises RuleFileError when the mutes of a rule, taken together, never end."""
    held = [mutes[name] for name in rule.options.mutes]
    for severity in Severity:
        if leaves_no_time(held, severity, _A_YEAR_OF):
            problem = (
                f"together they leave no hour in which one of severity {severity.name.lower()} could be posted; "
                "to hear nothing of the rule, set enabled = false"
            )
            raise table.error(at="mute", problem=problem)


def _version(rules: Iterable[Rule], routes: Iterable[Route]) -> str:
    parts: list[object] = []
    for rule in rules:
        options = rule.options
        parts += [rule.name, rule.type, rule.version, subjects_of(rule)]
        parts += [options.for_evaluations, options.out_of, options.clear_evaluations]
        parts += [options.cooldown, options.route, options.labels]
    for route in routes:
        # In file order: the first that fits takes it.
        parts += [route.name, route.channel, route.match, route.escalate_after, route.escalate_to]
    return short_hash(*parts)
