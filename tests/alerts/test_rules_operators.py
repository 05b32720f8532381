"""alerts/rules/operators.py: rows turned away, a pipeline that is silent, messages that are stuck, rules that fail."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.rules import (
    EVALUATION_ERROR,
    FOR_OPERATORS,
    HEADLINE_LIMIT,
    BadData,
    Limit,
    NotEvaluated,
    Reading,
    RuleOptions,
    Severity,
    SilentPipeline,
    StaleSource,
    Undelivered,
    evaluation_error_reading,
)
from forecasting.results import Situation, SourceVisit, UnsentMessage
from tests.builders import NOW, make_source

WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL
BAD = BadData("bad-data", (Limit(WARNING, 0.1, 0.05), Limit(CRITICAL, 0.5, 0.4)))
SILENT = SilentPipeline("silent")
SAMPLES = ("7 rows: price: is no number", "1 row: period: is missing")


def read(rule, situation) -> Reading:
    (reading,) = rule.evaluate(situation)
    assert isinstance(reading, Reading), reading
    return reading


def refusal(rule, situation) -> str:
    (answer,) = rule.evaluate(situation)
    assert isinstance(answer, NotEvaluated), answer
    return answer.why


def visited(read: int, quarantined: int, **changes) -> Situation:
    visit = SourceVisit("komis", NOW - timedelta(days=1), read, quarantined, "", SAMPLES)
    return Situation(NOW, visits={"komis": replace(visit, **changes)})


def value_of(reading: Reading, label: str) -> str:
    return next(fact.value for fact in reading.facts if fact.label == label)


# --- bad_data ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quarantined", "severity", "is_clear"),
    [
        (0, None, True),
        (4, None, True),
        (5, None, False),
        (10, WARNING, False),
        (50, CRITICAL, False),
    ],
)
def test_the_share_of_rows_turned_away_is_held_against_the_limits(quarantined, severity, is_clear):
    reading = read(BAD, visited(100, quarantined))
    assert reading.value == pytest.approx(quarantined / 100)
    assert (reading.severity, reading.is_clear) == (severity, is_clear)


def test_bad_data_is_told_with_rows_and_the_commonest_reasons():
    reading = read(BAD, visited(1200, 150))
    assert reading.headline == "komis: 150 of 1,200 rows turned away on 20 Jun 2025"
    assert value_of(reading, "Rows read") == "1,200"
    assert value_of(reading, "Turned away") == "150 (12 % of rows)"
    assert value_of(reading, "Limit") == "10 % of rows (warning)"
    assert reading.drivers == SAMPLES
    assert reading.route == "operators"
    assert ("source", "komis") in reading.labels
    assert Reading.from_dict(reading.as_dict()) == reading


def test_a_visit_that_failed_crosses_the_lowest_severity_even_without_rows():
    reading = read(BAD, visited(0, 0, error="ReadTimeout: no answer\nsecond line"))
    assert reading.severity is WARNING
    assert reading.is_clear is False
    assert reading.headline == ("komis: the visit on 20 Jun 2025 failed: ReadTimeout: no answer")
    assert value_of(reading, "Failure") == "ReadTimeout: no answer"
    assert read(BAD, visited(100, 60, error="x")).severity is CRITICAL


@pytest.mark.parametrize(
    ("rule", "situation", "why"),
    [
        pytest.param(
            replace(BAD, source=("usgs",)),
            visited(100, 1),
            "usgs: no visit to this source is known",
            id="never visited",
        ),
        pytest.param(
            BAD, visited(4, 4), "komis: 4 rows read on 20 Jun 2025, 5 needed", id="too few rows"
        ),
        pytest.param(
            BAD,
            visited(100, 1, at=NOW - timedelta(days=15)),
            "komis: last visited on 6 Jun 2025, 15 days ago; the rule judges up to 14 days",
            id="long ago",
        ),
    ],
)
def test_a_visit_that_says_nothing_is_not_judged(rule, situation, why):
    assert refusal(rule, situation) == why


def test_without_names_every_source_that_was_visited_is_judged():
    both = Situation(
        NOW,
        visits={name: replace(visited(10, 0).visits["komis"], source=name) for name in ("b", "a")},
    )
    assert [answer.subject for answer in BAD.evaluate(both)] == ["a", "b"]
    assert BAD.evaluate(Situation(NOW)) == ()


def test_every_visit_is_a_new_input_and_the_passing_of_time_is_none():
    first = read(BAD, visited(100, 10)).input_id
    later = replace(visited(100, 10), known_at=NOW + timedelta(days=3))
    assert read(BAD, later).input_id == first
    assert read(BAD, visited(100, 11)).input_id != first
    assert read(BAD, visited(100, 10, at=NOW)).input_id != first
    assert read(BAD, visited(100, 10, error="x")).input_id != first


def test_the_version_of_bad_data_is_its_limits_least_rows_and_age():
    for changed in ({"limits": BAD.limits[:1]}, {"min_rows": 6}, {"max_age_days": 15}):
        assert replace(BAD, **changed).version != BAD.version
    for same in ({"source": ("komis",)}, {"options": RuleOptions(owner="x")}):
        assert replace(BAD, **same).version == BAD.version


@given(turned_away=st.integers(0, 500), kept=st.integers(0, 500))
def test_a_visit_is_judged_exactly_from_its_least_rows_on(turned_away, kept):
    (answer,) = BAD.evaluate(visited(turned_away + kept, turned_away))
    assert isinstance(answer, Reading) is (turned_away + kept >= BAD.min_rows)


# --- silent_pipeline --------------------------------------------------------------------------------


def silent_for(**time: float) -> Situation:
    return Situation(NOW, last_judged_at=NOW - timedelta(**time))


@pytest.mark.parametrize(
    ("time", "severity"),
    [
        ({"hours": 0}, None),
        ({"hours": 25, "minutes": 59}, None),
        ({"hours": 26}, CRITICAL),
        ({"days": 9}, CRITICAL),
        ({"hours": -1}, None),
    ],
    ids=str,
)
def test_a_pipeline_is_silent_from_its_limit_on(time, severity):
    reading = read(SILENT, silent_for(**time))
    assert reading.severity is severity
    assert reading.is_clear is (severity is None)
    assert reading.value >= 0


def test_a_silent_pipeline_is_told_with_hours_then_days():
    reading = read(SILENT, silent_for(hours=30))
    assert reading.headline == (
        "The pipeline: rules last judged 30 hours ago, on 20 Jun 2025, 17:59 UTC (limit 26 hours)"
    )
    assert "3 days ago" in read(SILENT, silent_for(hours=80)).headline
    hourly = read(replace(SILENT, hours=1), silent_for(hours=1))
    assert "judged 1 hour ago, on 21 Jun 2025, 22:59 UTC (limit 1 hour)" in hourly.headline
    assert reading.subject == "pipeline"
    assert dict(reading.labels) == {"type": "silent_pipeline", "rule": "silent"}


def test_rules_that_were_never_judged_are_no_silence_and_nothing_that_could_not_be_judged():
    assert SILENT.evaluate(Situation(NOW)) == ()


def test_the_input_changes_once_a_day_while_silent():
    judged = NOW - timedelta(hours=26)
    ids = [
        read(SILENT, Situation(NOW + timedelta(hours=h), last_judged_at=judged)).input_id
        for h in range(72)
    ]
    # 26 to 97 hours: days 1, 2, 3 and 4 of silence.
    assert len(set(ids)) == 4
    heard = read(SILENT, silent_for(hours=1))
    assert heard.input_id not in ids
    assert replace(SILENT, hours=27).version != SILENT.version
    assert replace(SILENT, severity=WARNING).version != SILENT.version
    assert replace(SILENT, name="x").version == SILENT.version


# --- undelivered ------------------------------------------------------------------------------------

LOST = Undelivered("lost")
NO_CHANNEL = "channel_not_found: create it, invite the app, or correct the route"


def message(state: str, minutes: float = 0, **changes) -> UnsentMessage:
    """A message in that state for so many minutes, written an hour before."""
    since = NOW - timedelta(minutes=minutes)
    reason = {"dead": NO_CHANNEL, "unknown": "timeout: no answer", "waiting": "ratelimited"}[state]
    return replace(UnsentMessage(state, since, since - timedelta(hours=1), reason), **changes)


def owing(*messages: UnsentMessage, channel: str = "#magnets") -> Situation:
    return Situation(NOW, undelivered={("lost", channel): messages})


UNTRIED = {"is_tried": False, "reason": ""}


@pytest.mark.parametrize(
    ("messages", "severity", "is_clear"),
    [
        pytest.param([], None, True, id="all arrived"),
        pytest.param([message("dead")], WARNING, False, id="given up just now"),
        pytest.param([message("unknown", 29.9)], None, False, id="unclear, and looked for"),
        pytest.param([message("unknown", 30)], WARNING, False, id="unclear for too long"),
        pytest.param([message("waiting", 29.9)], None, False, id="tried again"),
        pytest.param([message("waiting", 30)], WARNING, False, id="tried in vain for too long"),
        pytest.param(
            [message("waiting", 9000, **UNTRIED)], None, True, id="the service stood still"
        ),
        pytest.param(
            [message("waiting", 9000, **UNTRIED), message("waiting", 31)],
            WARNING,
            False,
            id="waiting behind one that is tried in vain",
        ),
    ],
)
def test_a_channel_is_told_of_when_a_message_is_stuck_and_clear_when_none_is_in_trouble(
    messages, severity, is_clear
):
    reading = read(LOST, owing(*messages))
    assert (reading.severity, reading.is_clear) == (severity, is_clear)
    assert reading.holds == severity


def test_a_message_sent_again_after_a_repair_is_no_end_until_it_has_arrived():
    given_up, again = message("dead", 600), message("waiting", 600)
    assert read(LOST, owing(given_up)).severity is WARNING
    assert read(LOST, owing(again)).is_clear is False
    assert read(LOST, owing()).is_clear is True


def test_a_channel_that_refuses_messages_is_told_with_how_many_since_when_why_and_the_mend():
    reading = read(LOST, owing(message("dead", 60), message("dead", 10), message("dead", 5)))
    assert reading.headline == ("#magnets: 3 messages given up, since 21 Jun 2025, 22:59 UTC")
    assert value_of(reading, "Given up") == "3"
    assert value_of(reading, "Oldest") == "of 21 Jun 2025, 21:59 UTC"
    assert value_of(reading, "Reason") == NO_CHANNEL
    assert "lodestone alerts redrive" in reading.advice
    assert (reading.route, reading.subject, reading.value) == ("operators", "#magnets", 3)
    assert reading.measured == "3 stuck messages"
    assert Reading.from_dict(reading.as_dict()) == reading


def test_messages_in_different_trouble_are_counted_apart_and_the_commonest_reason_comes_first():
    stuck = [message("waiting", 40), message("waiting", 50), message("unknown", 35)]
    reading = read(LOST, owing(*stuck, message("dead"), message("waiting", 1)))
    assert reading.headline.startswith(
        "#magnets: 4 messages not delivered, since 21 Jun 2025, 23:0"
    )
    counts = [value_of(reading, label) for label in ("Given up", "Unclear", "Waiting")]
    assert counts == ["1", "1", "2"]
    assert value_of(reading, "Reason") == "ratelimited"
    assert reading.drivers == (NO_CHANNEL, "timeout: no answer")
    one = read(LOST, owing(message("unknown", 35))).headline
    assert one.startswith("#magnets: unclear whether 1 message arrived, since")


def test_each_channel_is_judged_for_the_rules_that_can_tell_of_it():
    situation = Situation(
        NOW,
        undelivered={
            ("lost", "#magnets"): (message("dead"),),
            ("lost", "#oxides"): (),
            ("other", "#operators"): (message("dead"),),
        },
    )
    readings = LOST.evaluate(situation)
    assert [one.subject for one in readings] == ["#magnets", "#oxides"]
    assert len({one.fingerprint for one in readings}) == 2
    assert LOST.evaluate(Situation(NOW)) == ()


def test_the_passing_of_time_is_no_news_of_a_channel_and_another_message_is():
    stuck = message("dead", 10)
    first = read(LOST, owing(stuck)).input_id
    later = replace(owing(stuck), known_at=NOW + timedelta(days=3))
    assert read(LOST, later).input_id == first
    assert read(LOST, owing(stuck, message("dead"))).input_id != first
    assert read(LOST, owing(replace(stuck, reason="is_archived"))).input_id != first
    tomorrow = replace(owing(), known_at=NOW + timedelta(days=1))
    assert read(LOST, owing()).input_id == read(LOST, tomorrow).input_id


def test_the_version_of_undelivered_is_its_minutes_and_severity():
    assert replace(LOST, minutes=31).version != LOST.version
    assert replace(LOST, severity=CRITICAL).version != LOST.version
    assert replace(LOST, options=RuleOptions(owner="x")).version == LOST.version
    assert read(replace(LOST, severity=CRITICAL), owing(message("dead"))).severity is CRITICAL


@pytest.mark.parametrize("channel", ["#" + "m" * 79, "C0123456789", "#" + "m" * 150], ids=len)
@pytest.mark.parametrize("reason", ["", "x" * 5000, "a\x1b[31mb\u202e\nc"], ids=len)
def test_any_channel_and_reason_make_a_notice_that_can_be_read(channel, reason):
    reading = read(LOST, owing(message("dead", reason=reason), channel=channel))
    assert len(reading.headline) <= HEADLINE_LIMIT
    assert "1 message given up" in reading.headline
    assert len(reading.subject) <= 80
    assert all(fact.value.isprintable() and len(fact.value) <= 200 for fact in reading.facts)


# --- evaluation errors ------------------------------------------------------------------------------


def test_a_rule_that_fails_is_told_to_operators_with_the_first_line_of_its_failure():
    reading = evaluation_error_reading(SILENT, "ZeroDivisionError: division by zero\n  File x")
    assert reading.type == EVALUATION_ERROR
    assert (reading.rule, reading.subject) == ("evaluation-errors", "silent")
    assert (reading.severity, reading.is_clear) == (WARNING, False)
    assert reading.route == FOR_OPERATORS.route
    assert reading.headline == "Rule silent: failed: ZeroDivisionError: division by zero"
    assert value_of(reading, "Rule") == "silent (silent_pipeline)"


def test_a_rule_that_works_again_ends_it_under_the_same_fingerprint():
    failed, works = (evaluation_error_reading(SILENT, why) for why in ("boom", None))
    assert (works.severity, works.is_clear, works.holds) == (None, True, None)
    assert works.fingerprint == failed.fingerprint
    assert works.fingerprint != evaluation_error_reading(BAD, None).fingerprint
    assert works.input_id != failed.input_id
    assert failed.input_id == evaluation_error_reading(SILENT, "boom\nother trace").input_id
    assert failed.input_id != evaluation_error_reading(SILENT, "bang").input_id


@pytest.mark.parametrize("why", ["", "\n\n", "x" * 5000, "a\x1b[31mb\u202e"], ids=len)
def test_any_failure_makes_a_message_that_can_be_read(why):
    reading = evaluation_error_reading(replace(SILENT, name="r" * 60), why)
    assert reading.severity is WARNING
    assert len(reading.headline) <= HEADLINE_LIMIT
    assert all(fact.value.isprintable() and fact.value for fact in reading.facts)


def test_a_stale_source_carries_its_source_as_a_label():
    rule = StaleSource("stale", options=replace(FOR_OPERATORS, labels=(("team", "data"),)))
    reading = read(rule, Situation(NOW, sources={"prices": make_source(60)}))
    assert reading.labels == (
        ("type", "stale_source"),
        ("rule", "stale"),
        ("source", "prices"),
        ("team", "data"),
    )
