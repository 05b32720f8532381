"""Routes: which channel hears of a reading, by the name its rule gives or by the labels it carries."""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from types import MappingProxyType

from alerts.errors import AlertsError
from alerts.rules.reading import Severity

LABELS = (
    "type",
    "rule",
    "subject",
    "series",
    "market",
    "source",
    "scenario",
    "material",
    "severity",
)
"""What every reading may be matched by; a rule can state more of its own."""

SEVERITIES = tuple(severity.name.lower() for severity in Severity)

OPERATOR_TYPES = frozenset(
    {
        "stale_source",
        "bad_data",
        "model_degraded",
        "silent_pipeline",
        "undelivered",
        "evaluation_error",
    }
)
"""Rule types that speak of the service itself: without a route of their own, they go to operators."""

EVALUATION_ERROR = "evaluation_error"
"""The type of what is told when a rule fails; no file can state it."""

DECISIONS = "policy-"
"""How the subject of a government's decision begins; the rest is its day and who decided."""

ANYWHERE = frozenset({"type", "rule", "subject", "severity"})
"""Labels that every reading has."""

_OF_SERIES = frozenset({"series", "source", "material"})
_OF_MARKET = frozenset({"market", "scenario"})
_OF_SOURCE = frozenset({"source"})
CARRIED: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "price_spike": _OF_SERIES,
        "price_level": _OF_SERIES,
        "premium": _OF_SERIES,
        "volume_drop": _OF_SERIES,
        "model_degraded": _OF_SERIES,
        "shortfall": _OF_MARKET,
        "concentration": _OF_MARKET,
        "stock_cover": _OF_MARKET,
        "policy_event": frozenset({"material"}),
        "stale_source": _OF_SOURCE,
        "bad_data": _OF_SOURCE,
        "silent_pipeline": frozenset(),
        "undelivered": frozenset(),
        EVALUATION_ERROR: frozenset(),
    }
)
"""Labels that readings of each rule type may have beside those that every reading has and the rule's own."""

_BORNE = frozenset().union(*CARRIED.values())
_ERRORS: Mapping[str, str] = MappingProxyType({"rule": "evaluation-errors"})
_SHOWN = 12  # names in a hint

Match = tuple[tuple[str, str], ...]
"""Labels and the values they must have; a value may hold `*`, which stands for any characters."""


@dataclass(frozen=True, slots=True)
class Route:
    """A named way to people. `channel` is a Slack channel: "#name" or an id.

    With `match`, readings whose labels fit come here when their rule names no route. `mention` is who is
    called by name when an alert opens or rises: "U0123ABCD", "S0123ABCD" or "here". A critical alert that
    nobody acknowledges within `escalate_after` is also told to the route `escalate_to`; without one,
    `mention` is called again in the same channel.
    """

    name: str
    channel: str
    match: Match = ()
    owner: str = ""
    mention: str = ""
    escalate_after: timedelta | None = None
    escalate_to: str = ""


class UnknownRouteError(AlertsError):
    """An incident's route is not defined any more: define it, or point the rule to another one."""

    def __init__(self, route: str, known: tuple[str, ...]) -> None:
        self.route = route
        self.known = known
        super().__init__(
            f"route {route!r} is not defined{nearest(route, known)}; "
            f"defined: {', '.join(known) or 'none'}"
        )


def route_of(
    route: str, kind: str, labels: Mapping[str, str], routes: Mapping[str, Route]
) -> Route:
    """Where a reading goes: to the route its rule names, else the first that fits, else that of its kind.

    `kind` is the type of its rule. A route without `match` fits nothing by itself: it has to be named, or be
    the default. Raises UnknownRouteError.
    """
    if not route:
        for one in routes.values():
            if one.match and fits(one.match, labels):
                return one
        route = default_route(kind)
    found = routes.get(route)
    if found is None:
        raise UnknownRouteError(route, tuple(sorted(routes)))
    return found


def default_route(kind: str) -> str:
    """The route of a rule type that names none and fits none."""
    return "operators" if kind in OPERATOR_TYPES else "buyers"


def fits(match: Match, labels: Mapping[str, str]) -> bool:
    """Whether each label named has a value that fits; a label that a reading lacks fits nothing, not even `*`.

    A reading may concern several materials, "Dy,Tb": one that fits is enough.
    """
    return all(
        label in labels
        and any(fnmatchcase(value, _as_glob(pattern)) for value in _values(label, labels[label]))
        for label, pattern in match
    )


NO_VALUES: Mapping[str, Collection[str]] = MappingProxyType({})


