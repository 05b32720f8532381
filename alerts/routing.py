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
    {"stale_source", "bad_data", "model_degraded", "silent_pipeline", "evaluation_error"}
)
"""Rule types that speak of the service itself: without a route of their own, they go to operators."""

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


def channel_for(route: str, routes: Mapping[str, Route]) -> str:
    """The channel of a route; UnknownRouteError names the nearest one that exists."""
    found = routes.get(route)
    if found is None:
        raise UnknownRouteError(route, tuple(sorted(routes)))
    return found.channel


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

    `known` holds the values of each label as far as they are known, and rules' own labels. A value with `*`
    may fit what is added later, so it is never refused.
    """
    allowed = tuple(dict.fromkeys([*LABELS, *sorted(known)]))
    if label not in allowed:
        return f"unknown label {label!r}{nearest(label, allowed)}; labels: {', '.join(allowed)}"
    if not value:
        return f"{label}: a value is needed, or * for any"
    values = SEVERITIES if label == "severity" else tuple(sorted(known.get(label, ())))
    if "*" in value or not values or value in values:
        return None
    hint = nearest(value, values)
    if label == "severity" or not hint:
        hint += f"; known: {', '.join(values[:12])}{' …' if len(values) > 12 else ''}"
    return f"unknown {label} {value!r}{hint}"


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
