"""flows/telling.py: what a decision says, in which channel, to whom, and with which picture."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alerts.incident import Decision, Reason, State
from alerts.judging import Verdicts
from alerts.ledger import EntryKind, Judgement
from alerts.rules import DEFAULT_OPTIONS, ChartRef, Reading, RuleOptions, Severity
from alerts.ruleset import load_ruleset
from alerts.silences import Silence
from flows import steps
from flows import telling as told_by
from flows.settings import load_settings
from flows.telling import Teller, desk_of, teller
from flows.wiring import build
from forecasting.results import Situation
from tests.builders import (
    NOW,
    end_of,
    exports_known_on,
    make_forecast,
    make_incident,
    make_projection,
    make_reading,
)

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
    with opened_in(tmp_path_factory.mktemp("telling")) as opened:
        yield opened


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[steps.Service]:
    """A service with a database of its own, on SQLite: there any writer keeps out every other."""
    with opened_in(tmp_path) as opened:
        opened.database.upgrade()
        yield opened


@contextmanager
def opened_in(home: Path) -> Iterator[steps.Service]:
    ruleset = load_ruleset(
        [("rules.toml", RULES)],
        known_series={"cn_magnet_exports"},
        known_markets=set(),
        known_scenarios=set(),
    )
    settings = load_settings({"LODESTONE_HOME": str(home)}, home / "none.toml")
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

    told = tell.entries(risen)
    kinds = [EntryKind.ROOT, EntryKind.REPLY, EntryKind.NOTICE, EntryKind.AMEND]
    assert [one.kind for one in told] == kinds
    _, reply, notice, _ = told
    assert (reply.message["mention"], notice.message["mention"]) == ("", "here")
    assert (notice.channel, notice.message["label"]) == ("#board", "Raised to critical")


def test_a_rise_in_the_same_channel_calls_there_and_nowhere_else(service):
    risen = rise()
    tell = telling(service, channels={risen.incident.id: "#board"})
    root, reply, _ = tell.entries(risen)
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
    _, _, line, notice = telling(own).entries(decision)

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


# --- drawn before anybody has to wait ------------------------------------------------

AT = steps.Moment(NOW, "live", live=False)
FIGURES = Situation(
    NOW,
    forecasts={name: make_forecast(series=name) for name in ("nd_oxide", "dy_oxide")},
    projections={("india-ndfeb", name): make_projection(scenario=name) for name in ("base", "ban")},
)


@pytest.fixture
def drawn(own_service: steps.Service, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was drawn: for each picture whether another could have written meanwhile."""
    database = own_service.database.place
    found: list[str] = []

    def draw(*_: object, **__: object) -> bytes:
        with closing(sqlite3.connect(database, timeout=0.05)) as other:
            try:
                other.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                found.append(str(error))
            else:
                found.append("nobody waits")
        return b"\x89PNG"

    for chart in ("price_fan", "balance_fan", "volume_bars"):
        monkeypatch.setattr(told_by, chart, draw)
    return found


def look(
    service: steps.Service,
    monkeypatch: pytest.MonkeyPatch,
    *readings: Reading,
    options: RuleOptions = DEFAULT_OPTIONS,
    at: steps.Moment = AT,
) -> None:
    """Step 4, with these readings as all that the rules say."""
    judgements = tuple(Judgement(one, options) for one in readings)
    monkeypatch.setattr(steps, "judge_all", lambda *_: Verdicts(judgements, {}))
    steps.raise_alerts(service, at, run_id="run", seen=FIGURES)


def pictures_told(service: steps.Service) -> int:
    return [one.kind for one in service.ledger.entries("live")].count(EntryKind.CHART)


def price(subject: str, severity: Severity = WARNING, **changes: object) -> Reading:
    chart = ChartRef("series", subject)
    return make_reading(severity, fingerprint=subject, subject=subject, chart=chart, **changes)


def shortage(scenario: str, fingerprint: str) -> Reading:
    return make_reading(
        CRITICAL,
        type="shortfall",
        fingerprint=fingerprint,
        labels=(("market", "india-ndfeb"),),
        chart=ChartRef("market", "india-ndfeb", scenario),
    )


def test_pictures_are_drawn_before_the_transaction_that_others_wait_for(own_service, drawn):
    seen = exports_known_on("2025-06-21")
    at = steps.Moment(seen.known_at, "live", live=False)

    report = steps.raise_alerts(own_service, at, run_id="run", seen=seen)

    assert [one.type for one in report.incidents] == ["volume_drop"]
    assert (drawn, pictures_told(own_service)) == (["nobody waits"], 1)


