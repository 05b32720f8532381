"""alerts/interactions.py: what a payload asks for, whether Slack signed it, and what people are answered."""

import copy
import hashlib
import hmac
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from alerts.incident import Decision, Reason, State
from alerts.interactions import (
    MOST_PRESSES,
    SPANS,
    Action,
    answered,
    failed_answer,
    foreign_answer,
    is_signed,
    late_answer,
    others_answer,
    over_answer,
    past_answer,
    presses_of,
    unknown_answer,
)
from alerts.rules import Severity
from tests.builders import NOW, make_incident, make_reading

INCIDENT = "6f1c0a52-0000-5000-8000-000000000001"
SECRET = "8f742231b10e8888abcd99yyyzzz85a5"


def payload(action_id: str = "lodestone:acknowledge", **changes: Any) -> dict[str, Any]:
    """One press as Slack tells of it."""
    whole = {
        "type": "block_actions",
        "user": {"id": "U0PRIYA", "username": "priya", "name": "priya", "team_id": "T1"},
        "container": {
            "type": "message",
            "message_ts": "1750507200.000100",
            "channel_id": "C0ALERTS",
            "is_ephemeral": False,
        },
        "channel": {"id": "C0ALERTS", "name": "alerts"},
        "message": {"ts": "1750507200.000100", "text": "…"},
        "response_url": "https://hooks.slack.com/actions/T1/2/3",
        "actions": [
            {
                "action_id": action_id,
                "block_id": "b1",
                "type": "button",
                "value": INCIDENT,
                "action_ts": "1750507260.123456",
            }
        ],
    }
    return whole | changes


# --- what is asked for ------------------------------------------------------------


@pytest.mark.parametrize("action", list(Action))
def test_a_press_says_who_asks_for_what_of_which_incident_and_where(action):
    (press,) = presses_of(payload(f"lodestone:{action.value}"))
    assert press.asks is action
    assert (press.user_id, press.user_name) == ("U0PRIYA", "priya")
    assert (press.incident_id, press.channel_id) == (INCIDENT, "C0ALERTS")
    assert press.message_ts == "1750507200.000100"
    assert press.response_url == "https://hooks.slack.com/actions/T1/2/3"
    assert press.thread_ts == ""


def test_a_message_in_a_thread_tells_its_thread():
    container = {**payload()["container"], "thread_ts": "1750507100.000001"}
    (press,) = presses_of(payload(container=container))
    assert press.thread_ts == "1750507100.000001"


def test_the_same_press_has_the_same_key_whichever_way_it_comes():
    again = payload(response_url="https://hooks.slack.com/actions/other", trigger_id="9.9.9")
    again["message"] = {"ts": "1750507200.000100", "text": "edited since"}
    assert presses_of(payload())[0].key == presses_of(again)[0].key


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(("user", "id", "U0RAVI"), id="another person"),
        pytest.param(("container", "message_ts", "1750507200.000200"), id="another message"),
        pytest.param(("channel", "id", "C0OTHERS"), id="another channel"),
        pytest.param(("actions", "action_id", "lodestone:numbers"), id="another button"),
        pytest.param(("actions", "action_ts", "1750507261.000001"), id="another time"),
    ],
)
def test_another_press_has_another_key(change):
    part, name, value = change
    other = copy.deepcopy(payload())
    place = other[part][0] if part == "actions" else other[part]
    place[name] = value
    assert presses_of(payload())[0].key != presses_of(other)[0].key


def test_buttons_of_other_apps_are_none_of_ours():
    assert presses_of(payload("approve")) == ()
    assert presses_of(payload("deploy:lodestone:acknowledge")) == ()


def test_a_button_of_another_version_is_a_press_that_nobody_knows():
    (press,) = presses_of(payload("lodestone:escalate"))
    assert press.asks is None
    assert press.action == "escalate"


def test_a_button_without_an_incident_is_still_answered():
    whole = payload()
    whole["actions"][0]["value"] = {"id": 3}
    (press,) = presses_of(whole)
    assert press.incident_id == ""


def test_a_person_without_a_name_is_called_by_id():
    (press,) = presses_of(payload(user={"id": "U0PRIYA", "name": "\u202e\x00", "username": 7}))
    assert press.user_name == "U0PRIYA"


