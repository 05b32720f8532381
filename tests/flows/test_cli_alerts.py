"""flows/cli_alerts.py and flows/desk.py: taking on, snoozing, silencing and drilling, as an operator types it."""

import os
import pwd
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from alerts.incident import Incident, Reason, State
from alerts.ledger import Judgement, OutboxState
from alerts.rules import DEFAULT_OPTIONS, Reading, Severity
from alerts.scoring import Quality
from flows import cli, desk
from flows.console import open_service
from flows.replay.result import ReplayResult
from flows.service import LIVE_BOOK, Moment, Service
from flows.settings import login_name
from flows.storage.ledger import IncidentScore
from flows.telling import desk_of, teller
from tests.builders import make_reading
from tests.flows.cli_home import LendDatabase, answer, own_home
from tests.slack_standin import Fault, StandIn

BEGAN = datetime(2026, 11, 2, 8, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _own_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lend_service_database: LendDatabase
) -> Iterator[None]:
    monkeypatch.setenv("USER", "asha")
    with own_home(monkeypatch, tmp_path, lend_service_database):
        yield


def record(service: Service, reading: Reading, at: datetime = BEGAN) -> Incident:
    """Judge one reading in the live book, with what it has to say."""
    told = teller(service, Moment(at, LIVE_BOOK, live=False), "", None, draws=False)
    decision = service.ledger.record(
        LIVE_BOOK, reading, DEFAULT_OPTIONS, now=at, compose=told.entries, desk=desk_of(service)
    )
    assert decision.incident is not None
    return decision.incident


DROP = make_reading(
    Severity.CRITICAL,
    labels=(
        ("type", "volume_drop"),
        ("rule", "magnet-exports-drop"),
        ("series", "cn_magnet_exports"),
    ),
)
PRICE = make_reading(
    rule="oxide-price-spike",
    type="price_spike",
    subject="dy_oxide",
    fingerprint="fedcba9876543210",
    headline="Dysprosium oxide: 62 % chance above 284 USD/kg by Aug 2025",
    labels=(("type", "price_spike"), ("rule", "oxide-price-spike"), ("series", "dy_oxide")),
    chart=None,
)


@pytest.fixture
def drop() -> Incident:
    with open_service() as service:
        return record(service, DROP)


def life_of(key: str) -> list[tuple[Reason, str]]:
    with open_service() as service:
        return [(one.reason, one.note) for one in service.ledger.transitions(key)]


def now_is(key: str) -> Incident:
    with open_service() as service:
        found = service.ledger.incident(key)
    assert found is not None
    return found


# --- list and show -----------------------------------------------------------------


def test_alerts_of_an_empty_book_are_none(capsys):
    assert cli.main(["alerts", "list", "--json"]) == 0
    found = answer(capsys)
    assert (found["book"], found["incidents"], found["silences"]) == ("live", [], [])
    assert cli.main(["alerts", "list"]) == 0
    assert "No open incident. No rule has been judged yet" in capsys.readouterr().out


def test_the_list_tells_how_severe_since_when_where_and_who_took_it_on(drop, capsys):
    assert cli.main(["alerts", "ack", drop.id, "--by", "Ravi"]) == 0
    capsys.readouterr()
    assert cli.main(["alerts", "list"]) == 0
    headline, below = capsys.readouterr().out.splitlines()[:2]
    assert headline == f"critical  {DROP.headline}"
    assert below.split("; ") == [
        f"          {drop.id[:8]}",
        "firing since 2 Nov 2026",
        "taken on by Ravi",
        "waits in the outbox for #magnet-supply",
    ]


def test_an_incident_that_ended_is_listed_only_when_all_are_asked_for(capsys):
    with open_service() as service:
        record(service, DROP)
        record(
            service,
            make_reading(None, input_id="input-2", labels=DROP.labels),
            BEGAN + timedelta(days=30),
        )
    assert cli.main(["alerts", "list", "--json"]) == 0
    assert answer(capsys)["incidents"] == []
    assert cli.main(["alerts", "list", "--all", "--json"]) == 0
    (one,) = answer(capsys)["incidents"]
    assert (one["state"], one["data_state"]) == ("RESOLVED", "fresh")


