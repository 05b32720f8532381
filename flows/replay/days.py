"""The past day by day: what the service would have known, forecast, judged and told, and nothing later."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path

from alerts.ledger import Receipt
from alerts.rules import Rule
from alerts.ruleset import Ruleset
from flows import steps
from flows.catalog import Catalog
from flows.errors import UsageError, require_known
from flows.known import observed, situation
from flows.measures import measures
from flows.replay.pages import write_pages
from flows.replay.result import ReplayResult
from flows.replay.scratch import BOOK, Scratch, scratch
from flows.replay.timeline import result_of
from flows.sentences import BASE
from flows.service import Moment, Service
from forecasting.market.definitions import Market
from forecasting.market.evidence import licensed_by, produces
from forecasting.results import Situation

NOT_REPLAYED: Mapping[str, str] = {
    "bad_data": "what a publisher's visit brought is known for real visits only",
    "silent_pipeline": "a replay judges every day: it is never silent",
    "undelivered": "a replay posts nothing",
    "model_degraded": "it judges weekly backtests, which are not made for past days",
}
"""Kinds of rules that a replay leaves out, and why."""

_SENT = "replay"
_LEASE = timedelta(minutes=1)
_A_DAY = timedelta(days=1)

Told = Callable[[int, int], None]
"""Called after each day: days done, and of how many."""


def _untold(_done: int, _of: int) -> None:
    """Nobody wants to know how far it is."""


def replay_reference(
    service: Service,
    *,
    first: date,
    last: date,
    ruleset: Ruleset,
    market: str | None = None,
    out: Path | None = None,
    told: Told = _untold,
) -> ReplayResult:
    """Every day from `first` to `last` as the service would have lived it, with only what was known at its end.

    Rules are judged at the last second of each day (UTC) into a ledger of the replay's own; nothing is
    posted, and the user's database is only read. A message counts as shown on the day it was written.
    Nobody acknowledges, so nobody is called. Nothing is known of the time before `first`: what stood above a limit by then opens on the first day.
    Market messages compare no scenarios beside those that rules name. With `market`, rules on other
    markets are left out. A replay that was interrupted goes on where it stopped; a later `last` goes on
    from an earlier one; `out` gets the files of `flows.replay.pages`.

    Raises UsageError for days that can't be replayed, a market nobody declared, rules of which none can be
    replayed, and series that rules need and the database has nothing of.
    """
    today = service.clock().date()
    if first > last:
        message = f"--from {first} is after --to {last}: give the earlier day first"
        raise UsageError(message)
    if last > today:
        message = f"--to {last}: that day has not come yet (today is {today})"
        raise UsageError(message)
    if market is not None:
        require_known("market", [market], service.catalog.markets)
    rules, left_out = replayable(ruleset, market)
    if not rules:
        reasons = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        message = f"none of the rules can be replayed ({reasons or 'there are none'})"
        raise UsageError(message)
    # Nobody acknowledges a replay: otherwise every critical alert would call somebody else.
    routes = {
        name: replace(route, escalate_after=None, escalate_to="")
        for name, route in ruleset.routes.items()
    }
    chosen = replace(ruleset, rules=rules, routes=routes)
    _require_figures(service, needs_of(rules, service.catalog))
    with scratch(service, chosen, first=first, last=last, market=market) as work:
        run_days(work, first, last, told)
        result = result_of(work.service, service, first=first, last=last, left_out=left_out)
        if out is not None:
            write_pages(work.service, service, result, first=first, last=last, out=out)
    return result


def replayable(
    ruleset: Ruleset, market: str | None = None
) -> tuple[tuple[Rule, ...], dict[str, str]]:
    """The rules that a replay can judge, and by name why the others are left out."""
    rules: list[Rule] = []
    left_out: dict[str, str] = {}
    for rule in ruleset.rules:
        markets = getattr(rule, "market", ())
        if rule.type in NOT_REPLAYED:
            left_out[rule.name] = NOT_REPLAYED[rule.type]
        elif market is None or not markets:
            rules.append(rule)
        elif market in markets:
            rules.append(replace(rule, market=(market,)))  # type: ignore[type-var]
        else:
            left_out[rule.name] = f"it is about other markets than {market}"
    return tuple(rules), left_out


# --- what rules need -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Needs:
    """What has to be known, forecast and projected for rules to be judged."""

    watched: tuple[str, ...]  # series whose figures rules read
    forecast: tuple[str, ...]  # series that are forecast
    projected: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # market → scenarios


def needs_of(rules: tuple[Rule, ...], catalog: Catalog) -> Needs:
    """The series, markets and scenarios behind rules; a rule on a price or market needs its forecasts too."""
    watched: dict[str, None] = {}
    forecast: dict[str, None] = {}
    scenarios: dict[str, dict[str, None]] = {}
    for rule in rules:
        own = dict.fromkeys(getattr(rule, "series", ()))
        if against := getattr(rule, "against", ""):
            own[against] = None
        watched |= own
        forecast |= {name: None for name in own if name in catalog.forecast_series}
        for market in getattr(rule, "market", ()):
            named = scenarios.setdefault(market, {BASE: None})
            named[getattr(rule, "scenario", BASE)] = None
    for market in scenarios:
        forecast |= dict.fromkeys(catalog.markets[market].series)
        watched |= dict.fromkeys(_exports_of(catalog.markets[market], catalog))
    return Needs(
        tuple(watched | forecast),
        tuple(forecast),
        {market: tuple(names) for market, names in scenarios.items()},
    )


def _exports_of(market: Market, catalog: Catalog) -> tuple[str, ...]:
    """Series that say how much of the licensed exports behind a market gets through."""
    origins = {licensed_by(component) for component in market.components}
    return tuple(name for origin, name in catalog.exports.items() if origin in origins)


def _require_figures(service: Service, needs: Needs) -> None:
    """Refuse to replay rules on series that the database has nothing of: silence would look like an answer."""
    catalog = service.catalog
    stored = service.observations.newest(service.clock())
    empty = [
        name for name in needs.watched if not any(part in stored for part in catalog.parts(name))
    ]
    if empty:
        rest = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
        message = (
            f"{empty[0]} ({catalog.series[empty[0]].title}){rest}: rules need it, and the database has "
            "no figure of it; run `lodestone ingest` first, or switch the rules on it off"
        )
        raise UsageError(message)


# --- day by day ----------------------------------------------------------------------


def run_days(work: Scratch, first: date, last: date, told: Told = _untold) -> None:
    """Live through the days that are not done yet."""
    of = (last - first).days + 1
    done = work.done()
    start = first if done is None else done + _A_DAY
    past = Past(work, needs_of(work.service.ruleset.rules, work.service.catalog))
    is_waiting = False
    for count in range((start - first).days, of):
        day = first + timedelta(days=count)
        with work.day(day) as at:
            seen = past.known(at)
            report = steps.raise_alerts(work.service, at, run_id="", seen=seen, draws=False)
            if is_waiting or any(one.says or one.replies for one in report.decisions):
                is_waiting = _show(work.service, at)
        told(count + 1, of)


class Past:
    """What is known at each day, computed again only where something became known or a definition turned."""

    def __init__(self, work: Scratch, needs: Needs) -> None:
        self._service = work.service
        self._figures = work.figures
        self._forecasts = work.forecasts
        self._needs = needs
        self._seen: Situation | None = None
        self._state: object = None
        self._series: dict[str, object] = {}  # what each forecast rests on
        self._markets: dict[str, object] = {}  # what each projection rests on

    def known(self, at: Moment) -> Situation:
        """The situation at the end of a day; days have to come in their order."""
        day = at.known_at.date()
        state = (self._figures.version(at.known_at), self._turn(day))
        if self._seen is None or state != self._state:
            self._forecast(at)
            self._project(at)
            self._seen, self._state = situation(self._service, at), state
        self._forecasts.say_again(at.known_at)
        # Nothing new: the same things are a day older.
        return replace(self._seen, known_at=at.known_at)

    def _forecast(self, at: Moment) -> None:
        catalog = self._service.catalog
        changed = []
        for name in self._needs.forecast:
            rests_on = (
                observed(self._service, name, at),
                catalog.policy_events(name, at.known_at),
            )
            if self._series.get(name) != rests_on:
                self._series[name] = rests_on
                changed.append(name)
        if changed:
            steps.forecast(self._service, at, changed, run_id=_run_id(at))

    def _project(self, at: Moment) -> None:
        if not self._needs.projected:
            return
        service, catalog = self._service, self._service.catalog
        exports = [observed(service, series, at) for series in catalog.exports.values()]
        measured = measures(service, at)
        for name, scenarios in self._needs.projected.items():
            market = catalog.markets[name]
            said = [service.forecasts.latest_forecast(it, at.known_at) for it in market.series]
            rests_on = (
                [None if one is None else one.forecast_id for one in said],
                exports,
                measured.get(market.importer),
                self._turn_of(market, at.known_at.date()),
            )
            if self._markets.get(name) != rests_on:
                self._markets[name] = rests_on
                steps.project(service, at, [name], run_id=_run_id(at), scenarios=scenarios)

    def _turn(self, day: date) -> object:
        """What changes with the calendar and not with a figure."""
        catalog = self._service.catalog
        decisions = sum(1 for one in catalog.policy_decisions if one.on <= day)
        markets = [self._turn_of(catalog.markets[name], day) for name in self._needs.projected]
        return (day.year, day.month), decisions, markets

    def _turn_of(self, market: Market, day: date) -> object:
        """The same for a market: its first month, plants and licence regimes known, plants that are late."""
        catalog = self._service.catalog
        plants = [catalog.projects[name] for name in market.projects if name in catalog.projects]
        known = [one for one in plants if one.known_on <= day]
        # A plant that should run by now and doesn't is expected from each day on anew.
        is_late = any(not produces(one) and one.starts_on < day for one in known)
        regimes = [
            (one.spans(day), any(start <= day < end for start, end in one.spans(day)[0]))
            for one in catalog.regimes
        ]
        return (
            (day.year, day.month),
            [one.project for one in known],
            day if is_late else None,
            regimes,
        )


def _run_id(at: Moment) -> str:
    return f"replay {at.known_at.date().isoformat()}"


def _show(service: Service, at: Moment) -> bool:
    """Count what is due as shown: folded into an unseen message, later ones would be lost from the timeline.

    Whether something waits for its time.
    """
    ledger = service.ledger
    while (entry := ledger.claim(BOOK, at.known_at, _LEASE)) is not None:
        ledger.mark_sent(entry, Receipt(_SENT, str(entry.id)), now=at.known_at)
    return ledger.summary(BOOK, at.known_at).pending > 0