@pytest.mark.parametrize(
    ("theirs", "ours", "is_of_others"),
    [
        pytest.param("T1", {"team": {"id": "T1"}}, False, id="of the workspace"),
        pytest.param("T2", {"team": {"id": "T1"}}, True, id="of another that shares the channel"),
        pytest.param(
            "E1", {"team": {"id": "T1", "enterprise_id": "E1"}}, False, id="of its organisation"
        ),
        pytest.param(
            "E1",
            {"team": None, "enterprise": {"id": "E1"}},
            False,
            id="installed organisation-wide",
        ),
        pytest.param(
            "T2", {"team": None, "enterprise": {"id": "E1"}}, True, id="of another organisation"
        ),
        pytest.param("T2", {"team": None, "enterprise": None}, False, id="nothing to compare with"),
        pytest.param(None, {"team": {"id": "T1"}}, False, id="the person's is not told"),
        pytest.param("T2", {"team": {"id": ["T2"]}}, False, id="odd"),
    ],
)
def test_a_press_tells_whether_it_is_of_somebody_of_another_workspace(theirs, ours, is_of_others):
    user = {"id": "U0PRIYA", "name": "priya", "team_id": theirs}
    (press,) = presses_of(payload(user=user, **ours))
    assert press.is_of_others is is_of_others


def test_a_name_is_kept_on_one_line_and_within_what_is_kept():
    (press,) = presses_of(payload(user={"id": "U1", "name": "a\nb\u202e" + "x" * 500}))
    assert press.user_name.startswith("a b")
    assert len(press.user_name) <= 120


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"type": "view_submission"}, id="not a button"),
        pytest.param({"user": None}, id="nobody"),
        pytest.param({"user": {"id": ["U1"]}}, id="a person of the wrong type"),
        pytest.param({"user": {"id": "U" * 41}}, id="a person whose id can't be kept"),
        pytest.param({"channel": {}, "container": {}}, id="nowhere"),
        pytest.param({"actions": None}, id="no actions"),
        pytest.param({"actions": {"action_id": "lodestone:acknowledge"}}, id="actions, no list"),
        pytest.param({"actions": ["lodestone:acknowledge", 3, None]}, id="actions, no objects"),
        pytest.param({"actions": [{"action_id": "lodestone:acknowledge"}]}, id="no time of it"),
    ],
)
def test_what_is_not_a_whole_press_of_ours_is_left_out(changes):
    assert presses_of(payload(**changes)) == ()


@pytest.mark.parametrize("odd", [None, 3, "text", [], [payload()], b"{}", {}])
def test_what_is_no_payload_has_no_presses(odd):
    assert presses_of(odd) == ()


def test_no_payload_makes_more_presses_than_a_block_has_buttons():
    whole = payload()
    one = whole["actions"][0]
    whole["actions"] = [{**one, "action_ts": f"1750507260.{n:06d}"} for n in range(500)]
    assert len(presses_of(whole)) == MOST_PRESSES