def test_an_incident_is_shown_with_reasons_notes_and_how_right_each_episode_was(drop, capsys):
    with open_service() as service:
        service.ledger.keep_score(
            IncidentScore(drop.id, 1, "hit", 17.0, BEGAN, "Prices rose in July.")
        )
    assert cli.main(["alerts", "snooze", drop.id[:8], "--for", "3d", "--by", "Ravi"]) == 0
    capsys.readouterr()
    assert cli.main(["alerts", "show", drop.id[:8]]) == 0
    shown = capsys.readouterr().out
    assert "2026-11-02 08:00 UTC  opened: new → firing, critical; " in shown
    assert re.search(r"UTC  snoozed \(by Ravi, until .* UTC\): firing, critical", shown)
    assert "  episode 1: hit, 17 days ahead. Prices rose in July." in shown
    assert cli.main(["alerts", "show", drop.id, "--json"]) == 0
    found = answer(capsys)
    assert [one["reason"] for one in found["transitions"]] == ["OPENED", "SNOOZED"]
    assert found["transitions"][1]["note"].startswith("by Ravi, until ")
    assert (found["scores"][0]["verdict"], found["scores"][0]["lead_days"]) == ("hit", 17.0)


@pytest.mark.parametrize("action", ["show", "ack", "unsnooze"])
def test_an_unknown_incident_ends_with_2_and_the_nearest_one(action, drop, capsys):
    wrong = ("0" if drop.id[0] != "0" else "1") + drop.id[1:8]
    assert cli.main(["alerts", action, wrong]) == 2
    told = capsys.readouterr().err
    assert f"there is no incident '{wrong}'; did you mean {drop.id[:8]} (China's exports" in told


def test_an_id_that_fits_several_incidents_ends_with_2_and_names_them(capsys):
    with open_service() as service:
        first = record(service, DROP)
        number = 0
        while True:  # the ids are hashes: look for a second one that begins alike
            number += 1
            other = record(service, make_reading(fingerprint=f"{number:016x}"))
            if other.id[0] == first.id[0]:
                break
    assert cli.main(["alerts", "ack", first.id[0]]) == 2
    told = capsys.readouterr().err
    assert f"incidents begin with '{first.id[0]}'; give more characters" in told
    assert first.id[:13] in told
    assert now_is(first.id).acknowledged_at is None


def test_every_reason_that_a_life_can_show_is_explained_to_operators():
    page = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
    rows = page.read_text(encoding="utf-8").split("| reason | what happened |")[1].split("##")[0]
    told = {word.strip() for row in rows.splitlines() for word in row[1:].split("|")[0].split(",")}
    # Nothing changed, so no step is written.
    silent = {"unchanged", "still quiet", "already evaluated"}
    assert {reason.lower().replace("_", " ") for reason in Reason} - silent <= told


# --- taking on and snoozing ----------------------------------------------------------


def test_whoever_is_logged_in_takes_an_incident_on_and_a_second_one_changes_nothing(drop, capsys):
    assert cli.main(["alerts", "ack", drop.id[:8]]) == 0
    assert "taken on by asha on" in capsys.readouterr().out
    first = now_is(drop.id)
    assert cli.main(["alerts", "ack", drop.id[:8], "--by", "ravi"]) == 0
    assert "taken on already by asha on" in capsys.readouterr().out
    assert now_is(drop.id) == first
    assert life_of(drop.id) == [(Reason.OPENED, ""), (Reason.ACKNOWLEDGED, "by asha")]


def test_taking_on_one_that_speaks_for_others_says_how_many_went_with_it(capsys):
    with open_service() as service:
        at = Moment(BEGAN, LIVE_BOOK, live=False)
        told = teller(service, at, "", None, draws=False)
        readings = [replace(DROP, fingerprint=f"f{number}") for number in range(3)]
        leader, *_ = service.ledger.judge(
            LIVE_BOOK,
            [Judgement(one, DEFAULT_OPTIONS) for one in readings],
            now=BEGAN,
            compose=told.entries,
            desk=desk_of(service),
        )
    assert cli.main(["alerts", "ack", leader.incident.id]) == 0
    assert "          and the 2 told with it\n" in capsys.readouterr().out
    assert cli.main(["alerts", "snooze", leader.incident.id, "--for", "1d", "--json"]) == 0
    assert answer(capsys)["with_it"] == 2


