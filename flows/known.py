"""What is known at a moment: series, forecasts, projections, sources, and when rules were last judged."""

from alerts.rules import NotEvaluated
from flows.accounts import ForecastReport
from flows.catalog import EXPORTS
from flows.sentences import Judged
from flows.service import Moment, Service
from forecasting.market.flow import add_months
from forecasting.results import MarketProjection, ObservedSeries, Situation, SourceState
from forecasting.series import CannotForecastError, prepare
from forecasting.splice import splice

RAISE_STEP = "raise-alerts"
"""Name under which a run records the step that judges the rules."""


def observed(service: Service, series: str, at: Moment) -> ObservedSeries:
    """A series as known at the moment; a spliced one is put together from its parts."""
    entry = service.catalog.series[series]
    parts = []
    for name in service.catalog.parts(series):
        part = service.catalog.series[name]
        points = service.observations.history(name, at.known_at)
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


def stored_projections(service: Service, at: Moment) -> tuple[MarketProjection, ...]:
    """The last projections that begin next month, by market, base case first; older ones are history."""
    first = add_months(at.known_at.date(), 1)
    found = (
        service.forecasts.latest_projection(market, scenario, at.known_at)
        for market in service.catalog.markets
        for scenario in service.catalog.scenarios
    )
    return tuple(one for one in found if one is not None and one.months[0].month == first)


def situation(service: Service, at: Moment) -> Situation:
    """Everything the rules may look at, as known at the moment."""
    forecasts = stored_forecasts(service, at)
    projections = stored_projections(service, at)
    watched = [
        name for name, entry in service.catalog.series.items() if entry.kind in {"price", "trade"}
    ]
    return Situation(
        known_at=at.known_at,
        observed={name: observed(service, name, at) for name in watched},
        forecasts={one.series: one for one in forecasts.forecasts},
        refusals=forecasts.refused,
        projections={(one.market, one.scenario): one for one in projections},
        sources=source_states(service, at),
    )


def source_states(service: Service, at: Moment) -> dict[str, SourceState]:
    """Each publisher group is as old as the oldest of the series that alerts and markets rest on."""
    states = {}
    rested_on = {*service.catalog.forecast_series, EXPORTS}
    for name, group in service.catalog.sources.items():
        members = [
            s
            for s in service.catalog.series
            if s in rested_on and service.catalog.series[s].source == name
        ]
        found = [(s, observed(service, s, at)) for s in members]
        newest = [(one.points[-1].known_at, one) for _, one in found if one.points]
        empty = [one for _, one in found if not one.points]
        if empty or not newest:
            title = f"{group.title}: {empty[0].title}" if empty else group.title
            states[name] = SourceState(name, title, None, None, group.limit_days)
            continue
        # A revision of an old period is no news of a new one: the newest period's own date counts.
        known_at, oldest = min(newest, key=lambda item: item[0])
        title = f"{group.title}: {oldest.title}" if len(newest) > 1 else group.title
        late = sum((at.known_at - when).days > group.limit_days for when, _ in newest)
        if late > 1:
            title += f" and {late - 1} more"
        newest_period = oldest.points[-1].period
        states[name] = SourceState(
            name, title, newest_period, known_at, group.limit_days, oldest.frequency
        )
    return states


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
    for run in service.runs.latest(at.book, limit=50):
        for step in run.steps:
            if step.name == RAISE_STEP and not step.error and run.as_of <= at.known_at:
                counts = step.counts
                return Judged(run.as_of, counts.get("evaluated", 0), counts.get("not_evaluated", 0))
    return None
