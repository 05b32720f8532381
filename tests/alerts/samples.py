"""Messages as the service would write them, one of each kind: for golden files and renderers."""

from dataclasses import replace

from alerts.lifecycle import Decision, decide
from alerts.messages import Message, root_message, transition_reply
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
    }
