"""The stand-in behaves as Slack is documented to, or tests against it would prove nothing."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.delivery.helpers import PNG
from tests.slack_standin import StandIn, Workspace
from tests.slack_standin.blocks import problems
from tests.slack_standin.workspace import Refusal


def call(workspace: Workspace, method: str, **params: Any) -> dict[str, Any]:
    return workspace.call(method, params, "xoxb-token")


def text(length: int) -> dict[str, str]:
    return {"type": "mrkdwn", "text": "x" * length}


@pytest.mark.parametrize(
    ("block", "longest"),
    [
        (lambda n: {"type": "header", "text": {"type": "plain_text", "text": "x" * n}}, 150),
        (lambda n: {"type": "section", "text": text(n)}, 3000),
        (lambda n: {"type": "section", "fields": [text(n)]}, 2000),
        (lambda n: {"type": "section", "fields": [text(1)] * n}, 10),
        (lambda n: {"type": "context", "elements": [text(1)] * n}, 10),
    ],
    ids=["header", "section", "field", "fields", "context"],
)
def test_a_block_is_taken_at_its_limit_and_refused_beyond(block, longest):
    assert problems([block(longest)]) == []
    assert problems([block(longest + 1)]) != []


def test_fifty_blocks_are_taken_and_one_more_is_refused():
    assert problems([{"type": "divider"}] * 50) == []
    assert problems([{"type": "divider"}] * 51) != []


def test_a_message_without_anything_is_refused():
    with pytest.raises(Refusal, match="no_text"):
        call(Workspace(), "chat.postMessage", channel="#a")


def test_too_much_text_in_all_blocks_together_is_refused():
    blocks = [{"type": "section", "text": text(2900)}] * 4
    with pytest.raises(Refusal, match="msg_blocks_too_long"):
        call(Workspace(), "chat.postMessage", channel="#a", blocks=blocks)


def test_history_shows_metadata_only_when_asked_and_never_replies():
    workspace = Workspace()
    metadata = {"event_type": "e", "event_payload": {"delivery_key": "k"}}
    root = call(workspace, "chat.postMessage", channel="#a", text="x", metadata=metadata)
    call(workspace, "chat.postMessage", channel="#a", text="y", thread_ts=root["ts"])
    plain = call(workspace, "conversations.history", channel=root["channel"])
    asked = call(
        workspace, "conversations.history", channel=root["channel"], include_all_metadata="1"
    )
    assert [set(m) & {"metadata"} for m in plain["messages"]] == [set()]
    assert [m["metadata"] for m in asked["messages"]] == [metadata]


def test_an_update_with_text_alone_takes_the_blocks_away():
    workspace = Workspace()
    blocks = [{"type": "divider"}]
    root = call(workspace, "chat.postMessage", channel="#a", text="x", blocks=blocks)
    call(workspace, "chat.update", channel=root["channel"], ts=root["ts"], text="y")
    assert workspace.roots()[0].blocks == []


def test_a_file_that_was_never_sent_can_not_be_shared():
    workspace = Workspace()
    place = call(workspace, "files.getUploadURLExternal", filename="a.png", length=3)
    with pytest.raises(Refusal, match="file_not_found"):
        call(workspace, "files.completeUploadExternal", files=[{"id": place["file_id"]}])


def test_the_page_shows_threads_pictures_and_marks_mentions_and_obeys_no_html():
    with StandIn() as stand_in:
        workspace = stand_in.workspace
        blocks = [
            {"type": "header", "text": {"type": "plain_text", "text": "🔴 <b>Rise</b> & fall"}},
            {"type": "section", "text": {"type": "mrkdwn", "text": "*bold* <!channel> <script>"}},
        ]
        root = call(workspace, "chat.postMessage", channel="#a", text="x", blocks=blocks)
        place = call(
            workspace, "files.getUploadURLExternal", filename="a.png", length=len(PNG), alt_txt="Up"
        )
        workspace.upload(place["file_id"], PNG)
        call(
            workspace,
            "files.completeUploadExternal",
            files=[{"id": place["file_id"], "title": "Chart"}],
            channel_id=root["channel"],
            thread_ts=root["ts"],
        )
        page = _get(f"{stand_in.url}/").decode()
        picture = re.search(r'<img src="(/files/[^"]+)" alt="Up">', page)
        assert picture is not None
        assert _get(stand_in.url + picture[1]) == PNG
        state = json.loads(_get(f"{stand_in.url}/state"))
    assert "1 reply" in page
    assert "&lt;b&gt;Rise&lt;/b&gt; &amp; fall" in page
    assert "<b>bold</b>" in page
    assert '<span class="mention">!channel</span>' in page
    assert "<script>" not in page
    assert [message["channel"] for message in state] == ["a", "a"]


def test_it_can_be_started_from_the_command_line():
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.slack_standin"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env=dict(os.environ),
    )
    assert process.stdout is not None
    with process:
        address = process.stdout.readline().split()[-1]
        assert b"Nothing has been posted" in _get(address)
        process.terminate()


def _get(address: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(address, timeout=10) as answer:
        return answer.read()