TEXT = st.text(max_size=300) | st.sampled_from(
    ["lodestone:", "lodestone:acknowledge", "\ud800", "\x00", "U1", "1.2", "block_actions"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
PARTS = (
    "type", "user", "team", "enterprise", "container", "channel", "message", "response_url", "actions",
)  # fmt: skip


@given(
    whole=st.fixed_dictionaries(dict.fromkeys(PARTS, JSON)),
    keep=st.sets(st.sampled_from(PARTS)),
)
@example(whole=dict.fromkeys(PARTS), keep=set(PARTS))
def test_whatever_comes_in_what_comes_out_can_be_kept(whole, keep):
    # Some parts as they should be, or most payloads would end at the first look.
    mixed = whole | {part: value for part, value in payload().items() if part in keep}
    for press in presses_of(mixed):
        assert re.fullmatch(r"[0-9a-f]{64}", press.key)
        assert 1 <= len(press.user_id) <= 40
        assert 1 <= len(press.user_name) <= 120
        assert 1 <= len(press.action) <= 40
        assert len(press.incident_id) <= 80
        assert 1 <= len(press.channel_id) <= 40
        assert 1 <= len(press.message_ts) <= 40
        assert len(press.response_url) <= 1000
        kept = (press.user_id, press.user_name, press.action, press.incident_id, press.channel_id)
        for text in kept:
            assert "\x00" not in text
            text.encode("utf-8")


@given(
    action=st.fixed_dictionaries(
        {"action_id": TEXT, "action_ts": TEXT | st.integers(), "value": JSON}
    ),
    name=JSON,
)
def test_odd_buttons_and_odd_names_never_stop_a_listener(action, name):
    whole = payload(user={"id": "U0PRIYA", "name": name}, actions=[action])
    for press in presses_of(whole):
        assert press.asks is None or press.action in set(Action)
        press.user_name.encode("utf-8")


# --- signatures -------------------------------------------------------------------


def signed(body: bytes, at: datetime, secret: str = SECRET) -> dict[str, str]:
    timestamp = str(int(at.timestamp()))
    basis = b"v0:" + timestamp.encode() + b":" + body
    digest = hmac.new(secret.encode(), basis, hashlib.sha256).hexdigest()
    return {"timestamp": timestamp, "signature": f"v0={digest}"}


def test_the_worked_example_of_slacks_documentation_is_recognised():
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow"
        b"&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner"
        b"&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands"
        b"%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    at = datetime.fromtimestamp(1531420618, UTC)
    given = {"timestamp": "1531420618", "signature": signature}
    assert is_signed("8f742231b10e8888abcd99yyyzzz85a5", body=body, now=at, **given)


@pytest.mark.parametrize(
    ("seconds", "is_good"), [(0, True), (299, True), (-299, True), (302, False), (-302, False)]
)
def test_a_request_is_good_for_five_minutes_on_either_side(seconds, is_good):
    sign = signed(b"payload=1", NOW)
    later = NOW + timedelta(seconds=seconds)
    assert is_signed(SECRET, body=b"payload=1", now=later, **sign) is is_good


GOOD = signed(b"payload=1", NOW)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"signature": None}, id="no signature"),
        pytest.param({"timestamp": None}, id="no time"),
        pytest.param({"signature": ""}, id="empty"),
        pytest.param({"signature": "v0=" + "0" * 64}, id="forged"),
        pytest.param({"signature": GOOD["signature"].upper()}, id="in capitals"),
        pytest.param({"signature": "v0=é" + GOOD["signature"][4:]}, id="not ASCII"),
        pytest.param({"signature": GOOD["signature"] + "\n"}, id="with a line break"),
        pytest.param({"timestamp": "soon"}, id="a time that is no number"),
        pytest.param({"timestamp": "1e9"}, id="a time in another form"),
        pytest.param({"timestamp": "١٧٥٠٥٠٧٢٠٠"}, id="digits of another script"),
        pytest.param({"timestamp": "9" * 400}, id="a time without end"),
        pytest.param({"timestamp": "-1"}, id="a time before time"),
        pytest.param({"body": b"payload=2"}, id="another body"),
    ],
)
def test_what_slack_did_not_sign_is_refused(changes):
    assert is_signed(SECRET, **({"body": b"payload=1", "now": NOW} | GOOD))
    assert not is_signed(SECRET, **({"body": b"payload=1", "now": NOW} | GOOD | changes))


def test_nothing_is_signed_with_another_secret_or_with_none():
    assert not is_signed("another", body=b"payload=1", now=NOW, **GOOD)
    assert not is_signed("", body=b"payload=1", now=NOW, **signed(b"payload=1", NOW, ""))


# --- answers ----------------------------------------------------------------------


def say(action: Action, reason: Reason, **changes: Any) -> str:
    return answered(action, Decision(reason, make_incident(**changes)))


TAKEN: dict[str, Any] = {"acknowledged_by": "ravi", "acknowledged_at": NOW}
ASLEEP: dict[str, Any] = {"snoozed_by": "priya", "snoozed_until": NOW + SPANS[Action.SNOOZE_DAY]}


@pytest.mark.parametrize(
    ("action", "reason", "with_it", "words"),
    [
        (
            Action.ACKNOWLEDGE,
            Reason.ACKNOWLEDGED,
            2,
            "You have taken this on, and the 2 told with it. Nobody else is called.",
        ),
        (
            Action.SNOOZE_DAY,
            Reason.SNOOZED,
            1,
            " UTC, and the one told with it. It wakes if",
        ),
        (
            Action.UNSNOOZE,
            Reason.WOKEN,
            2,
            "Awake again, and the 2 told with it: what is new of them is posted.",
        ),
    ],
)
def test_the_answer_says_how_many_went_with_a_message_that_speaks_for_several(
    action, reason, with_it, words
):
    asleep = ASLEEP if action is Action.SNOOZE_DAY else {}
    assert words in answered(action, Decision(reason, make_incident(**asleep), with_it=with_it))


