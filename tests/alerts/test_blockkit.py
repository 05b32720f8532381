import html
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.blockkit import TOTAL_LIMIT, render_answer, render_slack
from alerts.interactions import Action
from alerts.lifecycle import State
from alerts.messages import Message
from alerts.rules import Fact, Severity
from tests.alerts.samples import samples, storm
from tests.slack_standin.blocks import problems

GOLDEN = Path(__file__).parent / "golden"
SAMPLES = samples()
BASE = SAMPLES["price_spike"]

LINK = re.compile(r"<https?://[^\s<>|]+\|[^<>|]*>")
CALL = re.compile(r"<!here>|<@[UW][A-Z0-9]+>|<!subteam\^S[A-Z0-9]+>")


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


@pytest.mark.parametrize("kind", ["reply", "notice", "numbers"])
def test_what_has_no_header_says_that_it_is_a_replay_in_a_line_before_all_else_and_once(kind):
    blocks = render_slack(replace(SAMPLES["drop_as_of_june"], kind=kind)).blocks

    assert blocks[0]["text"]["text"].startswith(
        "*Replay: as known on 21 Jun 2025*\n🔴 *Critical:* "
    )
    assert str_of(blocks).count("Replay: as known on") == 1


@pytest.mark.parametrize(
    ("mention", "call"),
    [("here", "<!here>"), ("U0123ABCD", "<@U0123ABCD>"), ("S0123ABCD", "<!subteam^S0123ABCD>")],
)
def test_whom_the_blocks_call_is_told_apart_for_where_only_text_is_shown(mention, call):
    content = render_slack(replace(BASE, mention=mention))

    assert content.call == call
    assert call in str_of(content.blocks)
    assert call not in content.text


@pytest.mark.parametrize("mention", ["", "channel", "<!channel>", "U1 <!here>"])
def test_who_is_nobody_is_not_called(mention):
    assert render_slack(replace(BASE, mention=mention)).call == ""


def test_an_answer_is_shown_as_it_is_line_by_line():
    content = render_answer("Oxide *up* <!channel>\nTaken on by @here & `co`\u202e.")

    (block,) = content.blocks
    shown = "Oxide *up* <!channel>\nTaken on by @here & `co`."
    assert block["text"] == {"type": "plain_text", "text": shown, "emoji": False}
    assert content.text == "Oxide ∗up∗ &lt;!channel&gt;\nTaken on by ＠here &amp; 'co'."
    assert content.call == ""


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
    kind=st.sampled_from(["root", "reply", "notice", "numbers"]),
    label=TEXT,
    headline=TEXT,
    severity=st.sampled_from(Severity),
    state=st.sampled_from(State),
    lead=TEXT,
    why_now=TEXT,
    facts=st.lists(st.builds(Fact, TEXT, TEXT), max_size=25).map(tuple),
    drivers=LINES,
    evidence=LINES,
    advice=TEXT,
    replay=TEXT,
    context=LINES,
    links=st.lists(st.tuples(TEXT, st.one_of(TEXT, st.just("https://ok.example/a"))), max_size=8),
    beside=st.builds(lambda lines, times: lines * times, LINES, st.integers(0, 9)),
    mention=st.one_of(TEXT, st.sampled_from(["", "here", "U0123ABCD", "S0123ABCD"])),
    incident=st.one_of(TEXT, st.just("6f1c0a52-0000-5000-8000-000000000001")),
    actions=st.lists(st.sampled_from(Action), max_size=30).map(tuple),
)


@given(MESSAGES)
def test_any_message_is_inside_the_limits_and_mentions_nobody(message):
    content = render_slack(message)

    assert problems(content.blocks) == []
    json.dumps(content.blocks).encode("ascii")
    content.text.encode("utf-8")  # a lone surrogate would fail here
    assert 0 < len(content.text) < 3000
    assert 0 < len(content.blocks) <= 50
    assert_harmless(content.text)
    total = 0
    for block in content.blocks:
        json.dumps(block, ensure_ascii=False).encode("utf-8")
        for part in texts_of(block):
            limit = 150 if block["type"] == "header" else 2000 if "fields" in block else 3000
            assert 0 < len(part["text"]) <= limit
            total += len(part["text"])
            if part["type"] == "mrkdwn":
                assert part["verbatim"] is True
                assert_harmless(part["text"], mention=message.mention)
            else:
                assert part["emoji"] is False
    assert total <= TOTAL_LIMIT


