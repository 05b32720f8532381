"""Prophet's posterior mode from X'X, X'y and y'y alone: an active set for the slopes, Newton for the noise."""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.linalg.lapack import dposv

Floats = npt.NDArray[np.float64]

# The objective is that of prophet.stan (Prophet 1.1–1.5), constants left out as Stan leaves them out.
_LOCATION_SCALE = 5.0  # k and m ~ normal(0, 5)
_NOISE_SCALE = 0.5  # sigma_obs ~ half-normal(0, 0.5)

MIN_NOISE = 1e-9
"""Noise below which nothing is sought: a fit without error has no mode; Prophet says 1e-9 for it, too."""

# Every solve raises the diagonal by this share and is repeated until nothing is left to gain: exact in
# the end, and columns that say the same (a changepoint at the first day is the slope) don't stop it.
_DAMPING = 1e-13
_MAX_ROUNDS = 50  # of the noise; six are usual
_MAX_MOVES = 400  # of the active set within a round; a cold start takes about one a changing slope
_CLOSE = 1e-3  # change of the noise squared, as a share, after which one more step is enough
_TIGHT = 1e-9  # gradients against the rate that they may reach
_ROUNDING = 1e-15  # of a gradient, columns of length one, against the size of y
_UNSEEN = 1e-14  # of a mean squared error, against the mean square of y
_CLOSE_FIT = 1e-3  # noise over size of y below which X'X alone is too coarse to see the error


@dataclass(frozen=True, eq=False)
class Problem:
    """What Prophet's posterior depends on, columns ordered as in `design`.

    The squared error of coefficients c is square - 2 moments'(c - base) + (c - base)' gram (c - base).
    `ridge` is the precision of a column's normal prior, `rate` that of its Laplace prior (0 for none).
    """

    gram: Floats
    moments: Floats
    square: float
    rows: int
    ridge: Floats
    rate: Floats
    base: Floats


@dataclass(frozen=True, eq=False)
class Mode:
    """Where the posterior is highest: coefficients in the order of the columns, and the noise."""

    coefficients: Floats
    noise: float
    objective: float  # minus the log posterior density without its constants: lower is better


def changepoint_ramps(t: Floats, t_change: Floats) -> Floats:
    """How far each scaled time (row) is past each changepoint (column); 0 before it."""
    return np.maximum(t[:, None] - t_change, 0.0)


def design(t: Floats, t_change: Floats, features: Floats, *, has_slope: bool = True) -> Floats:
    """Columns offset, slope, a ramp for each changepoint, features; without slope, offset and features."""
    offset = np.ones((t.size, 1))
    if not has_slope:
        return np.hstack((offset, features))
    return np.hstack((offset, t[:, None], changepoint_ramps(t, t_change), features))


def days_since_1970(dates: npt.NDArray[np.datetime64]) -> Floats:
    """Dates as days, in parts of a day where they have a time."""
    epoch = np.datetime64(0, "D").astype(dates.dtype)
    return np.asarray((dates - epoch) / np.timedelta64(1, "D"), dtype=np.float64)


def fourier_terms(days: Floats, period: float, order: int) -> Floats:
    """Sine and cosine (day x 2 order) of 1..order cycles a `period`, days counted from 1970."""
    # The powers of one turn: two evaluations a day instead of two for every order.
    turn = np.exp(2j * np.pi / period * days)
    powers = np.cumprod(np.broadcast_to(turn[:, None], (days.size, order)), axis=1)
    terms = np.empty((days.size, 2 * order))
    terms[:, 0::2], terms[:, 1::2] = powers.imag, powers.real
    return terms


def problem_of(
    columns: Floats, y: Floats, tau: float, sigmas: Floats, *, has_slope: bool = True
) -> Problem:
    """The posterior of `y` on the columns of `design`; `tau` and `sigmas` are Prophet's prior scales."""
    location = np.full(2 if has_slope else 1, _LOCATION_SCALE**-2)
    ramps = columns.shape[1] - location.size - sigmas.size
    return Problem(
        gram=columns.T @ columns,
        moments=columns.T @ y,
        square=float(y @ y),
        rows=y.size,
        ridge=np.concatenate((location, np.zeros(ramps), sigmas**-2.0)),
        rate=np.concatenate(
            (np.zeros(location.size), np.full(ramps, 1 / tau), np.zeros(sigmas.size))
        ),
        base=np.zeros(columns.shape[1]),
    )


def objective(problem: Problem, coefficients: Floats, noise: float) -> float:
    """Minus the log posterior density that Stan's `optimize` maximises for Prophet."""
    return _objective(problem, coefficients, noise**2, _error(problem, coefficients))


