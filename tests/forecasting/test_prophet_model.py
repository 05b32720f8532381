# ruff: noqa: PD011 (the values of a track are no pandas attribute)
import logging
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from prophet import Prophet
from prophet.diagnostics import cross_validation
from prophet.serialize import model_from_json, model_to_json
from prophet.utilities import regressor_coefficients

from forecasting.models.prophet_backend import FastProphet, MapBackend
from forecasting.models.prophet_model import (
    POLICY_SCALE,
    AnchoredProphet,
    ProphetOnScale,
    StockProphet,
    dates_after,
    known_decisions,
    policy_steps,
    prophet_fits,
)
from forecasting.results import MEDIAN, QUANTILE_LEVELS
from forecasting.series import PolicyEvent, Track

FREQUENCIES = {"day": "B", "week": "W-SUN", "month": "MS", "year": "YS"}
FORMS = [AnchoredProphet(), ProphetOnScale(), StockProphet()]


def a_track(frequency="month", rows=120, seed=0, events=()):
    draw = np.random.default_rng(seed)
    periods = pd.date_range("2010-01-01", periods=rows, freq=FREQUENCIES[frequency])
    year = np.sin(2 * np.pi * periods.dayofyear / 365.25)
    values = 4 + np.cumsum(draw.normal(0, 0.05, rows)) + 0.2 * year
    return Track(values.to_numpy(), [day.date() for day in periods], frequency, True, events)


def a_frame(track, origin=None):
    dates = pd.to_datetime(track.periods[:origin])
    return pd.DataFrame({"ds": dates, "y": track.values[:origin].copy()})


def moves_of(track, origins, horizon):
    """Trend, season and policy from the last observation (part x origin x step)."""
    fits = prophet_fits(track, track.values, origins, horizon, track.events)
    return np.stack([fit.moves() for fit in fits], axis=1)


@contextmanager
def lent_seed(seed):
    """Prophet draws from numpy's global generator: lend it a seed, then give back what was there."""
    before = np.random.get_state()
    np.random.seed(seed)
    yield
    np.random.set_state(before)


# --- the anchored form is Prophet -------------------------------------------


@pytest.mark.parametrize(
    ("frequency", "rows", "origins"),
    [
        ("day", 700, (260, 500, 501, 690)),
        ("week", 300, (100, 104, 105, 200, 294)),
        ("month", 150, (24, 25, 36, 60, 61, 144)),
        ("year", 40, (12, 20, 34)),
    ],
)
def test_trend_and_season_are_those_of_prophets_fit_and_predict(frequency, rows, origins):
    track = a_track(frequency, rows)
    trend, season, _ = moves_of(track, origins, 6)
    for at, origin in enumerate(origins):
        model = FastProphet(uncertainty_samples=0).fit(a_frame(track, origin))
        ahead = model.predict(a_frame(track).iloc[origin - 1 : origin + 6][["ds"]])
        size = np.ptp(track.values[:origin])
        for ours, column in ((trend, "trend"), (season, "additive_terms")):
            theirs = ahead[column].to_numpy()
            assert ours[at] == pytest.approx(theirs[1:] - theirs[0], abs=1e-6 * size)


def policy_frame(track, origin, days):
    frame = pd.DataFrame({"ds": pd.to_datetime(days)})
    numbers = (frame["ds"] - pd.Timestamp(0)).dt.days.to_numpy(dtype=float)
    for name, kind in (("tightening", True), ("easing", False)):
        decided = [event.on for event in track.events if event.is_tightening is kind]
        frame[name] = policy_steps(numbers, decided)[:, 0]
    return frame