def test_nobody_can_ask_without_a_name_or_with_one_too_long_to_keep(drop, capsys):
    assert cli.main(["alerts", "ack", drop.id, "--by", " "]) == 2
    assert "say who asks: --by NAME" in capsys.readouterr().err
    assert cli.main(["alerts", "ack", drop.id, "--by", "x" * 121]) == 2
    assert "121 characters; 120 are kept" in capsys.readouterr().err
    assert now_is(drop.id).acknowledged_at is None


def test_the_login_name_is_that_of_the_variables_or_else_of_the_system():
    assert login_name({"USER": "asha", "LOGNAME": "other"}) == "asha"
    assert login_name({"USER": "", "LOGNAME": "ravi"}) == "ravi"
    assert login_name({}) == pwd.getpwuid(os.getuid()).pw_name


def test_an_alert_of_a_past_day_is_taken_on_in_its_own_book_and_says_how_to_send_that(capsys):
    with open_service() as service:
        told = teller(service, Moment(BEGAN, "as-of 2026-11-02", live=False), "", None)
        decision = service.ledger.record(
            "as-of 2026-11-02", DROP, DEFAULT_OPTIONS, now=BEGAN, compose=told.entries
        )
    assert decision.incident is not None
    assert cli.main(["alerts", "ack", decision.incident.id[:8]]) == 0
    assert "`lodestone alerts deliver --as-of 2026-11-02`" in capsys.readouterr().out
    assert cli.main(["alerts", "list", "--json"]) == 0
    assert answer(capsys)["incidents"] == []
    with open_service() as service:
        (entry,) = service.ledger.entries("as-of 2026-11-02")
    assert entry.message["replay"] == "Replay: as known on 2 Nov 2026"


def test_a_drill_that_is_taken_on_is_sent_by_the_command_that_it_names(slack, capsys):
    assert cli.main(["alerts", "drill", "--count", "1", "--channel", "#desk", "--json"]) == 0
    (key,) = answer(capsys)["incidents"]
    assert cli.main(["alerts", "deliver"]) == 0
    capsys.readouterr()
    assert cli.main(["alerts", "ack", key, "--by", "Ravi"]) == 0
    (command,) = re.findall(r"`lodestone (.*)`", capsys.readouterr().out)
    assert cli.main(command.split()) == 0
    (root,) = slack.workspace.roots()
    assert "Taken on by Ravi" in root.text


def test_the_message_of_an_incident_that_was_taken_on_says_so(drop):
    with StandIn() as slack, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LODESTONE_SLACK_TOKEN", "xoxb-test")
        patch.setenv("LODESTONE_SLACK_BASE_URL", slack.api_url)
        assert cli.main(["alerts", "deliver"]) == 0
        assert cli.main(["alerts", "ack", drop.id, "--by", "Ravi"]) == 0
        assert cli.main(["alerts", "deliver"]) == 0
        (root,) = slack.workspace.roots()
        assert "Taken on by Ravi" in str(root.blocks)
        assert slack.workspace.thread(root.ts) == []  # edited in, nobody is told again


@pytest.mark.parametrize(
    "arguments", [["ack"], ["snooze", "--for", "1d"], ["unsnooze"]], ids=lambda it: it[0]
)
def test_what_has_ended_or_was_never_said_can_t_be_taken_on_or_snoozed(arguments, capsys):
    with open_service() as service:
        record(service, DROP)
        quiet = make_reading(None, input_id="input-2", labels=DROP.labels)
        ended = record(service, quiet, BEGAN + timedelta(days=30))
    action, *more = arguments
    assert cli.main(["alerts", action, ended.id, *more]) == 2
    told = capsys.readouterr().err
    assert "it ended on 2 Dec 2026 (resolved)" in told
    assert "can't be" in told
    assert len(life_of(ended.id)) == 2


