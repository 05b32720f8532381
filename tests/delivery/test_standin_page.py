"""The stand-in's page shows what a reader of Slack would see, on a desk and on a phone."""

import html
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from slack_sdk.socket_mode.request import SocketModeRequest

from tests.browser import dom, require_chromium
from tests.delivery.socket_client import Listener, web_client
from tests.slack_standin import Message, StandIn


def button(action_id: str, words: str, **more: str) -> dict[str, Any]:
    text = {"type": "plain_text", "text": words}
    return {"type": "button", "action_id": action_id, "text": text, "value": "i", **more}


BUTTONS = {
    "type": "actions",
    "elements": [
        button("acknowledge", "Acknowledge", style="primary"),
        button("snooze_1d", "Snooze 1 day"),
        button("snooze_7d", "Snooze 7 days"),
        button("numbers", "Show numbers", accessibility_label="Show numbers: <Dy>"),
    ],
}


@pytest.fixture
def slack() -> Iterator[StandIn]:
    with StandIn() as stand_in:
        yield stand_in


@pytest.fixture
def message(slack) -> Message:
    return post(slack, blocks=[BUTTONS])


def post(slack: StandIn, text: str = "x", **more: Any) -> Message:
    slack.workspace.call("chat.postMessage", {"channel": "#a", "text": text, **more}, "xoxb-t")
    return slack.workspace.messages[-1]


def page(slack: StandIn, path: str = "/") -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(slack.url + path, timeout=10) as answer:
        return answer.read().decode()


def press(slack: StandIn, words: str, path: str = "/") -> tuple[str, str]:
    """Send the form of a button as a browser does; returns where that leads to, and the page there."""
    for form in re.findall(r'<form method="post" action="/click">(.*?)</form>', page(slack, path)):
        if f">{words}</button>" in form:
            pairs = re.findall(r'name="([^"]*)" value="([^"]*)"', form)
            body = urllib.parse.urlencode([(n, html.unescape(v)) for n, v in pairs]).encode()
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"{slack.url}/click", body, timeout=10) as answer:
                return answer.url.removeprefix(slack.url), answer.read().decode()
    raise AssertionError(f"no button {words}")


def test_a_button_pressed_on_the_page_reaches_the_app_and_its_answer_is_on_the_page(slack, message):
    def answers(request: SocketModeRequest) -> None:
        web_client(slack).chat_postEphemeral(
            channel=request.payload["channel"]["id"],
            user=request.payload["user"]["id"],
            text="You have taken this on.",
        )

    with Listener(slack, act=answers) as listener:
        place, shown = press(slack, "Acknowledge")
    heard = listener.requests
    assert [request.payload["actions"][0]["action_id"] for request in heard] == ["acknowledge"]
    assert heard[0].payload["user"]["name"] == "you"
    assert place == f"/?channel={message.channel}#m{message.ts}"
    assert shown.index("Only visible to you") < shown.index("You have taken this on.")
    assert "did not answer" not in shown


def test_a_button_that_nobody_hears_is_marked_as_slack_marks_it(slack, message):
    _, shown = press(slack, "Acknowledge")
    assert "The app did not answer this button in time." in shown


def test_a_press_of_a_button_that_is_gone_is_refused_in_words(slack, message):
    message.blocks = []
    form = urllib.parse.urlencode(
        {"channel": message.channel, "ts": message.ts, "action_id": "acknowledge"}
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"{slack.url}/click", form.encode(), timeout=10
        )
    with caught.value as refused:
        assert refused.code == 400
        assert b"no button acknowledge" in refused.read()


def test_an_answer_for_one_person_stands_under_its_message_and_names_them(slack, message):
    click = slack.click(message, "numbers")
    slack.workspace.respond(click.response_url.rsplit("/", 1)[1], {"text": "51 %"})
    last = post(slack, "later")
    shown = page(slack)
    assert shown.index("Only visible to Priya") < shown.index("51 %")
    assert shown.index("51 %") < shown.index(f"m{last.ts}")


def test_a_page_renews_itself_only_when_asked_to(slack, message):
    assert "http-equiv" not in page(slack)
    live = page(slack, "/?live=1")
    assert '<meta http-equiv="refresh" content="2">' in live
    assert '<input type="hidden" name="live" value="1">' in live
    place, _ = press(slack, "Acknowledge", "/?live=1")
    assert "&live=1" in place


