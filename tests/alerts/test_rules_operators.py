"""alerts/rules/operators.py: rows turned away, a pipeline that is silent, rules that fail."""

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
    evaluation_error_reading,
)
from forecasting.results import Situation, SourceVisit
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