def test_a_snooze_lasts_to_the_end_of_the_day_named_or_for_the_time_given(drop, capsys):
    day = (datetime.now(UTC) + timedelta(days=5)).date()
    assert cli.main(["alerts", "snooze", drop.id, "--until", day.isoformat()]) == 0
    assert now_is(drop.id).snoozed_until == datetime(
        day.year, day.month, day.day, 23, 59, 59, tzinfo=UTC
    )
    assert cli.main(["alerts", "snooze", drop.id, "--until", f"{day}T08:00+05:30"]) == 0
    assert now_is(drop.id).snoozed_until == datetime(
        day.year, day.month, day.day, 2, 30, tzinfo=UTC
    )
    before = datetime.now(UTC)
    assert cli.main(["alerts", "snooze", drop.id, "--for", "36h"]) == 0
    until = now_is(drop.id).snoozed_until
    assert until is not None
    assert timedelta(hours=36) <= until - before < timedelta(hours=36, minutes=1)
    capsys.readouterr()
    assert cli.main(["alerts", "unsnooze", drop.id]) == 0
    assert "awake again" in capsys.readouterr().out
    assert now_is(drop.id).snoozed_until is None
    assert cli.main(["alerts", "unsnooze", drop.id]) == 0
    assert "was not snoozed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("end", "words"),
    [
        pytest.param(["--until", "2025-06-21"], "has passed", id="a day that has passed"),
        pytest.param(["--for", "60w"], "more than 366 days away", id="longer than a year"),
    ],
)
def test_a_snooze_or_silence_whose_end_makes_no_sense_is_refused(end, words, drop, capsys):
    assert cli.main(["alerts", "snooze", drop.id, *end]) == 2
    assert words in capsys.readouterr().err
    assert now_is(drop.id).snoozed_until is None
    silence = ["alerts", "silence", "market=india-ndfeb", "--reason", "holidays", *end]
    assert cli.main(silence) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "end",
    [
        pytest.param([], id="no end"),
        pytest.param(["--for", "3 days"], id="in words"),
        pytest.param(["--for", "0d"], id="no time"),
        pytest.param(["--until", "tomorrow"], id="no date"),
        pytest.param(["--until", "2027-01-01", "--for", "3d"], id="two ends"),
    ],
)
def test_a_snooze_needs_one_end_that_can_be_read(end, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["alerts", "snooze", "some", *end])
    assert caught.value.code == 2


# --- silences ------------------------------------------------------------------------


def silence(*labels: str, reason: str = "customs are closed") -> list[str]:
    return ["alerts", "silence", *labels, "--for", "3d", "--reason", reason]


def test_a_silence_says_what_it_covers_and_holds_back_what_opens_next(drop, capsys):
    assert cli.main([*silence("series=cn_magnet_*", "type=volume_drop"), "--json"]) == 0
    made = answer(capsys)
    assert [one["id"] for one in made["covers"]] == [drop.id]
    assert (made["silence"]["by"], made["silence"]["reason"]) == ("asha", "customs are closed")
    with open_service() as service:
        other = make_reading(Severity.CRITICAL, fingerprint="other", labels=DROP.labels)
        held = record(service, other, service.clock())
    assert held.told_state is None
    assert cli.main(["alerts", "list"]) == 0
    shown = capsys.readouterr().out
    assert "held back: silenced by asha until" in shown
    assert "not told" not in shown  # the reason is enough
    assert "Silences that last" in shown
    assert "series=cn_magnet_* type=volume_drop, until" in shown


def test_a_silence_ends_by_hand_once_and_stays_in_the_list(capsys):
    assert cli.main([*silence("market=india-ndfeb"), "--json"]) == 0
    key = answer(capsys)["silence"]["id"]
    assert cli.main(["alerts", "silence", "--end", key[:8]]) == 0
    assert "market=india-ndfeb: ended" in capsys.readouterr().out
    assert cli.main(["alerts", "silence", "--end", key[:8]]) == 2
    assert "does not last any more" in capsys.readouterr().err
    assert cli.main(["alerts", "silence", "--list", "--json"]) == 0
    (one,) = answer(capsys)["silences"]
    assert (one["id"], one["lasts"]) == (key, False)
    assert cli.main(["alerts", "silence", "--list"]) == 0
    assert "[ended by hand on" in capsys.readouterr().out
    assert cli.main(["alerts", "list", "--json"]) == 0
    assert answer(capsys)["silences"] == []


