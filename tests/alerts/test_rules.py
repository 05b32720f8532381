from dataclasses import replace
from datetime import date, timedelta

import pytest

from alerts.lifecycle import decide
from alerts.rules import (
    HEADLINE_LIMIT,
    DropLimit,
    Limit,
    NotEvaluated,
    PriceSpike,
    Reading,
    Severity,
    Shortfall,
    StaleSource,
    VolumeDrop,
)
from alerts.rules.words import evidence_note, fitted
from forecasting.results import Situation
from tests.builders import (
    NOW,
    end_of,
    exports_known_on,
    make_forecast,
    make_observed,
    make_projection,
    make_reading,
    make_source,
)

WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL

PRICE = PriceSpike(
    name="oxide-price-spike",
    series=("nd_oxide",),
    limits=(Limit(WARNING, 0.5, 0.35), Limit(CRITICAL, 0.8, 0.6)),
)
SHORTFALL = Shortfall(
    name="magnet-shortfall",
    market=("world-ndfeb",),
    limits=(Limit(WARNING, 0.05, 0.04), Limit(CRITICAL, 0.15, 0.12)),
)
DROP = VolumeDrop(
    name="magnet-exports-drop",
    series=("cn_magnet_exports",),
    limits=(DropLimit(WARNING, 0.6, 0.75), DropLimit(CRITICAL, 0.6, 0.75, months_running=2)),
)
STALE = StaleSource(name="source-is-stale")


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


# --- volume_drop: the spring of 2025, as each day knew it -------------------------------------------


@pytest.mark.parametrize(
    ("day", "newest", "share", "severity", "is_clear"),
    [
        pytest.param("2025-03-19", "Jan 2025", 0.99, None, False, id="quiet before the shock"),
        pytest.param("2025-04-21", "Mar 2025", 1.06, None, True, id="March is an ordinary month"),
        pytest.param("2025-05-19", "Mar 2025", 1.06, None, True, id="April is not published yet"),
        pytest.param("2025-05-21", "Apr 2025", 0.52, WARNING, False, id="one month below 60 %"),
        pytest.param("2025-06-21", "May 2025", 0.25, CRITICAL, False, id="two months running"),
        pytest.param("2025-07-21", "Jun 2025", 0.63, None, False, id="above 60 %, below 75 %"),
        pytest.param(
            "2025-08-21", "Jul 2025", 1.15, None, False, id="one good month is not enough"
        ),
        pytest.param("2025-09-21", "Aug 2025", 1.24, None, True, id="two good months end it"),
    ],
)
def test_magnet_exports_of_2025(day, newest, share, severity, is_clear):
    reading = read(DROP, exports_known_on(day))

    assert newest in reading.headline
    assert reading.value == pytest.approx(share, abs=0.005)
    assert reading.severity is severity
    assert reading.is_clear is is_clear


def test_on_15_march_2025_without_new_months_the_newest_is_too_old_to_judge():
    known_at = end_of("2025-03-15")
    months = {"2024-05": 4760, "2024-06": 5150, "2024-07": 5278, "2024-08": 5337}
    months |= {"2024-09": 4914, "2024-10": 4725}
    situation = Situation(
        known_at=known_at, observed={"cn_magnet_exports": make_observed(months, known_at=known_at)}
    )

    assert refusal(DROP, situation) == (
        "China's exports of rare-earth magnets (customs line 85051110): newest month is Oct 2024, "
        "135 days old; the rule judges up to 120 days"
    )


def test_a_reader_learns_how_many_months_rest_on_weak_figures():
    reading = read(DROP, exports_known_on("2025-06-21"))

    assert value_of(reading, "Confidence") == "5 of 11 months rest on low-confidence figures"
    assert value_of(reading, "12-month mean") == (
        "5,048 t, from 9 known months (May 2024–Oct 2024, Jan 2025–Mar 2025)"
    )
    assert reading.evidence[0] == (
        "Months with low-confidence figures: May 2024, Aug 2024, Jan 2025–Mar 2025."
    )


def test_a_weak_newest_month_is_said_aloud():
    reading = read(DROP, exports_known_on("2025-06-21", **{"2025-05": (1238, "low")}))

    assert "The newest month itself (May 2025) is one of them." in reading.evidence


