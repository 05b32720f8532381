from dataclasses import replace

from alerts.rules import Fact
from alerts.terminal import render_terminal
from tests.alerts.samples import samples

SAMPLES = samples()


def test_a_terminal_shows_the_words_of_the_message():
    text = render_terminal(SAMPLES["drop_as_of_june"])

    assert text.startswith("[CRITICAL] China's exports of rare-earth magnets: 1,238 t in May 2025")
    assert "    Replay: as known on 21 Jun 2025\n" in text
    assert "Confidence            5 of 11 months rest on low-confidence figures\n" in text
    assert "    - May 2025: 1,238 t, -53 % on Apr 2025; known from 20 Jun 2025." in text
    assert text.endswith("Outlook: http://127.0.0.1:4200/outlook?run=1&x=2")


def test_lines_fit_the_terminal():
    for message in SAMPLES.values():
        assert all(len(line) <= 60 for line in render_terminal(message, width=60).splitlines())


def test_text_from_data_cannot_command_the_terminal():
    hostile = "\x1b[2J\x07red\u202eevil\nnew line"
    message = replace(
        SAMPLES["price_spike"], headline=hostile, facts=(Fact(hostile, hostile),), advice=hostile
    )

    text = render_terminal(message)

    assert not any(mark in text for mark in ("\x1b", "\x07", "\u202e"))
