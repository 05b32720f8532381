"""alerts/heartbeat.py: the daily word that the service is alive."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

from alerts.blockkit import render_slack
from alerts.heartbeat import (
    Vitals,
    heartbeat_input,
    heartbeat_message,
    heartbeat_reading,
    next_word_by,
)
from alerts.messages import Message
from alerts.rules import Reading, Severity
from alerts.terminal import render_terminal

AT = datetime(2026, 11, 30, 0, 4, tzinfo=UTC)
VITALS = Vitals(
    at=AT,
    judged_at=AT - timedelta(hours=21),
    delivered_at=AT - timedelta(days=3),
    waiting=2,
    unknown=1,
    dead=1234,
    open_incidents=3,
)


def facts_of(message: Message | Reading) -> dict[str, str]:
    return {fact.label: fact.value for fact in message.facts}


def test_the_word_says_when_rules_were_judged_what_is_stuck_and_when_to_worry():
    message = heartbeat_message(VITALS)
    assert facts_of(message) == {
        "Rules last judged": "29 Nov 2026, 03:04 UTC",
        "Last message delivered": "27 Nov 2026, 00:04 UTC",
        "Waiting": "2",
        "Unclear": "1",
        "Given up": "1,234",
        "Open incidents": "3",
        "Next word by": "1 Dec 2026, 01:04 UTC",
    }
    assert "does not say a later day by 1 Dec 2026, 01:04 UTC" in message.lead
    assert facts_of(heartbeat_reading("operators", VITALS)) == facts_of(message)


def test_the_word_is_no_alert_has_no_buttons_and_calls_nobody():
    message = heartbeat_message(VITALS)
    assert (message.label, message.headline) == ("Alive", "Lodestone is alive")
    assert (message.severity, message.kind) == (Severity.INFO, "root")
    assert (message.actions, message.mention, message.context) == ((), "", ("Not an alert",))
    content = render_slack(message)
    assert "Alive: Lodestone is alive" in content.text
    assert "<!" not in str(content.blocks)
    assert "actions" not in {block["type"] for block in content.blocks}
    assert "Rules last judged       29 Nov 2026" in render_terminal(message)


def test_a_service_that_has_done_nothing_yet_says_never():
    young = replace(VITALS, judged_at=None, delivered_at=None)
    told = facts_of(heartbeat_message(young))
    assert (told["Rules last judged"], told["Last message delivered"]) == ("never", "never")


def test_a_day_is_one_input_whatever_is_new_in_it_and_the_next_day_another():
    first = heartbeat_reading("operators", VITALS)
    later = heartbeat_reading("operators", replace(VITALS, at=AT + timedelta(hours=23), waiting=9))
    tomorrow = heartbeat_reading("operators", replace(VITALS, at=AT + timedelta(days=1)))
    assert first.input_id == later.input_id == heartbeat_input(AT.date())
    assert tomorrow.input_id != first.input_id
    assert tomorrow.fingerprint == first.fingerprint
    # Otherwise there would be nothing to edit in on a day on which nothing happened.
    assert tomorrow.facts != first.facts


def test_a_word_where_delivery_runs_once_a_day_may_be_an_hour_late():
    assert next_word_by(AT) == AT + timedelta(hours=25)


def test_days_are_those_of_utc_wherever_the_clock_stands():
    india = timezone(timedelta(hours=5, minutes=30))
    at = datetime(2026, 12, 1, 5, tzinfo=india)  # 23:30 of the day before in UTC
    reading = heartbeat_reading("operators", replace(VITALS, at=at))
    assert reading.input_id == heartbeat_input(AT.date())
    assert facts_of(reading)["Next word by"] == "2 Dec 2026, 00:30 UTC"
