"""alerts/rules/models.py: when forecasts no longer earn their place, and what operators are told of it."""

import math
from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest

from alerts.lifecycle import Reason, State, decide
from alerts.messages import root_message
from alerts.rules import HEADLINE_LIMIT, Limit, NotEvaluated, Reading, RuleOptions, Severity
from alerts.rules.models import ModelDegraded
from forecasting.results import Scorecard, SeriesForecast, Situation
from tests.builders import NOW, make_forecast, make_scorecard, month_after

WARNING = Severity.WARNING
RULE = ModelDegraded("model-degraded", ("dy_oxide",))
GOOD = (0.9,) * 8


def known(*cards: Scorecard) -> Situation:
    return Situation(NOW, scorecards={card.series: card for card in cards})


def read(card: Scorecard, rule: ModelDegraded = RULE) -> Reading:
    (reading,) = rule.evaluate(known(card))
    assert isinstance(reading, Reading), reading
    return reading


def refusal(card: Scorecard, rule: ModelDegraded = RULE) -> str:
    (answer,) = rule.evaluate(known(card))
    assert isinstance(answer, NotEvaluated), answer
    return answer.why


def forecast_known_on(vintage: datetime, model: str = "theta") -> SeriesForecast:
    return make_forecast(
        series="dy_oxide", title="Dysprosium oxide, FOB China", vintage=vintage, model=model
    )


def value_of(reading: Reading, label: str) -> str:
    return next(fact.value for fact in reading.facts if fact.label == label)


# --- when ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "held", "severity", "is_clear"),
    [
        pytest.param(0.90, 0.80, None, True, id="as it should be"),
        pytest.param(1.04, 0.80, None, True, id="hardly worse than the walk"),
        pytest.param(1.10, 0.80, None, False, id="between the limits of the error"),
        pytest.param(1.05, 0.80, None, False, id="error at its exit limit"),
        pytest.param(1.15, 0.80, WARNING, False, id="error at its enter limit"),
        pytest.param(0.90, 0.65, None, True, id="ranges hold enough to end"),
        pytest.param(0.90, 0.55, None, False, id="ranges at their limit"),
        pytest.param(0.90, 0.54, WARNING, False, id="ranges too narrow"),
        pytest.param(1.30, 0.30, WARNING, False, id="both"),
        pytest.param(0.90, 1.00, None, True, id="ranges too wide cost error, not alarm"),
    ],
)
def test_a_model_is_degraded_when_the_walk_was_better_or_ranges_held_too_little(
    ratio, held, severity, is_clear
):
    reading = read(make_scorecard((*GOOD, *[ratio] * 8), held))

    assert reading.severity is severity
    assert reading.is_clear is is_clear
    assert reading.holds is (None if is_clear else WARNING)


def test_only_the_newest_cutoffs_count():
    was_bad = make_scorecard((3.0,) * 8 + GOOD, [0.1] * 8 + [0.8] * 8)
    turned_bad = make_scorecard(GOOD + (3.0,) * 8, [0.8] * 8 + [0.1] * 8)

    assert read(was_bad).is_clear
    assert read(turned_bad).severity is WARNING
    # Fifteen cutoffs of sixteen were good; one that is bad enough counts when only two are asked.
    one_bad = make_scorecard((0.9,) * 15 + (2.0,))
    assert read(one_bad).severity is None
    assert read(one_bad, replace(RULE, cutoffs=2)).severity is WARNING


def test_errors_are_summed_before_they_are_compared_so_that_a_calm_cutoff_weighs_little():
    calm = make_scorecard((0.9,) * 7 + (5.0,))
    checks = [replace(check, crps=0.005, walk_crps=0.001) for check in calm.checks[-1:]]

    assert read(replace(calm, checks=(*calm.checks[:-1], *checks))).is_clear