def test_nothing_from_a_message_becomes_markup_of_the_page(slack):
    hostile = '"><script>alert(1)</script>'
    post(
        slack,
        hostile,
        blocks=[{"type": "actions", "elements": [button(hostile, hostile, value=hostile)]}],
    )
    post(slack, hostile, attachments=[{"title": hostile, "color": hostile, "footer": hostile}])
    slack.workspace.webhook({"channel": "#a", "username": hostile, "text": hostile})
    message = slack.workspace.say("#a", hostile, user=f"U0{hostile}")
    slack.workspace.call(
        "chat.postEphemeral",
        {"channel": message.channel, "user": hostile, "text": hostile},
        "xoxb-t",
    )
    shown = page(slack)
    assert "<script" not in shown
    assert shown.count("&lt;script&gt;") >= 8


@pytest.mark.parametrize(
    ("markup", "shown"),
    [
        ("<!here>", "@here"),
        ("<!channel>", "@channel"),
        ("<@U0PRIYA>", "@Priya"),
        ("<@W123>", "@W123"),
        ("<!subteam^S0BUYERS>", "@S0BUYERS"),
        ("<!subteam^S0BUYERS|@buyers>", "@buyers"),
        ("<#C123|alerts>", "#alerts"),
    ],
)
def test_whom_a_message_calls_stands_out(slack, markup, shown):
    post(slack, f"look {markup}")
    assert f'<span class="mention">{shown}</span>' in page(slack)


def test_people_and_other_apps_are_told_apart_from_ours(slack):
    slack.workspace.say("#a", "hello")
    slack.workspace.webhook({"channel": "#a", "username": "Alertmanager", "text": "up"})
    shown = page(slack)
    assert '<span class="who">Priya</span><span class="when">' in shown
    assert '<span class="who">Alertmanager</span><span class="app">APP</span>' in shown


def test_an_edit_shows_where_slack_shows_it(slack):
    message = post(slack, "first")
    place = {"channel": message.channel, "ts": message.ts}
    slack.workspace.call("chat.update", {**place, "text": "second"}, "xoxb-t")
    assert 'second <span class="edited">(edited)</span>' in page(slack)
    blocks = [{"type": "section", "text": {"type": "plain_text", "text": "third"}}]
    slack.workspace.call("chat.update", {**place, "text": "x", "blocks": blocks}, "xoxb-t")
    shown = page(slack)
    assert "third" in shown
    assert "(edited)" not in shown


@pytest.mark.browser
@pytest.mark.parametrize("width", [400, 1300])
def test_nothing_hangs_over_the_edge_of_a_phone_or_a_desk(slack, width, tmp_path: Path):
    """Measured in a frame: headless Chromium has no window narrower than 500 pixels."""
    require_chromium()
    fields = [{"type": "mrkdwn", "text": f"*Middle outcome*\nabout {n} t"} for n in range(6)]
    long = "x" * 300
    blocks = [
        {"type": "header", "text": {"type": "plain_text", "text": "🔴 " + long[:100]}},
        {"type": "section", "fields": fields},
        {"type": "section", "text": {"type": "mrkdwn", "text": f"```{long}``` `{long}`"}},
        BUTTONS,
        {"type": "context", "elements": [{"type": "plain_text", "text": long[:150]}]},
    ]
    root = post(slack, blocks=blocks)
    post(slack, long, thread_ts=root.ts, attachments=[{"title": long, "fields": [{"value": long}]}])
    ephemeral = {"channel": root.channel, "user": "U0YOU", "text": long, "thread_ts": root.ts}
    slack.workspace.call("chat.postEphemeral", ephemeral, "xoxb-t")
    wrapper = tmp_path / "frame.html"
    wrapper.write_text(
        f'<iframe width="{width}" height="900" srcdoc="{html.escape(page(slack))}"></iframe>'
        "<p></p><script>const frame = document.querySelector('iframe');"
        "frame.onload = () => { const root = frame.contentDocument.documentElement;"
        "const right = [...root.querySelectorAll('main *')]"
        ".map((each) => each.getBoundingClientRect().right);"
        "document.querySelector('p').textContent ="
        "`wide ${root.scrollWidth} of ${root.clientWidth}, right ${Math.ceil(Math.max(...right))}`"
        "}</script>"
    )
    seen = re.search(
        r"<p>wide (\d+) of (\d+), right (\d+)</p>", dom(wrapper.as_uri(), wait_ms=2000)
    )
    assert seen is not None
    whole, window, right = map(int, seen.groups())
    assert window > width - 30
    assert whole <= window
    assert right <= window