def test_an_unknown_silence_is_refused_with_the_nearest_that_lasts(capsys):
    assert cli.main([*silence("market=india-ndfeb"), "--json"]) == 0
    key = answer(capsys)["silence"]["id"][:8]
    wrong = ("0" if key[0] != "0" else "1") + key[1:]
    assert cli.main(["alerts", "silence", "--end", wrong]) == 2
    assert f"there is no silence '{wrong}'; did you mean '{key}'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(silence("markets=india-ndfeb"), "did you mean 'market'?", id="a label"),
        pytest.param(silence("market=india-ndfed"), "did you mean 'india-ndfeb'?", id="a value"),
        pytest.param(silence("severity=high"), "known: info, warning, critical", id="a severity"),
        pytest.param(silence("india-ndfeb"), "is not label=value", id="no label"),
        pytest.param(silence(), "would silence everything", id="nothing"),
        pytest.param(silence("rule=*", reason=" "), "needs a reason", id="no reason"),
        pytest.param(
            ["alerts", "silence", "rule=*", "--reason", "x"], "say until when", id="no end"
        ),
        pytest.param(
            ["alerts", "silence", "rule=*", "--list"], "--list stands alone", id="two things"
        ),
    ],
)
def test_a_silence_that_can_t_be_meant_is_refused_and_not_kept(arguments, words, capsys):
    assert cli.main(arguments) == 2
    assert words in capsys.readouterr().err
    with open_service() as service:
        assert service.ledger.silences() == ()


# --- drills and delivery ---------------------------------------------------------------


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with StandIn() as running:
        monkeypatch.setenv("LODESTONE_SLACK_TOKEN", "xoxb-test")
        monkeypatch.setenv("LODESTONE_SLACK_BASE_URL", running.api_url)
        monkeypatch.setenv("LODESTONE_SLACK_RECONCILE_SECONDS", "0")
        monkeypatch.setattr(desk, "DRILL_PATIENCE_SECONDS", 1.0)
        yield running


def test_a_drill_posts_one_marked_message_to_each_route_and_disturbs_no_incident(
    drop, slack, capsys
):
    before = now_is(drop.id)
    assert cli.main(["alerts", "drill", "--json"]) == 0
    found = answer(capsys)
    assert found["arrived"] is True
    assert [(one["route"], one["channel"]) for one in found["routes"]] == [
        ("buyers", "#magnet-supply"),
        ("operators", "#lodestone-operators"),
    ]
    roots = slack.workspace.roots()
    assert len(roots) == 2
    assert all("Drill 1 of 1: nothing has happened" in one.text for one in roots)
    assert all("Not an alert" in str(one.blocks) for one in roots)
    assert now_is(drop.id) == before
    assert cli.main(["alerts", "list", "--json"]) == 0
    assert [one["id"] for one in answer(capsys)["incidents"]] == [drop.id]
    with open_service() as service:
        waits = [one.state for one in service.ledger.entries(LIVE_BOOK)]
    assert set(waits) == {OutboxState.PENDING}  # what really happened was not sent along


def test_a_drill_goes_to_the_route_or_channel_that_is_asked_for(slack, capsys):
    assert cli.main(["alerts", "drill", "--route", "operators"]) == 0
    assert "ok   operators        #lodestone-operators: arrived in" in capsys.readouterr().out
    assert cli.main(["alerts", "drill", "--channel", "#magnet-supply"]) == 0
    channels = [request.params["channel"] for request in slack.calls("chat.postMessage")]
    assert channels == ["#lodestone-operators", "#magnet-supply"]
    assert cli.main(["alerts", "drill", "--route", "byers"]) == 2
    assert "there is no route 'byers'; did you mean 'buyers'?" in capsys.readouterr().err


def test_a_drill_arrives_though_everything_is_silenced(slack, capsys):
    assert cli.main(silence("rule=*")) == 0
    capsys.readouterr()
    assert cli.main(["alerts", "drill", "--route", "buyers"]) == 0
    assert "ok   buyers" in capsys.readouterr().out
    assert len(slack.workspace.roots()) == 1