def test_the_months_under_suspicion_are_not_part_of_their_own_mean():
    reading = read(DROP, exports_known_on("2025-06-21"))

    known = [4760, 5150, 5278, 5337, 4914, 4725, 4982, 4982, 5300]
    assert reading.value == pytest.approx(1238 / (sum(known) / len(known)))


YEAR = {f"2024-{m:02}": 5000 for m in range(1, 13)}


def exports(values: list[float]) -> Situation:
    """An ordinary year at 5,000 t, then these months from January 2025, read when the last is out."""
    months = YEAR | {f"{2025 + i // 12}-{i % 12 + 1:02}": value for i, value in enumerate(values)}
    observed = make_observed(months)
    return Situation(observed.points[-1].known_at, observed={observed.series: observed})


def life_of(values: list[float]) -> list[str]:
    """The severity of the incident after each month, or how it stands when nothing is open."""
    incident, told = None, []
    for count in range(1, len(values) + 1):
        situation = exports(values[:count])
        (result,) = DROP.evaluate(situation)
        decision = decide(incident, result, DROP.options, now=situation.known_at, new_id="id")
        incident = decision.incident
        is_open = incident is not None and incident.state.is_open
        told.append(incident.severity.name.lower() if is_open else "quiet")
    return told


@pytest.mark.parametrize(
    ("values", "told"),
    [
        pytest.param([4900, 5100], ["quiet", "quiet"], id="ordinary months"),
        pytest.param([2600, 4000, 4000], ["warning", "warning", "quiet"], id="one bad month"),
        pytest.param(
            [2600, 1200, 3300, 2000],
            ["warning", "critical", "critical", "critical"],
            id="a better month in mid-collapse lowers nothing",
        ),
        pytest.param(
            [2600, 1200, 3300, 5000, 3300, 5000, 5000],
            ["warning", *["critical"] * 5, "quiet"],
            id="two months running have to be back",
        ),
        pytest.param(
            [2600, 3300, 2600], ["warning", "warning", "warning"], id="single months stay a warning"
        ),
        pytest.param(
            [1500] * 24,
            ["warning", *["critical"] * 23],
            id="a collapse that lasts is no new normal",
        ),
    ],
)
def test_a_collapse_is_told_until_it_is_over(values, told):
    assert life_of(values) == told


@pytest.mark.parametrize(
    ("values", "ending", "left_out"),
    [
        pytest.param([2600], "12-month mean", None, id="first"),
        pytest.param(
            [2600, 1200], "second month running", "1 month below the limit (Jan 2025)", id="second"
        ),
        pytest.param(
            [1500] * 5,
            "fifth month running",
            "4 months below the limit (Jan 2025–Apr 2025)",
            id="fifth",
        ),
        pytest.param(
            [1500] * 13,
            "13th month running",
            "12 months below the limit (Jan 2025–Dec 2025)",
            id="a year later",
        ),
        pytest.param(
            [1500, 1500, 4000, 1500],
            "12-month mean",
            "2 months below the limit (Jan 2025–Feb 2025)",
            id="an ordinary month between begins a new run",
        ),
    ],
)
def test_the_run_is_counted_and_its_months_are_left_out_of_the_mean(values, ending, left_out):
    reading = read(DROP, exports(values))
    facts = {fact.label: fact.value for fact in reading.facts}

    assert reading.headline.endswith(ending)
    assert facts.get("Left out of the mean") == left_out
    if 4000 not in values:
        assert facts["12-month mean"] == ("5,000 t, from 12 known months (Jan 2024–Dec 2024)")


def test_each_severity_of_a_drop_says_what_it_waits_for():
    reading = read(DROP, exports([2600, 1200, 3300]))

    assert (reading.severity, reading.holds, reading.is_clear) == (None, CRITICAL, False)
    assert dict(reading.exits)[CRITICAL] == (
        "two months running are at 75 % of the 12-month mean or above"
    )


def test_a_rule_that_needs_one_month_speaks_of_one_month():
    rule = replace(DROP, min_known_months=1)
    alone, after_one = (
        make_observed(dict.fromkeys(names, 5000.0))
        for names in (["2025-05"], ["2025-04", "2025-05"])
    )

    assert "fewer than 1 month known" in refusal(
        rule, Situation(known_at=NOW, observed={alone.series: alone})
    )
    reading = read(rule, Situation(known_at=NOW, observed={after_one.series: after_one}))
    assert value_of(reading, "12-month mean") == "5,000 t, from 1 known month (Apr 2025)"


