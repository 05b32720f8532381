"""Messages as the service would write them, one of each kind: for golden files and renderers."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from alerts import telling
from alerts.drill import drill_message
from alerts.heartbeat import Vitals, heartbeat_message
from alerts.incident import DataState, Incident, Reason, State
from alerts.ledger import repeat_marked
from alerts.lifecycle import Decision, decide
from alerts.messages import (
    Message,
    amended_notice,
    call_notice,
    numbers_message,
    root_message,
    transition_reply,
)
from alerts.routing import Route
from alerts.rules import (
    DropLimit,
    Limit,
    PriceSpike,
    Reading,
    RuleOptions,
    Severity,
    Shortfall,
    StaleSource,
    VolumeDrop,
)
from alerts.rules.models import ModelDegraded
from forecasting.results import Situation
from tests.builders import (
    NOW,
    end_of,
    exports_known_on,
    make_forecast,
    make_projection,
    make_scorecard,
    make_source,
)

WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL
LINKS = (("Outlook", "http://127.0.0.1:4200/outlook?run=1&x=2"),)
BOOK = "as-of 2025-06-21"

PRICE = PriceSpike(
    name="oxide-price-spike",
    series=("nd_oxide",),
    limits=(Limit(WARNING, 0.5, 0.35), Limit(CRITICAL, 0.8, 0.6)),
    options=RuleOptions(
        owner="Magnet desk", advice="Check which contracts are indexed to this oxide."
    ),
)
SHORTFALL = Shortfall(
    name="magnet-shortfall",
    market=("world-ndfeb",),
    limits=(Limit(WARNING, 0.05, 0.04), Limit(CRITICAL, 0.15, 0.12)),
    tail=Limit(WARNING, 0.15, 0.12),
    options=RuleOptions(runbook="https://example.com/shortfall"),
)
DROP = VolumeDrop(
    name="magnet-exports-drop",
    series=("cn_magnet_exports",),
    limits=(DropLimit(WARNING, 0.6, 0.75), DropLimit(CRITICAL, 0.6, 0.75, months_running=2)),
    options=RuleOptions(advice="Ask suppliers for the licence status of each shipment."),
)
STALE = StaleSource(name="source-is-stale")
DEGRADED = ModelDegraded(name="model-degraded", series=("dy_oxide",))


def judge(rule, situation: Situation) -> Reading:
    (reading,) = rule.evaluate(situation)
    assert isinstance(reading, Reading), reading
    return reading


def drop_of_2025(*days: str) -> Decision:
    """The decision on the last of these days, each having been evaluated in turn."""
    decision = None
    for day in days:
        situation = exports_known_on(day)
        decision = decide(
            decision.incident if decision else None,
            judge(DROP, situation),
            DROP.options,
            now=situation.known_at,
            new_id="6f1c0a52-0000-5000-8000-000000000001",
        )
    assert decision is not None
    return decision


def over_the_rise() -> Message:
    """A price that ran up and then stayed: the alert ends, the price is still high."""
    year = (61.0,) * 9
    incident = None
    for day, history in (
        ("2025-06-21", (*year, 61.0, 66.0, 74.0, 83.0)),
        ("2025-07-21", (*year, 90.5, 91.0, 91.2, 91.5)),
    ):
        now = end_of(day)
        forecast = make_forecast(history, cutoff=now.date().replace(month=now.month - 1, day=1))
        decision = decide(
            incident,
            judge(PRICE, Situation(now, forecasts={"nd_oxide": forecast})),
            PRICE.options,
            now=now,
            new_id="6f1c0a52",
        )
        incident = decision.incident
    assert incident is not None
    return root_message(incident, decision.reason, known_at=now, book="live", links=LINKS)


def opened(rule, situation: Situation, book: str = "live") -> Message:
    decision = decide(
        None, judge(rule, situation), rule.options, now=NOW, book=book, new_id="6f1c0a52"
    )
    assert decision.incident is not None
    return root_message(decision.incident, decision.reason, known_at=NOW, book=book, links=LINKS)


def incident_of(decision: Decision) -> Incident:
    assert decision.incident is not None
    return decision.incident


def storm(members: int) -> Message:
    """The digest of so many further alerts at once, each about a series of its own."""
    headlines = tuple(
        f"Oxide {number} of the basket, FOB China: up {20 + number} % since Feb 2025, "
        f"at {50 + number}.0 USD/kg in May 2025"
        for number in range(1, members + 1)
    )
    leader = replace(incident_of(drop_of_2025("2025-05-21", "2025-06-21")), beside=headlines)
    return root_message(leader, Reason.OPENED, known_at=NOW, book="live", links=LINKS)


def along_its_life() -> dict[str, Message]:
    """One alert at each of its turns, as its message and its replies tell them."""
    noon = datetime(2025, 6, 22, 12, 5, tzinfo=UTC)
    worse = drop_of_2025("2025-05-21", "2025-06-21")
    open_one = incident_of(worse)
    taken = incident_of(telling.acknowledge(open_one, "Ravi", now=noon))
    until = noon + timedelta(days=7)
    asleep = incident_of(telling.snooze(taken, "Ravi", until, now=noon))
    stale_at = noon + timedelta(days=60)
    stale = replace(
        open_one,
        data_state=DataState.STALE,
        data_why="the newest figure is of May 2025, older than 75 days",
        data_since=stale_at,
    )
    easing = incident_of(drop_of_2025("2025-05-21", "2025-06-21", "2025-07-21", "2025-08-21"))
    ended_at = noon + timedelta(days=90)
    gone = replace(open_one, state=State.WITHDRAWN, changed_at=ended_at)
    past = replace(open_one, state=State.EXPIRED, changed_at=ended_at, data_state=DataState.STALE)
    renewed = replace(open_one, renewals=1)
    again = replace(open_one, episode=3)
    live = {"known_at": noon, "book": "live", "links": LINKS}
    later = {"known_at": ended_at, "book": "live", "links": LINKS}
    called = {**live, "mention": "S0BUYERS1"}
    return {
        "drop_taken_root": root_message(taken, Reason.ACKNOWLEDGED, **live),
        "drop_snoozed_root": root_message(asleep, Reason.SNOOZED, **live),
        "drop_stale_root": root_message(
            stale, Reason.KEPT_LAST, known_at=stale_at, book="live", links=LINKS
        ),
        "drop_easing_root": root_message(
            easing, Reason.RECOVERING, known_at=end_of("2025-08-21"), book="live"
        ),
        "drop_withdrawn_root": root_message(gone, Reason.WITHDRAWN, **later),
        "drop_withdrawn_reply": transition_reply(gone, Reason.WITHDRAWN, **later),
        "drop_expired_root": root_message(past, Reason.EXPIRED, **later),
        "drop_expired_reply": transition_reply(past, Reason.EXPIRED, **later),
        "drop_again_reply": transition_reply(again, Reason.REOPENED, **called),
        "drop_renewed_reply": transition_reply(renewed, Reason.RENEWED, **later),
        "drop_woken_reply": transition_reply(open_one, Reason.WOKEN, **live),
        "drop_call_reply": transition_reply(open_one, Reason.UNACKNOWLEDGED, **called),
        "drop_call_notice": call_notice(open_one, Reason.UNACKNOWLEDGED, **called),
        "drop_taken_notice": amended_notice(taken, Reason.ACKNOWLEDGED, **live),
        "drop_numbers": numbers_message(open_one, known_at=noon, book="live"),
        "drop_possible_repeat": Message.from_dict(
            repeat_marked(root_message(open_one, worse.reason, **live).as_dict())
        ),
    }


def of_the_service() -> dict[str, Message]:
    """What isn't an alert: a drill, and that the service is alive."""
    drill = drill_message(
        Route("buyers", "#magnet-supply"),
        "#magnet-supply",
        by="Asha",
        at=NOW,
        number=3,
        count=40,
        severity=Severity.CRITICAL,
        incident="6f1c0a52-0000-5000-8000-000000000003",
    )
    alive = heartbeat_message(
        Vitals(
            at=NOW,
            judged_at=NOW - timedelta(hours=1),
            delivered_at=NOW - timedelta(days=3),
            waiting=2,
            unknown=0,
            dead=0,
            open_incidents=4,
        )
    )
    return {"drill": drill, "heartbeat": alive}


