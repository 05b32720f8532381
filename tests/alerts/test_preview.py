from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from alerts.preview import Outcome, preview
from alerts.rules import (
    DEFAULT_OPTIONS,
    Limit,
    NotEvaluated,
    PolicyEvent,
    RuleOptions,
    Severity,
)
from forecasting.results import PolicyAct, Situation
from tests.alerts.samples import DROP, PRICE, STALE
from tests.builders import NOW, end_of, exports_known_on, make_forecast, make_source

WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL


@dataclass(frozen=True)
class Failing:
    """A rule whose evaluation can't succeed."""

    error: Exception
    name: str = "broken"
    type: str = "price_spike"
    version: str = "v1"
    options: RuleOptions = DEFAULT_OPTIONS

    def fingerprint(self, subject: str) -> str:
        return subject

    def evaluate(self, situation: Situation) -> tuple[NotEvaluated, ...]:
        raise self.error


def at_chance(probability: float) -> Situation:
    """A price of 80 USD/kg in the given share of the futures, else 70; 75 is the level that counts."""
    high = round(probability * 100)
    paths = tuple((80.0,) * 6 for _ in range(high)) + tuple((70.0,) * 6 for _ in range(100 - high))
    forecast = make_forecast(paths=paths)
    return Situation(end_of("2025-06-21"), forecasts={forecast.series: forecast})


def test_a_crossed_limit_would_open_with_the_headline_of_its_message():
    rule = replace(DROP, limits=DROP.limits[:1])
    (one,) = preview([rule], exports_known_on("2025-05-21"))
    (reading,) = rule.evaluate(exports_known_on("2025-05-21"))

    assert (one.outcome, one.severity) == (Outcome.OPENS, WARNING)
    assert one.words == f"would open a warning: {reading.headline}"
    assert one.line == f"magnet-exports-drop cn_magnet_exports: {one.words}"


def test_a_rule_that_waits_says_how_long_but_a_critical_does_not_wait():
    waits = replace(DROP, options=RuleOptions(for_evaluations=2, out_of=3))
    in_a_row = replace(DROP, options=RuleOptions(for_evaluations=2))
    may, june = exports_known_on("2025-05-21"), exports_known_on("2025-06-21")

    assert preview([waits], may)[0].words.startswith(
        "would open a warning after 2 of 3 evaluations: "
    )
    assert preview([in_a_row], may)[0].words.startswith(
        "would open a warning after 2 evaluations in a row: "
    )
    assert preview([waits], june)[0].words.startswith("would open a critical: ")


def test_a_quiet_rule_says_what_it_measured_and_where_it_begins():
    fresh = Situation(NOW, sources={"prices": make_source()})
    (one,) = preview([STALE], fresh)

    assert (one.outcome, one.severity) == (Outcome.QUIET, None)
    assert one.words.startswith("quiet: ")
    assert "; warning from " in one.words
    assert one.words.endswith("days")


def test_a_decision_that_is_old_says_how_young_it_would_have_to_be():
    act = PolicyAct(
        "policy-1",
        "China: export control on Dy",
        "export_control",
        "tighten",
        NOW.date(),
        "Dy",
        "",
        "",
    )
    old = replace(act, known_on=NOW.date() - timedelta(days=31))
    young, past = (
        preview([PolicyEvent("decisions")], Situation(NOW, policy_acts=(one,)))[0]
        for one in (act, old)
    )

    assert young.words.startswith("would open a warning: China: export control on Dy")
    assert past.words.endswith("; warning up to 30 days")
    assert (past.subject, past.title) == ("policy-1", "China: export control on Dy")


def test_a_file_of_decisions_that_says_no_types_is_told_and_not_called_quiet():
    act = PolicyAct("policy-1", "Decision on Dy", "", "tighten", NOW.date(), "Dy", "", "")
    (one,) = preview([PolicyEvent("decisions")], Situation(NOW, policy_acts=(act,)))

    assert one.outcome is Outcome.NOT_JUDGED
    assert one.line.startswith(
        "decisions decisions: can't judge: no decision in policy_events.csv says its type"
    )


def test_between_the_limits_nothing_opens_but_what_is_open_would_stay():
    quiet, between = (
        preview([replace(PRICE, limits=(limit,))], at_chance(0.4))
        for limit in (Limit(WARNING, 0.6, 0.5), Limit(WARNING, 0.5, 0.3))
    )

    assert quiet[0].outcome is Outcome.QUIET
    assert between[0].outcome is Outcome.HOLDS
    assert between[0].words.startswith("quiet, but an open warning would stay open: 40 %")
    assert between[0].words.endswith("; warning from 50 % chance")


def test_what_can_not_be_judged_says_why():
    (one,) = preview([PRICE], Situation(NOW, refusals={"nd_oxide": "only 3 months"}))

    assert one.outcome is Outcome.NOT_JUDGED
    assert one.words == "can't judge: nd_oxide: only 3 months"


def test_a_rule_without_anything_to_judge_is_not_left_out():
    (one,) = preview([STALE], Situation(NOW))

    assert one.line == "source-is-stale: quiet: there is nothing to judge"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("no such month\nand more"), "fails: ValueError: no such month"),
        (ZeroDivisionError(), "fails: ZeroDivisionError"),
    ],
)
def test_a_rule_that_fails_says_so_and_stops_no_other(error, words):
    broken, *others = preview([Failing(error), STALE, PRICE], Situation(NOW))

    assert (broken.outcome, broken.line) == (Outcome.FAILS, f"broken: {words}")
    assert [one.rule for one in others] == ["source-is-stale", "oxide-price-spike"]