def test_two_low_months_with_an_unknown_month_between_are_not_two_running():
    months = {f"2024-{m:02}": 5000 for m in range(1, 11)} | {"2024-11": 1000, "2025-01": 1000}
    known_at = end_of("2025-02-21")
    observed = make_observed(months, known_at=known_at)

    reading = read(DROP, Situation(known_at=known_at, observed={observed.series: observed}))

    assert reading.severity is WARNING


@pytest.mark.parametrize(
    ("months", "why"),
    [
        pytest.param({}, "no figures are known", id="nothing known"),
        pytest.param(
            {"2025-02": 5000, "2025-03": 5000, "2025-04": 5000, "2025-05": 1000},
            "fewer than 4 months known in the year before May 2025",
            id="three months are no mean",
        ),
        pytest.param(
            {f"2024-{m:02}": 0 for m in range(6, 13)} | {"2025-05": 0},
            "the mean of the 7 months known before May 2025 is 0 t; a mean above 0 is needed",
            id="a mean of zero",
        ),
    ],
)
def test_too_little_to_judge_is_said_and_not_guessed(months, why):
    observed = make_observed(months)

    assert why in refusal(DROP, Situation(known_at=NOW, observed={observed.series: observed}))


def test_equal_figures_are_the_same_input_on_another_day_and_a_revision_is_not():
    june = read(DROP, exports_known_on("2025-06-21"))
    july = read(DROP, exports_known_on("2025-07-01"))
    revised = read(DROP, exports_known_on("2025-06-21", **{"2024-07": (5279, "high")}))

    assert june.input_id == july.input_id
    assert june.input_id != revised.input_id


# --- price_spike ------------------------------------------------------------------------------------


def test_prices_of_june_2025_are_no_spike_yet():
    # Nd oxide stood at 60–62 USD/kg from March to June 2025 while exports collapsed.
    reading = read(PRICE, prices(60.4, 61.0, 60.2, 61.8))

    assert reading.severity is None
    assert reading.is_clear
    assert reading.headline == (
        "Neodymium oxide, FOB China: less than 1 % chance of a price above 75.5 USD/kg by Aug 2025 "
        "(now 61.8 USD/kg)"
    )


def test_a_price_that_has_run_36_per_cent_in_three_months_is_a_spike():
    reading = read(PRICE, prices(61.0, 66.0, 74.0, 83.0))

    assert reading.severity is CRITICAL
    assert not reading.is_clear
    assert reading.headline == (
        "Neodymium oxide, FOB China: up 36 % since Feb 2025, at 83.0 USD/kg in May 2025"
    )
    assert "already past 76.2 USD/kg" in reading.drivers[1]


@pytest.mark.parametrize(
    ("history", "chance_fact", "standing"),
    [
        pytest.param(
            (61.0, 63.0, 66.0, 72.0),
            "36 % for a price above 76.2 USD/kg by Aug 2025",
            "The chance of a price above 76.2 USD/kg by Aug 2025 is 36 %; the limit is 50 %.",
            id="below the level",
        ),
        pytest.param(
            (61.0, 66.0, 74.0, 78.0),
            "82 % that it is still above 76.2 USD/kg in a coming month, up to Aug 2025",
            "The chance that it is still above 76.2 USD/kg in a coming month is 82 %; "
            "the critical limit is 80 %.",
            id="above it already",
        ),
        pytest.param(
            (60.0, 80.0, 78.0, 70.0),
            "30 % for a price above 75.0 USD/kg by Aug 2025",
            "The chance of a price above 75.0 USD/kg by Aug 2025 is 30 %; the limit is 50 %.",
            id="was above it, and came back",
        ),
    ],
)
def test_what_has_happened_is_never_called_a_chance_of_happening(history, chance_fact, standing):
    reading = read(PRICE, prices(*history))

    assert value_of(reading, "Chance") == chance_fact
    assert reading.standing == standing
    assert "passing" not in f"{reading.headline} {reading.facts} {reading.drivers}"


