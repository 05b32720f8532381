from datetime import UTC, date, datetime

import numpy as np
import pytest

from forecasting.events import (
    EventCase,
    event_backtest,
    rise_chances,
    rise_probability,
)
from forecasting.metrics import auc, brier, brier_skill
from forecasting.series import History

OPTIONS = {"horizon": 6, "step": 3, "min_train": 60, "rise": 0.25, "seed": 1}


def walk(length: int, seed: int, volatility: float = 0.08) -> np.ndarray:
    return np.exp(4 + np.cumsum(volatility * np.random.default_rng(seed).normal(size=length)))


def trending(length: int, seed: int) -> np.ndarray:
    """Prices whose changes carry on: seven tenths of each goes into the next one."""
    draw = np.random.default_rng(seed)
    changes = np.zeros(length)
    for at in range(1, length):
        changes[at] = 0.7 * changes[at - 1] + 0.04 * draw.normal()
    return np.exp(4 + np.cumsum(changes))


def history(values: np.ndarray, name: str = "s", is_filled: np.ndarray | None = None) -> History:
    periods = tuple(date(1990 + i // 12, i % 12 + 1, 1) for i in range(values.size))
    filled = np.zeros(values.size, dtype=bool) if is_filled is None else is_filled
    moment = datetime(2020, 1, 1, tzinfo=UTC)
    return History(name, name, "", "month", periods, values.copy(), moment, "", filled)


def panel(count: int, length: int, volatility: float = 0.08) -> list[History]:
    return [history(walk(length, seed, volatility), f"s{seed}") for seed in range(count)]


def case(probability: float, *, happened: bool) -> EventCase:
    day = date(2020, 1, 1)
    return EventCase("s", day, 60, day, probability, (0.0,) * 5, happened)


def test_the_simulated_probability_is_that_of_the_walk_the_prices_come_from():
    truth = np.random.default_rng(0).normal(size=(200_000, 6)).cumsum(axis=1).max(axis=1)
    for volatility in (0.05, 0.1, 0.2):
        expected = (volatility * truth >= np.log(1.25)).mean()
        said = [
            rise_probability(walk(300, seed, volatility), horizon=6, rise=0.25, seed=seed)
            for seed in range(40)
        ]
        assert np.mean(said) == pytest.approx(expected, abs=0.04)


def test_probabilities_on_walks_come_true_as_often_as_they_say():
    result = event_backtest(panel(40, 240), **OPTIONS)
    table = [row for row in result.reliability() if row.n >= 150]
    assert len(table) >= 2
    for row in table:
        assert row.observed_share == pytest.approx(row.mean_forecast, abs=0.06)
    assert result.probabilities.mean() == pytest.approx(result.outcomes.mean(), abs=0.03)


def test_calm_and_wild_series_are_told_apart():
    calm = [history(walk(200, seed, 0.03), f"calm{seed}") for seed in range(6)]
    wild = [history(walk(200, seed, 0.15), f"wild{seed}") for seed in range(6)]
    summary = event_backtest(calm + wild, **OPTIONS).summary()
    assert summary["auc"] > 0.8
    # One who knew the two volatilities would save about a quarter of the score.
    assert summary["brier_skill"] > 0.2


@pytest.mark.parametrize("corrupt", [1e9, 1e-6, 0.0, -5.0], ids=str)
def test_a_corrupted_future_changes_no_probability_of_the_past(corrupt):
    honest = panel(4, 150)
    broken = []
    for series in honest:
        values = series.values.copy()
        values[111:] = corrupt
        broken.append(history(values, series.series))
    last_seen = honest[0].periods[110]
    before, after = (
        {
            (row.series, row.cutoff): row.probability
            for row in event_backtest(series, **OPTIONS).rows
            if row.cutoff <= last_seen
        }
        for series in (honest, broken)
    )
    assert len(before) == 4 * 18
    assert before == after


def test_the_same_seed_gives_the_same_probabilities_and_another_nearly_so():
    series = panel(3, 150)
    first = event_backtest(series, **OPTIONS)
    assert event_backtest(series, **OPTIONS) == first
    other = event_backtest(series, **{**OPTIONS, "seed": 2})
    gaps = np.abs(other.probabilities - first.probabilities)
    assert 0 < gaps.max() < 0.06


def test_the_order_of_the_series_changes_no_probability():
    series = panel(3, 150)
    forward, backward = (
        {(row.series, row.cutoff): row.probability for row in event_backtest(order, **OPTIONS).rows}
        for order in (series, series[::-1])
    )
    assert forward == pytest.approx(backward, abs=1e-9)


def test_prices_are_left_as_they_were():
    series = panel(2, 120)
    before = [item.values.copy() for item in series]
    values = walk(100, 3)
    kept = values.copy()
    event_backtest(series, **OPTIONS)
    rise_probability(values, horizon=6, rise=0.25, seed=1)
    assert np.array_equal(values, kept)
    assert all(np.array_equal(item.values, old) for item, old in zip(series, before, strict=True))


def test_a_rise_under_way_makes_a_further_one_likelier_where_rises_carried_on_before():
    past = np.log(trending(300, 5))
    up = np.exp(np.concatenate([past, past[-1] + 0.05 * np.arange(1, 5)]))
    down = np.exp(np.concatenate([past, past[-1] - 0.05 * np.arange(1, 5)]))
    rising, falling = (
        rise_probability(values, horizon=6, rise=0.25, seed=1) for values in (up, down)
    )
    assert rising > 3 * falling
    assert rising > falling + 0.1


def test_turbulence_makes_a_rise_likelier_than_a_calm_that_follows_it():
    draw = np.random.default_rng(4)
    calm, wild = 0.02 * draw.normal(size=24), 0.15 * draw.normal(size=24)
    after_storm = np.exp(np.cumsum(np.concatenate([calm, wild])))
    after_calm = np.exp(np.cumsum(np.concatenate([wild, calm])))
    stormy, quiet = (
        rise_probability(values, horizon=6, rise=0.25, seed=1)
        for values in (after_storm, after_calm)
    )
    assert stormy > quiet + 0.2


def test_a_higher_rise_is_less_likely_and_a_longer_horizon_more():
    values = walk(200, 2)
    by_rise = [
        rise_probability(values, horizon=6, rise=rise, seed=1) for rise in (0.1, 0.25, 0.5, 1.0)
    ]
    by_horizon = [
        rise_probability(values, horizon=steps, rise=0.25, seed=1) for steps in (1, 3, 6, 12)
    ]
    assert by_rise == sorted(by_rise, reverse=True)
    assert by_rise[0] > by_rise[-1] + 0.2
    assert by_horizon == sorted(by_horizon)
    assert by_horizon[0] < by_horizon[-1]


def test_a_price_that_never_moved_is_not_expected_to():
    assert rise_probability(np.full(100, 7.0), horizon=6, rise=0.25, seed=1) == 0
    result = event_backtest([history(np.full(150, 7.0))], **OPTIONS)
    assert result.probabilities.max() < 0.03
    assert result.summary()["base_rate"] == 0
    assert result.summary()["auc"] is None
    assert result.summary()["brier_skill"] is None


def test_quotes_that_rest_and_jump_get_a_probability_at_every_cutoff():
    draw = np.random.default_rng(6)
    changes = np.where(draw.random(200) < 0.15, 0.2 * draw.normal(size=200), 0.0)
    changes[:70] = 0.0
    result = event_backtest([history(np.exp(np.cumsum(changes)))], **OPTIONS)
    assert np.isfinite(result.probabilities).all()
    assert len(result.rows) == 45


def test_a_rise_to_exactly_the_limit_counts():
    values = np.full(80, 19.56)
    values[62] = 24.45  # 25 % above
    row = event_backtest([history(values)], **OPTIONS).rows[0]
    assert row.outcome
    values[62] = 24.44
    assert not event_backtest([history(values)], **OPTIONS).rows[0].outcome


def test_cutoffs_after_a_value_that_is_not_above_zero_are_left_out_and_named():
    values = walk(120, 1)
    values[90] = -37.0
    result = event_backtest([history(values), history(walk(120, 2), "fine")], **OPTIONS)
    seen = [row.cutoff for row in result.rows if row.series == "s"]
    assert max(seen) == date(1997, 6, 1)
    assert result.left_out == {
        "s": "8 of 19 cutoffs with fewer than 12 values, one not above zero, or nothing observed after them"
    }
    with pytest.raises(ValueError, match="above zero"):
        rise_probability(values, horizon=6, rise=0.25, seed=1)


def test_a_series_without_a_cutoff_is_named_and_the_others_go_on():
    result = event_backtest([history(walk(30, 1), "short"), history(walk(120, 2))], **OPTIONS)
    assert {row.series for row in result.rows} == {"s"}
    assert result.left_out == {"short": "30 periods, 66 needed for one cutoff"}
    nothing = event_backtest([history(walk(30, 1), "short")], **OPTIONS)
    assert nothing.summary() == {
        "base_rate": None, "auc": None, "brier": None, "brier_skill": None, "n": 0
    }  # fmt: skip


def test_a_filled_value_is_no_rise():
    values = np.full(80, 10.0)
    values[62] = 99.0
    filled = np.zeros(80, dtype=bool)
    assert event_backtest([history(values)], **OPTIONS).rows[0].outcome
    filled[62] = True
    assert not event_backtest([history(values, is_filled=filled)], **OPTIONS).rows[0].outcome


def test_a_value_filled_in_another_series_says_nothing_at_its_own_date():
    values = walk(120, 2)
    filled = np.zeros(120, dtype=bool)
    filled[89] = True
    probabilities = []
    for later in (1.0, 3.0):  # what the neighbours of the filled value turned out to be
        other = values.copy()
        other[89:] *= later
        pair = [history(walk(120, 1)), history(other, "other", filled)]
        rows = event_backtest(pair, **OPTIONS).rows
        probabilities.append(
            [
                row.probability
                for row in rows
                if row.series == "s" and row.cutoff <= date(1997, 6, 1)
            ]
        )
    assert len(probabilities[0]) == 11
    assert probabilities[0] == probabilities[1]


def test_the_summary_has_the_agreed_names_and_equals_the_metrics_of_its_rows():
    result = event_backtest(panel(5, 150), **OPTIONS)
    given = np.array([row.probability for row in result.rows])
    came = np.array([float(row.outcome) for row in result.rows])
    assert result.summary() == {
        "base_rate": round(came.mean(), 4),
        "auc": round(auc(given, came), 4),
        "brier": round(brier(given, came), 4),
        "brier_skill": round(brier_skill(given, came), 4),
        "n": len(result.rows),
    }


@pytest.mark.parametrize("change", [{"horizon": 0}, {"rise": 0.0}])
def test_a_horizon_or_a_rise_that_asks_nothing_is_refused(change):
    with pytest.raises(ValueError, match="needed"):
        event_backtest(panel(1, 100), **{**OPTIONS, **change})


def test_the_chance_of_a_rise_now_is_what_the_backtest_would_have_said_here():
    # Later values decide only what came of it: the chance must not know them.
    whole = [*panel(8, 156), history(trending(156, 9), "trending")]
    seen = 150
    now = [history(one.values[:seen], one.series) for one in whole]
    said = event_backtest(whole, horizon=6, step=1000, min_train=seen, rise=0.25, seed=3)
    chances = rise_chances(now, horizon=6, rise=0.25, seed=3)
    assert chances == {row.series: row.probability for row in said.rows}
    assert len(chances) == 9


def test_what_was_learnt_moves_the_chance_of_a_rise():
    # Series that rise by half a year after year: a chance that never learnt would stay near the walk's.
    rising = [
        history(np.exp(4 + 0.08 * np.arange(240) + 0.02 * np.sin(np.arange(240) + s)), f"s{s}")
        for s in range(6)
    ]
    learnt = rise_chances(rising, horizon=6, rise=0.25, seed=1)["s0"]
    alone = rise_chances([rising[0]], horizon=6, rise=0.25, seed=1)["s0"]
    assert learnt > alone


def test_a_series_that_can_have_no_chance_has_none():
    short = history(walk(11, 1), "short")
    zero = history(np.append(walk(100, 2), 0.0), "zero")
    chances = rise_chances([short, zero, *panel(1, 100)], horizon=3, rise=0.25, seed=1)
    assert set(chances) == {"s0"}
    assert rise_chances([], horizon=3, rise=0.25, seed=1) == {}