@given(st.lists(TEXT, max_size=5))
def test_any_answer_is_inside_the_limits_and_mentions_nobody(lines):
    content = render_answer("\n".join([*lines, "Nothing was done."]))

    assert problems(content.blocks) == []
    json.dumps(content.blocks).encode("ascii")
    assert_harmless(content.text)


def texts_of(block):
    """Every text object of a block."""
    texts = ([block["text"]] if "text" in block else []) + block.get("fields", [])
    elements = block.get("elements", [])
    texts += [one["text"] if one["type"] == "button" else one for one in elements]
    assert texts
    return texts


def assert_harmless(markup: str, *, mention: str = "") -> None:
    """No token of Slack's markup but our own links and call, no broken entity, no hidden character."""
    if mention and CALL.fullmatch(markup) and mention in markup:
        return
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


def test_open_alerts_have_buttons_that_say_what_and_of_which():
    message = SAMPLES["drop_raised_root"]

    assert message.incident
    assert buttons(message) == [
        ("lodestone:acknowledge", "Acknowledge", "primary"),
        ("lodestone:snooze_1d", "Snooze 1 day", ""),
        ("lodestone:snooze_7d", "Snooze 7 days", ""),
        ("lodestone:numbers", "Show numbers", ""),
    ]
    blocks = render_slack(message).blocks
    assert [block["type"] for block in blocks[-2:]] == ["actions", "context"]
    for button in blocks[-2]["elements"]:
        assert button["value"] == message.incident
        # Read aloud in place of its words, so it begins with them.
        assert button["accessibility_label"].startswith(
            f"{button['text']['text']}: China's exports of rare-earth magnets"
        )
    assert not any("block_id" in block for block in blocks)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("drop_taken_root", ["Snooze 1 day", "Snooze 7 days", "Show numbers"]),
        ("drop_snoozed_root", ["End snooze", "Show numbers"]),
        ("drop_as_of_june", ["Show numbers"]),
        ("drop_call_notice", ["Acknowledge", "Show numbers"]),
        ("drop_resolved_root", ["Show numbers"]),
        ("drop_withdrawn_root", ["Show numbers"]),
        ("drop_expired_root", ["Show numbers"]),
        ("drop_raised_reply", []),
        ("drop_numbers", []),
        ("drill", ["Acknowledge", "Snooze 1 day", "Snooze 7 days", "Show numbers"]),
    ],
)
def test_a_message_offers_what_can_be_asked_as_it_stands(name, shown):
    assert [words for _, words, _ in buttons(SAMPLES[name])] == shown


def test_where_nobody_answers_them_there_are_no_buttons_and_nothing_else_is_missing():
    for message in SAMPLES.values():
        plain = render_slack(message, buttons=False)
        full = render_slack(message)

        assert plain.text == full.text
        assert plain.blocks == [one for one in full.blocks if one["type"] != "actions"]


@pytest.mark.parametrize("incident", ["", "a b", "\ud800", "x" * 2001, "é", "a\n"])
def test_a_button_that_could_not_name_its_incident_is_not_shown(incident):
    assert buttons(replace(BASE, incident=incident)) == []


def test_a_button_carries_its_incident_whole_up_to_the_limit_of_slack():
    message = replace(BASE, incident="x" * 2000)

    assert problems(render_slack(message).blocks) == []
    assert len(buttons(message)) == 4


def test_an_action_asked_for_twice_is_one_button():
    message = replace(BASE, actions=(Action.NUMBERS,) * 30)

    assert [words for _, words, _ in buttons(message)] == ["Show numbers"]


@pytest.mark.parametrize("over", [0, 1])
def test_a_header_is_cut_only_beyond_its_limit(over):
    room = 150 - len("🔴 Critical: ")
    title = header(replace(BASE, headline="x" * (room + over)))

    assert len(title) == 150
    assert title.endswith("…" if over else "x")


@pytest.mark.parametrize("over", [0, 1])
def test_a_spoken_label_is_cut_only_beyond_its_limit(over):
    room = 75 - len("Show numbers: ")
    message = replace(BASE, headline="x" * (room + over), actions=(Action.NUMBERS,))

    (button,) = render_slack(message).blocks[-2]["elements"]

    assert len(button["accessibility_label"]) == 75
    assert button["accessibility_label"].endswith("…" if over else "x")