@pytest.mark.parametrize(
    ("history", "ended"),
    [
        pytest.param(
            (50.0,) * 9 + (96.0, 98.0, 97.0, 97.0),
            "The rise is no longer steep: +1 % over 3 months, since Feb 2025, where +25 % counts. "
            "The price itself stands at 97.0 USD/kg (May 2025), 94 % above the price a year before.",
            id="still high",
        ),
        pytest.param(
            (90.0, 85.0, 80.0, 75.0),
            "The price no longer rises: -17 % over 3 months, since Feb 2025, where +25 % counts. "
            "The price itself stands at 75.0 USD/kg (May 2025), which may still be high.",
            id="falling, and no year known",
        ),
    ],
)
def test_the_end_of_a_spike_does_not_claim_a_low_price(history, ended):
    reading = read(PRICE, prices(*history))

    assert reading.is_clear
    assert reading.ended == ended


def test_the_level_is_told_with_the_chance_because_it_moves_with_every_month():
    may = read(PRICE, prices(61.0, 63.0, 66.0, 72.0))
    june = read(PRICE, prices(63.0, 66.0, 72.0, 84.0))

    assert may.measured == "36 % for a price above 76.2 USD/kg by Aug 2025"
    assert june.measured.endswith("for a price still above 78.8 USD/kg")


def test_each_severity_of_a_rise_says_what_it_waits_for():
    assert read(PRICE, prices(61.0, 66.0, 74.0, 83.0)).exits == (
        (CRITICAL, "the chance falls below 60 %"),
        (WARNING, "the chance falls below 35 %"),
    )


def test_the_gap_between_exit_and_enter_is_neither_crossed_nor_clear():
    forecast = make_forecast((60.0, 62.0, 65.0, 70.0))
    level = 75.0
    half = len(forecast.paths) * 2 // 5  # 40 % of the paths pass the level
    paths = tuple((level + 1,) * 12 if i < half else (level - 1,) * 12 for i in range(400))

    reading = read(PRICE, Situation(NOW, forecasts={"nd_oxide": replace(forecast, paths=paths)}))

    assert (reading.severity, reading.is_clear, reading.holds) == (None, False, WARNING)


def test_since_zero_counts_the_rise_from_the_newest_price():
    reading = read(replace(PRICE, since_months=0), prices(61.0, 66.0, 74.0, 83.0))

    assert reading.severity is None
    assert value_of(reading, "What counts") == "a rise of 25 % from 83.0 USD/kg (May 2025)"


@pytest.mark.parametrize(
    ("situation", "why"),
    [
        pytest.param(
            Situation(NOW, refusals={"nd_oxide": "9 observations, 24 needed"}),
            "nd_oxide: 9 observations, 24 needed",
            id="refused",
        ),
        pytest.param(Situation(NOW), "nd_oxide: no forecast was made", id="no forecast"),
        pytest.param(
            Situation(NOW, forecasts={"nd_oxide": make_forecast(cutoff=date(2025, 1, 1))}),
            "Neodymium oxide, FOB China: newest price is for Jan 2025, 141 days old; "
            "the rule judges up to 100 days",
            id="old price",
        ),
        pytest.param(
            Situation(NOW, forecasts={"nd_oxide": make_forecast((60.0, 61.0))}),
            "Neodymium oxide, FOB China: no price known for Feb 2025 to count the rise from",
            id="no price to count from",
        ),
        pytest.param(
            Situation(NOW, forecasts={"nd_oxide": make_forecast(horizon=2)}),
            "Neodymium oxide, FOB China: 3 months asked, 2 forecast",
            id="short horizon",
        ),
        pytest.param(
            Situation(NOW, forecasts={"nd_oxide": make_forecast(frequency="year")}),
            "Neodymium oxide, FOB China: a yearly series can't show a rise over months",
            id="yearly",
        ),
    ],
)
def test_a_price_that_cannot_be_judged_says_why(situation, why):
    assert refusal(PRICE, situation) == why


def test_weak_prices_are_counted_in_the_evidence():
    months = {f"2025-0{m}": (60, "low" if m < 3 else "high") for m in range(1, 6)}
    observed = make_observed(months, series="nd_oxide")
    situation = replace(prices(60, 60, 60, 60), observed={"nd_oxide": observed})

    assert "Of the newest prices, 2 of 5 months rest on low-confidence figures." in (
        read(PRICE, situation).evidence
    )


def prices(*history: float) -> Situation:
    return Situation(NOW, forecasts={"nd_oxide": make_forecast(history)})


