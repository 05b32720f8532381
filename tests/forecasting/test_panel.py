import json

import numpy as np
import pandas as pd
import pytest

from forecasting.models import models_named
from forecasting.panel import (
    ROW_COLUMNS,
    PanelError,
    panel_backtest,
    panel_events,
    series_tested,
)

OPTIONS = {"freq": "MS", "horizon": 3, "step": 6, "min_train": 36, "models": ["theta"]}


def panel(*names: str, length: int = 90, seed: int = 4) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    return pd.concat(
        pd.DataFrame(
            {
                "unique_id": name,
                "ds": pd.date_range("2010-01-01", periods=length, freq="MS").astype(str),
                "y": np.exp(3 + np.cumsum(0.05 * draw.normal(size=length))),
            }
        )
        for name in names
    )


def test_rows_and_summary_have_the_documented_shape():
    frame = panel("a", "b")
    before = frame.copy()
    rows, summary = panel_backtest(frame, **OPTIONS)
    pd.testing.assert_frame_equal(frame, before)
    assert list(rows.columns) == list(ROW_COLUMNS)
    assert summary["cutoffs"] == 18
    assert len(rows) == 18 * 3 * 3
    assert set(summary["models"]) == {"gaussian_walk", "random_walk", "theta"}
    fields = {"rel_mae", "rel_crps", "coverage_80", "coverage_95", "seconds"}
    assert all(set(figures) == fields for figures in summary["models"].values())
    assert set(summary["champion"]) == fields | {"share"}
    assert sum(summary["champion"]["share"].values()) == pytest.approx(1)
    assert summary["models"]["gaussian_walk"]["rel_crps"] == 1
    assert "refused" not in summary
    json.dumps(summary)


def test_figures_equal_a_slow_loop_over_the_rows():
    frame = panel("a", "b")
    rows, summary = panel_backtest(frame, **OPTIONS)
    logs = {name: np.log(group.set_index("ds")["y"]) for name, group in frame.groupby("unique_id")}
    totals = {"theta": 0.0, "gaussian_walk": 0.0}
    inside = []
    for row in rows.itertuples():
        if row.model not in totals:
            continue
        before = logs[row.unique_id].loc[: row.cutoff]
        totals[row.model] += abs(np.log(row.y) - np.log(row.q50)) / before.diff().abs().mean()
        if row.model == "theta":
            inside.append(row.q10 <= row.y <= row.q90)
    theta = summary["models"]["theta"]
    assert theta["rel_mae"] == pytest.approx(totals["theta"] / totals["gaussian_walk"], abs=1e-4)
    assert theta["coverage_80"] == pytest.approx(np.mean(inside), abs=1e-4)


@pytest.mark.parametrize("corrupt", [1e6, 0.0, -5.0], ids=str)
def test_past_forecasts_use_only_what_was_known_at_each_cutoff(corrupt):
    frame = panel("a", length=120)
    frame.loc[[40, 41], "y"] = (
        np.nan
    )  # a hole is filled from what ends it, not from what comes later
    rows, _ = panel_backtest(frame, **OPTIONS)
    broken = frame.assign(y=np.where(np.arange(120) < 100, frame["y"], corrupt))
    corrupted, _ = panel_backtest(broken, **OPTIONS)
    past = rows["cutoff"] <= frame["ds"].iloc[99]
    quantiles = [name for name in rows if name.startswith("q")]
    pd.testing.assert_frame_equal(
        rows.loc[past, quantiles], corrupted.loc[past, quantiles], check_exact=True
    )


def test_cutoffs_between_the_scored_ones_are_evidence_for_the_choice():
    # Twelve scored cutoffs allow no choice before the eighth; those between them do.
    frame = panel("a", length=120)
    frame["y"] = np.exp(0.02 * np.arange(120) + 1e-4 * (np.arange(120) % 3))
    _, summary = panel_backtest(frame, **{**OPTIONS, "step": 24, "models": [Oracle()]})
    assert summary["champion"]["rel_crps"] < 0.6


def test_any_engine_gives_the_same_rows_and_figures():
    def backwards(function, chunks):
        return [(number, function(chunks[number])) for number in reversed(range(len(chunks)))]

    frame = panel(*"abcdefghi", length=60)
    heard = []
    rows, summary = panel_backtest(frame, **OPTIONS)
    others, same = panel_backtest(frame, **OPTIONS, engine=backwards, on_series=heard.append)
    pd.testing.assert_frame_equal(rows, others)
    for figures in (summary, same):
        for part in (*figures["models"].values(), figures["champion"]):
            part.pop("seconds")
    assert summary == same
    assert sum(map(len, heard)) == 9


