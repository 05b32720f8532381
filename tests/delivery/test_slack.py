"""The Slack edge: every failure is named for what is known, and nothing secret leaves."""

import email.utils
import json
import logging
import os
import pickle
import socket
import traceback
from datetime import UTC, datetime, timedelta

import pytest

from alerts.errors import (
    ContentRefusedError,
    DeliveryError,
    NotAppliedError,
    RefusedError,
    TokenRefusedError,
    UnclearError,
)
from alerts.ledger import Receipt
from alerts.slack import SCOPES, SlackSender
from tests.delivery.helpers import PNG, TOKEN
from tests.slack_standin import Fault, StandIn

BLOCKS = [{"type": "section", "text": {"type": "mrkdwn", "text": "*Hello*"}}]
LONG_AGO = datetime.now(UTC) - timedelta(hours=1)


@pytest.fixture
def slack():
    with StandIn() as stand_in:
        yield stand_in


@pytest.fixture
def sender(slack):
    return SlackSender(TOKEN, slack.api_url, timeout_seconds=2)


def post(sender: SlackSender, key: str = "k-1", **changes: object) -> Receipt:
    return sender.post("#alerts", "Hello", BLOCKS, key, **changes)


# --- what it does ---------------------------------------------------------------


def test_a_post_carries_its_key_and_comes_back_with_channel_id_and_ts(slack, sender):
    receipt = post(sender)
    (message,) = slack.workspace.roots("#alerts")
    assert receipt == Receipt(slack.workspace.channel_id("#alerts"), message.ts)
    assert (message.text, message.blocks, message.delivery_key) == ("Hello", BLOCKS, "k-1")
    assert message.metadata["event_type"] == "lodestone_alert"
    assert len(message.client_msg_id) == 36


def test_the_same_key_has_the_same_client_message_id(slack, sender):
    post(sender)
    post(sender)
    first, second = slack.workspace.roots()
    assert first.client_msg_id == second.client_msg_id


def test_text_from_data_is_never_obeyed(slack, sender):
    post(sender)
    sent = slack.calls("chat.postMessage")[0].params
    assert (sent["parse"], sent["link_names"]) == ("none", False)
    assert (sent["unfurl_links"], sent["unfurl_media"]) == (False, False)


def test_an_edit_changes_the_message_and_keeps_its_key(slack, sender):
    receipt = post(sender)
    sender.edit(receipt, "Resolved", [], "k-1")
    (message,) = slack.workspace.roots()
    assert (message.text, message.blocks, message.delivery_key) == ("Resolved", [], "k-1")


def test_a_reply_stands_in_the_thread(slack, sender):
    root = post(sender)
    sender.post(root.channel_id, "Escalated", [], "k-2", thread_ts=root.ts)
    assert [reply.text for reply in slack.workspace.thread(root.ts)] == ["Escalated"]
    assert len(slack.workspace.roots()) == 1


def test_a_chart_stands_in_the_thread_with_its_words(slack, sender):
    root = post(sender)
    sender.upload(root, PNG, "Chance 51 % of a price above 300 USD/kg", "id:chart:3.1")
    (reply,) = slack.workspace.thread(root.ts)
    (file,) = reply.files
    assert file["data"] == PNG
    assert file["alt_txt"] == file["title"] == "Chance 51 % of a price above 300 USD/kg"


def test_a_message_is_found_by_its_key_in_the_channel_and_in_a_thread(slack, sender):
    root = post(sender)
    reply = sender.post(root.channel_id, "Escalated", [], "k-2", thread_ts=root.ts)
    sender.upload(root, PNG, "A chart", "id:chart:3.1")
    assert sender.find(root.channel_id, "k-1", since=LONG_AGO) == (root,)
    assert sender.find(root.channel_id, "k-2", since=LONG_AGO) == ()
    assert sender.find(root.channel_id, "k-2", since=LONG_AGO, thread_ts=root.ts) == (reply,)
    (chart,) = sender.find(root.channel_id, "id:chart:3.1", since=LONG_AGO, thread_ts=root.ts)
    assert chart.ts == slack.workspace.thread(root.ts)[1].ts


def test_a_message_is_found_where_the_route_gives_a_name(slack, sender):
    receipt = post(sender)
    fresh = SlackSender(TOKEN, slack.api_url)
    assert fresh.find("#alerts", "k-1", since=LONG_AGO) == (receipt,)
    with pytest.raises(RefusedError, match="channel_not_found"):
        fresh.find("#never-named", "k-1", since=LONG_AGO)