def test_policy_events_are_prophets_added_regressors():
    events = (
        PolicyEvent(date(2014, 3, 10), is_tightening=True),
        PolicyEvent(date(2015, 9, 2), is_tightening=False),
        PolicyEvent(date(2017, 8, 20), is_tightening=True),
    )
    track = a_track(rows=120, events=events)
    origin, horizon = 96, 6
    trend, season, policy = moves_of(track, [origin], horizon)
    frame = policy_frame(track, origin, track.periods[: origin + horizon])
    model = FastProphet(uncertainty_samples=0)
    for name in ("tightening", "easing"):
        model.add_regressor(name, prior_scale=POLICY_SCALE, standardize=False)
    model.fit(frame[:origin].assign(y=track.values[:origin]))
    ahead = model.predict(frame[origin - 1 :])
    size = np.ptp(track.values[:origin])
    for ours, columns in (
        (trend, ["trend"]),
        (season, ["yearly"]),
        (policy, ["extra_regressors_additive"]),
    ):
        theirs = ahead[columns].sum(axis=1).to_numpy()
        assert ours[0] == pytest.approx(theirs[1:] - theirs[0], abs=1e-6 * size)
    assert np.abs(policy).max() > 1e-4 * size
    assert set(regressor_coefficients(model)["regressor"]) == {"tightening", "easing"}


def test_an_event_after_the_origin_changes_nothing():
    seen = a_track()
    later = (PolicyEvent(date(2018, 2, 1), is_tightening=True),)
    origins = [60, 96, 97]  # January 2018 is the 97th month
    before = AnchoredProphet().quantiles(seen, origins, 6)
    assert np.array_equal(before, AnchoredProphet().quantiles(a_track(events=later), origins, 6))
    on_the_last_day = (PolicyEvent(date(2018, 1, 31), is_tightening=True),)
    assert known_decisions(on_the_last_day, seen.periods[96], "month") == [[date(2018, 1, 31)]]
    assert known_decisions(later, seen.periods[96], "month") == []


def test_a_fresh_tightening_goes_on_raising_prices_over_the_horizon():
    decided = date(2018, 9, 15)
    days = np.array([(date(2018, 9, 1) - date(1970, 1, 1)).days + 30.0 * i for i in range(12)])
    steps = policy_steps(days, [decided])[:, 0]
    assert steps[0] == 0.0
    assert (np.diff(steps) > 0).all()
    track = a_track(rows=120, events=(PolicyEvent(decided, is_tightening=True),))
    values = track.values.copy()
    values[105:] += (
        0.5
        * policy_steps(
            np.array([(day - date(1970, 1, 1)).days for day in track.periods[105:]], dtype=float),
            [decided],
        )[:, 0]
    )
    shifted = Track(values, track.periods, "month", True, track.events)
    policy = moves_of(shifted, [110], 6)[2, 0]
    assert (policy > 0).all()
    assert (np.diff(policy) > 0).all()


def test_a_decision_on_a_weekend_is_not_known_on_friday():
    saturday = date(2024, 3, 9)
    events = (PolicyEvent(saturday, is_tightening=False),)
    assert known_decisions(events, saturday - timedelta(days=1), "day") == []
    assert known_decisions(events, saturday + timedelta(days=2), "day") == [[saturday]]


@pytest.mark.parametrize("frequency", FREQUENCIES)
def test_the_future_at_an_origin_is_not_looked_at(frequency):
    track = a_track(frequency, 320 if frequency == "day" else 130)
    origins = [max(AnchoredProphet().needs[frequency], 110), 120]
    origins = [260, 300] if frequency == "day" else origins
    before = AnchoredProphet().quantiles(track, origins, 4)
    values = track.values.copy()
    values[origins[1] :] = 1e6
    after = AnchoredProphet().quantiles(
        Track(values, track.periods, frequency, True, ()), origins, 4
    )
    assert np.array_equal(before, after)


def test_an_origin_has_the_same_answer_alone_and_among_others():
    track = a_track(rows=150)
    origins = list(range(60, 140))
    together = moves_of(track, origins, 6)
    for at in (0, 3, 41, 79):
        alone = moves_of(track, [origins[at]], 6)
        assert together[:, at] == pytest.approx(alone[:, 0], abs=1e-9)


def test_the_anchored_form_starts_from_the_last_observation_not_from_the_curve():
    track = a_track()
    track.values[-1] += 1.0  # a jump that a smooth trend leaves out
    last = track.values[-1]
    anchored = AnchoredProphet().quantiles(track, [120], 1)[0, 0, MEDIAN]
    own = ProphetOnScale().quantiles(track, [120], 1)[0, 0, MEDIAN]
    assert abs(anchored - last) < 0.2
    assert abs(own - last) > 0.5