def test_one_bad_series_is_named_and_the_others_go_on():
    frame = pd.concat([panel("good"), panel("short", length=9), panel("brief", length=30)])
    frame.loc[frame["unique_id"] == "brief", "y"] *= -1
    _, summary = panel_backtest(frame, **OPTIONS)
    assert summary["cutoffs"] == 9
    assert summary["refused"] == {
        "brief": "30 periods, 39 needed for one cutoff",
        "short": "9 observations, 12 needed",
    }


class Oracle:
    """Knows where a straight line goes; nobody registered it."""

    name, title = "oracle", "Oracle"
    needs = {"month": 12}

    def quantiles(self, track, origins, horizon):
        seen = np.asarray(origins)
        last = np.take(track.values, seen - 1)
        path = last[:, None] + np.diff(track.values)[seen - 2, None] * np.arange(1, horizon + 1)
        return np.repeat(path[:, :, None], 7, axis=2)


def test_a_model_from_outside_can_compete_and_win():
    frame = panel("a", length=120)
    frame["y"] = np.exp(0.02 * np.arange(120) + 1e-4 * (np.arange(120) % 3))
    _, summary = panel_backtest(frame, **{**OPTIONS, "models": [Oracle()]})
    assert summary["models"]["oracle"]["rel_crps"] < 0.05
    assert summary["champion"]["share"] == {"oracle": 1.0}


def test_irregular_dates_become_the_last_value_of_their_period():
    frame = panel("a")
    extra = frame.assign(ds=frame["ds"].str.replace("-01$", "-20", regex=True), y=frame["y"] * 2)
    rows, _ = panel_backtest(pd.concat([extra, frame]), **OPTIONS)
    doubled, _ = panel_backtest(frame.assign(y=frame["y"] * 2), **OPTIONS)
    pd.testing.assert_frame_equal(rows, doubled)


@pytest.mark.parametrize("freq", ["W-FRI", "B", "YS", "M"])
def test_other_periods_work_too(freq):
    days = {"W-FRI": "W-FRI", "B": "B", "YS": "YS", "M": "MS"}[freq]
    frame = panel("a", length=120).assign(ds=pd.date_range("2000-01-03", periods=120, freq=days))
    options = {**OPTIONS, "freq": freq, "min_train": 80, "models": ["drift"]}
    assert panel_backtest(frame, **options)[1]["cutoffs"] > 3


def test_a_missing_column_and_an_unknown_period_are_named():
    with pytest.raises(PanelError, match="no column ds"):
        panel_backtest(panel("a").drop(columns="ds"), **OPTIONS)
    with pytest.raises(PanelError, match="unknown period 'fortnight'"):
        panel_backtest(panel("a"), **{**OPTIONS, "freq": "fortnight"})


def test_a_panel_without_rows_and_a_training_of_one_period_are_named():
    with pytest.raises(PanelError, match="the panel has no rows"):
        panel_backtest(panel("a").head(0), **OPTIONS)
    with pytest.raises(PanelError, match="min_train 1: a forecast needs at least 2 periods"):
        panel_backtest(panel("a"), **{**OPTIONS, "min_train": 1})


def bad(name: str, **columns) -> pd.DataFrame:
    return panel(name).assign(**columns)


def with_first(column: str, value: object) -> list:
    values = panel("x")[column].astype(object).tolist()
    return [value, *values[1:]]


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (bad("x", y=np.nan), "0 observations, 12 needed"),
        (panel("x", length=2), "2 observations, 12 needed"),
        (bad("x", y=with_first("y", "n/a?")), "y 'n/a?' in row 1 is not a number"),
        (bad("x", y=with_first("y", np.inf)), "an infinite value"),
        (
            bad("x", ds=with_first("ds", "last Monday")),
            "ds 'last Monday' in row 1 is not a date like",
        ),
        (bad("x", ds=with_first("ds", None)), "ds is empty in 1 rows, a date is needed"),
        (bad("x").iloc[::6], "since the gap before"),
    ],
    ids=["missing", "two", "text", "infinite", "no date", "empty date", "quarters among months"],
)
def test_what_is_wrong_with_a_series_is_named_and_the_others_go_on(frame, why):
    _, summary = panel_backtest(pd.concat([panel("good"), frame]), **OPTIONS)
    assert summary["cutoffs"] == 9
    assert why in summary["refused"]["x"]