def test_a_message_is_found_behind_many_others(slack, sender):
    wanted = post(sender, "the first")
    for number in range(450):
        slack.workspace.call(
            "chat.postMessage", {"channel": "#alerts", "text": f"{number}"}, token="other"
        )
    assert sender.find(wanted.channel_id, "the first", since=LONG_AGO) == (wanted,)
    assert len(slack.calls("conversations.history")) == 3


# --- what goes wrong ------------------------------------------------------------

CASES = [
    # not applied: may be sent again
    (Fault("status", False, 429, headers={"Retry-After": "7"}), NotAppliedError),
    (Fault("error", False, error="ratelimited"), NotAppliedError),
    (Fault("error", False, error="message_limit_exceeded"), NotAppliedError),
    # unclear: look first
    (Fault("lost"), UnclearError),
    (Fault("reset"), UnclearError),
    (Fault("cut"), UnclearError),
    (Fault("html"), UnclearError),
    (Fault("late", seconds=2.5), UnclearError),
    (Fault("status", False, 500), UnclearError),
    (Fault("status", True, 502), UnclearError),
    (Fault("status", False, 503), UnclearError),
    (Fault("status", True, 504, body=b""), UnclearError),
    (Fault("status", False, 408), UnclearError),
    (Fault("error", True, error="internal_error"), UnclearError),
    (Fault("error", False, error="fatal_error"), UnclearError),
    (Fault("error", False, error="request_timeout"), UnclearError),
    (Fault("error", False, error="service_unavailable"), UnclearError),
    (Fault("error", True, error="duplicate_message_not_found"), UnclearError),
    # this content, never
    (Fault("error", False, error="invalid_blocks"), ContentRefusedError),
    (Fault("error", False, error="invalid_blocks_format"), ContentRefusedError),
    (Fault("error", False, error="msg_too_long"), ContentRefusedError),
    (Fault("error", False, error="msg_blocks_too_long"), ContentRefusedError),
    (Fault("error", False, error="invalid_metadata_schema"), ContentRefusedError),
    # this channel or app, never
    (Fault("error", False, error="channel_not_found"), RefusedError),
    (Fault("error", False, error="not_in_channel"), RefusedError),
    (Fault("error", False, error="is_archived"), RefusedError),
    (Fault("error", False, error="restricted_action_read_only_channel"), RefusedError),
    (Fault("error", False, error="missing_scope"), RefusedError),
    (Fault("error", False, error="some_code_of_next_year"), RefusedError),
    (Fault("status", False, 404), RefusedError),
    (Fault("status", False, 403), RefusedError),
    # nothing at all with this token
    (Fault("error", False, error="invalid_auth"), TokenRefusedError),
    (Fault("error", False, error="token_revoked"), TokenRefusedError),
    (Fault("error", False, error="account_inactive"), TokenRefusedError),
]


@pytest.mark.parametrize(
    ("fault", "kind"), CASES, ids=[f"{f.kind}-{f.status}-{f.error}-{f.applied}" for f, _ in CASES]
)
def test_each_answer_is_named_for_what_is_known_and_one_request_is_made(
    slack, sender, fault, kind, caplog, capfd
):
    slack.fail("chat.postMessage", fault)
    with caplog.at_level(logging.DEBUG), pytest.raises(DeliveryError) as caught:
        post(sender)
    assert type(caught.value) is kind
    assert len(slack.calls("chat.postMessage")) == 1
    _assert_no_secret(caught.value, caplog, capfd)


def _assert_no_secret(error: DeliveryError, caplog, capfd) -> None:
    told = "".join(traceback.format_exception(error)) + repr(error) + error.reason + caplog.text
    told += "".join(capfd.readouterr())
    assert "THIS-IS-THE-SECRET" not in told
    # Nothing that could hold the request hangs on the error either.
    assert error.__cause__ is None
    assert error.__context__ is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("1", 1),
        ("30", 30),
        ("2.5", 2.5),
        ("0", 1),
        ("999999", 3600),
        (None, 30),
        ("soon", 30),
        ("-5", 30),
        ("nan", 30),
        ("Sat, 99 Foo 2025", 30),
    ],
)
def test_the_wait_that_slack_asks_for_is_understood(slack, sender, header, seconds):
    headers = {} if header is None else {"Retry-After": header}
    slack.fail("chat.postMessage", Fault("status", False, 429, headers=headers))
    with pytest.raises(NotAppliedError) as caught:
        post(sender)
    assert caught.value.retry_after_seconds == seconds