def samples() -> dict[str, Message]:
    """Every sample by the name of its golden file."""
    worse = drop_of_2025("2025-05-21", "2025-06-21")
    over = drop_of_2025("2025-05-21", "2025-06-21", "2025-07-21", "2025-08-21", "2025-09-21")
    assert worse.incident is not None
    assert over.incident is not None
    ended_at = over.incident.changed_at
    live = {"known_at": NOW, "book": "live", "links": LINKS}
    spike = make_forecast((61.0, 66.0, 74.0, 83.0))
    held = drop_of_2025("2025-05-21", "2025-06-21", "2025-07-21")
    assert held.incident is not None
    tail = make_projection((0.0,) * 8 + (0.3,) * 2)
    freeze = make_projection(
        (0.1, 0.2, 0.3),
        scenario="licence-freeze",
        scenario_title="China grants no licences for six months",
    )
    return {
        "drop_as_of_june": opened(DROP, exports_known_on("2025-06-21"), BOOK),
        "drop_raised_root": root_message(worse.incident, worse.reason, **live),
        "drop_raised_reply": transition_reply(worse.incident, worse.reason, **live),
        "drop_resolved_root": root_message(
            over.incident, over.reason, known_at=ended_at, book="live"
        ),
        "drop_resolved_reply": transition_reply(
            over.incident, over.reason, known_at=ended_at, book="live"
        ),
        "drop_held_root": root_message(
            held.incident, held.reason, known_at=end_of("2025-07-21"), book="live"
        ),
        "price_spike_resolved": over_the_rise(),
        "price_spike": opened(PRICE, Situation(NOW, forecasts={"nd_oxide": spike})),
        "shortfall": opened(
            SHORTFALL,
            Situation(
                NOW,
                projections={("world-ndfeb", "base"): make_projection((0.02, 0.06, 0.08, 0.11))},
            ),
        ),
        "shortfall_tail": opened(
            SHORTFALL, Situation(NOW, projections={("world-ndfeb", "base"): tail})
        ),
        "shortfall_scenario": opened(
            replace(SHORTFALL, scenario="licence-freeze"),
            Situation(NOW, projections={("world-ndfeb", "licence-freeze"): freeze}),
        ),
        "model_degraded": opened(
            DEGRADED,
            Situation(
                NOW,
                scorecards={
                    "dy_oxide": make_scorecard(
                        (0.94,) * 8 + (1.1, 1.3, 0.9, 1.2, 1.4, 1.6, 1.1, 1.2),
                        (0.8,) * 8 + (0.6, 0.5, 0.8, 0.3, 0.5, 0.2, 0.7, 0.5),
                    )
                },
            ),
        ),
        "stale_source": opened(STALE, Situation(NOW, sources={"prices": make_source(60)})),
        "storm": storm(40),
        **along_its_life(),
        **of_the_service(),
    }
