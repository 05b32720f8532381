"""What a decision has to say: messages, pictures, calls, as entries for the outbox; and to which channel."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from alerts.grouping import Desk
from alerts.incident import Decision, Incident, Reason, labels_of
from alerts.ledger import EntryKind, NewEntry
from alerts.messages import (
    amended_notice,
    call_notice,
    chart_caption,
    record_sentence,
    root_message,
    transition_reply,
)
from alerts.mutes import muted_until
from alerts.routing import Route, UnknownRouteError, route_of
from alerts.rules import (
    DEFAULT_OPTIONS,
    EVALUATION_ERROR,
    FOR_OPERATORS,
    ChartRef,
    Reading,
    RuleOptions,
    Severity,
)
from flows.known import changes_of
from flows.sentences import BASE, change_sentence
from flows.service import Moment, Service
from forecasting.charts import balance_fan, price_fan, score_panels, volume_bars
from forecasting.results import Situation

LOG = logging.getLogger("lodestone.telling")

_RISES = frozenset({Reason.ESCALATED, Reason.REOPENED, Reason.LIMIT_CHANGED})
"""Reasons for which a reply calls people by name."""


@dataclass(frozen=True, slots=True)
class Teller:
    """Turns decisions of one look into entries for the outbox; asks nothing of the database."""

    service: Service
    at: Moment
    written_at: datetime
    seen: Situation | None = None  # what pictures are drawn from; None: no pictures
    links: tuple[tuple[str, str], ...] = ()
    changes: Mapping[str, str] = field(default_factory=dict)  # what moved each market, by its name
    records: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    # Where each open incident was told, by its id.
    channels: Mapping[str, str] = field(default_factory=dict)
    # Drawn ahead, by what they show; None: there is nothing to draw.
    pictures: Mapping["_Shown", bytes | None] = field(default_factory=dict)

    def entries(self, decision: Decision) -> Sequence[NewEntry]:
        """What a decision has to say. Called inside the transaction: it touches nothing."""
        incident = decision.incident
        if incident is None:
            return ()
        route = self.route(incident)
        options = self.options(incident)
        told: list[NewEntry] = []
        say = partial(
            NewEntry,
            route=route.name,
            channel=self._channel(route),
        )
        how: dict[str, Any] = {
            "known_at": self.at.known_at,
            "book": self.at.book,
            "links": self.links,
        }
        mention = options.mention or route.mention
        quiet_until = _muted_until(self.service, options, incident.severity, self.written_at)
        if decision.says:
            message = root_message(
                incident,
                decision.reason,
                since=self._since(incident.reading),
                record=self._record(incident),
                # Only a first telling calls anyone: Slack tells nobody of an edit.
                mention=mention if incident.revision == 1 else "",
                **how,
            )
            is_first = incident.revision == 1
            told.append(
                say(
                    kind=EntryKind.ROOT,
                    message=message.as_dict(),
                    not_before=quiet_until if is_first else None,
                )
            )
        is_elsewhere = self.channels.get(incident.id, self._channel(route)) != self._channel(route)
        if decision.replies:
            rises = decision.reason in _RISES
            reply = transition_reply(
                incident,
                decision.reason,
                mention=mention if rises and not is_elsewhere else "",
                **how,
            )
            told.append(say(kind=EntryKind.REPLY, message=reply.as_dict(), not_before=quiet_until))
            if rises and is_elsewhere:
                # Its message stands in the channel of what it was: those of what it is hear of it too.
                told.append(self._notice(incident, decision.reason, route, mention, how))
        if decision.says and incident.revision > 1:
            # Whether there are any notices is known only inside the transaction.
            amended = amended_notice(incident, decision.reason, **how)
            told.append(say(kind=EntryKind.AMEND, message=amended.as_dict()))
        if decision.calls:
            told += self._calls(incident, route, say, how)
        if _is_pictured(decision) and (picture := self._picture(incident.reading)):
            caption = chart_caption(incident, known_at=self.at.known_at, book=self.at.book)
            told.append(
                say(
                    kind=EntryKind.CHART,
                    message={},
                    image=picture,
                    alt_text=caption,
                    not_before=quiet_until,
                )
            )
        return told

    def route(self, incident: Incident) -> Route:
        """Where an incident is told by the rules as they are; one whose rule is gone keeps to where it was."""
        found = _route_of(self.service, incident.reading, incident.severity)
        if found is not None:
            return found
        known = self.channels.get(incident.id)
        routes = self.service.ruleset.routes
        return Route(incident.route, known) if known else next(iter(routes.values()))

    def options(self, incident: Incident) -> RuleOptions:
        """The options of its rule, or the defaults for one that is gone."""
        return self._rule(incident.rule) or DEFAULT_OPTIONS

    def _rule(self, name: str) -> RuleOptions | None:
        return options_of(self.service).get(name)

    def _calls(
        self, incident: Incident, route: Route, say: Any, how: Mapping[str, Any]
    ) -> list[NewEntry]:
        """A line in the thread, and a message of its own where someone else is called."""
        line = transition_reply(incident, Reason.UNACKNOWLEDGED, mention=route.mention, **how)
        told = [say(kind=EntryKind.REPLY, message=line.as_dict())]
        if route.escalate_to:
            other = self.service.ruleset.routes[route.escalate_to]
            told.append(self._notice(incident, Reason.UNACKNOWLEDGED, other, other.mention, how))
        return told

    def _notice(
        self,
        incident: Incident,
        reason: Reason,
        route: Route,
        mention: str,
        how: Mapping[str, Any],
    ) -> NewEntry:
        """A message of its own in another channel than that of its incident."""
        notice = call_notice(incident, reason, mention=mention, **how)
        return NewEntry(
            kind=EntryKind.NOTICE,
            route=route.name,
            channel=self._channel(route),
            message=notice.as_dict(),
        )

    def _channel(self, route: Route) -> str:
        return self.service.settings.slack_channel or route.channel

    def _since(self, reading: Reading) -> str:
        """What moved a market since it was said last, in a sentence; empty for everything else."""
        if reading.chart is None or reading.chart.kind != "market":
            return ""
        return self.changes.get(reading.subject, "")

    def _record(self, incident: Incident) -> str:
        record = self.records.get((incident.rule, incident.rule_version))
        return record_sentence(record) if record else ""

    def _picture(self, reading: Reading) -> bytes | None:
        """Drawn here only when nobody foresaw it, which is rare: another writer came in between."""
        if self.seen is None:
            return None
        shown = _shown_in(reading)
        return self.pictures[shown] if shown in self.pictures else _picture_of(self.seen, reading)


def teller(
    service: Service,
    at: Moment,
    run_id: str,
    seen: Situation | None,
    *,
    draws: bool = True,
    foreseen: Sequence[Decision] = (),
) -> Teller:
    """Everything that telling needs, before its transaction begins: what the database knows, and pictures.

    Those of the decisions that are `foreseen` are drawn here; those of others when they are told, while
    every other writer waits.
    """
    pictures = _drawn(seen, foreseen) if draws and seen is not None else {}
    changes = {}
    if seen is not None:
        base = [one for (_, scenario), one in seen.projections.items() if scenario == BASE]
        found, _ = changes_of(service, at, base)
        changes = {
            market: change_sentence(change)
            for (market, scenario), change in found.items()
            if scenario == BASE
        }
    return Teller(
        service=service,
        at=at,
        written_at=service.clock(),
        seen=seen if draws else None,
        links=links_of(service, run_id),
        changes=changes,
        records=service.ledger.records(),
        channels=service.ledger.channels(
            at.book, [one.id for one in service.ledger.open_incidents(at.book)]
        ),
        pictures=pictures,
    )


def _route_of(service: Service, reading: Reading, severity: Severity) -> Route | None:
    """The route of a reading by its rule as it is now; None when the rule is gone, and its route with it.

    An incident whose rule can't judge keeps a reading of other days: its route may have another name by now.
    """
    is_own = reading.type == EVALUATION_ERROR
    options = FOR_OPERATORS if is_own else options_of(service).get(reading.rule)
    name = reading.route if options is None else "" if is_own else options.route
    labels = labels_of(reading, severity)
    try:
        return route_of(name, reading.type, labels, service.ruleset.routes)
    except UnknownRouteError:
        return None


def _muted_until(
    service: Service, options: RuleOptions, severity: Severity, at: datetime
) -> datetime | None:
    """The end of the mute windows of a rule that cover an instant; None: it may be posted."""
    return muted_until(service.ruleset.mutes_of(options), severity, at)


def desk_of(service: Service, seen: Situation | None = None) -> Desk:
    """How this service tells: channels by labels, when someone is called, what rests on which publisher."""
    options = options_of(service)
    written_at = service.clock()

    def channel(reading: Reading, severity: Severity) -> str:
        found = _route_of(service, reading, severity)
        return service.settings.slack_channel or (found.channel if found else reading.route)

    def call_after(reading: Reading, severity: Severity) -> timedelta | None:
        found = _route_of(service, reading, severity)
        return found.escalate_after if found else None

    def quiet_until(reading: Reading, severity: Severity) -> datetime | None:
        rule = options.get(reading.rule)
        return None if rule is None else _muted_until(service, rule, severity, written_at)

    return Desk(
        channel_of=channel,
        call_after=call_after,
        quiet_until=quiet_until,
        stale_series=None if seen is None else _stale_series(seen),
        options=options,
    )


def _stale_series(seen: Situation) -> dict[str, str]:
    """Series whose newest figure is older than their publisher's limit, with the publisher.

    A group is as old as the oldest of its series: the others may be judged all the same.
    """
    newest = {name: one.vintage for name, one in seen.forecasts.items()}
    newest |= {name: one.points[-1].known_at for name, one in seen.observed.items() if one.points}
    found = {}
    for series, known_at in newest.items():
        source = seen.series_source.get(series, "")
        state = seen.sources.get(source)
        if state is not None and (seen.known_at - known_at).days > state.limit_days:
            found[series] = source
    return found


def options_of(service: Service) -> dict[str, RuleOptions]:
    """The options of every rule by its name."""
    return {rule.name: rule.options for rule in service.ruleset.rules}


_Shown = tuple[ChartRef | None, float]
"""What a picture shows: two readings with the same one share it."""


def _shown_in(reading: Reading) -> _Shown:
    chart = reading.chart
    # Only the picture of a volume shows the limit.
    return chart, reading.limit if chart is not None and chart.kind == "volume" else 0.0


def _drawn(seen: Situation, decisions: Sequence[Decision]) -> dict[_Shown, bytes | None]:
    """The pictures that come with decisions, each drawn once."""
    told = [one.incident.reading for one in decisions if one.incident and _is_pictured(one)]
    distinct = {_shown_in(one): one for one in told}
    return {shown: _picture_of(seen, one) for shown, one in distinct.items()}


def _picture_of(seen: Situation, reading: Reading) -> bytes | None:
    """The picture of a reading, or None: one that can't be drawn never keeps the words back."""
    try:
        return chart_of(seen, reading)
    except Exception:
        LOG.exception("the picture of %s can't be drawn; the alert goes without", reading.subject)
        return None