def test_a_wait_given_as_a_date_is_measured_by_slacks_own_clock(slack, sender):
    until = email.utils.format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    slack.fail("chat.postMessage", Fault("status", False, 429, headers={"Retry-After": until}))
    with pytest.raises(NotAppliedError) as caught:
        post(sender)
    assert 85 <= caught.value.retry_after_seconds <= 91


def test_a_closed_port_is_not_applied(caplog, capfd):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(NotAppliedError, match="can't be reached") as caught:
        post(SlackSender(TOKEN, f"http://127.0.0.1:{port}/api/"))
    _assert_no_secret(caught.value, caplog, capfd)


def test_a_name_that_does_not_resolve_is_not_applied(caplog, capfd, monkeypatch):
    def no_such_host(*_args: object, **_kwargs: object):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_host)
    with pytest.raises(NotAppliedError, match="gaierror") as caught:
        post(SlackSender(TOKEN, "http://localhost:9/api/"))
    _assert_no_secret(caught.value, caplog, capfd)


def test_an_answer_that_is_not_json_text_is_unclear(slack, sender, caplog, capfd):
    slack.fail("chat.postMessage", Fault("html", body=b"\xff\xfe\x00 not text"))
    with pytest.raises(UnclearError) as caught:
        post(sender)
    _assert_no_secret(caught.value, caplog, capfd)


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"ok": false}', b"null", b""])
def test_an_answer_without_what_it_should_hold_is_unclear(slack, sender, body):
    slack.fail("chat.postMessage", Fault("html", body=body))
    with pytest.raises(UnclearError):
        post(sender)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"ok":true}', Receipt("#alerts", "")),
        (b'{"ok":true,"ts":"1.5"}', Receipt("#alerts", "1.5")),
        (b'{"ok":true,"channel":"C0000001"}', Receipt("C0000001", "")),
        (b'{"ok":true,"channel":{"id":"C0000001"},"ts":null}', Receipt("#alerts", "")),
    ],
)
def test_an_ok_proves_that_a_post_was_taken_whatever_else_is_missing(slack, sender, body, expected):
    slack.fail("chat.postMessage", Fault("html", body=body))
    assert post(sender) == expected


def test_a_post_answered_without_its_channel_can_be_edited_and_given_a_chart(slack, sender):
    slack.without["chat.postMessage"] = {"channel"}
    root = post(sender)
    assert root.channel_id == "#alerts"
    sender.edit(root, "Resolved", [], "k-1")
    sender.upload(root, PNG, "A chart", "k-2")
    (message,) = slack.workspace.roots("#alerts")
    assert message.text == "Resolved"
    assert len(slack.workspace.thread(root.ts)) == 1


@pytest.mark.parametrize(
    "body",
    [
        b'{"ok":true}',
        b'{"ok":true,"messages":null}',
        b'{"ok":true,"messages":{}}',
        b'{"ok":true,"messages":[],"has_more":true}',
    ],
)
@pytest.mark.parametrize("method", ["conversations.history", "conversations.replies"])
def test_a_page_that_does_not_show_the_messages_is_no_proof_of_absence(slack, sender, body, method):
    root = post(sender)
    thread_ts = root.ts if method == "conversations.replies" else None
    slack.fail(method, Fault("html", body=body))
    with pytest.raises(UnclearError, match="history"):
        sender.find(root.channel_id, "k-9", since=LONG_AGO, thread_ts=thread_ts)


def test_a_page_with_odd_parts_is_read_as_far_as_it_can_be(slack, sender):
    body = b"""{"ok":true,"response_metadata":"","messages":[null,"x",{"metadata":[]},{"files":[1]},
        {"ts":"7.5","metadata":{"event_payload":{"delivery_key":"k-9"}}}]}"""
    slack.fail("conversations.history", Fault("html", body=body))
    assert sender.find("C0000001", "k-9", since=LONG_AGO) == (Receipt("C0000001", "7.5"),)


def test_a_missing_permission_is_named(slack, sender):
    slack.workspace.methods["chat.postMessage"] = _lacking_scope
    with pytest.raises(RefusedError, match=r"lacks a permission: add chat:write"):
        post(sender)


