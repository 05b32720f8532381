"""When a rule could not judge a subject: spells, what ended them, and what a replay tells of them."""

from datetime import UTC, datetime, timedelta

import pytest

from alerts.rules import NotEvaluated, RuleOptions
from flows.replay.timeline import not_judged
from flows.storage.database import open_database
from flows.storage.ledger import SqlLedger
from flows.storage.unjudged import Unjudged, read_unjudged
from tests.builders import make_reading

FIRST = datetime(2025, 5, 1, 23, 59, 59, tzinfo=UTC)


def day(number):
    return FIRST + timedelta(days=number)


def gap(subject, why):
    one = make_reading()
    return NotEvaluated(one.rule, one.rule_version, one.type, subject, f"of {subject}", why)


def quiet(subject, number):
    changes = {"subject": subject, "fingerprint": f"of {subject}", "input_id": f"input {number}"}
    return make_reading(None, **changes)


@pytest.fixture
def database(database_url):
    with open_database(database_url) as opened:
        yield opened


@pytest.fixture
def judge(database):
    ledger = SqlLedger(database)

    def judged(result, number, book="replay"):
        ledger.record(book, result, RuleOptions(), now=day(number), compose=lambda _: ())

    return judged


def test_a_spell_lasts_from_the_first_reason_to_the_next_judgement(database, judge):
    for number, result in enumerate(
        [
            quiet("s", 0),
            gap("s", "3 days old"),
            gap("s", "3 days old"),
            gap("s", "5 days old"),
            quiet("s", 4),
            gap("s", "no forecast"),
            quiet("t", 6),
        ]
    ):
        judge(result, number)
    rule = quiet("s", 0).rule
    assert read_unjudged(database, "replay", day(30)) == (
        Unjudged(rule, "s", day(1), day(4), "5 days old"),
        Unjudged(rule, "s", day(5), None, "no forecast"),
    )


def test_what_comes_after_the_last_day_or_of_another_book_is_not_told(database, judge):
    judge(gap("s", "no forecast"), 1)
    judge(quiet("s", 2), 2)
    judge(gap("t", "no forecast"), 1, book="live")
    (spell,) = read_unjudged(database, "replay", day(1))
    assert (spell.subject, spell.judged_by) == ("s", None)
    assert read_unjudged(database, "replay", day(0)) == ()


def test_a_spell_that_lasts_is_told_before_a_newer_one_that_is_over():
    lasting = Unjudged("r", "s", day(1), None, "no forecast")
    over = Unjudged("r", "t", day(3), day(4), "too old")
    other = Unjudged("q", "s", day(2), day(5), "too old")
    assert not_judged([lasting, other, over]) == {
        "q": {
            "since": "2025-05-03",
            "judged_by": "2025-05-06",
            "subject": "s",
            "why": "too old",
            "spells": 1,
        },
        "r": {
            "since": "2025-05-02",
            "judged_by": None,
            "subject": "s",
            "why": "no forecast",
            "spells": 2,
        },
    }
    assert not_judged([]) == {}