@pytest.mark.parametrize(
    ("facts", "sections"), [(10, [10]), (11, [10, 1]), (60, [10] * 6), (100, [10] * 10)]
)
def test_every_number_is_shown_in_sections_of_ten(facts, sections):
    message = replace(BASE, facts=tuple(Fact(f"F{n}", f"{n} t") for n in range(facts)))
    blocks = render_slack(message).blocks

    assert [len(block["fields"]) for block in blocks if "fields" in block] == sections
    assert f"*F{facts - 1}*\n{facts - 1} t" in str_of(blocks)


def test_numbers_without_room_are_counted():
    many = replace(BASE, facts=tuple(Fact(f"F{n}", f"{n} t") for n in range(5000)))
    fields = [field for block in render_slack(many).blocks for field in block.get("fields", [])]
    assert (len(fields), fields[-1]["text"]) == (100, "and 4901 more numbers")

    long = replace(BASE, facts=tuple(Fact("F", "x" * 200) for _ in range(60)))
    content = render_slack(long)
    shown = str_of(content.blocks).count("x" * 199)
    assert shown > 20
    assert f"and {60 - shown} more numbers" in str_of(content.blocks)
    told = content.text.count("x" * 199)
    assert f"and {60 - told} more numbers" in content.text


def test_who_asks_for_the_numbers_gets_more_of_what_they_rest_on():
    lines = tuple(f"Line {n}" for n in range(10))
    for kind, last in (("root", 4), ("numbers", 8)):
        shown = str_of(render_slack(replace(BASE, kind=kind, evidence=lines)).blocks)
        assert f"Line {last}" in shown
        assert f"Line {last + 1}" not in shown
        assert f"and {9 - last} more" in shown


@pytest.mark.parametrize("over", [0, 1])
def test_a_context_keeps_its_first_ten_lines(over):
    message = replace(BASE, context=tuple(f"Line {n}" for n in range(10 + over)))

    assert len(render_slack(message).blocks[-1]["elements"]) == 10


def test_a_storm_names_every_member_and_folds_none_away():
    message = storm(40)
    blocks = [block for block in render_slack(message).blocks if block.get("expand")]
    lines = "\n".join(block["text"]["text"] for block in blocks).split("\n")

    assert lines == ["*Part of this*", *(f"• {headline}" for headline in message.beside)]
    assert header(message).endswith("(+ 40 more)")


def test_members_without_room_are_counted_and_stand_in_the_thread():
    content = render_slack(replace(storm(71), beside=tuple("x" * 200 for _ in range(71))))

    assert problems(content.blocks) == []
    for words, line in ((str_of(content.blocks), "x" * 100), (content.text, "x" * 100)):
        shown = words.count(line)
        assert shown > 5
        assert f"and {71 - shown} more in the thread" in words


def test_a_message_of_many_thousand_characters_keeps_what_matters_most():
    long = "long words " * 1100
    content = render_slack(
        replace(
            BASE,
            lead=long,
            why_now=long,
            facts=tuple(Fact(long, long) for _ in range(30)),
            advice=long,
            drivers=(long,) * 30,
        )
    )

    assert problems(content.blocks) == []
    for title in ("Why now", "What to do", "more numbers"):
        assert title in str_of(content.blocks)
    assert "Show numbers" in str_of(content.blocks)
    assert "What to do" in content.text


def test_a_message_of_nothing_is_still_one_that_slack_takes():
    empty = Message(
        kind="root", label="", headline="", severity=Severity.INFO, state=State.FIRING, lead="",
        why_now="", facts=(Fact("", ""),), drivers=("",), evidence=("",), advice="", replay="",
        context=("",), links=(("", ""),), beside=("",), actions=tuple(Action),
    )  # fmt: skip
    for kind in ("root", "reply", "notice", "numbers"):
        content = render_slack(replace(empty, kind=kind))

        assert problems(content.blocks) == []
        assert content.text.strip()


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_the_text_of_every_message_stands_alone(name):
    message = SAMPLES[name]
    text = html.unescape(render_slack(message).text).replace("∗", "*")

    assert f"{message.label}: {message.headline}" in text.split("\n")[0]
    for part in (message.lead, message.why_now):
        assert part in text
    for fact in message.facts:
        assert f"• {fact.label}: {fact.value}" in text


def str_of(blocks) -> str:
    return "\n".join(part["text"] for block in blocks for part in texts_of(block))


def buttons(message: Message) -> list[tuple[str, str, str]]:
    return [
        (one["action_id"], one["text"]["text"], one.get("style", ""))
        for block in render_slack(message).blocks
        if block["type"] == "actions"
        for one in block["elements"]
    ]


def header(message: Message) -> str:
    return render_slack(message).blocks[0]["text"]["text"]