def _lacking_scope(_):
    from tests.slack_standin.workspace import Refusal

    raise Refusal("missing_scope", needed="chat:write", provided="files:write")


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("files.getUploadURLExternal", "lost"),
        ("files.getUploadURLExternal", "html"),
        ("files.getUploadURLExternal", "cut"),
        ("upload", "lost"),
        ("upload", "reset"),
    ],
)
def test_an_unclear_answer_before_the_last_step_of_a_chart_showed_nothing(
    slack, sender, method, kind
):
    root = post(sender)
    slack.fail(method, Fault(kind, applied=False))
    with pytest.raises(NotAppliedError):
        sender.upload(root, PNG, "A chart", "k-2")
    assert slack.workspace.thread(root.ts) == []


def test_an_unclear_answer_to_the_last_step_of_a_chart_is_unclear(slack, sender):
    root = post(sender)
    slack.fail("files.completeUploadExternal", Fault("lost"))
    with pytest.raises(UnclearError):
        sender.upload(root, PNG, "A chart", "k-2")
    assert len(slack.workspace.thread(root.ts)) == 1


@pytest.mark.parametrize(
    ("method", "fault", "kind"),
    [
        ("upload", Fault("status", False, 404), RefusedError),
        ("upload", Fault("status", False, 503), NotAppliedError),
        ("upload", Fault("status", False, 429), NotAppliedError),
        ("files.getUploadURLExternal", Fault("error", False, error="unknown_method"), RefusedError),
        ("files.getUploadURLExternal", Fault("status", False, 404), RefusedError),
        ("files.getUploadURLExternal", Fault("html", body=b'{"ok":true}'), RefusedError),
    ],
)
def test_a_chart_that_fails_is_named_and_shows_no_secret(
    slack, sender, method, fault, kind, caplog, capfd
):
    root = post(sender)
    slack.fail(method, fault)
    with pytest.raises(DeliveryError) as caught:
        sender.upload(root, PNG, "A chart", "k-2")
    assert type(caught.value) is kind
    _assert_no_secret(caught.value, caplog, capfd)


@pytest.mark.parametrize("call", ["edit", "find", "replies", "list"])
def test_no_edge_lets_the_token_out(slack, sender, call, caplog, capfd):
    methods = {
        "edit": "chat.update",
        "find": "conversations.history",
        "replies": "conversations.replies",
        "list": "conversations.list",
    }
    root = post(sender)
    actions = {
        "edit": lambda: sender.edit(root, "x", [], "k-1"),
        "find": lambda: sender.find(root.channel_id, "k", since=LONG_AGO),
        "replies": lambda: sender.find("C0000001", "k", since=LONG_AGO, thread_ts=root.ts),
        "list": lambda: sender.find("#another", "k", since=LONG_AGO),
    }
    slack.fail(methods[call], Fault("lost"))
    with caplog.at_level(logging.DEBUG), pytest.raises(UnclearError) as caught:
        actions[call]()
    _assert_no_secret(caught.value, caplog, capfd)


# --- construction ---------------------------------------------------------------


def test_the_token_is_in_no_text_of_a_sender(sender):
    assert "SECRET" not in repr(sender) + str(sender)
    with pytest.raises(TypeError):
        pickle.dumps(sender)


@pytest.mark.parametrize("token", ["", "  ", "xoxb-SECRET\nInjected: header", "xoxb-SECRÉT"])
def test_a_token_that_no_header_can_hold_is_refused_unseen(token):
    with pytest.raises(TokenRefusedError) as caught:
        SlackSender(token)
    assert "SECR" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "address",
    ["slack.com/api", "ftp://slack.com/", "file:///etc/passwd", "https://", "", "http:// x"],
)
def test_an_address_that_leads_nowhere_is_refused(address):
    with pytest.raises(RefusedError, match="Slack address"):
        SlackSender(TOKEN, address)