def test_a_rise_is_drawn_ahead_and_what_was_said_already_is_not_drawn_again(
    own_service, drawn, monkeypatch
):
    mild, loud = price("nd_oxide"), price("nd_oxide", CRITICAL, input_id="input-2")
    later = replace(AT, known_at=NOW + timedelta(days=1))
    look(own_service, monkeypatch, mild)
    look(own_service, monkeypatch, mild)
    assert drawn == ["nobody waits"]
    look(own_service, monkeypatch, loud, at=later)
    look(own_service, monkeypatch, loud, at=later)
    assert drawn == ["nobody waits"] * 2


def test_what_is_silenced_costs_no_picture_until_it_is_told(own_service, drawn, monkeypatch):
    until = NOW + timedelta(days=1)
    match = (("subject", "nd_oxide"),)
    own_service.ledger.add_silence(
        Silence(id="quiet", match=match, until=until, reason="known", author="priya", made_at=NOW)
    )
    look(own_service, monkeypatch, price("nd_oxide"), price("dy_oxide"))
    assert (drawn, pictures_told(own_service)) == (["nobody waits"], 1)

    after = replace(AT, known_at=until)
    both = price("nd_oxide", input_id="input-2"), price("dy_oxide", input_id="input-2")
    look(own_service, monkeypatch, *both, at=after)
    assert (drawn, pictures_told(own_service)) == (["nobody waits"] * 2, 2)


def test_what_has_to_last_is_drawn_when_it_has_lasted(own_service, drawn, monkeypatch):
    lasting = RuleOptions(for_evaluations=2)
    look(own_service, monkeypatch, price("nd_oxide"), options=lasting)
    assert drawn == []
    tomorrow = replace(AT, known_at=NOW + timedelta(days=1))
    again = price("nd_oxide", input_id="input-2")
    look(own_service, monkeypatch, again, options=lasting, at=tomorrow)
    assert (drawn, pictures_told(own_service)) == (["nobody waits"], 1)


@pytest.mark.parametrize(
    ("readings", "drawings", "pictures"),
    [
        pytest.param(
            [shortage("base", "a"), shortage("ban", "b")], 1, 1, id="one market, in one thread"
        ),
        pytest.param(
            [price("nd_oxide"), replace(price("nd_oxide"), fingerprint="level", limit=9.0)],
            1,
            2,
            id="two rules on one series",
        ),
        pytest.param([price("nd_oxide"), price("dy_oxide")], 2, 2, id="two series"),
    ],
)
def test_one_thing_is_drawn_once_however_many_alerts_show_it(
    own_service, drawn, monkeypatch, readings: Sequence[Reading], drawings, pictures
):
    look(own_service, monkeypatch, *readings)
    assert (drawn, pictures_told(own_service)) == (["nobody waits"] * drawings, pictures)


def test_what_nobody_foresaw_still_gets_its_picture(own_service, drawn):
    told = teller(own_service, AT, "run", FIGURES, foreseen=())
    own_service.ledger.record(
        "live", price("nd_oxide"), DEFAULT_OPTIONS, now=NOW, compose=told.entries
    )
    assert (drawn, pictures_told(own_service)) == (["database is locked"], 1)


def test_without_pictures_nothing_is_drawn(own_service, drawn):
    at = steps.Moment(end_of("2025-06-21"), "live", live=False)
    steps.raise_alerts(
        own_service, at, run_id="run", seen=exports_known_on("2025-06-21"), draws=False
    )
    assert (drawn, pictures_told(own_service)) == ([], 0)


def test_what_is_foreseen_is_what_is_decided_and_leaves_nothing_behind(own_service):
    judgements = [Judgement(price(name), DEFAULT_OPTIONS) for name in ("nd_oxide", "dy_oxide")]
    ledger, desk = own_service.ledger, desk_of(own_service)

    foreseen = ledger.foresee("live", judgements, now=NOW, written_at=NOW, desk=desk)
    assert (ledger.incidents("live"), ledger.entries("live")) == ((), ())

    ledger.judge("live", judgements, now=NOW, compose=lambda _: (), desk=desk)
    assert {one.reason for one in foreseen} == {Reason.OPENED}
    assert sorted(one.incident.id for one in foreseen if one.incident) == sorted(
        one.id for one in ledger.incidents("live")
    )


def test_a_picture_that_can_t_be_drawn_keeps_no_alert_back(own_service, monkeypatch, caplog):
    def broken(*_given):
        message = "no such font"
        raise RuntimeError(message)

    monkeypatch.setattr(told_by, "chart_of", broken)
    kinds = [one.kind for one in telling(own_service, seen=Situation(NOW)).entries(first())]
    assert kinds == [EntryKind.ROOT]
    assert "can't be drawn" in caplog.text