@pytest.mark.parametrize(
    ("card", "why"),
    [
        pytest.param(
            make_scorecard(GOOD[:7]),
            "Dysprosium oxide, FOB China: 7 past cutoffs tested, 8 needed",
            id="too few tests",
        ),
        pytest.param(
            make_scorecard(GOOD, vintage=NOW - timedelta(days=121)),
            "Dysprosium oxide, FOB China: the last backtest saw figures known on 20 Feb 2025, "
            "121 days ago; the rule judges up to 120 days",
            id="an old backtest",
        ),
        pytest.param(
            replace(
                make_scorecard(),
                checks=tuple(
                    replace(check, crps=0.0, walk_crps=0.0) for check in make_scorecard().checks
                ),
            ),
            "Dysprosium oxide, FOB China: the random walk never erred there, "
            "so nothing can be compared",
            id="nothing moved",
        ),
    ],
)
def test_what_cannot_be_judged_says_why(card, why):
    assert refusal(card) == why


def test_a_series_without_a_backtest_is_not_judged_when_it_is_named_and_not_expected_otherwise():
    (answer,) = RULE.evaluate(Situation(NOW))

    assert isinstance(answer, NotEvaluated)
    assert answer.why == (
        "dy_oxide: no backtest yet: start the flow backtest in Prefect, or wait for Sunday"
    )
    assert replace(RULE, series=()).evaluate(Situation(NOW)) == ()


def test_a_series_without_a_backtest_goes_by_its_title_when_a_forecast_has_it():
    (answer,) = RULE.evaluate(Situation(NOW, forecasts={"dy_oxide": forecast_known_on(NOW)}))

    assert isinstance(answer, NotEvaluated)
    assert answer.why.startswith("Dysprosium oxide, FOB China: no backtest yet: ")


def test_the_age_of_a_backtest_counts_whole_days_as_that_of_a_source_does():
    assert read(make_scorecard(GOOD, vintage=NOW - timedelta(days=120, hours=23))).is_clear
    assert "121 days ago" in refusal(make_scorecard(GOOD, vintage=NOW - timedelta(days=121)))


@pytest.mark.parametrize(
    ("frequency", "tested_days_ago", "newest_days_ago", "is_judged"),
    [
        pytest.param("month", 30, 30, True, id="the backtest saw the newest figure"),
        pytest.param("month", 30, 40, True, id="the backtest saw more than the forecast"),
        pytest.param("month", 35, 3, True, id="a month's figure that the next Sunday tests"),
        pytest.param("month", 45, 14, True, id="a figure that waits for two weeks"),
        pytest.param("month", 46, 15, False, id="a figure that waits for longer"),
        pytest.param("month", 75, 3, False, id="the second figure that it misses"),
        pytest.param("day", 15, 0, True, id="two weeks of days"),
        pytest.param("day", 16, 0, False, id="more than two weeks of days"),
        pytest.param("year", 366, 2, True, id="a new year"),
        pytest.param("year", 366, 15, False, id="a new year that no backtest has seen"),
    ],
)
def test_a_backtest_that_missed_new_figures_for_two_weeks_is_not_judged_whatever_its_age(
    frequency, tested_days_ago, newest_days_ago, is_judged
):
    card = make_scorecard(vintage=NOW - timedelta(days=tested_days_ago), frequency=frequency)
    forecast = forecast_known_on(NOW - timedelta(days=newest_days_ago))
    (answer,) = RULE.evaluate(replace(known(card), forecasts={"dy_oxide": forecast}))

    assert isinstance(answer, Reading) is is_judged


def test_a_backtest_that_missed_new_figures_says_since_when_and_where_to_look():
    card = make_scorecard(vintage=NOW - timedelta(days=60))
    (answer,) = RULE.evaluate(replace(known(card), forecasts={"dy_oxide": forecast_known_on(NOW)}))

    assert isinstance(answer, NotEvaluated)
    assert answer.why == (
        "Dysprosium oxide, FOB China: the last backtest has not seen the figures since "
        "22 Apr 2025; look at the flow backtest"
    )


