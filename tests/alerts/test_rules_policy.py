"""alerts/rules/policy.py: which decisions are news, for how long, and how they are told."""

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.rules import (
    HEADLINE_LIMIT,
    NotEvaluated,
    PolicyEvent,
    Reading,
    RuleOptions,
    Severity,
)
from forecasting.results import PolicyAct, Situation
from tests.builders import end_of

APRIL = PolicyAct(
    act="policy-2025-04-04-x",
    title="China: export control on Sm, Gd, Tb, Dy, …",
    kind="export_control",
    direction="tighten",
    known_on=date(2025, 4, 4),
    materials="Sm,Gd,Tb,Dy",
    source="Announcement 18",
    confidence="high",
    detail="Licences for seven rare earths.",
    elements=("Dy", "Gd", "Sm", "Tb"),
)
RULE = PolicyEvent("decisions")


def on(day: str, *acts: PolicyAct) -> Situation:
    return Situation(end_of(day), policy_acts=acts or (APRIL,))


def read(rule: PolicyEvent, situation: Situation) -> Reading:
    (reading,) = rule.evaluate(situation)
    assert isinstance(reading, Reading), reading
    return reading


@pytest.mark.parametrize(
    ("day", "severity"),
    [
        pytest.param("2025-04-04", Severity.WARNING, id="its own day"),
        pytest.param("2025-05-04", Severity.WARNING, id="30 days later"),
        pytest.param("2025-05-05", None, id="31 days later"),
        pytest.param("2025-08-02", None, id="120 days later, the last answer"),
    ],
)
def test_a_decision_is_news_for_its_days_and_then_clear(day, severity):
    reading = read(RULE, on(day))
    assert reading.severity is severity
    assert reading.is_clear is (severity is None)


@pytest.mark.parametrize("day", ["2025-04-03", "2025-08-03"])
def test_before_it_is_known_and_long_after_nothing_is_answered(day):
    assert RULE.evaluate(on(day)) == ()


@given(days=st.integers(1, 400), age=st.integers(0, 2000))
def test_every_decision_that_was_news_is_answered_clear_before_it_is_left_out(days, age):
    rule = replace(RULE, days=days)
    found = rule.evaluate(
        Situation(end_of("2025-04-04") + timedelta(days=age), policy_acts=(APRIL,))
    )
    assert len(found) == (age <= 2 * days + 60)
    if found:
        assert found[0].is_clear is (age > days)


@pytest.mark.parametrize(
    ("rule", "is_said"),
    [
        pytest.param(replace(RULE, kinds=("quota", "export_control")), True, id="one of its kinds"),
        pytest.param(replace(RULE, kinds=("quota",)), False, id="another kind"),
        pytest.param(replace(RULE, directions=("loosen",)), False, id="another direction"),
        pytest.param(replace(RULE, materials=("Nd", "Dy")), True, id="one of its elements"),
        pytest.param(replace(RULE, materials=("Nd",)), False, id="another element"),
    ],
)
def test_a_rule_hears_of_its_kinds_directions_and_elements(rule, is_said):
    assert bool(rule.evaluate(on("2025-04-05"))) is is_said


def test_decisions_of_which_none_says_its_type_are_not_judged_and_one_that_does_is_enough():
    untyped = replace(APRIL, act="policy-2", kind="")
    (answer,) = RULE.evaluate(on("2025-04-10", untyped, replace(untyped, act="policy-3")))
    assert isinstance(answer, NotEvaluated)
    assert answer.why.startswith("no decision in policy_events.csv says its type")
    assert [one.subject for one in RULE.evaluate(on("2025-04-10", untyped, APRIL))] == [APRIL.act]
    assert RULE.evaluate(Situation(end_of("2025-04-10"))) == ()


def test_each_decision_is_a_subject_of_its_own():
    other = replace(APRIL, act="policy-2", known_on=date(2025, 4, 9))
    first, second = RULE.evaluate(on("2025-04-10", APRIL, other))
    assert (first.subject, second.subject) == ("policy-2025-04-04-x", "policy-2")
    assert first.fingerprint != second.fingerprint


def test_a_decision_is_told_with_title_day_source_and_confidence():
    reading = read(RULE, on("2025-04-10"))
    assert reading.headline == (
        "China: export control on Sm, Gd, Tb, Dy, …, known since 4 Apr 2025"
    )
    facts = {fact.label: fact.value for fact in reading.facts}
    assert facts["Concerns"] == "Sm, Gd, Tb, Dy"
    assert facts["Direction"] == "tightens supply"
    assert facts["Told as news"] == "for 30 days, until 4 May 2025"
    assert facts["Source"] == "Announcement 18"
    assert reading.drivers == ("Licences for seven rare earths.",)
    assert ("material", "Dy,Gd,Sm,Tb") in reading.labels
    long = read(RULE, on("2025-04-10", replace(APRIL, title="A" * 300)))
    assert len(long.headline) <= HEADLINE_LIMIT
    assert long.headline.endswith(", known since 4 Apr 2025")
    assert Reading.from_dict(reading.as_dict()) == reading


def test_a_decision_without_words_of_its_own_has_no_empty_facts():
    bare = replace(APRIL, source="", confidence="", detail="", elements=())
    reading = read(RULE, on("2025-04-10", bare))
    assert all(fact.value for fact in reading.facts)
    assert reading.drivers == ()
    assert "material" not in dict(reading.labels)


def test_another_day_is_no_new_input_but_a_correction_or_the_end_is():
    first = read(RULE, on("2025-04-10")).input_id
    assert read(RULE, on("2025-04-11")).input_id == first
    assert read(RULE, on("2025-05-05")).input_id != first
    assert read(RULE, on("2025-04-10", replace(APRIL, detail="Six."))).input_id != first


def test_the_version_is_the_days_and_the_severity():
    assert replace(RULE, days=31).version != RULE.version
    assert replace(RULE, severity=Severity.CRITICAL).version != RULE.version
    for same in (
        {"kinds": ("quota",)},
        {"materials": ("Dy",)},
        {"options": RuleOptions(owner="x")},
    ):
        assert replace(RULE, **same).version == RULE.version