def fitted_mode(columns: Floats, y: Floats, problem: Problem, start: Mode | None = None) -> Mode:
    """The mode, sought again around itself when the fit is so close that rounding hid its error."""
    mode = posterior_mode(problem, start)
    size = math.sqrt(float(y @ y) / y.size)
    for _ in range(3):
        if mode.noise >= _CLOSE_FIT * size:
            break
        residual = y - columns @ mode.coefficients
        problem = replace(
            problem,
            moments=columns.T @ residual,
            square=float(residual @ residual),
            base=mode.coefficients,
        )
        size = math.sqrt(problem.square / y.size)
        mode = posterior_mode(problem, mode)
    return mode


def posterior_mode(problem: Problem, start: Mode | None = None) -> Mode:
    """Coefficients and noise where the objective has its minimum; `start` saves time, not accuracy.

    For a given noise the rest is a convex problem. The noise then follows in closed form from the
    error, and so on in turn, by Newton's rule. Of several modes, which few rows can have, this is the
    first on the way down from much noise to little.
    """
    # Columns of length one: a regressor in tonnes is as well-conditioned as one in shares.
    norms = np.sqrt(np.diag(problem.gram))
    lengths = np.where(norms > 0, norms, 1.0)
    # Those without a Laplace prior first: blocks are slices then.
    order = np.argsort(problem.rate > 0, kind="stable")
    gram = problem.gram / np.outer(lengths, lengths)
    inner = _Inner(
        gram=np.ascontiguousarray(gram[order[:, None], order]),
        moments=(problem.moments / lengths)[order],
        square=problem.square,
        rows=problem.rows,
        ridge=(problem.ridge / lengths**2)[order],
        rate=(problem.rate / lengths)[order],
        base=(problem.base * lengths)[order],
        free=int((problem.rate == 0).sum()),
        floor=max(MIN_NOISE**2, _UNSEEN * problem.square / problem.rows),
    )
    # The noise begins where the problem says, never where `start` ended: which of several modes is found
    # must not depend on what was fitted before.
    straight, variance = _beginning(inner)
    theta = straight if start is None else (start.coefficients * lengths)[order]
    theta, variance = _settled(inner, theta, variance)
    value = _objective(inner, theta, variance, _error(inner, theta))
    coefficients = np.empty(theta.size)
    coefficients[order] = theta
    return Mode(coefficients / lengths, math.sqrt(variance), value)


@dataclass(frozen=True, eq=False)
class _Inner(Problem):
    """A problem whose first `free` columns are those without a Laplace prior, all of length one."""

    free: int
    floor: float  # noise squared that rounding leaves to be seen


def _settled(problem: _Inner, theta: Floats, variance: float) -> tuple[Floats, float]:
    """Coefficients and noise squared in turn, until the error asks for the noise that there is.

    Where it asks for less the mode lies below, where it asks for more, above: steps that leave the
    stretch known so far are halved.
    """
    low, high = problem.floor / 2, math.inf
    for _ in range(_MAX_ROUNDS):
        hessian = _hessian(problem, variance)
        theta = _coefficients(problem, hessian, theta, variance)
        error = _error(problem, theta)
        if _best_variance(problem, error) < variance:
            high = variance
        else:
            low = variance
        target = _newton_variance(problem, hessian, theta, variance, error)
        if abs(target - variance) <= _CLOSE * variance or high <= low * (1 + _CLOSE):
            # What this step leaves is its square.
            hessian = _hessian(problem, target)
            return _coefficients(problem, hessian, theta, target), target
        variance = target if low < target < high else math.sqrt(low * high)
    return theta, variance


def _best_variance(problem: _Inner, error: float) -> float:
    """Noise squared where rows log(noise) + error / (2 noise²) + noise² / (2 scale²) is lowest."""
    rows, weight = problem.rows, 4 / _NOISE_SCALE**2
    return max(2 * error / (rows + math.sqrt(rows * rows + weight * error)), problem.floor)


def _newton_variance(
    problem: _Inner, hessian: Floats, theta: Floats, variance: float, error: float
) -> float:
    """The same, with the error moving along as the coefficients follow the noise."""
    asked = _best_variance(problem, error)
    used = ((problem.rate == 0) | (theta != 0)).nonzero()[0]
    pull = (problem.ridge * theta + problem.rate * np.sign(theta))[used]
    follow = _solved(hessian[used[:, None], used], pull)
    # In logarithms: how many per cent the error changes with one per cent more noise squared.
    elasticity = 2 * variance**2 * float(pull @ follow) / max(error, 1e-300)
    step = math.log(asked / variance) / (1 - min(elasticity, 0.97))
    return max(variance * math.exp(min(max(step, -3.0), 3.0)), problem.floor)


def _beginning(problem: _Inner) -> tuple[Floats, float]:
    """Coefficients of a line whose slope never changes, and a first guess of the noise squared.

    With few rows the noise begins high, at what that line leaves: ramps enough could explain every row,
    and the way down from there ends at the first mode, before the fit without error that is none.
    """
    free, straight = problem.free, problem.base.copy()
    variance = _best_variance(problem, _error(problem, straight))
    hessian, gradient = _hessian(problem, variance), _gradient(problem, straight, variance)
    straight[:free] -= _solved(hessian[:free, :free], gradient[:free])
    error = _error(problem, straight)
    if problem.rows > 2 * straight.size:
        full = problem.base - _solved(hessian, gradient)
        spared = problem.rows / (problem.rows - straight.size)
        error = min(_error(problem, full) * spared, error)
    return straight, _best_variance(problem, error)