# --- shortfall --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shares", "severity", "holds"),
    [
        pytest.param((0.0, 0.01, 0.02), None, None, id="well supplied"),
        pytest.param((0.0, 0.045, 0.09), None, WARNING, id="between exit and enter"),
        pytest.param((0.0, 0.05, 0.09), WARNING, WARNING, id="at the limit"),
        pytest.param((0.0, 0.13, 0.2), WARNING, CRITICAL, id="a critical one would still hold"),
        pytest.param((0.1, 0.16, 0.2), CRITICAL, CRITICAL, id="critical"),
    ],
)
def test_shortfall_compares_the_middle_outcome_with_its_limits(shares, severity, holds):
    reading = read(SHORTFALL, markets(make_projection(shares)))

    assert (reading.severity, reading.holds) == (severity, holds)
    assert reading.is_clear is (holds is None)


def test_a_small_chance_of_much_is_a_warning_through_the_tail():
    shares = (0.0,) * 8 + (0.3,) * 2
    rule = replace(SHORTFALL, tail=Limit(WARNING, 0.15, 0.12))

    assert read(SHORTFALL, markets(make_projection(shares))).severity is None
    reading = read(rule, markets(make_projection(shares)))

    assert reading.severity is WARNING
    assert reading.headline == (
        "World NdFeB magnets: 30 % or more of demand unmet over 6 months in the worst tenth of outcomes"
    )


@pytest.mark.parametrize(
    ("quantile", "tail", "scenario", "headline", "standing", "limit"),
    [
        pytest.param(
            0.5,
            None,
            "base",
            "about 10 % of demand unmet over 6 months in the middle outcome (80 % range 2 to 18 %)",
            "The projection leaves about 10 % of demand unmet in the middle outcome; "
            "the warning limit is 5 %.",
            "5 % of demand in the middle outcome (warning)",
            id="the middle",
        ),
        pytest.param(
            0.9,
            None,
            "base",
            "18 % or more of demand unmet over 6 months in the worst tenth of outcomes",
            "The projection leaves 18 % or more of demand unmet in the worst tenth of outcomes; "
            "the critical limit is 15 %.",
            "15 % of demand in the worst tenth of outcomes (critical)",
            id="a rule on the worst tenth",
        ),
        pytest.param(
            0.75,
            None,
            "base",
            "15 % or more of demand unmet over 6 months in the worst quarter of outcomes",
            "The projection leaves 15 % or more of demand unmet in the worst quarter of outcomes; "
            "the critical limit is 15 %.",
            "15 % of demand in the worst quarter of outcomes (critical)",
            id="a rule on the worst quarter",
        ),
        pytest.param(
            0.1,
            None,
            "base",
            "2 % or less of demand unmet over 6 months in the best tenth of outcomes",
            "The projection leaves 2 % or less of demand unmet in the best tenth of outcomes; "
            "the limit is 5 %.",
            "5 % of demand in the best tenth of outcomes",
            id="a rule on the best tenth",
        ),
        pytest.param(
            0.1,
            Limit(WARNING, 0.15, 0.12),
            "freeze",
            "18 % unmet over 6 months in the worst tenth; "
            "scenario: China grants no licences for six months",
            "The projection leaves 18 % or more of demand unmet in the worst tenth of outcomes; "
            "the warning limit is 15 %.",
            "15 % of demand in the worst tenth of outcomes (warning)",
            id="the tail of a scenario",
        ),
    ],
)
def test_every_text_names_the_outcome_that_was_judged(
    quantile, tail, scenario, headline, standing, limit
):
    title = {"base": "Base case", "freeze": "China grants no licences for six months"}[scenario]
    projection = make_projection(
        (0.0, 0.05, 0.1, 0.15, 0.2), scenario=scenario, scenario_title=title
    )
    rule = replace(SHORTFALL, quantile=quantile, tail=tail, scenario=scenario)

    reading = read(rule, Situation(NOW, projections={("world-ndfeb", scenario): projection}))

    assert reading.headline == f"World NdFeB magnets: {headline}"
    assert reading.standing == standing
    assert value_of(reading, "Limit") == limit


def test_a_tail_that_still_holds_is_what_the_reader_is_shown():
    rule = replace(SHORTFALL, tail=Limit(WARNING, 0.15, 0.12))
    shares = (0.0,) * 8 + (0.13,) * 2  # above the tail's exit limit, below every enter limit

    reading = read(rule, markets(make_projection(shares)))

    assert (reading.severity, reading.holds, reading.is_clear) == (None, WARNING, False)
    assert "13 % or more of demand unmet" in reading.headline
    assert dict(reading.exits) == {
        CRITICAL: "the unmet share falls below 12 % in the middle outcome",
        WARNING: "the unmet share falls below 4 % in the middle outcome "
        "and below 12 % in the worst tenth of outcomes",
    }