@pytest.mark.parametrize("frequency", FREQUENCIES)
def test_the_periods_ahead_are_those_of_a_calendar(frequency):
    track = a_track(frequency, 60)
    dates = np.array(track.periods, dtype="datetime64[D]")
    ahead = dates_after(dates[:50], [30, 50], frequency, 10)
    assert (ahead[0] == dates[30:40]).all()
    assert (ahead[1] == dates[50:60]).all()


def test_a_daily_series_with_weekends_goes_on_with_weekends():
    days = np.arange("2024-01-01", "2024-03-01", dtype="datetime64[D]")
    assert (dates_after(days[:30], [30], "day", 9)[0] == days[30:39]).all()


def test_the_last_day_of_a_month_stays_the_last_day():
    ends = np.array(["2024-01-31"], dtype="datetime64[D]")
    assert dates_after(ends, [1], "month", 3)[0].astype(str).tolist() == [
        "2024-02-29",
        "2024-03-31",
        "2024-04-30",
    ]


@pytest.mark.parametrize(
    ("frequency", "rows", "horizon"), [("day", 400, 5), ("week", 150, 1), ("month", 90, 12)]
)
def test_own_quantiles_are_those_of_prophets_own_draws(frequency, rows, horizon):
    track = a_track(frequency, rows + horizon)
    model = FastProphet().fit(a_frame(track, rows))
    future = a_frame(track).iloc[rows:][["ds"]].reset_index(drop=True)
    with lent_seed(7):
        draws = model.predictive_samples(future)["yhat"]
    ours = ProphetOnScale(seed=7).quantiles(track, [rows], horizon)[0]
    assert ours == pytest.approx(np.quantile(draws, QUANTILE_LEVELS, axis=1).T, abs=1e-6)


# --- all three forms --------------------------------------------------------


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("frequency", FREQUENCIES)
def test_a_form_gives_finite_rising_quantiles(form, frequency):
    origins = [form.needs[frequency], form.needs[frequency] + 7]
    quantiles = form.quantiles(a_track(frequency, origins[1]), origins, 5)
    assert quantiles.shape == (2, 5, 7)
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=2) >= 0).all()


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_form_repeats_itself_and_leaves_everything_as_it_was(form, capfd, caplog):
    track, files = a_track(rows=60), sorted(Path(tempfile.gettempdir()).iterdir())
    values, periods = track.values.copy(), list(track.periods)
    np.random.seed(11)
    state = np.random.get_state()[1].tolist()
    with caplog.at_level(logging.DEBUG):
        first = form.quantiles(track, [50, 60], 3)
    again = form.quantiles(a_track(rows=60), [50, 60], 3)
    assert np.array_equal(first, again)
    assert np.array_equal(track.values, values)
    assert track.periods == periods
    assert np.random.get_state()[1].tolist() == state
    assert [p for p in Path(tempfile.gettempdir()).iterdir() if is_new_and_ours(p, files)] == []
    assert capfd.readouterr() == ("", "")
    assert not [r for r in caplog.records if r.name.startswith(("prophet", "cmdstanpy"))]


def is_new_and_ours(path, before):
    """Whether Stan put it there: others write to the same directory at the same time."""
    return path not in before and path.name.startswith(("prophet", "tmp", "stan"))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_constant_series_stays_where_it_is(form):
    track = Track(np.full(60, 2.0), a_track(rows=60).periods, "month", True, ())
    assert form.quantiles(track, [60], 6)[0] == pytest.approx(np.full((6, 7), 2.0), abs=1e-6)


def test_another_seed_draws_other_ranges():
    track = a_track()
    assert not np.array_equal(
        StockProphet(seed=1).quantiles(track, [120], 3),
        StockProphet(seed=2).quantiles(track, [120], 3),
    )


def test_stock_prophet_sees_the_values_and_the_other_form_their_logarithms():
    track = a_track()
    as_values = Track(np.exp(track.values), track.periods, "month", False, ())
    stock = StockProphet().quantiles(track, [120], 3)
    assert np.exp(stock) == pytest.approx(ProphetOnScale().quantiles(as_values, [120], 3))
    assert not np.allclose(stock, ProphetOnScale().quantiles(track, [120], 3))


