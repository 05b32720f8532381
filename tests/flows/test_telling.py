"""flows/telling.py: what a decision says, in which channel, to whom, and with which picture."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alerts.incident import Decision, Reason, State
from alerts.ledger import EntryKind
from alerts.rules import ChartRef, Severity
from alerts.ruleset import load_ruleset
from flows import steps
from flows.settings import load_settings
from flows.telling import Teller, desk_of
from flows.wiring import build
from forecasting.results import Situation
from tests.builders import NOW, exports_known_on, make_incident, make_reading

CRITICAL, WARNING = Severity.CRITICAL, Severity.WARNING
RULES = """
[routes.buyers]
channel = "#magnet-supply"
mention = "U0000BUYER"
escalate_after_hours = 4
escalate_to = "board"
[routes.operators]
channel = "#operators"
[routes.board]
channel = "#board"
mention = "here"
match = { severity = "critical" }
[mutes.nights]
timezone = "UTC"
from = "18:00"
to = "08:00"
[rules.magnet-exports-drop]
type = "volume_drop"
series = "cn_magnet_exports"
warning = { enter = 0.6, exit = 0.75 }
critical = { enter = 0.4, exit = 0.5 }
mute = ["nights"]
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[steps.Service]:
    home = tmp_path_factory.mktemp("telling")
    ruleset = load_ruleset(
        [("rules.toml", RULES)],
        known_series={"cn_magnet_exports"},
        known_markets=set(),
        known_scenarios=set(),
    )
    settings = load_settings({"LODESTONE_HOME": str(home)}, Path(home) / "none.toml")
    with closing(build(settings)) as opened:
        yield replace(opened, ruleset=ruleset)


def telling(service: steps.Service, **changes) -> Teller:
    at = steps.Moment(NOW, "live", live=False)
    return Teller(service=service, at=at, written_at=NOW, **changes)


def first(severity: Severity = WARNING, **changes) -> Decision:
    reading = make_reading(severity, route=changes.pop("route", ""))
    incident = make_incident(reading=reading, severity=severity, revision=1, **changes)
    return Decision(Reason.OPENED, incident, says=True)


def rise(**changes) -> Decision:
    reading = make_reading(CRITICAL, route="")
    incident = make_incident(reading=reading, severity=CRITICAL, revision=2, **changes)
    return Decision(Reason.ESCALATED, incident, says=True, replies=True)


def test_the_labels_choose_the_channel_and_who_is_called(service):
    (root,) = telling(service).entries(first(CRITICAL))
    assert (root.channel, root.message["mention"]) == ("#board", "here")
    (root,) = telling(service).entries(first(WARNING))
    assert (root.channel, root.message["mention"]) == ("#magnet-supply", "U0000BUYER")


def test_a_muted_warning_waits_and_a_critical_does_not(service):
    (muted,) = telling(service).entries(first(WARNING))
    (loud,) = telling(service).entries(first(CRITICAL))
    assert muted.not_before == datetime(2025, 6, 22, 8, tzinfo=UTC)
    assert loud.not_before is None


def test_a_rise_is_told_in_the_thread_and_to_those_whose_channel_it_has_become(service):
    risen = rise()
    tell = telling(service, channels={risen.incident.id: "#magnet-supply"})

    root, reply, notice = tell.entries(risen)

    assert (root.kind, reply.kind, notice.kind) == (
        EntryKind.ROOT,
        EntryKind.REPLY,
        EntryKind.NOTICE,
    )
    assert (reply.message["mention"], notice.message["mention"]) == ("", "here")
    assert (notice.channel, notice.message["label"]) == ("#board", "Raised to critical")


def test_a_rise_in_the_same_channel_calls_there_and_nowhere_else(service):
    risen = rise()
    tell = telling(service, channels={risen.incident.id: "#board"})
    root, reply = tell.entries(risen)
    assert (root.message["mention"], reply.message["mention"]) == ("", "here")


def test_a_route_that_was_renamed_keeps_nothing_from_being_told(service):
    """An incident whose rule can't judge keeps a reading of other days, with the old name."""
    old = first(WARNING, route="desk-of-old")
    (root,) = telling(service).entries(old)
    assert root.channel == "#magnet-supply"
    assert desk_of(service).channel_of(old.incident.reading, WARNING) == "#magnet-supply"


@pytest.mark.parametrize("known", [{}, {"gone": "#where-it-was"}])
def test_what_no_rule_speaks_of_any_more_is_told_where_it_was_or_at_least_somewhere(service, known):
    reading = make_reading(route="gone-route", rule="gone")
    incident = make_incident(State.WITHDRAWN, id="gone", rule="gone", reading=reading, revision=3)
    decision = Decision(Reason.WITHDRAWN, incident, says=True, replies=True)
    told = telling(service, channels=known).entries(decision)
    assert {entry.channel for entry in told} == {known.get("gone", "#magnet-supply")}


def test_the_failure_of_a_rule_is_told_to_operators(service):
    reading = make_reading(rule="evaluation-errors", type="evaluation_error", route="operators")
    incident = make_incident(
        rule="evaluation-errors", type="evaluation_error", reading=reading, revision=1
    )
    (root,) = telling(service).entries(Decision(Reason.RELEASED, incident, says=True))
    assert root.channel == "#operators"
    assert desk_of(service).channel_of(reading, WARNING) == "#operators"


def test_a_call_goes_to_the_thread_and_to_the_route_that_escalates(service):
    reading = make_reading(CRITICAL, route="buyers")
    incident = make_incident(reading=reading, severity=CRITICAL, revision=2)
    ruleset = replace(
        service.ruleset,
        rules=tuple(
            replace(rule, options=replace(rule.options, route="buyers"))
            for rule in service.ruleset.rules
        ),
    )
    own = replace(service, ruleset=ruleset)
    assert desk_of(own).call_after(reading, CRITICAL) == timedelta(hours=4)

    decision = Decision(Reason.UNACKNOWLEDGED, incident, says=True, calls=True)
    _, line, notice = telling(own).entries(decision)

    assert (line.kind, line.channel) == (EntryKind.REPLY, "#magnet-supply")
    assert (notice.kind, notice.channel) == (EntryKind.NOTICE, "#board")
    assert notice.message["label"] == "Nobody has taken this on"


CHART = ChartRef("volume", "cn_magnet_exports", level=5000.0)


@pytest.mark.parametrize(
    ("decision", "pictures"),
    [
        pytest.param(first(CRITICAL), 1, id="the first post"),
        pytest.param(rise(), 1, id="a rise that is posted"),
        pytest.param(replace(rise(), replies=False), 0, id="a rise that is only edited in"),
        pytest.param(
            Decision(Reason.REOPENED, make_incident(revision=5), says=True), 0, id="a quiet return"
        ),
        pytest.param(
            Decision(
                Reason.RESOLVED, make_incident(State.RESOLVED, revision=5), says=True, replies=True
            ),
            0,
            id="an end",
        ),
    ],
)
def test_a_picture_comes_with_a_post_and_never_alone(service, decision, pictures):
    seen: Situation = exports_known_on("2025-06-21")
    reading = replace(decision.incident.reading, chart=CHART)
    drawn = replace(decision, incident=replace(decision.incident, reading=reading))
    told = telling(service, seen=seen).entries(drawn)
    assert [entry.kind for entry in told].count(EntryKind.CHART) == pictures