@pytest.mark.parametrize(
    ("told", "words"),
    [
        pytest.param(
            say(Action.ACKNOWLEDGE, Reason.ACKNOWLEDGED, **TAKEN),
            "You have taken this on. Nobody else is called.",
            id="taken on",
        ),
        pytest.param(
            say(Action.ACKNOWLEDGE, Reason.UNCHANGED, **TAKEN),
            f"Taken on already by ravi on {NOW.day} {NOW:%b %Y, %H:%M} UTC.",
            id="somebody has it, perhaps of the same name",
        ),
        pytest.param(
            say(Action.SNOOZE_DAY, Reason.SNOOZED, **ASLEEP),
            "It wakes if it becomes more than warning; its end is told all the same.",
            id="snoozed",
        ),
        pytest.param(
            say(Action.SNOOZE_WEEK, Reason.SNOOZED, severity=Severity.CRITICAL, **ASLEEP),
            "UTC. Its end is told all the same.",
            id="nothing is more than critical",
        ),
        pytest.param(
            say(Action.SNOOZE_DAY, Reason.UNCHANGED, **ASLEEP),
            f"Snoozed already until {NOW.day + 1} {NOW:%b %Y, %H:%M} UTC by priya: that is longer than "
            "what you asked for, so it stays.",
            id="snoozed for longer",
        ),
        pytest.param(
            say(Action.SNOOZE_DAY, Reason.UNCHANGED),
            "Nothing was changed: the time that you asked for is over.",
            id="snoozed too late",
        ),
        pytest.param(
            say(Action.UNSNOOZE, Reason.WOKEN),
            "Awake again: what is new of it is posted.",
            id="woken",
        ),
        pytest.param(say(Action.UNSNOOZE, Reason.UNCHANGED), "It was not snoozed", id="was awake"),
        pytest.param(
            say(Action.ACKNOWLEDGE, Reason.UNCHANGED, state=State.RESOLVED),
            "nothing to acknowledge.",
            id="ended in between",
        ),
    ],
)
def test_who_pressed_is_told_what_became_of_it(told, words):
    headline, _, rest = told.partition("\n")
    assert headline == make_reading().headline
    assert words in rest


@pytest.mark.parametrize(
    ("state", "action", "words"),
    [
        (
            State.RESOLVED,
            Action.ACKNOWLEDGE,
            "This alert ended on 3 Jun 2025: nothing to acknowledge.",
        ),
        (State.EXPIRED, Action.SNOOZE_DAY, "This alert expired on 3 Jun 2025: nothing to snooze."),
        (
            State.WITHDRAWN,
            Action.UNSNOOZE,
            "This alert was withdrawn on 3 Jun 2025: nothing to wake.",
        ),
        (
            State.PENDING,
            Action.ACKNOWLEDGE,
            "Nobody has been told of this yet: nothing to acknowledge.",
        ),
    ],
)
def test_a_button_on_what_is_over_says_since_when(state, action, words):
    incident = make_incident(state, changed_at=datetime(2025, 6, 3, 8, tzinfo=UTC))
    assert over_answer(action, incident).splitlines()[1] == words


@pytest.mark.parametrize(
    ("action", "command"),
    [
        (Action.ACKNOWLEDGE, "lodestone alerts ack 6f1c0a52"),
        (Action.SNOOZE_DAY, "lodestone alerts snooze 6f1c0a52 --for 1d"),
        (Action.SNOOZE_WEEK, "lodestone alerts snooze 6f1c0a52 --for 7d"),
        (Action.UNSNOOZE, "lodestone alerts unsnooze 6f1c0a52"),
        (Action.NUMBERS, "lodestone alerts show 6f1c0a52"),
        (None, "lodestone alerts show 6f1c0a52"),
    ],
)
def test_what_could_not_be_noted_ends_with_the_command_that_does_it(action, command):
    assert failed_answer(action, INCIDENT).endswith(f"run: {command}")


def test_no_answer_repeats_what_a_headline_hides():
    reading = make_reading(headline="a\u202eb\x00 <!channel>\nc" + "x" * 400)
    incident = replace(make_incident(), reading=reading)
    for told in (
        late_answer(incident),
        over_answer(Action.NUMBERS, incident),
        past_answer(incident),
    ):
        assert "\u202e" not in told
        assert "\x00" not in told
        assert len(told.splitlines()) == 2
        assert len(told) < 300


def test_an_answer_without_an_incident_stands_alone():
    assert "not known here" in unknown_answer()
    assert "does not know this button" in foreign_answer()
    assert "belongs to another workspace" in others_answer()
    assert answered(Action.ACKNOWLEDGE, Decision(Reason.UNCHANGED, None)) == unknown_answer()


def test_no_answer_has_marks_that_slack_would_show_as_they_are():
    answers = [unknown_answer(), foreign_answer(), others_answer(), past_answer(make_incident())]
    for action in Action:
        answers += [failed_answer(action, INCIDENT), over_answer(action, make_incident())]
        answers += [say(action, reason, **TAKEN, **ASLEEP) for reason in Reason]
    assert not [one for one in answers if "`" in one or "*" in one]


def test_every_snooze_has_its_span():
    assert {action: span.days for action, span in SPANS.items()} == {
        Action.SNOOZE_DAY: 1,
        Action.SNOOZE_WEEK: 7,
    }
