"""What is known at a moment: series, forecasts, scorecards, projections, sources, when rules were judged."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import product

import pandas as pd

from alerts import heartbeat
from alerts.routing import route_of
from alerts.rules import (
    BadData,
    Concentration,
    ModelDegraded,
    NotEvaluated,
    Premium,
    PriceLevel,
    PriceSpike,
    Shortfall,
    StockCover,
    Undelivered,
    VolumeDrop,
)
from flows.accounts import ForecastReport
from flows.policy import elements_priced
from flows.sentences import BASE, Judged, ModelVerdict, known_words, scenario_words
from flows.service import LIVE_BOOK, Moment, Service
from flows.storage.backlog import Backlog
from flows.units import Rate, Rates
from flows.validation import RatesOf
from forecasting.events import rise_chances
from forecasting.market.evidence import licensed_by
from forecasting.market.explain import CannotExplainError, waterfall
from forecasting.market.flow import add_months
from forecasting.results import (
    MarketProjection,
    ObservedSeries,
    Scorecard,
    Situation,
    SourceState,
    SourceVisit,
    UnsentMessage,
    Waterfall,
)
from forecasting.series import CannotForecastError, prepare
from forecasting.splice import splice

RATE_DAYS = 7
"""How old an exchange rate may be: markets are closed over holidays, not longer."""

YEARLY_RATE_DAYS = 3 * 366
"""How long before a figure the year of a mean may begin: last year's mean comes out after its end."""

VISIT_ROWS = 1000
"""How many of a visit's refused rows are read for their reasons."""

VISIT_REASONS = 5
"""How many different reasons a visit is told with."""

RAISE_STEP = "raise-alerts"
"""Name under which a run records the step that judges the rules."""

SERVICE_BOOKS = (LIVE_BOOK, heartbeat.BOOK)
"""Books whose messages people rely on: not those of drills, nor of looks into the past."""


def observed(service: Service, series: str, at: Moment) -> ObservedSeries:
    """A series as known at the moment; a spliced one is put together from its parts."""
    entry = service.catalog.series[series]
    parts = []
    for name in service.catalog.parts(series):
        part = service.catalog.series[name]
        points = service.observations.points(name, at.known_at, unit=part.unit)
        parts.append(ObservedSeries(name, part.title, part.unit, part.frequency, points))
    return splice(parts, series=series, title=entry.title, frequency=entry.frequency)


def stored_forecasts(service: Service, at: Moment) -> ForecastReport:
    """The last forecasts that speak of the newest data known at the moment, and why a series has none."""
    made, refused = [], {}
    for name in service.catalog.forecast_series:
        history = observed(service, name, at)
        try:
            newest = prepare(history).periods[-1]
        except CannotForecastError as error:
            refused[name] = error.reason
            continue
        found = service.forecasts.latest_forecast(name, at.known_at)
        if found is None:
            refused[name] = "no forecast was made yet"
        elif found.cutoff != newest:
            refused[name] = f"the last forecast saw data to {found.cutoff}, known is {newest}"
        else:
            made.append(found)
    return ForecastReport(tuple(made), refused)


def stored_projections(
    service: Service, at: Moment, wanted: Iterable[tuple[str, str]] | None = None
) -> tuple[MarketProjection, ...]:
    """The last projections that begin next month, by market, base case first; older ones are history.

    `wanted` are markets and scenarios to look for, since each takes its time; without it, all.
    """
    first = add_months(at.known_at.date(), 1)
    every = [(m, s) for m in service.catalog.markets for s in service.catalog.scenarios]
    chosen = every if wanted is None else set(wanted)
    found = (
        service.forecasts.latest_projection(market, scenario, at.known_at)
        for market, scenario in every
        if (market, scenario) in chosen
    )
    return tuple(one for one in found if one is not None and one.months[0].month == first)


Changes = Mapping[tuple[str, str], Waterfall]
"""Why the expected shortfall of a market under a scenario differs, by both names."""


def changes_of(
    service: Service, at: Moment, projections: Iterable[MarketProjection]
) -> tuple[Changes, dict[tuple[str, str], str]]:
    """What moved each market: its base case since it was said last, its scenarios against the base case.

    Also why a comparison can't be made. A base case that nothing was said before has neither.
    """
    projections = tuple(projections)
    base = {one.market: one for one in projections if one.scenario == BASE}
    changes: dict[tuple[str, str], Waterfall] = {}
    unexplained: dict[tuple[str, str], str] = {}
    for one in projections:
        key = (one.market, one.scenario)
        try:
            if one.scenario != BASE:
                if one.market in base:
                    changes[key] = waterfall(
                        base[one.market],
                        one,
                        before_words=scenario_words(base[one.market]),
                        after_words=scenario_words(one),
                    )
            elif (change := _since_last(service, at, one)) is not None:
                changes[key] = change
        except CannotExplainError as error:
            unexplained[key] = str(error)
    return changes, unexplained