@pytest.mark.parametrize(
    ("data_through", "why"),
    [
        pytest.param(date(2025, 2, 1), None, id="113 days"),
        pytest.param(
            date(2025, 1, 1),
            "World NdFeB magnets: its figures are known only through Jan 2025, 141 days ago; "
            "the rule judges up to 120 days",
            id="141 days",
        ),
    ],
)
def test_a_balance_on_old_figures_is_not_judged(data_through, why):
    (answer,) = SHORTFALL.evaluate(markets(make_projection(data_through=data_through)))

    assert (answer.why if isinstance(answer, NotEvaluated) else None) == why


def test_a_scenario_is_named_in_the_headline():
    projection = make_projection(
        (0.2, 0.2), scenario="freeze", scenario_title="China grants no licences for six months"
    )
    rule = replace(SHORTFALL, scenario="freeze")

    reading = read(rule, Situation(NOW, projections={("world-ndfeb", "freeze"): projection}))

    assert reading.headline == (
        "World NdFeB magnets: 20 % unmet over 6 months in the middle outcome; "
        "scenario: China grants no licences for six months"
    )


def test_a_balance_names_its_drivers_and_its_weak_parts():
    reading = read(SHORTFALL, markets(make_projection()))

    assert reading.drivers[0] == (
        "Mined in China (supply): 62 % of the uncertainty; 80 % range 9,000 to 11,000 t a year."
    )
    assert reading.evidence == (
        "1 of 3 components rests on low-confidence figures: Electric cars.",
        "Grades are not told apart.",
    )
    assert not any("Air conditioners" in line for line in reading.drivers)  # shown, not balanced


def test_a_market_without_a_projection_is_not_judged():
    assert refusal(SHORTFALL, Situation(NOW)) == "world-ndfeb: no projection under base"
    assert "24 months asked, 12 projected" in refusal(
        replace(SHORTFALL, horizon_months=24), markets(make_projection())
    )


def markets(projection) -> Situation:
    return Situation(NOW, projections={("world-ndfeb", "base"): projection})


# --- stale_source -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age_days", "severity", "headline"),
    [
        pytest.param(45.9, None, "newest figure 45 days old (limit 45 days)", id="at its limit"),
        pytest.param(46, WARNING, "no new figure for 46 days (limit 45 days)", id="a day later"),
        pytest.param(-3, None, "newest figure 0 days old (limit 45 days)", id="from the future"),
        pytest.param(None, WARNING, "no figure has ever arrived", id="never delivered"),
    ],
)
def test_a_source_is_stale_after_its_limit(age_days, severity, headline):
    reading = read(STALE, Situation(NOW, sources={"prices": make_source(age_days)}))

    assert reading.severity is severity
    assert reading.is_clear is (severity is None)
    assert reading.headline == f"Rare-earth oxide prices (KOMIS): {headline}"
    assert reading.route == "operators"
    assert reading.advice.startswith("Newer prices come with lodestone ingest --live.")


def test_a_source_is_told_by_the_week_and_not_by_the_day():
    def input_of(days_later: int, age_days: float) -> str:
        # The figure stays the same while the days pass.
        now = NOW + timedelta(days=days_later)
        source = make_source(age_days + days_later, now=now)
        return read(STALE, Situation(now, sources={"prices": source})).input_id

    fresh = {input_of(day, 10) for day in range(35)}
    stale = [input_of(day, 46) for day in range(28)]

    assert len(fresh) == 1
    assert len(set(stale)) == 5  # 1–6 days over, then each week
    assert input_of(0, 46) not in fresh
    assert len({input_of(day, 46) for day in range(6)}) == 1


def test_a_source_with_another_stale_series_does_not_promise_too_early_an_end():
    stale = read(STALE, Situation(NOW, sources={"prices": make_source(60)}))
    never = read(STALE, Situation(NOW, sources={"prices": make_source(None)}))

    assert stale.exits == ((WARNING, "every watched series of this source has a newer figure"),)
    assert never.exits == ((WARNING, "every watched series of this source has a figure"),)
    assert value_of(stale, "Newest figure") == "known since 22 Apr 2025"