def test_a_price_that_prophet_puts_below_zero_is_put_just_above():
    values = np.log(np.linspace(100, 1, 60))
    track = Track(values, a_track(rows=60).periods, "month", True, ())
    assert np.exp(StockProphet().quantiles(track, [60], 24)).min() == pytest.approx(0.01)


# --- the backend inside Prophet ---------------------------------------------


def with_our_backend(**options):
    model = Prophet(**options)
    model.stan_backend = MapBackend()
    return model


def test_our_prophet_prepares_what_prophet_prepares():
    frame = a_frame(a_track("day", 400))
    shuffled = frame.sample(frac=1, random_state=1)
    for given in (frame, shuffled, frame.assign(note=1.5), pd.concat([frame, frame[:3]])):
        stock, ours = Prophet(), FastProphet()
        theirs, mine = stock.preprocess(given), ours.preprocess(given)
        pd.testing.assert_frame_equal(ours.history, stock.history)
        pd.testing.assert_series_equal(ours.changepoints, stock.changepoints)
        pd.testing.assert_series_equal(
            ours.history_dates.reset_index(drop=True), stock.history_dates.reset_index(drop=True)
        )
        pd.testing.assert_frame_equal(ours.train_component_cols, stock.train_component_cols)
        pd.testing.assert_frame_equal(mine.X, theirs.X, rtol=0, atol=1e-9)
        assert ours.component_modes == stock.component_modes
        assert (ours.start, ours.t_scale, ours.y_scale) == (
            stock.start,
            stock.t_scale,
            stock.y_scale,
        )
        for name in ("T", "S", "K", "tau", "trend_indicator", "sigmas"):
            assert getattr(mine, name) == getattr(theirs, name)


@pytest.mark.parametrize(
    ("freq", "rows"), [("h", 100), ("D", 10), ("D", 40), ("W-MON", 60), ("W-MON", 110), ("MS", 30)]
)
@pytest.mark.parametrize(
    "options",
    [{}, {"yearly_seasonality": 4}, {"weekly_seasonality": True, "daily_seasonality": False}],
    ids=["auto", "a year", "a week"],
)
def test_our_prophet_finds_the_seasons_that_prophet_finds(freq, rows, options):
    frame = pd.DataFrame(
        {"ds": pd.date_range("2023-05-01", periods=rows, freq=freq), "y": np.arange(rows) + 1.0}
    )
    stock, ours = Prophet(**options), FastProphet(**options)
    theirs, mine = stock.preprocess(frame), ours.preprocess(frame)
    assert ours.seasonalities == stock.seasonalities
    assert ours.component_modes == stock.component_modes
    pd.testing.assert_frame_equal(mine.X, theirs.X, rtol=0, atol=1e-9)


def test_dates_that_are_all_one_are_prophets_error():
    same = pd.DataFrame({"ds": [pd.Timestamp("2024-01-01")] * 5, "y": np.arange(5.0)})
    with pytest.raises(Exception) as theirs:  # noqa: PT011 (whatever it is)
        Prophet().fit(same)
    with pytest.raises(theirs.type):
        FastProphet().fit(same)


def rich(kind, frame):
    """A model with holidays, a custom season with a condition, and regressors of two kinds."""
    holidays = pd.DataFrame(
        {
            "holiday": "closure",
            "ds": frame["ds"].iloc[[50, 300]],
            "lower_window": 0,
            "upper_window": 3,
        }
    )
    model = kind(holidays=holidays, uncertainty_samples=0)
    model.add_seasonality("busy", period=30.5, fourier_order=2, condition_name="is_busy")
    model.add_regressor("tonnes", standardize=True)
    model.add_country_holidays("CN")
    return model.fit(frame)