def _since_last(service: Service, at: Moment, base: MarketProjection) -> Waterfall | None:
    """What a base case changed since another one was said of the market; None: it is the first."""
    said = service.forecasts.previous_projection(
        base.market, base.scenario, at.known_at, other_than=base.projection_id
    )
    if said is None:
        return None
    same_day = said.known_at.date() == at.known_at.date()
    return waterfall(
        said.projection,
        base,
        before_words=known_words(said.known_at, with_time=same_day),
        after_words=known_words(at.known_at, with_time=same_day),
    )


def stored_scorecards(service: Service, at: Moment) -> tuple[Scorecard, ...]:
    """The last scorecard of each series that is forecast, as known at the moment; how old is the rule's matter."""
    found = (
        service.forecasts.latest_scorecard(name, at.known_at)
        for name in service.catalog.forecast_series
    )
    return tuple(one for one in found if one is not None)


def model_rule(service: Service) -> ModelDegraded:
    """The first rule on models, or what it is by default where it is switched off."""
    rules = (rule for rule in service.ruleset.rules if isinstance(rule, ModelDegraded))
    return next(rules, ModelDegraded("model-degraded"))


def model_verdicts(
    service: Service, at: Moment, cards: Iterable[Scorecard]
) -> dict[str, ModelVerdict]:
    """What the limits of the rule on models say of each scorecard, also of series that it does not watch."""
    seen = Situation(
        at.known_at,
        # Whether the backtest has seen the newest figures.
        forecasts={one.series: one for one in stored_forecasts(service, at).forecasts},
        scorecards={card.series: card for card in cards},
    )
    verdicts = {}
    for result in replace(model_rule(service), series=()).evaluate(seen):
        if isinstance(result, NotEvaluated):
            # Whoever shows a verdict shows the series beside it.
            why = result.why.removeprefix(f"{seen.scorecards[result.subject].title}: ")
            verdicts[result.subject] = ModelVerdict("not judged", why)
            continue
        word = "degraded" if result.severity else "holds up" if result.is_clear else "borderline"
        verdicts[result.subject] = ModelVerdict(word, result.measured)
    return verdicts


def situation(service: Service, at: Moment) -> Situation:
    """Everything the rules may look at, as known at the moment."""
    catalog, rules = service.catalog, service.ruleset.rules
    forecasts = stored_forecasts(service, at)
    projections = stored_projections(service, at, _projections_named(service))
    judged = last_judged(service, at)
    return Situation(
        known_at=at.known_at,
        observed={name: observed(service, name, at) for name in _series_named(service)},
        forecasts={one.series: one for one in forecasts.forecasts},
        refusals=forecasts.refused,
        projections={(one.market, one.scenario): one for one in projections},
        sources=source_states(service, at),
        scorecards={one.series: one for one in stored_scorecards(service, at)},
        policy_acts=catalog.policy_acts(at.known_at),
        # Visits are of the wall clock: they say nothing about what a past day could know.
        visits=source_visits(service)
        if at.book == LIVE_BOOK and any(isinstance(rule, BadData) for rule in rules)
        else {},
        last_judged_at=judged.known_at if judged else None,
        undelivered=undelivered(service, at),
        market_series={name: _series_of(service, name) for name in catalog.markets},
        series_source={name: entry.source for name, entry in catalog.series.items()},
        series_material={
            name: ",".join(sorted(elements))
            for name, entry in catalog.series.items()
            if entry.kind == "price" and (elements := elements_priced(name))
        },
        rise_chances=_rise_chances(service, at),
    )


def undelivered(
    service: Service, at: Moment, *, may_open: bool = True
) -> dict[tuple[str, str], tuple[UnsentMessage, ...]]:
    """What did not arrive, oldest first, by each rule that tells of it and channel; empty where all did.

    A channel that the rule's own notice would go to is left out: nobody could read it there. So is that
    notice: it must not be what the next one is about. Looks into the past have none. Those with an open
    notice are never left out, whoever asks and wherever routes lead by now: its end has to be told.
    Where none `may_open`, they are all there is: before a delivery nobody knows what it will leave.
    """
    rules = [rule for rule in service.ruleset.rules if isinstance(rule, Undelivered)]
    if not rules or at.book != LIVE_BOOK:
        return {}
    unsent: defaultdict[str, list[UnsentMessage]] = defaultdict(list)
    for one in Backlog(service.database).owed(SERVICE_BOOKS, at.known_at):
        if one.type != Undelivered.type:
            unsent[one.channel].append(one.message)
    told = [
        (one.rule, one.reading.subject_title)
        for one in service.ledger.open_incidents(at.book)
        if one.type == Undelivered.type
    ]
    routes = service.ruleset.routes.values()
    led_to = [service.settings.slack_channel or route.channel for route in routes]
    return {
        (rule.name, channel): tuple(unsent.get(channel, ()))
        for rule in rules
        for channel in dict.fromkeys([*led_to, *unsent, *(where for _, where in told)])
        if (rule.name, channel) in told
        or (may_open and _told_in(service, rule, channel) != channel)
    }