@pytest.mark.parametrize(
    "values",
    [
        np.full(90, 7.0),
        np.zeros(90),
        np.r_[np.zeros(20), np.exp(np.sin(np.arange(70.0)))],
        -np.exp(np.sin(np.arange(90.0))),
        np.r_[np.exp(np.sin(np.arange(89.0))), 1e9],
        np.r_[np.exp(np.sin(np.arange(50.0))), 1e9, np.exp(np.sin(np.arange(39.0)))],
    ],
    ids=["constant", "zeros", "leading zeros", "negative", "outlier at the end", "outlier within"],
)
def test_odd_values_give_finite_figures(values):
    rows, summary = panel_backtest(
        bad("x", y=values), **{**OPTIONS, "models": ["momentum", "theta"]}
    )
    assert summary["cutoffs"] == 9
    assert np.isfinite(rows.filter(regex="^q").to_numpy()).all()
    assert "failed" not in summary
    json.dumps(summary, allow_nan=False)


def test_the_last_of_duplicate_dates_counts():
    twice = pd.concat([bad("a", y=1.0), panel("a")])
    rows, _ = panel_backtest(twice, **OPTIONS)
    once, _ = panel_backtest(panel("a"), **OPTIONS)
    pd.testing.assert_frame_equal(rows, once)


@pytest.mark.parametrize(
    "zone", ["T00:00:00+05:30", "T00:00:00-05", "T00:30:00Z", "T23:59-0800", " 12:00:00.5 +0800"]
)
def test_a_date_counts_as_it_is_written_whatever_its_time_zone(zone):
    zoned = panel("a").assign(ds=lambda frame: frame["ds"] + zone)
    rows, _ = panel_backtest(zoned, **OPTIONS)
    plain, _ = panel_backtest(panel("a"), **OPTIONS)
    pd.testing.assert_frame_equal(rows, plain)


def test_rows_that_belong_to_no_series_are_counted():
    nameless = panel("a", length=5).assign(unique_id=None)
    _, summary = panel_backtest(pd.concat([panel("good"), nameless]), **OPTIONS)
    assert summary["refused"] == {"(no unique_id)": "5 rows don't say which series they belong to"}


@pytest.mark.parametrize("corrupt", [1e6, 0.0, -5.0], ids=str)
def test_the_champion_is_chosen_by_what_was_known_at_each_cutoff(corrupt):
    shape = {"freq": "MS", "horizon": 3, "step": 1, "min_train": 36}
    models = models_named(["gaussian_walk", "random_walk", "momentum", "drift", "empirical_walk"])
    every = set()
    for seed in range(6):
        frame = panel("a", length=160, seed=seed)
        broken = frame.assign(y=np.where(np.arange(160) < 150, frame["y"], corrupt))
        picks = []
        for one in (frame, broken):
            (tested,) = series_tested([("a", one)], **shape, models=models)
            seen = np.asarray(tested.result.origins)
            picks.append(np.asarray(tested.picks)[seen <= 150].tolist())
        assert picks[0] == picks[1]
        every |= set(picks[0])
    assert len(every) > 1  # there was something to choose


class Broken(Oracle):
    name = "broken"

    def quantiles(self, track, origins, horizon):
        raise TypeError("ours")


def test_a_mistake_of_ours_in_one_series_is_named_and_told_with_its_trace():
    heard = []
    _, summary = panel_backtest(
        panel("a"), **{**OPTIONS, "models": [Broken()]}, on_series=heard.extend
    )
    assert summary["refused"]["a"].startswith("failed inside Lodestone (TypeError)")
    assert "ours" in heard[0].trace


def test_a_model_from_outside_cannot_take_a_registered_name():
    class Impostor(Oracle):
        name = "prophet"

    with pytest.raises(PanelError, match="the name prophet belongs to a registered model"):
        panel_backtest(panel("a"), **{**OPTIONS, "models": [Impostor()]})


@pytest.mark.parametrize("factor", [1e300, 1e-300, 1e120], ids=str)
def test_figures_too_large_or_small_to_square_are_refused_by_name(factor):
    _, summary = panel_backtest(bad("x", y=panel("x")["y"] * factor), **OPTIONS)
    assert "choose a unit between" in summary["refused"]["x"]