def test_every_series_with_a_scorecard_is_judged_unless_some_are_named():
    cards = known(make_scorecard(), make_scorecard(series="tb_oxide"))

    assert [one.subject for one in replace(RULE, series=()).evaluate(cards)] == [
        "dy_oxide",
        "tb_oxide",
    ]
    assert [one.subject for one in RULE.evaluate(cards)] == ["dy_oxide"]


def test_a_yearly_figure_may_be_a_year_older():
    yearly = make_scorecard(frequency="year", vintage=NOW - timedelta(days=480))

    assert read(yearly).is_clear
    assert "up to 486 days" in refusal(replace(yearly, vintage=NOW - timedelta(days=487)))


# --- what is the same evaluation --------------------------------------------------------------------


def test_another_backtest_of_the_same_figures_is_the_same_evaluation():
    first = make_scorecard()
    again = replace(first, vintage=first.vintage + timedelta(days=1))
    newer = make_scorecard(newest=month_after(date(2024, 11, 1), 3))

    assert read(again).input_id == read(first).input_id
    assert read(newer).input_id != read(first).input_id
    assert read(make_scorecard(held=0.7)).input_id != read(first).input_id


def test_only_what_changes_the_judgement_changes_the_version():
    assert replace(RULE, cutoffs=12).version != RULE.version
    assert replace(RULE, max_age_days=90).version != RULE.version
    assert replace(RULE, crps=Limit(WARNING, 1.2, 1.05)).version != RULE.version
    assert replace(RULE, held=Limit(WARNING, 0.5, 0.65)).version != RULE.version
    assert replace(RULE, options=RuleOptions(owner="somebody else")).version == RULE.version


def test_it_opens_once_stays_open_between_the_limits_and_ends_beyond_them():
    incident, reasons = None, []
    for ratio in (1.2, 1.2, 1.1, 1.0):
        reading = read(make_scorecard((*GOOD, *[ratio] * 8)))
        decision = decide(incident, reading, RULE.options, now=NOW, new_id="6f1c0a52")
        incident = decision.incident
        reasons.append(decision.reason)

    assert reasons[0] is Reason.OPENED
    assert reasons[-1] is Reason.RESOLVED
    assert Reason.OPENED not in reasons[1:]
    assert incident is not None
    assert incident.state is State.RESOLVED


# --- what it says -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "held", "headline"),
    [
        (1.22, 0.8, 'error 22 % larger than "as today" over the last 8 cutoffs'),
        (0.95, 0.48, "80 % ranges held 48 % over the last 8 cutoffs"),
        (
            1.22,
            0.48,
            'error 22 % larger than "as today", 80 % ranges held 48 % over the last 8 cutoffs',
        ),
        (
            0.95,
            0.8,
            'error 5 % smaller than "as today", 80 % ranges held 80 % over the last 8 cutoffs',
        ),
        (
            1.0,
            0.8,
            'error as large as "as today", 80 % ranges held 80 % over the last 8 cutoffs',
        ),
    ],
)
def test_the_headline_says_what_went_wrong_and_fits_a_phone(ratio, held, headline):
    reading = read(make_scorecard((*GOOD, *[ratio] * 8), held))

    assert reading.headline.endswith(f": {headline}")
    assert reading.headline.startswith("Dysprosium oxide")
    assert len(reading.headline) <= HEADLINE_LIMIT


