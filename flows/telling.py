"""What a decision has to say: message, thread reply and picture, as entries for the outbox."""

from collections.abc import Callable, Sequence
from functools import partial

from alerts.ledger import EntryKind, NewEntry
from alerts.lifecycle import Decision, Incident
from alerts.messages import chart_caption, root_message, transition_reply
from alerts.routing import channel_for
from alerts.rules import Reading
from flows.service import Moment, Service
from forecasting.charts import balance_fan, price_fan, score_panels, volume_bars
from forecasting.results import Situation


def channel_of(service: Service, route: str) -> str:
    """The channel of a route, or the one channel that a trial sends everything to."""
    return service.settings.slack_channel or channel_for(route, service.ruleset.routes)


def last_channel(service: Service, incident: Incident) -> str:
    """Where an incident was told: its route may be gone with its rule."""
    told = service.ledger.entries(incident.book, incident_id=incident.id)
    return next((entry.channel for entry in told), service.settings.slack_channel)


def chart_of(seen: Situation, reading: Reading) -> bytes | None:
    """The picture that belongs to a reading; None where nothing is to be drawn."""
    if reading.chart is None:
        return None
    subject = reading.chart.subject
    if reading.chart.kind == "series" and subject in seen.forecasts:
        return price_fan(seen.forecasts[subject])
    if reading.chart.kind == "market":
        wanted = dict.fromkeys((reading.chart.scenario or "base", "base"))
        found = [
            seen.projections[subject, name]
            for name in wanted
            if (subject, name) in seen.projections
        ]
        return balance_fan(found) if found else None
    if reading.chart.kind == "volume" and subject in seen.observed:
        return volume_bars(
            seen.observed[subject], trailing_mean=reading.chart.level, limit_share=reading.limit
        )
    if reading.chart.kind == "scorecard" and subject in seen.scorecards:
        return score_panels(seen.scorecards[subject], newest=int(reading.chart.level))
    return None


def entries(
    at: Moment,
    channel: str,
    links: Sequence[tuple[str, str]],
    chart: Callable[[], bytes | None] | None,
    decision: Decision,
) -> Sequence[NewEntry]:
    """What a decision has to say, for the outbox. Called inside the transaction: it touches nothing."""
    incident = decision.incident
    if incident is None:
        return ()
    say = partial(NewEntry, route=incident.route, channel=channel)
    known_at, book = at.known_at, at.book
    told = []
    if decision.says:
        message = root_message(incident, decision.reason, known_at=known_at, book=book, links=links)
        told.append(say(kind=EntryKind.ROOT, message=message.as_dict()))
    if decision.replies:
        message = transition_reply(
            incident, decision.reason, known_at=known_at, book=book, links=links
        )
        told.append(say(kind=EntryKind.REPLY, message=message.as_dict()))
    # Drawn only when it is due: most readings bring no new picture.
    picture = chart() if chart is not None and decision.reason.brings_a_picture else None
    if picture is not None:
        caption = chart_caption(incident, known_at=known_at, book=book)
        told.append(say(kind=EntryKind.CHART, message={}, image=picture, alt_text=caption))
    return told


def links_of(service: Service, run_id: str) -> tuple[tuple[str, str], ...]:
    """Words and addresses of what a reader can open: the outlook and the run, where they are hosted."""
    links = []
    if service.settings.outlook_url:
        links.append(("Outlook", service.settings.outlook_url))
    if service.settings.ui_url and run_id:
        address = f"{service.settings.ui_url.rstrip('/')}/runs/flow-run/{run_id}"
        links.append(("This run in Prefect", address))
    return tuple(links)
