"""Messages of each kind as a reader's browser shows them: posted by the real sender, shot in Chromium."""

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageChops

from alerts.blockkit import render_slack
from alerts.messages import Message
from alerts.slack import SlackSender
from flows.telling import chart_of
from tests.alerts.samples import DROP, judge, samples, storm
from tests.browser import CHROMIUM
from tests.builders import exports_known_on
from tests.slack_standin import StandIn

SIDEBAR, WIDTH = 220, 860  # of the page: what is right of the sidebar is kept
POSTED_AT = datetime(2025, 6, 22, 6, tzinfo=UTC)
USER = "U0PRIYA"
_AVATAR = (0x2B, 0x5C, 0x8A)
_AVATAR_AT = SIDEBAR + 20 + 2  # a column through the avatars of messages, not of replies
_LETTERS = Path("/usr/share/fonts/truetype/dejavu")
_FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{letters}</dir><cachedir>{cache}</cachedir></fontconfig>
"""


@dataclass(frozen=True)
class Shown:
    """One message of a channel, with what stands under it."""

    root: Message
    replies: tuple[Message, ...] = ()
    has_chart: bool = False
    answer: Message | None = None  # what one person sees who pressed "Show numbers"


def kinds() -> dict[str, Shown]:
    """Each kind of message by the name of its picture."""
    found = samples()
    # Of the message above a thread only its place is to be seen.
    short = replace(
        found["drop_raised_root"], why_now="", facts=(), drivers=(), evidence=(), advice=""
    )
    return {
        "root": Shown(found["drop_raised_root"]),
        "warning": Shown(found["shortfall"]),
        "thread": Shown(
            short, (found["drop_raised_reply"], found["drop_renewed_reply"]), has_chart=True
        ),
        "replies": Shown(
            short,
            tuple(found[f"drop_{turn}_reply"] for turn in ("woken", "again", "call")),
        ),
        "easing": Shown(found["drop_easing_root"]),
        "taken-on": Shown(found["drop_taken_root"]),
        "snoozed": Shown(found["drop_snoozed_root"]),
        "not-judged": Shown(found["drop_stale_root"]),
        "resolved": Shown(found["drop_resolved_root"], (found["drop_resolved_reply"],)),
        "withdrawn": Shown(found["drop_withdrawn_root"], (found["drop_withdrawn_reply"],)),
        "expired": Shown(found["drop_expired_root"], (found["drop_expired_reply"],)),
        "storm": Shown(storm(12)),
        "operators": Shown(found["stale_source"]),
        "call": Shown(found["drop_call_notice"]),
        "call-taken-on": Shown(found["drop_taken_notice"]),
        "replay": Shown(found["drop_as_of_june"]),
        "possible-repeat": Shown(found["drop_possible_repeat"]),
        "numbers": Shown(short, answer=found["drop_numbers"]),
        "drill": Shown(found["drill"]),
        "heartbeat": Shown(found["heartbeat"]),
    }


def digest(one: Shown) -> str:
    """A hash of all that a picture shows, as its golden files have it: another one needs another picture."""
    told = [one.root, *one.replies, *([one.answer] if one.answer else [])]
    contents = [render_slack(message) for message in told]
    words = json.dumps([[each.text, each.blocks] for each in contents], ensure_ascii=False)
    return hashlib.sha256(words.encode()).hexdigest()


def pictures(shown: Mapping[str, Shown], *, buttons: bool = True) -> dict[str, Image.Image]:
    """A picture of each message, all from one page of one channel."""
    with StandIn() as slack:
        sender = SlackSender("xoxb-picture", slack.api_url)
        for name, one in shown.items():
            _post(slack, sender, name, one, buttons=buttons)
        _date(slack)
        page = _shot(slack.url, height=1000 * len(shown) + 3000)
    return dict(zip(shown, _cut(page), strict=True))


def _post(slack: StandIn, sender: SlackSender, name: str, one: Shown, *, buttons: bool) -> None:
    content = render_slack(one.root, buttons=buttons)
    root = sender.post("#magnet-supply", content.text, content.blocks, name)
    if one.has_chart:
        situation = exports_known_on("2025-06-21")
        chart = chart_of(situation, judge(DROP, situation))
        assert chart is not None
        sender.upload(root, chart, "Monthly volume and its limit.", f"{name}-chart")
    for place, reply in enumerate(one.replies):
        content = render_slack(reply, buttons=buttons)
        sender.post(
            root.channel_id, content.text, content.blocks, f"{name}-{place}", thread_ts=root.ts
        )
    if one.answer is not None:
        content = render_slack(one.answer)
        answer = {
            "channel": root.channel_id,
            "user": USER,
            "text": content.text,
            "blocks": content.blocks,
        }
        slack.workspace.call("chat.postEphemeral", answer, "xoxb-picture")
        slack.workspace.ephemerals[-1].under = root.ts


def _date(slack: StandIn) -> None:
    """All at one moment: the hour of a test run is not part of a picture."""
    workspace = slack.workspace
    told = {}
    for place, message in enumerate(workspace.messages):
        told[message.ts] = f"{int(POSTED_AT.timestamp())}.{place:06d}"
        message.ts = told[message.ts]
    for message in workspace.messages:
        message.thread_ts = told.get(message.thread_ts or "")
    for ephemeral in workspace.ephemerals:
        ephemeral.under = told.get(ephemeral.under or "")
        ephemeral.at = POSTED_AT.timestamp()


def _shot(address: str, *, height: int) -> Image.Image:
    assert CHROMIUM is not None
    assert _LETTERS.is_dir(), "fonts are missing: apt-get install fonts-dejavu-core"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "fonts.conf").write_text(_FONTS.format(letters=_LETTERS, cache=folder / "cache"))
        shot = folder / "page.png"
        subprocess.run(
            [
                CHROMIUM,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
                f"--user-data-dir={folder / 'profile'}",
                f"--window-size={WIDTH},{height}",
                f"--screenshot={shot}",
                address,
            ],
            # One family, whatever else the machine has: letters as wide as in the pictures kept.
            env={
                "FONTCONFIG_FILE": str(folder / "fonts.conf"),
                "HOME": name,
                "PATH": "/usr/bin:/bin",
            },
            check=True,
            capture_output=True,
            timeout=90,
        )
        return Image.open(shot).convert("RGB")


def _cut(page: Image.Image) -> Iterator[Image.Image]:
    """The page at each message's avatar, without the margin under its last line."""
    column = [page.getpixel((_AVATAR_AT, y)) for y in range(page.height)]
    tops = [
        y - 12 for y in range(1, page.height) if column[y] == _AVATAR and column[y - 1] != _AVATAR
    ]
    for top, bottom in pairwise([*tops, page.height]):
        piece = page.crop((SIDEBAR, top, page.width, bottom))
        box = ImageChops.difference(piece, Image.new("RGB", piece.size, "white")).getbbox()
        assert box is not None
        yield piece.crop((0, 0, piece.width, min(box[3] + 12, piece.height)))
