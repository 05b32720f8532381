import logging

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.models.prophet_backend import FastProphet, MapBackend
from forecasting.models.prophet_map import (
    MIN_NOISE,
    Mode,
    days_since_1970,
    design,
    fitted_mode,
    fourier_terms,
    objective,
    posterior_mode,
    problem_of,
)

TAU = 0.05


def a_problem(seed=0, rows=150, ramps=20, order=3, noise=0.05):
    """Breaks, a season and noise: columns, values and what the posterior knows of them."""
    draw = np.random.default_rng(seed)
    t = np.linspace(0, 1, rows)
    t_change = t[np.linspace(0, int(rows * 0.8) - 1, ramps + 1).round().astype(int)[1:]]
    features = fourier_terms(t * 1500, 365.25, order)
    columns = design(t, t_change, features)
    slopes = draw.laplace(0, 0.3, ramps) * (draw.random(ramps) < 0.2)
    weights = np.concatenate(([0.5, 0.2], slopes, draw.normal(0, 0.05, 2 * order)))
    y = columns @ weights + draw.normal(0, noise, rows)
    return columns, y, problem_of(columns, y, TAU, np.full(2 * order, 10.0))


def slopes_of(columns, y, problem, mode):
    """Derivatives of the objective's smooth part: by every coefficient, and by the noise."""
    residual = y - columns @ mode.coefficients
    by_coefficient = -columns.T @ residual / mode.noise**2 + problem.ridge * mode.coefficients
    by_noise = y.size / mode.noise - residual @ residual / mode.noise**3 + 4 * mode.noise
    return by_coefficient, by_noise


def assert_is_a_mode(columns, y, problem, mode):
    """The Karush–Kuhn–Tucker conditions, in units of the rate or of the columns' pull on y."""
    slope, by_noise = slopes_of(columns, y, problem, mode)
    pull = np.linalg.norm(columns, axis=0) * np.linalg.norm(y) / mode.noise**2
    tolerance = 1e-6 * problem.rate + 1e-9 * pull
    is_zero = (problem.rate > 0) & (mode.coefficients == 0)
    settled = slope + problem.rate * np.sign(mode.coefficients)
    assert (np.abs(settled[~is_zero]) <= tolerance[~is_zero]).all()
    assert (np.abs(slope[is_zero]) <= (problem.rate + tolerance)[is_zero]).all()
    assert abs(by_noise) * mode.noise <= 1e-6 * y.size


def stock_and_ours(frame, **options):
    from prophet import Prophet

    stock = Prophet(uncertainty_samples=0, **options).fit(frame)
    ours = FastProphet(uncertainty_samples=0, **options).fit(frame)
    return stock, ours


def fitted_values(model):
    return model.predict()["yhat"].to_numpy()


def a_frame(freq, rows, seed):
    draw = np.random.default_rng(seed)
    dates = pd.date_range("2012-01-02", periods=rows, freq=freq)
    season = np.sin(np.arange(rows) * 2 * np.pi / max(rows / 7, 3))
    values = (
        5 + np.cumsum(draw.normal(0, 0.1, rows)) + (0.3 * season + draw.normal(0, 0.1, rows)) / 2
    )
    return pd.DataFrame({"ds": dates, "y": values})


CASES = [
    pytest.param("MS", 120, {}, id="ten years of months"),
    pytest.param("MS", 180, {"growth": "flat"}, id="flat growth"),
    pytest.param("MS", 40, {}, id="few months"),
    pytest.param("W-SUN", 160, {}, id="weeks"),
    pytest.param("YS", 15, {}, id="years"),
    pytest.param("B", 300, {}, id="business days"),
    pytest.param("MS", 90, {"n_changepoints": 0}, id="no changepoint"),
    pytest.param("MS", 90, {"changepoint_prior_scale": 0.5, "scaling": "minmax"}, id="loose"),
]


@pytest.mark.parametrize(("freq", "rows", "options"), CASES)
def test_the_objective_is_stans_and_never_above_what_stan_reached(freq, rows, options):
    for seed in (1, 2):
        stock, ours = stock_and_ours(a_frame(freq, rows, seed), **options)
        reached, best = -stock.params["lp__"].item(), -ours.params["lp__"].item()
        assert best <= reached + 1e-6 * abs(reached)
        assert best >= reached - 0.02 * abs(reached)  # the same objective, constants and all


def test_the_objective_of_stans_parameters_is_what_stan_says_it_is():
    from prophet import Prophet

    frame = a_frame("MS", 120, 5)
    stock = Prophet(uncertainty_samples=0, n_changepoints=10).fit(frame)
    again = Prophet(uncertainty_samples=0, n_changepoints=10).preprocess(frame)
    columns = design(again.t.to_numpy(), again.t_change, again.X.to_numpy())
    problem = problem_of(columns, again.y.to_numpy(), again.tau, np.array(again.sigmas))
    found = np.concatenate([stock.params[name].ravel() for name in ("m", "k", "delta", "beta")])
    said = -stock.params["lp__"].item()
    assert objective(problem, found, stock.params["sigma_obs"].item()) == pytest.approx(
        said, abs=1e-3
    )


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(60, 250),
    ramps=st.integers(1, 25),
    noise=st.sampled_from([0.003, 0.05, 0.4]),
)
def test_nothing_near_the_mode_is_better(seed, rows, ramps, noise):
    columns, y, problem = a_problem(seed, rows, ramps, noise=noise)
    assert_is_a_mode(columns, y, problem, fitted_mode(columns, y, problem))


