"""Routes: which channel hears of a rule, by the name that the rule file gives it."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from alerts.errors import AlertsError


@dataclass(frozen=True, slots=True)
class Route:
    """A named way to people. `channel` is a Slack channel: "#name" or an id."""

    name: str
    channel: str


class UnknownRouteError(AlertsError):
    """An incident's route is not defined any more: define it, or point the rule to another one."""

    def __init__(self, route: str, known: tuple[str, ...]) -> None:
        self.route = route
        self.known = known
        super().__init__(
            f"route {route!r} is not defined{nearest(route, known)}; "
            f"defined: {', '.join(known) or 'none'}"
        )


def channel_for(route: str, routes: Mapping[str, Route]) -> str:
    """The channel of a route; UnknownRouteError names the nearest one that exists."""
    found = routes.get(route)
    if found is None:
        raise UnknownRouteError(route, tuple(sorted(routes)))
    return found.channel


def nearest(word: str, known: tuple[str, ...]) -> str:
    """A ready-made hint, " (did you mean 'buyers'?)", or nothing when no known word is near."""
    matches = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f" (did you mean {matches[0]!r}?)" if matches else ""