def _told_in(service: Service, rule: Undelivered, channel: str) -> str:
    """The channel that a notice of the rule on this channel goes to."""
    labels = {
        "type": rule.type,
        "rule": rule.name,
        "subject": channel,
        **dict(rule.options.labels),
        "severity": rule.severity.name.lower(),
    }
    found = route_of(rule.options.route, rule.type, labels, service.ruleset.routes)
    return service.settings.slack_channel or found.channel


def _projections_named(service: Service) -> set[tuple[str, str]]:
    """Markets and scenarios that rules look at: the base case too, since pictures of scenarios show it.

    A market with a rule on its shortfall has all its scenarios: a message says what they would change.
    """
    named = set()
    for rule in service.ruleset.rules:
        if isinstance(rule, Shortfall):
            named |= set(product(rule.market, service.catalog.scenarios))
        elif isinstance(rule, Concentration | StockCover):
            named |= set(product(rule.market, (BASE, rule.scenario)))
    return named


def _series_named(service: Service) -> list[str]:
    """Only what a rule names: the catalogue knows hundreds of trade series, each a query."""
    named: dict[str, None] = {}
    for rule in service.ruleset.rules:
        if isinstance(rule, PriceSpike | VolumeDrop | PriceLevel | Premium):
            named |= dict.fromkeys(rule.series)
        if isinstance(rule, Premium):
            named[rule.against] = None
    return list(named)


def _series_of(service: Service, market: str) -> frozenset[str]:
    """The series that a market rests on: its own, and the exports of those who license what it imports."""
    definition, exports = service.catalog.markets[market], service.catalog.exports
    licensed = {licensed_by(one) for one in definition.components} & exports.keys()
    return frozenset({*definition.series, *(exports[origin] for origin in licensed)})


def source_visits(service: Service) -> dict[str, SourceVisit]:
    """The last visit to each publisher, with the commonest reasons for which rows were turned away."""
    visits = {}
    for run in service.observations.last_visits():
        reasons: Counter[str] = Counter()
        if run.quarantined:
            rows = service.observations.quarantined(run.source, limit=VISIT_ROWS)
            # A row that was turned away before is kept with the day on which it was seen last.
            reasons.update(row.reason for row in rows if row.last_at >= run.at)
        visits[run.source] = SourceVisit(
            source=run.source,
            at=run.at,
            read=run.read,
            quarantined=run.quarantined,
            error=run.error,
            samples=tuple(
                f"{'1 row' if count == 1 else f'{count} rows'}: {reason}"
                for reason, count in reasons.most_common(VISIT_REASONS)
            ),
        )
    return visits


def _rise_chances(service: Service, at: Moment) -> dict[tuple[str, float, int], float]:
    """Calibrated chances for rules that count a rise from the newest price; others have none.

    Every monthly price that is forecast teaches: a rule on one series alone would learn next to nothing.
    """
    asked = {
        (rule.rise, rule.horizon_months)
        for rule in service.ruleset.rules
        if isinstance(rule, PriceSpike) and rule.since_months == 0 and rule.quantile is None
    }
    if not asked:
        return {}
    histories = []
    for name in service.catalog.forecast_series:
        if service.catalog.series[name].kind != "price":
            continue
        try:
            history = prepare(observed(service, name, at))
        except CannotForecastError:
            continue  # stored_forecasts says why
        if history.frequency == "month":
            histories.append(history)
    return {
        (series, rise, horizon): chance
        for rise, horizon in sorted(asked)
        for series, chance in rise_chances(
            histories, horizon=horizon, rise=rise, seed=service.settings.seed
        ).items()
    }