def test_every_watched_source_is_judged_unless_some_are_named():
    sources = {name: make_source(1, source=name) for name in ("prices", "trade")}

    assert len(STALE.evaluate(Situation(NOW, sources=sources))) == 2
    assert len(replace(STALE, source=("trade",)).evaluate(Situation(NOW, sources=sources))) == 1
    assert "no such source" in refusal(replace(STALE, source=("x",)), Situation(NOW))


# --- all --------------------------------------------------------------------------------------------


def test_a_reading_survives_being_stored():
    for severity in (None, WARNING):
        reading = make_reading(
            severity, holds=severity, exits=((CRITICAL, "it falls"),), owner="desk", ended="x"
        )
        assert Reading.from_dict(reading.as_dict()) == reading
    bare = make_reading(chart=None, data_through=None)
    assert Reading.from_dict(bare.as_dict()) == bare


def test_a_reading_stored_by_an_older_version_is_still_read():
    reading = make_reading()
    newer = {"owner", "measured", "exits", "ended"}
    stored = {name: value for name, value in reading.as_dict().items() if name not in newer}

    assert Reading.from_dict(stored | {"ends_when": "It ends when it ends."}) == reading


def test_only_what_changes_the_judgement_changes_the_version():
    assert replace(PRICE, rise=0.3).version != PRICE.version
    assert replace(DROP, clear_months=3).version != DROP.version
    assert replace(SHORTFALL, tail=Limit(WARNING, 0.2, 0.1)).version != SHORTFALL.version
    assert replace(SHORTFALL, max_age_days=90).version != SHORTFALL.version
    for rule in (PRICE, SHORTFALL, DROP, STALE):
        quieter = replace(rule, options=replace(rule.options, owner="somebody else"))
        assert quieter.version == rule.version


def test_fingerprints_tell_rules_and_subjects_apart():
    prints = {
        PRICE.fingerprint("nd_oxide"),
        PRICE.fingerprint("dy_oxide"),
        replace(PRICE, name="other").fingerprint("nd_oxide"),
        replace(PRICE, horizon_months=6).fingerprint("nd_oxide"),
        SHORTFALL.fingerprint("world-ndfeb"),
        replace(SHORTFALL, scenario="freeze").fingerprint("world-ndfeb"),
    }
    assert len(prints) == 6


def test_a_long_title_gives_way_to_the_number():
    finding = "1,238 t in May 2025, 75 % below the 12-month mean"
    assert fitted("Exports (customs line)", finding) == f"Exports (customs line): {finding}"
    assert fitted(f"Exports ({'x' * 90})", finding) == f"Exports: {finding}"
    headline = fitted("x" * 300, finding)
    assert headline.endswith(finding)
    assert len(headline) <= HEADLINE_LIMIT
    assert len(fitted("x" * 300, "y" * 300)) <= HEADLINE_LIMIT


def test_headlines_fit_a_phone_whatever_the_title():
    title = "A very long title of a series that somebody imported from a spreadsheet " * 3
    readings = [
        read(PRICE, Situation(NOW, forecasts={"nd_oxide": make_forecast(title=title)})),
        read(SHORTFALL, markets(make_projection(title=title))),
        read(STALE, Situation(NOW, sources={"prices": make_source(99, title=title)})),
    ]
    for reading in readings:
        assert len(reading.headline) <= HEADLINE_LIMIT
        assert reading.fingerprint not in reading.headline
        assert reading.input_id not in reading.headline


def test_evidence_notes_count_in_words():
    weak, sure = (make_observed({"2025-01": (1, c)}).points[0] for c in ("background", "high"))
    assert evidence_note([weak, sure]) == "1 of 2 months rests on low-confidence figures"
    assert evidence_note([sure, sure]) == "none of the 2 months rests on low-confidence figures"
    assert evidence_note([weak]) == "this figure is of low confidence"


def test_a_volume_carries_its_series_and_publisher_as_labels():
    seen = replace(exports_known_on("2025-06-21"), series_source={"cn_magnet_exports": "trade"})
    reading = read(DROP, seen)
    assert reading.labels == (
        ("type", "volume_drop"),
        ("rule", "magnet-exports-drop"),
        ("series", "cn_magnet_exports"),
        ("source", "trade"),
    )
    assert reading.rests_on == ("cn_magnet_exports",)
    assert (reading.ends_on, reading.probability) == (None, None)
