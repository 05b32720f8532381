"""alerts/rules/prices.py: rises at a quantile, calibrated chances, levels and premiums."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.rules import (
    HEADLINE_LIMIT,
    Limit,
    NotEvaluated,
    Premium,
    PriceLevel,
    PriceSpike,
    Reading,
    RuleOptions,
    Severity,
    judge_falling,
    judge_rising,
)
from alerts.rules.limits import exits_of
from forecasting.results import Situation
from tests.builders import NOW, end_of, make_forecast, make_observed

WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL
RISING = (Limit(WARNING, 80.0, 70.0), Limit(CRITICAL, 100.0, 90.0))
FALLING = (Limit(WARNING, 50.0, 55.0), Limit(CRITICAL, 40.0, 45.0))

LEVEL = PriceLevel("oxide-level", ("nd_oxide",), RISING, unit="USD/kg")
FLOOR = PriceLevel("oxide-floor", ("nd_oxide",), FALLING, direction="below")
PREMIUM = Premium(
    "dy-premium", ("dy_europe",), "dy_oxide", (Limit(WARNING, 0.3, 0.2), Limit(CRITICAL, 1.0, 0.8))
)
RISE = PriceSpike(
    "oxide-rise",
    ("nd_oxide",),
    (Limit(WARNING, 0.25, 0.2), Limit(CRITICAL, 0.5, 0.4)),
    since_months=0,
    quantile=0.9,
)
CHANCE = PriceSpike(
    "oxide-chance",
    ("nd_oxide",),
    (Limit(WARNING, 0.5, 0.35), Limit(CRITICAL, 0.8, 0.6)),
    since_months=0,
)


def read(rule, situation) -> Reading:
    (reading,) = rule.evaluate(situation)
    assert isinstance(reading, Reading), reading
    return reading


def refusal(rule, situation) -> str:
    (answer,) = rule.evaluate(situation)
    assert isinstance(answer, NotEvaluated), answer
    return answer.why


def value_of(reading: Reading, label: str) -> str:
    return next(fact.value for fact in reading.facts if fact.label == label)


def quoted(value: float, *, month: str = "2025-05", **changes) -> Situation:
    observed = make_observed(
        {"2025-04": 60.0, month: value},
        series="nd_oxide",
        title="Neodymium oxide, FOB China",
        unit="USD/kg",
        **changes,
    )
    return Situation(NOW, observed={"nd_oxide": observed})


def forecast_at(*steps: float, spread: float = 0.0, **changes) -> Situation:
    """A forecast of these months; its tenth and ninetieth percentiles lie `spread` around the middle."""
    places = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)
    forecast = make_forecast((60.0,) * 4)
    forecast = replace(
        forecast,
        periods=forecast.periods[: len(steps)],
        quantiles=tuple(tuple(step * (1 + spread * place) for place in places) for step in steps),
        paths=tuple(
            tuple(step * (1 + spread * (path / 10 - 1) * 1.25) for step in steps)
            for path in range(21)
        ),
        **changes,
    )
    return Situation(NOW, forecasts={"nd_oxide": forecast})


# --- limits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "severity", "holds"),
    [
        (60.0, None, None),
        (55.1, None, None),
        (55.0, None, WARNING),
        (50.1, None, WARNING),
        (50.0, WARNING, WARNING),
        (45.0, WARNING, CRITICAL),
        (40.0, CRITICAL, CRITICAL),
    ],
)
def test_a_falling_measure_crosses_at_enter_or_below_and_is_held_up_to_its_exit(
    value, severity, holds
):
    verdict = judge_falling(value, FALLING)
    assert (verdict.severity, verdict.holds) == (severity, holds)
    assert verdict.is_clear is (holds is None)


@given(value=st.floats(-1e6, 1e6))
def test_a_falling_measure_is_a_rising_one_in_a_mirror(value):
    mirrored = tuple(Limit(one.severity, -one.enter, -one.exit) for one in FALLING)
    falling, rising = judge_falling(value, FALLING), judge_rising(-value, mirrored)
    assert (falling.severity, falling.holds) == (rising.severity, rising.holds)


def test_a_lower_severity_of_a_falling_measure_does_not_end_before_the_higher_one():
    limits = (Limit(WARNING, 50.0, 52.0), Limit(CRITICAL, 40.0, 60.0))
    assert exits_of(limits, is_falling=True) == [(CRITICAL, 60.0), (WARNING, 60.0)]


# --- price_level ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "price", "severity", "is_clear"),
    [
        pytest.param(LEVEL, 69.9, None, True, id="below the exit"),
        pytest.param(LEVEL, 70.0, None, False, id="at the exit"),
        pytest.param(LEVEL, 79.9, None, False, id="between"),
        pytest.param(LEVEL, 80.0, WARNING, False, id="at the limit"),
        pytest.param(LEVEL, 100.0, CRITICAL, False, id="at the higher limit"),
        pytest.param(FLOOR, 55.1, None, True, id="floor: above the exit"),
        pytest.param(FLOOR, 50.1, None, False, id="floor: between"),
        pytest.param(FLOOR, 50.0, WARNING, False, id="floor: at the limit"),
        pytest.param(FLOOR, 39.0, CRITICAL, False, id="floor: far below"),
    ],
)
def test_the_newest_price_is_held_against_the_limits(rule, price, severity, is_clear):
    reading = read(rule, quoted(price))
    assert reading.value == price
    assert reading.severity is severity
    assert reading.is_clear is is_clear
    assert reading.direction == rule.direction
    assert reading.ends_on is None
    assert reading.rests_on == ("nd_oxide",)


def test_a_level_is_told_with_price_month_and_limit():
    reading = read(LEVEL, quoted(83.0))
    assert reading.headline == (
        "Neodymium oxide, FOB China: 83.0 USD/kg in May 2025, at or above the limit of 80.0 USD/kg"
    )
    assert value_of(reading, "Limit") == "80.0 USD/kg or more (warning)"
    assert reading.exits == (
        (CRITICAL, "the price falls below 90.0 USD/kg"),
        (WARNING, "the price falls below 70.0 USD/kg"),
    )
    assert dict(read(FLOOR, quoted(45.0)).exits)[WARNING] == "the price rises above 55.0 USD/kg"
    assert read(FLOOR, quoted(45.0)).headline.endswith("at or below the limit of 50.0 USD/kg")


def test_a_daily_and_a_yearly_price_can_be_judged_too():
    daily = quoted(83.0, frequency="day")
    assert "83.0 USD/kg on 1 May 2025" in read(LEVEL, daily).headline
    year = quoted(83.0, month="2025-01", frequency="year")
    assert "60.0 USD/kg in 2025" in read(LEVEL, year).headline


def test_a_level_ahead_is_the_highest_month_of_the_horizon_or_the_lowest():
    ahead = replace(LEVEL, horizon_months=2)
    reading = read(ahead, forecast_at(85.0, 90.0, 120.0))
    assert (reading.value, reading.severity) == (90.0, WARNING)
    assert reading.ends_on == date(2025, 7, 31)
    assert "about 90.0 USD/kg forecast for Jul 2025" in reading.headline
    below = replace(FLOOR, horizon_months=2)
    assert read(below, forecast_at(45.0, 60.0, 1.0)).value == 45.0
    high = replace(ahead, quantile=0.9)
    assert read(high, forecast_at(85.0, 90.0, spread=0.2)).value == pytest.approx(108.0)
    assert "108 USD/kg or more" in read(high, forecast_at(85.0, 90.0, spread=0.2)).headline


def test_a_quantile_that_no_forecast_carries_comes_from_its_paths():
    rule = replace(LEVEL, horizon_months=1, quantile=0.8)
    # 21 paths evenly from -25 % to +25 %: four fifths of the way is +15 %.
    assert read(rule, forecast_at(100.0, spread=0.2)).value == pytest.approx(115.0)


@pytest.mark.parametrize(
    ("rule", "situation", "why"),
    [
        pytest.param(LEVEL, Situation(NOW), "nd_oxide: no figures are known", id="no figures"),
        pytest.param(
            replace(LEVEL, unit="CNY/t"),
            quoted(80.0),
            "Neodymium oxide, FOB China: its prices are in USD/kg, the rule's limits in CNY/t",
            id="other unit",
        ),
        pytest.param(
            replace(LEVEL, unit="CNY/t", horizon_months=1),
            forecast_at(80.0),
            "Neodymium oxide, FOB China: its prices are in USD/kg, the rule's limits in CNY/t",
            id="other unit ahead",
        ),
        pytest.param(
            replace(LEVEL, max_age_days=20),
            quoted(80.0),
            "Neodymium oxide, FOB China: newest price is for May 2025, 21 days old; "
            "the rule judges up to 20 days",
            id="too old",
        ),
        pytest.param(
            replace(LEVEL, horizon_months=3),
            forecast_at(80.0, 80.0),
            "Neodymium oxide, FOB China: 3 months asked, 2 forecast",
            id="horizon",
        ),
        pytest.param(
            replace(LEVEL, horizon_months=1),
            Situation(NOW, refusals={"nd_oxide": "7 observations, 12 needed"}),
            "nd_oxide: 7 observations, 12 needed",
            id="no forecast",
        ),
        pytest.param(
            replace(LEVEL, horizon_months=1),
            forecast_at(80.0, frequency="year"),
            "Neodymium oxide, FOB China: a yearly series can't show a price months ahead",
            id="yearly forecast",
        ),
    ],
)
def test_a_level_that_can_not_be_judged_says_why(rule, situation, why):
    assert refusal(rule, situation) == why


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(CHANCE, id="spike"),
        pytest.param(RISE, id="quantile"),
        pytest.param(replace(LEVEL, horizon_months=3), id="level ahead"),
    ],
)
def test_months_that_are_over_are_not_judged_from_the_day_after_the_last(rule):
    forecast = make_forecast(cutoff=date(2025, 1, 1))
    known = Situation(end_of("2025-04-30"), forecasts={"nd_oxide": forecast})
    assert read(rule, known).ends_on == date(2025, 4, 30)
    assert refusal(rule, replace(known, known_at=end_of("2025-05-01"))) == (
        "Neodymium oxide, FOB China: the months that it speaks of are over: through Apr 2025"
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"limits": (Limit(WARNING, 81.0, 70.0),)},
        {"direction": "below"},
        {"unit": ""},
        {"horizon_months": 1},
        {"max_age_days": 99},
    ],
)
def test_the_version_of_a_level_changes_with_its_judgement(changed):
    assert replace(LEVEL, **changed).version != LEVEL.version


def test_what_does_not_change_the_judgement_of_a_level_does_not_change_its_version():
    for same in (
        {"options": RuleOptions(owner="x", route="operators")},
        {"series": ("dy_oxide",)},
        {"name": "other"},
        {"quantile": 0.9},  # nothing is forecast: no quantile is looked at
    ):
        assert replace(LEVEL, **same).version == LEVEL.version


def test_the_input_of_a_level_is_its_newest_price_and_nothing_else():
    before = read(LEVEL, quoted(80.0))
    older = quoted(80.0)
    points = older.observed["nd_oxide"].points
    moved = replace(older.observed["nd_oxide"], points=(replace(points[0], value=1.0), *points[1:]))
    assert read(LEVEL, Situation(NOW, observed={"nd_oxide": moved})).input_id == before.input_id
    assert read(LEVEL, replace(older, known_at=NOW.replace(day=22))).input_id == before.input_id
    assert read(LEVEL, quoted(80.1)).input_id != before.input_id


# --- premium ----------------------------------------------------------------------------------------


def both(outside: dict[str, float], china: dict[str, float], **changes) -> Situation:
    abroad = make_observed(
        outside, series="dy_europe", title="Dysprosium oxide, Rotterdam", unit="USD/kg"
    )
    home = make_observed(
        china, series="dy_oxide", title="Dysprosium oxide, FOB China", unit="USD/kg"
    )
    home = replace(home, **changes)
    return Situation(NOW, observed={"dy_europe": abroad, "dy_oxide": home})


@pytest.mark.parametrize(
    ("price", "severity", "is_clear"),
    [
        (100.0, None, True),
        (120.0, None, False),
        (129.0, None, False),
        (130.0, WARNING, False),
        (200.0, CRITICAL, False),
        (80.0, None, True),
    ],
)
def test_a_premium_is_the_price_outside_over_the_price_in_china(price, severity, is_clear):
    reading = read(PREMIUM, both({"2025-05": price}, {"2025-05": 100.0}))
    assert reading.value == pytest.approx(price / 100 - 1)
    assert (reading.severity, reading.is_clear) == (severity, is_clear)
    assert reading.rests_on == ("dy_europe", "dy_oxide")


def test_a_premium_is_of_the_newest_month_that_both_prices_know():
    situation = both(
        {"2025-03": 120.0, "2025-04": 260.0, "2025-05": 900.0}, {"2025-03": 100.0, "2025-04": 200.0}
    )
    reading = read(PREMIUM, situation)
    assert reading.headline == "Dysprosium oxide, Rotterdam: +30 % on China's price in Apr 2025"
    assert reading.data_through == date(2025, 4, 1)
    assert value_of(reading, "In China") == "200 USD/kg (Apr 2025; Dysprosium oxide, FOB China)"
    assert reading.drivers == ("In Mar 2025 it was +20 %.",)
    later = both(
        {"2025-03": 120.0, "2025-04": 260.0, "2025-05": 901.0}, {"2025-03": 100.0, "2025-04": 200.0}
    )
    assert read(PREMIUM, later).input_id == reading.input_id
    revised = both({"2025-03": 120.0, "2025-04": 260.0}, {"2025-03": 100.0, "2025-04": 201.0})
    assert read(PREMIUM, revised).input_id != reading.input_id


@pytest.mark.parametrize(
    ("situation", "why"),
    [
        pytest.param(Situation(NOW), "dy_europe: no figures are known", id="nothing"),
        pytest.param(
            replace(
                both({"2025-05": 1.0}, {"2025-05": 1.0}),
                observed={"dy_europe": both({"2025-05": 1.0}, {}).observed["dy_europe"]},
            ),
            "dy_oxide: no figures are known",
            id="not in China",
        ),
        pytest.param(
            both({"2025-05": 1.0}, {"2025-05": 1.0}, unit="CNY/kg"),
            "Dysprosium oxide, Rotterdam is in USD/kg, Dysprosium oxide, FOB China in CNY/kg: no premium",
            id="units",
        ),
        pytest.param(
            both({"2025-05": 1.0}, {"2025-05": 1.0}, frequency="day"),
            "Dysprosium oxide, Rotterdam is by month, Dysprosium oxide, FOB China by day: no premium",
            id="rhythm",
        ),
        pytest.param(
            both({"2025-05": 1.0}, {"2025-04": 1.0}),
            "Dysprosium oxide, Rotterdam: no month is known of it and of Dysprosium oxide, FOB China",
            id="no common month",
        ),
        pytest.param(
            both({"2025-01": 1.0}, {"2025-01": 1.0}),
            "Dysprosium oxide, Rotterdam: the newest month that both prices know is Jan 2025, "
            "141 days old; the rule judges up to 100 days",
            id="too old",
        ),
        pytest.param(
            both({"2025-05": 1.0}, {"2025-05": 0.0}),
            "Dysprosium oxide, FOB China: 0 USD/kg in May 2025; a price above 0 is needed",
            id="zero",
        ),
    ],
)
def test_prices_that_make_no_premium_say_why(situation, why):
    assert refusal(PREMIUM, situation) == why


def test_the_version_of_a_premium_knows_what_it_is_counted_against():
    assert replace(PREMIUM, against="tb_oxide").version != PREMIUM.version
    assert replace(PREMIUM, max_age_days=1).version != PREMIUM.version
    assert replace(PREMIUM, series=("x",)).version == PREMIUM.version
    assert replace(PREMIUM, against="tb_oxide").fingerprint("a") != PREMIUM.fingerprint("a")


# --- price_spike ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("highest", "severity", "is_clear"),
    [(71.0, None, True), (73.0, None, False), (75.0, WARNING, False), (91.0, CRITICAL, False)],
)
def test_a_rise_is_that_of_a_quantile_in_its_highest_month(highest, severity, is_clear):
    middle = highest / 1.2
    reading = read(RISE, forecast_at(50.0, middle, 40.0, 500.0, spread=0.2))
    assert reading.value == pytest.approx(highest / 60 - 1)
    assert (reading.severity, reading.is_clear) == (severity, is_clear)
    assert reading.probability is None
    assert reading.ends_on == date(2025, 8, 31)
    assert "by Jul 2025 in the highest tenth of outcomes" in reading.headline


def test_a_rise_does_not_depend_on_the_rise_that_only_chances_use():
    assert replace(RISE, rise=0.5).version == RISE.version
    assert replace(RISE, quantile=0.75).version != RISE.version
    assert replace(CHANCE, rise=0.5).version != CHANCE.version
    assert RISE.fingerprint("nd_oxide") != replace(RISE, quantile=None).fingerprint("nd_oxide")


def test_a_calibrated_chance_takes_the_place_of_the_share_of_paths():
    plain = forecast_at(60.0, 60.0, 60.0)
    told = replace(plain, rise_chances={("nd_oxide", 0.25, 3): 0.55})
    before, after = read(CHANCE, plain), read(CHANCE, told)
    assert (before.value, before.severity) == (0.0, None)
    assert (after.value, after.probability, after.severity) == (0.55, 0.55, WARNING)
    assert after.evidence[0].startswith("The chance is calibrated on how often")
    assert not any("calibrated" in line for line in before.evidence)
    assert after.input_id != before.input_id


@pytest.mark.parametrize(
    "other", [("dy_oxide", 0.25, 3), ("nd_oxide", 0.3, 3), ("nd_oxide", 0.25, 6)], ids=str
)
def test_a_calibrated_chance_of_something_else_is_not_taken(other):
    situation = replace(forecast_at(60.0, 60.0, 60.0), rise_chances={other: 0.99})
    assert read(CHANCE, situation).value == 0.0


def test_a_rise_counted_from_an_older_price_has_no_calibrated_chance():
    situation = replace(forecast_at(60.0, 60.0, 60.0), rise_chances={("nd_oxide", 0.25, 3): 0.99})
    assert read(replace(CHANCE, since_months=3), situation).value == 0.0


# --- all of them ------------------------------------------------------------------------------------

CASES = [
    pytest.param(LEVEL, quoted(83.0), id="level"),
    pytest.param(replace(LEVEL, horizon_months=1), forecast_at(90.0), id="level ahead"),
    pytest.param(RISE, forecast_at(60.0, 90.0, 60.0), id="rise"),
    pytest.param(CHANCE, forecast_at(60.0, 90.0, 60.0), id="chance"),
]


@pytest.mark.parametrize(("rule", "situation"), CASES)
def test_labels_name_type_rule_series_publisher_material_and_the_rules_own(rule, situation):
    seen = replace(
        situation, series_source={"nd_oxide": "prices"}, series_material={"nd_oxide": "Nd"}
    )
    own = replace(rule, options=RuleOptions(labels=(("desk", "magnets"),)))
    assert read(own, seen).labels == (
        ("type", rule.type),
        ("rule", rule.name),
        ("series", "nd_oxide"),
        ("source", "prices"),
        ("material", "Nd"),
        ("desk", "magnets"),
    )


@pytest.mark.parametrize(("rule", "situation"), CASES)
def test_headlines_fit_and_readings_survive_storage(rule, situation):
    reading = read(rule, situation)
    assert len(reading.headline) <= HEADLINE_LIMIT
    assert "nd_oxide" not in reading.headline
    assert Reading.from_dict(reading.as_dict()) == reading


@given(value=st.floats(0.001, 1e6), moment=st.integers(0, 23))
def test_a_level_is_clear_exactly_below_every_exit(value, moment):
    situation = replace(quoted(value), known_at=datetime(2025, 6, 21, moment, tzinfo=UTC))
    reading = read(LEVEL, situation)
    assert reading.is_clear is (value < 70.0)
    assert (reading.severity is not None) is (value >= 80.0)