def test_past_forecasts_do_not_depend_on_how_many_rows_follow():
    frame = panel("a", length=150)
    options = {**OPTIONS, "horizon": 6, "step": 13, "models": ["momentum", "prophet"]}
    rows, _ = panel_backtest(frame, **options)
    cut, _ = panel_backtest(frame.head(120), **options)
    both = rows.merge(cut, on=["unique_id", "cutoff", "model", "step"], suffixes=("", "_cut"))
    assert len(both) == len(cut) > 0
    for name in (column for column in rows if column.startswith("q")):
        assert both[name].to_numpy() == pytest.approx(both[f"{name}_cut"].to_numpy(), rel=1e-9)


def test_cutoffs_weigh_the_same_however_many_outcomes_they_have():
    frame = panel("a")
    frame.loc[[50, 51, 62, 74], "y"] = np.nan
    rows, summary = panel_backtest(frame, **OPTIONS)
    logs = np.log(frame.set_index("ds")["y"])
    total = {"theta": 0.0, "gaussian_walk": 0.0}
    for (model, cutoff), group in rows.groupby(["model", "cutoff"]):
        if model in total:
            unit = logs.loc[:cutoff].diff().abs().mean()
            total[model] += (np.log(group["y"]) - np.log(group["q50"])).abs().mean() / unit
    expected = total["theta"] / total["gaussian_walk"]
    assert summary["models"]["theta"]["rel_mae"] == pytest.approx(expected, abs=1e-4)


def test_a_weekends_quote_is_the_next_business_days():
    days = pd.date_range("2020-01-01", periods=400, freq="D")
    frame = pd.DataFrame({"unique_id": "a", "ds": days.astype(str), "y": 100 + np.arange(400.0)})
    options = {**OPTIONS, "freq": "B", "horizon": 2, "min_train": 200, "models": ["drift"]}
    rows, _ = panel_backtest(frame, **options)
    friday = rows[pd.to_datetime(rows["ds"]).dt.weekday == 4].iloc[0]
    assert friday["y"] == 100 + (pd.Timestamp(friday["ds"]) - days[0]).days


@pytest.mark.parametrize("freq", ["ms", "me", "w-fri", "b"])
def test_a_period_may_be_written_in_small_letters(freq):
    frame = panel("a", length=160).assign(ds=pd.date_range("2000-01-03", periods=160, freq="W"))
    options = {**OPTIONS, "freq": freq, "min_train": 20, "models": ["drift"]}
    _, summary = panel_backtest(frame, **options)
    assert summary["cutoffs"] > 0 or "a" in summary["refused"]


@pytest.mark.parametrize(
    "freq", ["min", "bh", "BMS", "WOM-1FRI", "2W", "W2", "QS", "h", "month", ""]
)
def test_other_periods_are_refused_before_anything_is_computed(freq):
    with pytest.raises(PanelError, match=f"unknown period '{freq}'; D, B, W"):
        panel_backtest(panel("a"), **{**OPTIONS, "freq": freq})


def test_a_model_that_spoke_nowhere_says_what_it_needs():
    frame = panel("a", length=60).assign(ds=pd.date_range("1960", periods=60, freq="YS"))
    options = {**OPTIONS, "freq": "YS", "min_train": 20, "models": ["momentum"]}
    _, summary = panel_backtest(frame, **options)
    assert summary["failed"]["momentum"] == (
        "spoke at no cutoff; it needs 120 days, 60 weeks, 30 months"
    )


class Failing(Oracle):
    name = "failing"

    def quantiles(self, track, origins, horizon):
        raise ValueError("no")


def test_a_model_that_fails_is_named_with_its_series():
    _, summary = panel_backtest(panel("a"), **{**OPTIONS, "models": ["theta", Failing()]})
    assert summary["failed"]["a: failing"] == "ValueError: no"
    assert summary["models"]["failing"]["rel_crps"] is None
    assert summary["models"]["theta"]["rel_crps"] is not None


def test_events_of_a_panel_have_the_documented_fields():
    frame = pd.concat([panel("a", "b", length=150), panel("short", length=9)])
    options = {key: value for key, value in OPTIONS.items() if key != "models"}
    result, left_out = panel_events(frame, **options, rise=0.1, seed=1)
    summary = result.summary()
    assert set(summary) == {"base_rate", "auc", "brier", "brier_skill", "n"}
    assert summary["n"] == 38
    assert left_out["short"] == "9 observations, 12 needed"