def test_a_proxy_in_the_environment_does_not_come_between_loopback(slack, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert os.environ["HTTP_PROXY"]
    sender = SlackSender(TOKEN, slack.api_url)
    root = post(sender)
    sender.upload(root, PNG, "A chart", "k-2")
    assert len(slack.workspace.messages) == 2


def test_blocks_that_json_cannot_hold_are_refused_before_a_request(slack, sender):
    with pytest.raises(ContentRefusedError):
        sender.post("#alerts", "Hello", [{"type": "section", "bad": float("nan")}], "k-1")
    assert slack.requests == []


def test_hostile_text_arrives_as_it_was(slack, sender):
    text = "nul \x00 <!channel> \u202e back ‘ticks’ 稀土 \U0001f4a9"
    sender.post("#alerts", text, [], "k-1")
    assert slack.workspace.roots()[0].text == text
    sender.post("#alerts", "half a character \ud800", [], "k-2")
    assert json.dumps(slack.workspace.roots()[1].text)


# --- who we are, and what we may do -----------------------------------------------


def test_it_knows_who_it_is_and_which_permissions_it_lacks(slack, sender):
    found = sender.check()
    assert (found.team, found.missing) == ("Stand-in", ())
    slack.workspace.scopes = {"chat:write", "channels:history"}
    lacking = sender.lacks()
    assert [one.split(" (")[0] for one in lacking] == [
        scope for scope in SCOPES if scope not in slack.workspace.scopes
    ]
    assert "files:write (no charts)" in lacking


def test_permissions_that_slack_does_not_tell_are_not_said_to_be_missing(slack, sender):
    slack.workspace.scopes = set()
    assert sender.lacks() == ()


def test_a_channel_that_it_is_not_in_is_joined_and_posted_to_once(slack, sender):
    slack.workspace.not_joined.add("desk")
    slack.workspace.channel_id("#desk")
    sender.post("#desk", "Hello", BLOCKS, "k-1")
    assert len(slack.workspace.roots("#desk")) == 1
    assert len(slack.calls("conversations.join")) == 1


def test_a_channel_that_it_may_not_join_is_refused_with_the_mend(slack, sender):
    slack.workspace.not_joined.add("desk")
    slack.workspace.channel_id("#desk")
    slack.workspace.scopes.discard("channels:join")
    with pytest.raises(RefusedError, match=r"not_in_channel.*invite it there"):
        sender.post("#desk", "Hello", BLOCKS, "k-1")
    assert slack.workspace.roots("#desk") == []


def test_a_message_is_deleted_and_one_that_is_gone_is_fine(slack, sender):
    receipt = post(sender)
    sender.delete(receipt)
    assert slack.workspace.roots() == []
    sender.delete(receipt)


def test_a_message_in_a_private_channel_named_by_a_route_is_found(slack, sender):
    slack.workspace.private.add("desk")
    sender.post("#desk", "Hello", BLOCKS, "k-1")
    # Another worker, to which no answer has told the channel's id.
    other = SlackSender(TOKEN, slack.api_url, timeout_seconds=2)
    (receipt,) = other.find("#desk", "k-1", since=LONG_AGO)
    assert receipt.channel_id == slack.workspace.channel_id("#desk")


def test_without_the_permission_for_private_channels_public_ones_are_still_found(slack, sender):
    slack.workspace.scopes -= {"groups:read"}
    receipt = post(sender)
    other = SlackSender(TOKEN, slack.api_url, timeout_seconds=2)
    assert other.find("#alerts", "k-1", since=LONG_AGO) == (receipt,)
    listed = [str(one.params["types"]) for one in slack.calls("conversations.list")]
    assert listed == ["public_channel,private_channel", "public_channel"]


def test_without_any_permission_to_list_channels_it_says_which_is_missing(slack, sender):
    slack.workspace.scopes -= {"groups:read", "channels:read"}
    with pytest.raises(RefusedError, match=r"missing_scope.*add channels:read"):
        sender.find("#alerts", "k-1", since=LONG_AGO)


def test_both_copies_of_a_message_are_found_oldest_first(slack, sender):
    first, second = post(sender), post(sender)
    assert sender.find("#alerts", "k-1", since=LONG_AGO) == (first, second)


def test_our_own_messages_are_found_where_slack_does_not_say_who_we_are(slack, sender):
    receipt = post(sender)
    slack.workspace.disabled.add("auth.test")
    assert sender.find("#alerts", "k-1", since=LONG_AGO) == (receipt,)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", applied=False, status=429, headers={"Retry-After": "7"}),
        Fault("lost", applied=False),
        Fault("status", applied=False, status=503),
    ],
    ids=["asked to wait", "lost", "503"],
)
def test_trouble_while_joining_a_channel_leaves_the_message_to_be_sent_again(slack, sender, fault):
    slack.workspace.not_joined.add("desk")
    slack.workspace.channel_id("#desk")
    slack.fail("conversations.join", fault)
    with pytest.raises(NotAppliedError):
        sender.post("#desk", "Hello", BLOCKS, "k-1")
    sender.post("#desk", "Hello", BLOCKS, "k-1")
    assert len(slack.workspace.roots("#desk")) == 1