def _is_pictured(decision: Decision) -> bool:
    """Whether a picture is due with what is told: at every turn it would only push the words away."""
    incident = decision.incident
    if incident is None or not incident.state.is_open:
        return False  # an end has nothing to show
    if incident.leader and incident.reading.chart and incident.reading.chart.kind == "market":
        return False  # the thread it is told in shows its market already: the leader's is the same
    return decision.replies or (decision.says and incident.revision == 1)


def chart_of(seen: Situation, reading: Reading) -> bytes | None:
    """The picture that belongs to a reading; None where nothing is to be drawn."""
    if reading.chart is None:
        return None
    subject = reading.chart.subject
    if reading.chart.kind == "series" and subject in seen.forecasts:
        return price_fan(seen.forecasts[subject])
    if reading.chart.kind == "market":
        wanted = dict.fromkeys((reading.chart.scenario or BASE, BASE))
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


def links_of(service: Service, run_id: str) -> tuple[tuple[str, str], ...]:
    """Words and addresses of what a reader can open: the outlook and the run, where they are hosted."""
    links = []
    if service.settings.outlook_url:
        links.append(("Outlook", service.settings.outlook_url))
    if service.settings.ui_url and run_id:
        address = f"{service.settings.ui_url.rstrip('/')}/runs/flow-run/{run_id}"
        links.append(("This run in Prefect", address))
    return tuple(links)
