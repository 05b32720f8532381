import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from forecasting.market.spread import spread_years


@given(
    arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 6)), elements=st.floats(0, 1e6))
)
def test_every_years_total_is_kept_and_nothing_goes_below_zero(totals):
    monthly = spread_years(totals)
    sums = monthly.reshape(totals.shape[0], totals.shape[1], 12).sum(axis=2)
    assert np.allclose(sums, totals, rtol=1e-9, atol=1e-6)
    assert (monthly >= -1e-9).all()


def test_equal_years_give_equal_months():
    assert np.allclose(spread_years(np.array([[12.0, 12.0, 12.0]])), 1.0)


def test_a_growing_series_does_not_jump_in_january():
    monthly = spread_years(np.array([[120.0, 240.0, 360.0]]))[0]
    assert np.abs(np.diff(monthly)).max() < 1.5  # flat twelfths would jump by 10