def matcher_problem(
    label: str, value: str, known: Mapping[str, Collection[str]] = NO_VALUES
) -> str | None:
    """Why a label and its value can never fit, with what is allowed; None when they can.

    `known` holds the values of each label as far as they are known, and rules' own labels; one that ends
    with `*` stands for all that begin so. A value with `*` has to fit one of them.
    """
    allowed = tuple(dict.fromkeys([*LABELS, *sorted(known)]))
    if label not in allowed:
        return f"unknown label {label!r}{nearest(label, allowed)}; labels: {', '.join(allowed)}"
    if not value:
        return f"{label}: a value is needed, or * for any"
    values = SEVERITIES if label == "severity" else tuple(sorted(known.get(label, ())))
    if not values or any(_meets(value, one) for one in values):
        return None
    hint = nearest(value, values)
    if label == "severity" or not hint:
        # The nearest first, so that they are among those shown.
        likeness = difflib.SequenceMatcher(b=value)
        if len(values) > _SHOWN:
            values = tuple(sorted(values, key=lambda one: -_ratio(likeness, one)))
        hint += f"; known: {', '.join(values[:_SHOWN])}{' …' if len(values) > _SHOWN else ''}"
    if "*" in value:
        return f"no {label} fits {value!r}{hint}"
    return f"unknown {label} {value!r}{hint}"


@dataclass(frozen=True, slots=True)
class Bearer:
    """A rule as routes see it before it says anything: its type, its name (empty: any), its own labels."""

    type: str
    rule: str = ""
    own: frozenset[str] = frozenset()


ANY_BEARERS = tuple(Bearer(kind) for kind in CARRIED)
"""One bearer a type, for where rules are not known: any name, no labels of its own."""


def combination_problem(
    match: Match, bearers: Collection[Bearer] = ANY_BEARERS
) -> tuple[str, str] | None:
    """Which label can't occur beside the others, and why; None when some reading can have them all.

    Own labels are judged only where `bearers` hold rules by name: otherwise they may be any rule's.
    """
    wanted = dict(match)
    has_names = any(one.rule for one in bearers)
    fitting = [
        one
        for one in bearers
        if fnmatchcase(one.type, _as_glob(wanted.get("type", "*")))
        # A type without a name stands for a rule that may be added: not for one that a route names.
        and (
            "rule" not in wanted
            or (not one.rule and not has_names)
            or fnmatchcase(one.rule, _as_glob(wanted["rule"]))
            or (one.type == EVALUATION_ERROR and fits((("rule", wanted["rule"]),), _ERRORS))
        )
    ]
    judged = [label for label in wanted if label not in ANYWHERE and (label in _BORNE or has_names)]
    if not fitting:
        named = f"rule = {wanted.get('rule', '*')!r}"
        return "type", f"no rule of this type fits {named}"
    if any(_bears(one).issuperset(judged) for one in fitting):
        return None
    for label in judged:
        able = sorted({one.type for one in bearers if label in _bears(one)})
        if not any(label in _bears(one) for one in fitting):
            kinds = ", ".join(sorted({one.type for one in fitting}))
            who = "the rules that fit" if len({one.type for one in fitting}) > 1 else kinds
            return (
                label,
                f"no reading of {who} has this label; types that have it: {', '.join(able)}",
            )
    listed = ", ".join(judged)
    return judged[-1], f"no reading has these labels together: {listed}; use a route for each"


def _bears(one: Bearer) -> frozenset[str]:
    return CARRIED[one.type] | one.own


def _meets(value: str, known: str) -> bool:
    """Whether a value, which may hold `*`, can be a known one; "policy-*" is known by its beginning only."""
    if known.endswith("*"):
        beginning = known[:-1]
        fixed = value.partition("*")[0]
        return fixed.startswith(beginning) or ("*" in value and beginning.startswith(fixed))
    return fnmatchcase(known, _as_glob(value))


def _ratio(likeness: difflib.SequenceMatcher[str], name: str) -> float:
    likeness.set_seq1(name)
    return likeness.ratio()


def nearest(word: str, known: tuple[str, ...]) -> str:
    """A ready-made hint, " (did you mean 'buyers'?)", or nothing when no known word is near."""
    matches = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def _values(label: str, stated: str) -> tuple[str, ...]:
    """The values of one label; all but materials are one value, whatever is in it."""
    return (stated, *stated.split(",")) if label == "material" else (stated,)


def _as_glob(pattern: str) -> str:
    """Only `*` is special: a bracket or question mark in a name stands for itself."""
    return pattern.replace("[", "[[]").replace("?", "[?]")