def test_holidays_conditions_and_regressors_are_fitted_like_by_prophet():
    frame = a_frame(a_track("day", 500))
    frame["is_busy"] = frame["ds"].dt.month < 6
    frame["tonnes"] = 1e6 + 1e5 * np.cos(np.arange(500) / 9)
    alone, ours = rich(with_our_backend, frame), rich(FastProphet, frame)
    stock = rich(Prophet, frame)
    assert ours.component_modes == stock.component_modes
    pd.testing.assert_frame_equal(ours.train_component_cols, stock.train_component_cols)
    assert -ours.params["lp__"].item() <= -stock.params["lp__"].item() + 0.1
    size = np.ptp(frame["y"])
    expected = alone.predict(frame).drop(columns="ds").to_numpy(dtype=float)
    found = ours.predict(frame).drop(columns="ds").to_numpy(dtype=float)
    assert found == pytest.approx(expected, abs=1e-6 * size)
    assert ours.stan_fit is None
    assert stock.stan_fit is not None


@pytest.mark.parametrize("kind", [FastProphet, with_our_backend])
def test_everything_after_the_fit_works_as_with_stock_prophet(kind):
    track = a_track(rows=96)
    frame = a_frame(track)
    kept = frame.copy()
    model = kind(uncertainty_samples=100).fit(frame)
    pd.testing.assert_frame_equal(frame, kept)
    future = model.make_future_dataframe(12, freq="MS")
    with lent_seed(5):
        forecast = model.predict(future)
    assert len(forecast) == 108
    assert (forecast["yhat_lower"] <= forecast["yhat_upper"]).all()
    back = model_from_json(model_to_json(model))
    assert back.predict(future)["yhat"].to_numpy() == pytest.approx(forecast["yhat"].to_numpy())
    checked = cross_validation(
        model, horizon="365 days", initial="2000 days", period="365 days", disable_tqdm=True
    )
    assert np.isfinite(checked["yhat"]).all()


def test_logistic_growth_and_products_go_to_stan():
    frame = a_frame(a_track(rows=60)).assign(cap=20.0)
    for options in ({"growth": "logistic"}, {"seasonality_mode": "multiplicative"}):
        ours = with_our_backend(uncertainty_samples=0, **options).fit(frame)
        stock = Prophet(uncertainty_samples=0, **options).fit(frame)
        for name, values in stock.params.items():
            assert np.array_equal(ours.params[name], values)
        assert FastProphet(uncertainty_samples=0, **options).fit(frame).stan_fit is not None
        ours.stan_backend.cleanup()


def test_a_named_option_of_stans_optimiser_goes_to_stan():
    model = FastProphet(uncertainty_samples=0).fit(a_frame(a_track(rows=60)), algorithm="LBFGS")
    assert model.stan_fit is not None
    with pytest.raises(TypeError, match="patience"):
        FastProphet().fit(a_frame(a_track(rows=60)), patience=3)


def test_sampling_goes_to_stan():
    model = FastProphet(mcmc_samples=8, uncertainty_samples=0, n_changepoints=3)
    model.fit(a_frame(a_track("year", 15)), chains=1, show_progress=False)
    assert model.params["k"].shape[0] == 4
    assert model.stan_fit is not None


def test_an_unknown_backend_is_prophets_error():
    with pytest.raises(ValueError, match="Unknown stan backend: PYSTAN"):
        FastProphet(stan_backend="PYSTAN")


def test_a_fit_of_ours_loads_no_stan_and_says_nothing():
    code = """
import sys, numpy as np, pandas as pd
from forecasting.models.prophet_backend import FastProphet
dates = pd.date_range("2015-01-01", periods=60, freq="MS")
model = FastProphet().fit(pd.DataFrame({"ds": dates, "y": np.sin(np.arange(60.0)) + 3}))
model.predict(model.make_future_dataframe(3, freq="MS"))
assert "cmdstanpy" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_three_forms_load_no_prophet():
    code = """
import sys, numpy as np
from datetime import date
from forecasting.models.prophet_model import AnchoredProphet, StockProphet
from forecasting.series import Track
periods = [date(2015 + i // 12, i % 12 + 1, 1) for i in range(60)]
for form in (AnchoredProphet(), StockProphet()):
    form.quantiles(Track(np.sin(np.arange(60.0)), periods, "month"), [60], 3)
assert "prophet" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stderr) == (0, "")