def source_states(service: Service, at: Moment) -> dict[str, SourceState]:
    """Each publisher group is as old as the oldest of the series that alerts and markets rest on.

    A group that nothing rests on is as old as the newest of its figures, and unknown until it has one.
    """
    newest = service.observations.newest(at.known_at)
    catalog = service.catalog
    rested_on = {*catalog.forecast_series, *catalog.exports.values()}
    states = {}
    for name, group in catalog.sources.items():
        members = [s for s, entry in catalog.series.items() if entry.source == name]
        needed = [s for s in members if s in rested_on]
        # A spliced series is as new as the newest of its parts.
        found = {
            s: max(parts)
            for s in needed or members
            if (parts := [newest[part] for part in catalog.parts(s) if part in newest])
        }
        empty = [s for s in needed if s not in found]
        if empty:
            title = f"{group.title}: {catalog.series[empty[0]].title}"
            states[name] = SourceState(name, title, None, None, group.limit_days)
        elif found:
            choose = min if needed else max
            shown = choose(found, key=lambda s: found[s].known_at)
            late = sum((at.known_at - it.known_at).days > group.limit_days for it in found.values())
            title = (
                f"{group.title}: {catalog.series[shown].title}" if len(found) > 1 else group.title
            )
            if needed and late > 1:
                title += f" and {late - 1} more"
            states[name] = SourceState(
                name,
                title,
                found[shown].period,
                found[shown].known_at,
                group.limit_days,
                catalog.series[shown].frequency,
            )
    return states


def exchange_rates(service: Service, known_at: datetime) -> RatesOf:
    """Exchange rates for figures that are read at a moment; each figure sees those known at its own.

    A day has the ECB's rates of the day or the last before it, a month or year the mean of its days; where
    none are known, the last yearly mean that was.
    """
    said: dict[str, pd.DataFrame] = {}

    def known(series: str, first: date, last: date, then: datetime) -> pd.DataFrame:
        """One row a period between two days, as known then."""
        entry = service.catalog.series.get(series)
        if series not in said and entry is not None:
            said[series] = service.observations.statements(series, known_at, unit=entry.unit)
        table = said.get(series)
        if table is None or table.empty:
            return pd.DataFrame()
        table = table[table["period"].between(pd.Timestamp(first), pd.Timestamp(last))]
        return table[table["known_at"] <= then].drop_duplicates("period", keep="last")

    def per_euro(currency: str, first: date, last: date, then: datetime) -> pd.DataFrame:
        start = first if first < last else last - timedelta(days=RATE_DAYS)
        table = known(f"{currency.lower()}_per_eur", start, last, then)
        return table if first < last else table.tail(1)

    def daily(base: str, quote: str, first: date, last: date, then: datetime) -> Rate | None:
        found = [per_euro(it, first, last, then) for it in (base, quote) if it != "EUR"]
        if not found or any(table.empty for table in found):
            return None
        mean = {
            it: table["value"].mean()
            for it, table in zip([it for it in (base, quote) if it != "EUR"], found, strict=True)
        }
        newest = min((table.iloc[-1] for table in found), key=lambda row: row["period"])
        return Rate(
            float(mean.get(quote, 1.0) / mean.get(base, 1.0)),
            newest["period"].date(),
            newest["source_id"],
            newest["confidence"],
        )

    def yearly(base: str, quote: str, last: date, then: datetime) -> Rate | None:
        first = last - timedelta(days=YEARLY_RATE_DAYS)
        table = known(f"{quote.lower()}_per_{base.lower()}_year", first, last, then)
        if table.empty:
            return None
        row = table.iloc[-1]
        return Rate(float(row["value"]), row["period"].date(), row["source_id"], row["confidence"])

    def of_period(first: date, last: date, then: datetime) -> Rates:
        def rate(base: str, quote: str, day: date) -> Rate | str:
            turned = yearly(quote, base, last, then)
            found = (
                daily(base, quote, first, last, then)
                or yearly(base, quote, last, then)
                or (turned and replace(turned, value=1 / turned.value))
            )
            return found or (
                f"no {quote}/{base} rate is known within {RATE_DAYS} days before {day}, and no yearly "
                "mean: run `lodestone ingest ecb_fx --live` first"
            )

        return rate

    return of_period


def unjudged(service: Service, at: Moment) -> tuple[str, ...]:
    """What the rules can't judge as known at the moment, and why: silence on it means nothing."""
    seen = situation(service, at)
    results = [result for rule in service.ruleset.rules for result in rule.evaluate(seen)]
    return tuple(unjudged_line(one) for one in results if isinstance(one, NotEvaluated))


def unjudged_line(result: NotEvaluated) -> str:
    """One line for a log or a page."""
    return f"{result.rule} did not judge {result.subject}: {result.why}"


def last_judged(service: Service, at: Moment) -> Judged | None:
    """When the rules of a book were last judged and how many could not be; None: never."""
    found = service.runs.last_done(at.book, RAISE_STEP, at.known_at)
    if found is None:
        return None
    known_at, counts = found
    return Judged(known_at, counts.get("evaluated", 0), counts.get("not_evaluated", 0))