def _coefficients(problem: _Inner, hessian: Floats, theta: Floats, variance: float) -> Floats:
    """Coefficients where error / 2 + variance (ridge θ² / 2 + rate |θ|) is lowest, from a guess."""
    free, gradient = problem.free, _gradient(problem, theta, variance)
    # Columns without a Laplace prior follow the others linearly: solved for once, they drop out.
    across = hessian[:free, free:]
    right = np.concatenate((across, gradient[:free, None]), axis=1)
    solved = _solved(hessian[:free, :free], right)
    follow, straight = solved[:, :-1], solved[:, -1]
    reached = theta.copy()
    if follow.size:
        reached[free:] = _sparse_minimum(
            hessian[free:, free:] - across.T @ follow,
            gradient[free:] - across.T @ straight,
            theta[free:],
            variance * problem.rate[free:],
            _ROUNDING * math.sqrt(problem.square),
        )
    reached[:free] -= straight + follow @ (reached[free:] - theta[free:])
    return reached


def _sparse_minimum(
    hessian: Floats, gradient: Floats, start: Floats, limit: Floats, rounding: float
) -> Floats:
    """The x where gradient'(x - start) + (x - start)'hessian (x - start) / 2 + limit'|x| is lowest.

    Values that are not 0 move to where the derivative vanishes, and stop at 0 on the way when they
    would change sign. When none does any more, those leave 0 whose gradient exceeds their limit.
    """
    x, sign, slope = start.copy(), np.sign(start), gradient.copy()
    margin = _TIGHT * limit + rounding
    takes_several = True
    for _ in range(_MAX_MOVES):
        used = sign.nonzero()[0]
        if used.size:
            step = _solved(hessian[used[:, None], used], -(slope + limit * sign)[used])
            here = x[used]
            crossing = (here + step) * sign[used] < 0
            if crossing.any():
                shares = np.where(crossing, here / np.where(crossing, -step, 1.0), np.inf)
                share = shares.min()
                x[used] = here + share * step
                stopped = used[shares <= share]
                x[stopped] = sign[stopped] = 0.0
                slope = gradient + hessian @ (x - start)
                if share == 0:
                    if not takes_several:
                        break  # one that joins alone is pushed back by rounding only
                    # Several that join at once can push one another back: one at a time from here on.
                    takes_several = False
                    sign[x == 0] = 0.0
                continue
            x[used] = here + step
            slope = gradient + hessian @ (x - start)
        excess = np.abs(slope) - limit - margin
        excess[used] = -1.0
        joining = _peaks(excess) if takes_several else np.argmax(excess, keepdims=True)
        joining = joining[excess[joining] > 0]
        if not joining.size:
            break
        sign[joining] = -np.sign(slope[joining])
    return x


def _peaks(excess: Floats) -> npt.NDArray[np.intp]:
    """Where the excess is higher than at both neighbours: ramps side by side say nearly the same."""
    padded = np.concatenate(([-np.inf], excess, [-np.inf]))
    return ((excess > padded[:-2]) & (excess >= padded[2:])).nonzero()[0]


def _solved(matrix: Floats, right: Floats) -> Floats:
    """matrix⁻¹ right for a matrix that is symmetric and positive, by Cholesky; by LU where rounding spoilt it."""
    # Straight to LAPACK: of a solve in 20 columns, numpy's checks would be three quarters.
    _, found, trouble = dposv(matrix, right)
    return np.asarray(np.linalg.solve(matrix, right) if trouble else found, dtype=np.float64)


def _gradient(problem: _Inner, theta: Floats, variance: float) -> Floats:
    """Derivative of error / 2 + variance ridge θ² / 2."""
    return (
        problem.gram @ (theta - problem.base) - problem.moments + variance * problem.ridge * theta
    )


def _hessian(problem: _Inner, variance: float) -> Floats:
    """Second derivative of the same, a little raised."""
    hessian = problem.gram.copy()
    hessian.flat[:: hessian.shape[0] + 1] += variance * problem.ridge + _DAMPING
    return hessian


def _error(problem: Problem, theta: Floats) -> float:
    """Sum of squared residuals; never below 0, where rounding would put a perfect fit."""
    away = theta - problem.base
    return max(float(problem.square + away @ (problem.gram @ away - 2 * problem.moments)), 0.0)


def _objective(problem: Problem, theta: Floats, variance: float, error: float) -> float:
    prior = 0.5 * float(problem.ridge @ theta**2) + float(problem.rate @ np.abs(theta))
    noise = 0.5 * problem.rows * math.log(variance) + variance / (2 * _NOISE_SCALE**2)
    return noise + prior + error / (2 * variance)