def test_slopes_that_never_change_are_exactly_zero():
    columns, y, problem = a_problem(noise=0.02)
    ramps = fitted_mode(columns, y, problem).coefficients[problem.rate > 0]
    assert 0 < (ramps == 0).sum() < ramps.size


def test_where_the_search_begins_does_not_change_where_it_ends():
    columns, y, problem = a_problem(3)
    cold = fitted_mode(columns, y, problem)
    draw = np.random.default_rng(0)
    for start in (cold.coefficients, draw.normal(size=cold.coefficients.size), -y[:28] * 1e3):
        warm = fitted_mode(columns, y, problem, Mode(start, 0.7, np.inf))
        assert warm.coefficients == pytest.approx(cold.coefficients, abs=1e-8)
        assert warm.noise == pytest.approx(cold.noise, rel=1e-8)


def test_columns_that_say_the_same_are_no_obstacle():
    columns, y, problem = a_problem(4)
    single = fitted_mode(columns, y, problem)
    doubled = np.hstack((columns, columns[:, -3:], np.zeros((y.size, 1))))
    twice = problem_of(doubled, y, TAU, np.full(10, 10.0))
    mode = fitted_mode(doubled, y, twice)
    assert_is_a_mode(doubled, y, twice, mode)
    assert doubled @ mode.coefficients == pytest.approx(columns @ single.coefficients, abs=1e-4)


def test_more_columns_than_rows_still_give_a_mode_or_a_fit_without_error():
    for seed in range(8):
        columns, y, problem = a_problem(seed, rows=30, ramps=22, order=10)
        mode = fitted_mode(columns, y, problem)
        assert np.isfinite(mode.coefficients).all()
        if mode.noise > 2 * MIN_NOISE:
            assert_is_a_mode(columns, y, problem, mode)
        else:
            assert columns @ mode.coefficients == pytest.approx(y, abs=1e-7)


def test_a_perfect_line_is_found_with_the_least_noise_there_is():
    t = np.linspace(0, 1, 60)
    columns = design(t, t[5:48:3], np.zeros((60, 1)))
    y = 0.3 + 0.6 * t
    mode = fitted_mode(columns, y, problem_of(columns, y, TAU, np.ones(1)))
    assert mode.noise == MIN_NOISE
    assert columns @ mode.coefficients == pytest.approx(y, abs=1e-9)
    assert mode.coefficients[:2] == pytest.approx([0.3, 0.6], abs=1e-6)


def test_a_small_error_is_seen_where_squares_would_hide_it():
    columns, y, problem = a_problem(6, noise=0.0)
    y = y + 1e-7 * np.random.default_rng(1).normal(size=y.size)
    problem = problem_of(columns, y, TAU, np.full(6, 10.0))
    assert fitted_mode(columns, y, problem).noise == pytest.approx(1e-7, rel=0.3)


def test_the_unit_of_a_regressor_does_not_matter():
    columns, y, problem = a_problem(7)
    in_grams = columns.copy()
    in_grams[:, -1] *= 1e9
    scales = np.full(6, 10.0)
    scales[-1] /= 1e9
    mode = fitted_mode(in_grams, y, problem_of(in_grams, y, TAU, scales))
    assert in_grams @ mode.coefficients == pytest.approx(
        columns @ fitted_mode(columns, y, problem).coefficients, abs=1e-8
    )


def test_nothing_but_sums_of_products_is_needed():
    columns, y, problem = a_problem(8)
    shuffled = np.random.default_rng(0).permutation(y.size)
    again = problem_of(columns[shuffled], y[shuffled], TAU, np.full(6, 10.0))
    assert posterior_mode(again).coefficients == pytest.approx(
        posterior_mode(problem).coefficients, abs=1e-9
    )


@pytest.mark.parametrize("factor", [1.0, 1e9, 1e-9, -1e6])
def test_a_series_in_another_unit_has_the_same_shape(factor):
    frame = a_frame("MS", 100, 3)
    plain = FastProphet(uncertainty_samples=0).fit(frame)
    scaled = FastProphet(uncertainty_samples=0).fit(frame.assign(y=frame["y"] * factor))
    assert fitted_values(scaled) == pytest.approx(fitted_values(plain) * factor, rel=1e-7)


@pytest.mark.parametrize("rows", [2, 3, 4])
def test_a_handful_of_rows_is_fitted_like_any_other(rows):
    frame = a_frame("MS", rows, 3)
    fitted = fitted_values(FastProphet(uncertainty_samples=0).fit(frame))
    assert np.isfinite(fitted).all()
    assert np.ptp(fitted - frame["y"]) <= np.ptp(frame["y"])


def test_fourier_terms_are_prophets():
    from prophet import Prophet

    dates = pd.Series(pd.date_range("1999-12-31", periods=900, freq="17h"))
    for period, order in ((365.25, 10), (7, 3)):
        ours = fourier_terms(days_since_1970(dates.to_numpy()), period, order)
        assert ours == pytest.approx(Prophet.fourier_series(dates, period, order), abs=1e-9)


def test_a_fit_can_begin_at_an_earlier_one():
    frame = a_frame("MS", 100, 3)
    first = FastProphet(uncertainty_samples=0).fit(frame)
    init = {name: values[0] for name, values in first.params.items()}
    again = FastProphet(uncertainty_samples=0).fit(frame, init=init)
    of_another = FastProphet(uncertainty_samples=0).fit(frame, init={"k": np.zeros(3)})
    for name, values in first.params.items():
        assert again.params[name] == pytest.approx(values, abs=1e-8)
        assert of_another.params[name] == pytest.approx(values, abs=1e-8)
    assert isinstance(again.stan_backend, MapBackend)
    assert not logging.getLogger("prophet").propagate
