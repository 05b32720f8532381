"""alerts/rules/markets.py: concentration, stock cover, and what other scenarios would change."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from alerts.rules import (
    HEADLINE_LIMIT,
    Concentration,
    Limit,
    NotEvaluated,
    Reading,
    RuleOptions,
    Severity,
    Shortfall,
    StockCover,
)
from forecasting.results import Indicator, Interval, Situation
from tests.builders import NOW, end_of, make_projection

WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL

HHI = Concentration(
    "origins", ("world-ndfeb",), (Limit(WARNING, 5000, 4500), Limit(CRITICAL, 7000, 6500))
)
WITHOUT = Concentration(
    "largest", ("world-ndfeb",), (Limit(WARNING, 0.4, 0.5),), indicator="n_minus_1"
)
COVER = StockCover("stock", ("world-ndfeb",), (Limit(WARNING, 42, 50), Limit(CRITICAL, 14, 20)))
SHORTFALL = Shortfall(
    "shortfall", ("world-ndfeb",), (Limit(WARNING, 0.05, 0.04), Limit(CRITICAL, 0.15, 0.12))
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


def known(*projections, **changes) -> Situation:
    return Situation(
        NOW, projections={(one.market, one.scenario): one for one in projections}, **changes
    )


def indicated(value: float, *, name: str = "hhi_origins", unit: str = "0-10000", **changes):
    indicator = Indicator(
        name, "Concentration of supply (HHI)", value, unit, "high: above 2,500", "low", "shares"
    )
    return make_projection(indicators=(replace(indicator, **changes),))


def covered(*middles: float, width: float = 10.0):
    """A market whose stock lasts so many days at the end of each month, half of the draws within `width`."""
    projection = make_projection(months=len(middles))
    return replace(
        projection,
        months=tuple(
            replace(
                month, stock_cover_days=Interval(max(middle - width, 0), middle, middle + width)
            )
            for month, middle in zip(projection.months, middles, strict=True)
        ),
    )


# --- concentration ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "severity", "is_clear"),
    [
        (4499.0, None, True),
        (4500.0, None, False),
        (5000.0, WARNING, False),
        (7000.0, CRITICAL, False),
    ],
)
def test_an_indicator_is_held_against_limits_in_its_own_unit(value, severity, is_clear):
    reading = read(HHI, known(indicated(value)))
    assert (reading.value, reading.severity, reading.is_clear) == (value, severity, is_clear)
    assert reading.direction == "above"


@pytest.mark.parametrize(
    ("value", "severity", "is_clear"),
    [(0.51, None, True), (0.5, None, False), (0.4, WARNING, False), (0.1, WARNING, False)],
)
def test_limits_that_end_higher_than_they_begin_are_of_a_falling_indicator(
    value, severity, is_clear
):
    reading = read(WITHOUT, known(indicated(value, name="n_minus_1", unit="share")))
    assert (reading.severity, reading.is_clear) == (severity, is_clear)
    assert reading.direction == "below"
    assert reading.exits == ((WARNING, "it rises above 50 %"),)


def test_a_concentration_is_told_with_title_value_unit_and_class():
    reading = read(HHI, known(indicated(6347.0)))
    assert reading.headline == (
        "World NdFeB magnets: 6,347 of 10,000, concentration of supply (HHI)"
    )
    assert value_of(reading, "Concentration of supply (HHI)") == "6,347 of 10,000"
    assert value_of(reading, "What it means") == "high: above 2,500"
    assert value_of(reading, "Limit") == "5,000 of 10,000 or more (warning)"
    assert value_of(reading, "Confidence") == "low (the weakest of what it rests on)"


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [(0.76, "share", "76 %"), (12.0, "days", "12 days"), (1.5, "", "1.50")],
)
def test_every_unit_of_an_indicator_has_words(value, unit, words):
    reading = read(HHI, known(indicated(value, unit=unit)))
    assert value_of(reading, "Concentration of supply (HHI)") == words


def test_the_largest_origins_are_what_drives_a_concentration():
    projection = indicated(6000.0)
    china, cars, *rest = projection.components
    lines = (
        replace(china, origin="China"),
        replace(
            china, name="Vietnam's plants", origin="Vietnam", tonnes_per_year=Interval(1, 2500, 3)
        ),
        cars,
        *rest,
    )
    reading = read(HHI, known(replace(projection, components=lines)))
    assert reading.drivers == (
        "China: 80 % of the supply whose origin is known, about 10,000 t a year.",
        "Vietnam: 20 % of the supply whose origin is known, about 2,500 t a year.",
    )


def test_an_indicator_that_the_projection_lacks_is_named_with_those_it_has():
    assert refusal(HHI, known(make_projection())) == (
        "World NdFeB magnets: the projection has no indicator hhi_origins; it has none"
    )
    assert refusal(WITHOUT, known(indicated(1.0))).endswith("n_minus_1; it has hhi_origins")


def test_the_input_of_a_concentration_is_its_projection_and_its_value():
    before = read(HHI, known(indicated(6000.0))).input_id
    assert read(HHI, known(indicated(6000.0), market_series={"x": frozenset()})).input_id == before
    assert read(HHI, known(indicated(6001.0))).input_id != before
    other = replace(indicated(6000.0), projection_id="m-2")
    assert read(HHI, known(other)).input_id != before


# --- stock cover ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("middles", "value", "severity", "is_clear"),
    [
        ((60.0, 55.0, 51.0), 51.0, None, True),
        ((60.0, 50.0, 70.0), 50.0, None, False),
        ((60.0, 42.0, 70.0), 42.0, WARNING, False),
        ((14.0, 42.0, 70.0), 14.0, CRITICAL, False),
    ],
)
def test_the_month_in_which_stocks_last_shortest_decides(middles, value, severity, is_clear):
    reading = read(COVER, known(covered(*middles, 1.0)))
    assert (reading.value, reading.severity, reading.is_clear) == (value, severity, is_clear)
    assert reading.direction == "below"
    assert reading.ends_on == date(2025, 9, 30)


def test_a_stock_cover_is_told_in_days_with_its_month():
    reading = read(COVER, known(covered(60.0, 30.0, 40.0)))
    assert (
        reading.headline == "World NdFeB magnets: stock lasts about 30 days at the end of Aug 2025"
    )
    assert value_of(reading, "80 % range, end of Aug 2025") == "20 to 40 days"
    assert value_of(reading, "End of Jul 2025") == "about 60 days"
    assert dict(reading.exits)[WARNING] == "the lowest stock cover rises above 50 days"
    nothing = read(COVER, known(covered(0.0, 0.0, 0.2)))
    assert "stock lasts less than a day" in nothing.headline


def test_a_stock_cover_can_be_judged_in_its_worst_tenth():
    reading = read(replace(COVER, quantile=0.1), known(covered(60.0, 52.0, 60.0)))
    assert (reading.value, reading.severity) == (42.0, WARNING)
    assert "42 days or less" in reading.headline
    assert "worst tenth of outcomes" in reading.headline
    assert read(replace(COVER, quantile=0.9), known(covered(60.0, 52.0, 60.0))).value == 62.0


def test_a_market_that_states_no_stock_is_not_judged_but_an_empty_one_is():
    bare = covered(0.0, 0.0, 0.0, width=0.0)
    assert refusal(COVER, known(bare)) == (
        "World NdFeB magnets: the market states no stock, so nothing can be covered by it"
    )
    states = replace(bare, indicators=(Indicator("stock_cover", "", 0.0, "days", "", "low", ""),))
    assert read(COVER, known(states)).severity is CRITICAL


# --- all of them ------------------------------------------------------------------------------------


RULES = [pytest.param(HHI, id="concentration"), pytest.param(COVER, id="stock_cover")]


@pytest.mark.parametrize("rule", [*RULES, pytest.param(SHORTFALL, id="shortfall")])
def test_a_market_without_a_new_enough_projection_says_why(rule):
    assert refusal(rule, Situation(NOW)) == "world-ndfeb: no projection under base"
    late = replace(known(indicated(1.0)), known_at=NOW + timedelta(days=500))
    assert refusal(rule, late) == (
        "World NdFeB magnets: its figures are known only through May 2025, 521 days ago; "
        f"the rule judges up to {rule.max_age_days} days"
    )


@pytest.mark.parametrize(
    ("rule", "last_day", "through"),
    [
        pytest.param(replace(COVER, max_age_days=500), "2025-09-30", "Sep 2025", id="stock_cover"),
        pytest.param(
            replace(SHORTFALL, max_age_days=500), "2025-12-31", "Dec 2025", id="shortfall"
        ),
        pytest.param(replace(HHI, max_age_days=500), "2026-06-30", "Jun 2026", id="concentration"),
    ],
)
def test_months_that_are_over_are_not_judged_from_the_day_after_the_last(rule, last_day, through):
    situation = known(indicated(6000.0))
    assert read(rule, replace(situation, known_at=end_of(last_day)))
    late = replace(situation, known_at=end_of(last_day) + timedelta(seconds=1))
    assert refusal(rule, late) == (
        f"World NdFeB magnets: the months that it speaks of are over: through {through}"
    )


def test_one_month_ahead_is_told_as_one_month():
    reading = read(replace(SHORTFALL, horizon_months=1), known(make_projection()))
    assert "of demand unmet over 1 month in the middle outcome" in reading.headline
    assert value_of(reading, "Middle outcome").endswith("of demand unmet over the next month")
    supposed = replace(SHORTFALL, horizon_months=1, scenario="freeze")
    reading = read(supposed, known(make_projection(scenario="freeze", scenario_title="Freeze")))
    assert "unmet over 1 month in the middle outcome; scenario: Freeze" in reading.headline


@pytest.mark.parametrize("rule", [COVER, SHORTFALL], ids=["stock_cover", "shortfall"])
def test_a_horizon_longer_than_the_projection_is_not_judged(rule):
    short = known(make_projection(months=2))
    assert refusal(rule, short) == (
        f"World NdFeB magnets: {rule.horizon_months} months asked, 2 projected"
    )


@pytest.mark.parametrize(
    ("rule", "changed"),
    [
        (HHI, {"limits": (Limit(WARNING, 5000, 4400),)}),
        (HHI, {"indicator": "n_minus_1"}),
        (HHI, {"scenario": "quota"}),
        (HHI, {"max_age_days": 1}),
        (COVER, {"limits": (Limit(WARNING, 42, 51),)}),
        (COVER, {"scenario": "quota"}),
        (COVER, {"horizon_months": 4}),
        (COVER, {"quantile": 0.1}),
        (COVER, {"max_age_days": 1}),
    ],
)
def test_the_version_changes_with_the_judgement(rule, changed):
    assert replace(rule, **changed).version != rule.version


@pytest.mark.parametrize("rule", RULES)
def test_the_version_does_not_change_with_anything_else(rule):
    same = replace(rule, market=("x",), name="y", options=RuleOptions(owner="z"))
    assert same.version == rule.version


@pytest.mark.parametrize("rule", [*RULES, pytest.param(SHORTFALL, id="shortfall")])
def test_a_scenario_is_said_and_is_a_label(rule):
    own = replace(rule, scenario="freeze", options=RuleOptions(labels=(("desk", "a"),)))
    projection = replace(
        indicated(6000.0), scenario="freeze", scenario_title="No licences for six months"
    )
    reading = read(own, known(projection, market_series={"world-ndfeb": frozenset({"b", "a"})}))
    assert "No licences for six months" in reading.headline
    assert len(reading.headline) <= HEADLINE_LIMIT
    assert reading.labels == (
        ("type", rule.type),
        ("rule", rule.name),
        ("market", "world-ndfeb"),
        ("scenario", "freeze"),
        ("desk", "a"),
    )
    assert reading.rests_on == ("a", "b")
    assert Reading.from_dict(reading.as_dict()) == reading


# --- shortfall: chances and scenarios ---------------------------------------------------------------


def test_a_shortfall_states_the_chance_of_more_than_its_limit():
    reading = read(SHORTFALL, known(make_projection((0.0, 0.02, 0.04, 0.06, 0.1))))
    assert reading.limit == 0.05
    assert reading.probability == pytest.approx(2 / 5)
    assert reading.ends_on == date(2025, 12, 31)


def scenario(name: str, share: float, **changes):
    return make_projection(
        (share,), scenario=name, scenario_title=f"Title of {name}: more words", **changes
    )


def deltas(reading: Reading) -> list[tuple[str, str]]:
    return [(f.label, f.value) for f in reading.facts if f.label.startswith("Under “")]


def test_a_shortfall_says_what_other_scenarios_would_change_the_most_first():
    base = make_projection((0.25,))
    others = [
        scenario(name, share)
        for name, share in zip("abcde", (0.3, 0.67, 0.1, 0.28, 0.25), strict=True)
    ]
    reading = read(SHORTFALL, known(base, *others))
    assert deltas(reading) == [
        ("Under “Title of b”", "67 % instead of 25 % unmet in the middle outcome"),
        ("Under “Title of c”", "10 % instead of 25 % unmet in the middle outcome"),
        ("Under “Title of a”", "30 % instead of 25 % unmet in the middle outcome"),
    ]


def test_a_rule_on_a_scenario_names_the_base_case_first():
    base = replace(make_projection((0.25,)), scenario_title="Base case: nothing new")
    rule = replace(SHORTFALL, scenario="b")
    reading = read(rule, known(base, scenario("a", 0.01), scenario("b", 0.3)))
    assert [label for label, _ in deltas(reading)] == ["Under “Base case”", "Under “Title of a”"]


def test_scenarios_of_other_markets_or_other_months_are_not_compared():
    base = make_projection((0.25,))
    elsewhere = scenario("a", 0.9, market="eu-ndfeb")
    earlier = scenario("b", 0.9)
    earlier = replace(
        earlier, months=(replace(earlier.months[0], month=date(2025, 6, 1)), *earlier.months[1:])
    )
    short = scenario("c", 0.9, months=3)
    assert deltas(read(SHORTFALL, known(base, elsewhere, earlier, short))) == []