def test_a_drill_that_is_refused_says_so_and_is_never_sent_later(slack, capsys):
    slack.fail("chat.postMessage", Fault("error", applied=False, error="channel_not_found"))
    assert cli.main(["alerts", "drill", "--route", "buyers"]) == 3
    assert "BAD  buyers           #magnet-supply: refused: " in capsys.readouterr().out
    assert cli.main(["alerts", "redrive", "--json"]) == 0
    assert answer(capsys) == {"redriven": 0}
    assert cli.main(["alerts", "deliver"]) == 0
    assert slack.workspace.roots() == []
    capsys.readouterr()
    assert cli.main(["check", "--json"]) == 0
    outbox = next(one for one in answer(capsys)["checks"] if one["name"] == "outbox")
    assert outbox["note"] == "0 waiting, 0 given up"


def test_a_drill_that_has_to_wait_too_long_is_given_up(slack, capsys):
    slow = Fault("status", applied=False, status=429, headers={"Retry-After": "3600"})
    slack.fail("chat.postMessage", slow)
    assert cli.main(["alerts", "drill", "--route", "buyers"]) == 3
    assert "not sent in time" in capsys.readouterr().out
    with open_service() as service:
        later = service.clock() + timedelta(days=1)
        assert [one.state for one in service.ledger.entries()] == [OutboxState.SKIPPED]
        assert service.ledger.claim(None, later, timedelta(minutes=1)) is None


def test_a_drill_without_a_token_is_refused_and_leaves_nothing(capsys):
    assert cli.main(["alerts", "drill"]) == 2
    assert "LODESTONE_SLACK_TOKEN is not set" in capsys.readouterr().err
    with open_service() as service:
        assert service.ledger.entries() == ()


def test_what_is_undeliverable_is_sent_after_a_repair_also_beside_a_failed_drill(
    drop, slack, capsys
):
    broken = Fault("error", applied=False, error="channel_not_found")
    slack.fail("chat.postMessage", broken, broken)
    assert cli.main(["alerts", "deliver"]) == 3
    assert cli.main(["alerts", "drill", "--route", "buyers"]) == 3
    capsys.readouterr()
    assert cli.main(["alerts", "redrive", "--json"]) == 0
    assert answer(capsys) == {"redriven": 1}
    assert cli.main(["alerts", "deliver"]) == 0
    (root,) = slack.workspace.roots()
    assert "China's exports" in root.text


def test_delivery_of_an_empty_outbox_is_fine(capsys):
    assert cli.main(["alerts", "deliver", "--json"]) == 0
    found = answer(capsys)
    assert (found["sent"], found["pending"], found["dead"]) == (0, 0, 0)
    assert cli.main(["alerts", "redrive", "--json"]) == 0
    assert answer(capsys) == {"redriven": 0}


# --- records ---------------------------------------------------------------------------


def make_quality(**changes: Any) -> Quality:
    values: dict[str, Any] = {
        "events": 4,
        "hits": 3,
        "misses": 1,
        "episodes": 5,
        "hit_episodes": 3,
        "late_episodes": 1,
        "false_episodes": 1,
        "precision": 0.75,
        "precision_interval": (0.19, 0.99),
        "recall": 0.75,
        "recall_interval": (0.19, 0.99),
        "median_lead_days": 24.0,
        "false_per_month": 0.03,
        "posts": 11,
    }
    return Quality(**values | changes)


def test_a_replay_leaves_a_record_for_each_configured_rule_whose_truth_is_published():
    result = ReplayResult(
        rules={
            "magnet-exports-drop": make_quality(),
            "magnet-shortfall": make_quality(),
            "of-yesterday": make_quality(),
        },
        timeline=(),
        without_truth={"magnet-shortfall": "none is published"},
    )
    first, last = datetime(2015, 1, 1, tzinfo=UTC).date(), datetime(2024, 12, 31, tzinfo=UTC).date()
    with open_service() as service:
        assert desk.keep_records(service, result, first=first, last=last) == 1
        (rule,) = [one for one in service.ruleset.rules if one.name == "magnet-exports-drop"]
        assert list(service.ledger.records()) == [("magnet-exports-drop", rule.version)]
        # A trial over less time doesn't take its place.
        assert desk.keep_records(service, result, first=last, last=last) == 0
        opened = record(
            service, make_reading(Severity.CRITICAL, rule_version=rule.version, labels=DROP.labels)
        )
        (entry,) = service.ledger.entries(LIVE_BOOK, incident_id=opened.id)
    assert opened.state is State.FIRING
    assert any("it was right 3 of 4 times" in line for line in entry.message["evidence"])
