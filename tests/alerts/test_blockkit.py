import html
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.blockkit import TOTAL_LIMIT, render_slack
from alerts.lifecycle import State
from alerts.messages import Message
from alerts.rules import Fact, Severity
from tests.alerts.samples import samples

GOLDEN = Path(__file__).parent / "golden"
SAMPLES = samples()
BASE = SAMPLES["price_spike"]

LINK = re.compile(r"<https?://[^\s<>|]+\|[^<>|]*>")


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_messages_look_as_they_were_approved(name):
    content = render_slack(SAMPLES[name])
    path = GOLDEN / f"{name}.json"
    text = json.dumps(
        {"text": content.text, "blocks": content.blocks}, ensure_ascii=False, indent=2
    )
    if os.environ.get("LODESTONE_WRITE_GOLDEN") == "1":
        path.write_text(f"{text}\n", encoding="utf-8")
        pytest.fail(f"{path.name} rewritten: read the difference, then run again without")
    assert path.read_text(encoding="utf-8") == f"{text}\n"


def test_no_golden_file_is_left_over():
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(SAMPLES)


def test_severity_is_a_word_and_not_only_a_colour():
    assert header(BASE) == f"🔴 Critical: {BASE.headline}"
    assert header(SAMPLES["drop_resolved_root"]).startswith("🟢 Resolved: ")
    assert header(replace(BASE, state=State.WITHDRAWN, label="Withdrawn")).startswith(
        "⚪ Withdrawn"
    )
    assert header(replace(BASE, severity=Severity.INFO, label="Info")).startswith("🔵 Info: ")


def test_a_replay_is_marked_in_the_first_words_of_blocks_and_text():
    message = SAMPLES["drop_as_of_june"]

    assert header(message).startswith("Replay · 🔴 Critical: ")
    assert render_slack(message).text.startswith("[Replay: as known on 21 Jun 2025] 🔴 Critical: ")


def test_text_alone_tells_the_whole_finding():
    text = render_slack(SAMPLES["drop_raised_root"]).text

    for words in ("Critical", "1,238 t in May 2025", "two months running below 60 %", "5 of 11"):
        assert words in text


def test_links_are_ours_and_only_to_the_web():
    links = (
        ("Run <1>", "https://example.com/a?b=1&c=2"),
        ("Bad", "javascript:alert(1)"),
        ("Split", "https://example.com/|x>"),
        ("Long", "https://example.com/" + "x" * 400),
    )
    shown = json.dumps(render_slack(replace(BASE, links=links)).blocks, ensure_ascii=False)

    assert "<https://example.com/a?b=1&amp;c=2|Run &lt;1&gt;>" in shown
    assert "javascript" not in shown
    assert "Split" not in shown
    assert "Long" not in shown


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("<!channel>", "&lt;!channel&gt;"),
        ("<@U012AB3CD>", "&lt;@U012AB3CD&gt;"),
        ("<https://evil.example|x>", "&lt;https://evil.example|x&gt;"),
        ("a & b &lt;", "a &amp; b &amp;lt;"),
        ("@here @Channel @nobody", "＠here ＠Channel @nobody"),
        ("*bold* _it_ ~gone~ `code` dy_oxide", "∗bold∗ -it- ∼gone∼ 'code' dy_oxide"),
        ("a\u202eb\u200bc\x00d\ud800", "abc d\ufffd"),
        ("", "–"),
    ],
)
def test_text_from_data_is_shown_and_never_obeyed(hostile, shown):
    message = replace(BASE, facts=(Fact("Price", hostile),))

    (fields,) = [block["fields"] for block in render_slack(message).blocks if "fields" in block]

    assert fields[0]["text"] == f"*Price*\n{shown}"
    assert fields[0]["verbatim"] is True


ODD = st.sampled_from(
    [
        "<!channel>", "<!here|x>", "<@U012AB3CD>", "<#C01>", "<https://evil.example|x>", "&", "&amp;",
        "`", "```", "*", "_", "~", ">", "@here", "\u202e", "\u200b", "\x00", "\ud800", "\n", "=1+1",
        "😀", "é", "ß" * 50, "&" * 700, "<" * 3000, "x" * 10_000,
    ]
)  # fmt: skip
TEXT = st.one_of(st.text(max_size=40), st.lists(ODD, max_size=4).map("".join), ODD)
LINES = st.lists(TEXT, max_size=15).map(tuple)
MESSAGES = st.builds(
    Message,
    kind=st.sampled_from(["root", "reply"]),
    label=TEXT,
    headline=TEXT,
    severity=st.sampled_from(Severity),
    state=st.sampled_from(State),
    lead=TEXT,
    why_now=TEXT,
    facts=st.lists(st.builds(Fact, TEXT, TEXT), max_size=15).map(tuple),
    drivers=LINES,
    evidence=LINES,
    advice=TEXT,
    replay=TEXT,
    context=LINES,
    links=st.lists(st.tuples(TEXT, st.one_of(TEXT, st.just("https://ok.example/a"))), max_size=8),
)


@given(MESSAGES)
def test_any_message_is_inside_the_limits_and_mentions_nobody(message):
    content = render_slack(message)

    json.dumps(content.blocks).encode("ascii")
    content.text.encode("utf-8")  # a lone surrogate would fail here
    assert 0 < len(content.text) < 3000
    assert 0 < len(content.blocks) <= 50
    assert_harmless(content.text)
    total = 0
    for block in content.blocks:
        json.dumps(block, ensure_ascii=False).encode("utf-8")
        parts = ([block["text"]] if "text" in block else []) + block.get("fields", [])
        parts += block.get("elements", [])
        assert parts
        assert len(block.get("fields", [])) <= 10
        assert len(block.get("elements", [])) <= 10
        for part in parts:
            limit = 150 if block["type"] == "header" else 2000 if "fields" in block else 3000
            assert 0 < len(part["text"]) <= limit
            total += len(part["text"])
            if part["type"] == "mrkdwn":
                assert part["verbatim"] is True
                assert_harmless(part["text"])
            else:
                assert part["emoji"] is False
    assert total <= TOTAL_LIMIT


def assert_harmless(markup: str) -> None:
    """No token of Slack's markup but our own links, no broken entity, no hidden character."""
    rest = LINK.sub("", markup)
    assert "<" not in rest
    assert ">" not in rest
    assert "`" not in rest
    assert re.fullmatch(r"(?:[^&]|&(?:amp|lt|gt);)*", rest)
    assert not re.search(r"@(?:here|channel|everyone)\b", rest, re.IGNORECASE)
    assert not re.search("[\u0000-\u0009\u000b-\u001f\u200b-\u200f\u202a-\u202e\ufeff]", rest)
    html.unescape(rest).encode("utf-8")


def test_what_does_not_fit_is_dropped_from_the_least_important_end():
    lines = tuple("&" * 300 for _ in range(5))
    facts = tuple(Fact("&" * 60, "&" * 200) for _ in range(10))
    message = replace(
        BASE,
        lead="&" * 900,
        why_now="&" * 900,
        facts=facts,
        drivers=lines,
        evidence=lines,
        advice="&" * 900,
        context=lines,
    )

    shown = json.dumps(render_slack(message).blocks)

    assert "Why now" in shown
    assert "What it rests on" not in shown


def header(message: Message) -> str:
    return render_slack(message).blocks[0]["text"]["text"]
