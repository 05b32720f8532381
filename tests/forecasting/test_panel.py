import json

import numpy as np
import pandas as pd
import pytest

from forecasting.panel import ROW_COLUMNS, PanelError, panel_backtest

OPTIONS = {"freq": "MS", "horizon": 3, "step": 6, "min_train": 36, "models": ["theta"]}


def panel(*names: str, length: int = 90) -> pd.DataFrame:
    draw = np.random.default_rng(4)
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

    name, title, is_calibrated = "oracle", "Oracle", True
    needs = {"month": 12}

    def fit_predict(self, log_values, periods, frequency, horizon):
        slope = log_values[-1] - log_values[-2]
        path = log_values[-1] + slope * np.arange(1, horizon + 1)
        return np.repeat(path[:, None], 7, axis=1)


def test_a_model_from_outside_can_compete_and_win():
    frame = panel("a", length=120)
    frame["y"] = np.exp(0.02 * np.arange(120))
    _, summary = panel_backtest(frame, **{**OPTIONS, "models": [Oracle()]})
    assert summary["models"]["oracle"]["rel_crps"] < 0.01
    assert summary["champion"]["share"] == {"oracle": 1.0}
    # The first cutoffs had no evidence yet, so the random walk spoke there.
    assert summary["champion"]["rel_crps"] > summary["models"]["oracle"]["rel_crps"]


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


def test_an_empty_panel_gives_empty_rows():
    rows, summary = panel_backtest(panel("a").head(0), **OPTIONS)
    assert rows.empty
    assert summary["cutoffs"] == 0