def test_an_operator_learns_the_numbers_their_limits_and_what_they_rest_on():
    reading = read(make_scorecard((*GOOD, *[1.0] * 7, 3.4), [0.8] * 8 + [0.6, 0.4] * 4), rule=RULE)

    assert value_of(reading, "Error over the whole distribution (CRPS)") == (
        '1.30 times that of "as today" (a plain random walk)'
    )
    assert value_of(reading, "80 % range held") == "50 % of outcomes"
    assert value_of(reading, "Limits") == "1.15 times, or fewer than 55 % held (warning)"
    assert value_of(reading, "Judged on") == (
        "8 past cutoffs, Feb 2023 to Nov 2024, each 6 months ahead"
    )
    assert value_of(reading, "Who would have spoken there") == "Theta at 8"
    assert reading.drivers == (
        'Saying "as today", with the range of a plain random walk, was closer.',
        "Outcomes left the 80 % range more often than the one time in five it allows: "
        "chances told in alerts were too sure.",
        'Worst against it: from Nov 2024, error 240 % larger than that of "as today", 40 % held.',
        'At the 8 cutoffs before: error 10 % smaller than that of "as today", 80 % held.',
    )
    assert reading.evidence[0].startswith("Over the whole past: Theta speaks for dy_oxide: ")
    assert reading.evidence[-1] == "Figures known by 20 Jun 2025."


def test_the_models_that_would_have_spoken_are_counted():
    card = make_scorecard()
    mixed = [replace(check, model="random_walk") for check in card.checks[-3:]]

    reading = read(replace(card, checks=(*card.checks[:-3], *mixed)))
    assert value_of(reading, "Who would have spoken there") == "Theta at 5 and Random walk at 3"


def test_who_speaks_now_is_the_model_of_the_forecast_when_there_is_one():
    card = make_scorecard(model="theta")
    forecast = forecast_known_on(card.vintage, model="random_walk")
    (reading,) = RULE.evaluate(replace(known(card), forecasts={"dy_oxide": forecast}))

    assert isinstance(reading, Reading)
    assert value_of(reading, "Who speaks now") == "Random walk"
    assert value_of(read(card), "Who speaks now") == "Theta"


def test_the_limit_that_is_told_is_the_one_that_is_crossed():
    by_error = read(make_scorecard([1.2] * 8, 0.4))
    by_range = read(make_scorecard([1.0] * 8, 0.4))

    assert (by_error.value, by_error.limit, by_error.direction) == (
        pytest.approx(1.2),
        1.15,
        "above",
    )
    assert (by_range.value, by_range.limit, by_range.direction) == (
        pytest.approx(0.4),
        0.55,
        "below",
    )


def test_a_message_says_what_it_means_what_to_do_and_when_it_ends():
    reading = read(make_scorecard((*GOOD, *[1.2] * 8), 0.6))
    incident = decide(None, reading, RULE.options, now=NOW, new_id="6f1c0a52").incident
    assert incident is not None
    message = root_message(incident, Reason.OPENED, known_at=NOW, book="live")

    assert message.why_now == (
        "At the newest 8 cutoffs the error of its forecasts was 20 % larger than that of "
        '"as today", and the 80 % range held 60 % of outcomes.'
    )
    assert message.lead == (
        'Open since 21 Jun 2025. It ends when the error is below 1.05 times that of "as today" and '
        "the 80 % range holds 65 % of outcomes or more."
    )
    assert message.advice.startswith(
        "Price alerts of this series, and balances that use it, rest on"
    )
    assert "last backtest run in Prefect" in message.advice


def test_a_reading_survives_being_stored():
    for ratio in (0.9, 1.1, 1.3):
        reading = read(make_scorecard([ratio] * 8, 0.5))
        assert Reading.from_dict(reading.as_dict()) == reading
        assert not math.isnan(reading.value)


def test_the_labels_of_a_series_are_those_of_its_price_alerts():
    seen = replace(known(make_scorecard(GOOD * 2)), series_material={"dy_oxide": "Dy"})
    (reading,) = RULE.evaluate(seen)
    assert isinstance(reading, Reading)
    assert dict(reading.labels) == {
        "type": "model_degraded",
        "rule": "model-degraded",
        "series": "dy_oxide",
        "material": "Dy",
    }
    assert reading.rests_on == ("dy_oxide",)
