"""The one module that meets Prophet: our posterior mode as its Stan backend, and Prophet with less overhead."""

import logging
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from forecasting.models.prophet_map import (
    MIN_NOISE,
    Floats,
    Mode,
    days_since_1970,
    design,
    fitted_mode,
    fourier_terms,
    problem_of,
)

# Before the import: Prophet complains in it, and cmdstanpy adds a handler of its own when it finds none.
_UNHEARD = [
    log for name in ("prophet", "cmdstanpy") if not (log := logging.getLogger(name)).handlers
]
for _log in _UNHEARD:
    _log.addHandler(logging.NullHandler())
    _log.propagate = False

from prophet import Prophet  # noqa: E402
from prophet.models import (  # noqa: E402
    CmdStanPyBackend,
    IStanBackend,
    ModelInputData,
    StanBackendEnum,
    TrendIndicator,
)

for _log in _UNHEARD:
    _log.setLevel(logging.WARNING)

Ints = npt.NDArray[np.int64]


class MapBackend(IStanBackend):  # type: ignore[misc]
    """Prophet's Stan backend for linear and flat growth with additive terms, without Stan.

    Everything else goes to stock CmdStan, which is loaded then: logistic growth, multiplicative terms,
    sampling, and a fit that names an option of Stan's optimiser. `init` is where the search begins.
    """

    def __init__(self) -> None:
        super().__init__()
        self._stock: Any = None

    @staticmethod
    def get_type() -> str:
        """The name under which Prophet's copies (in its cross-validation) find a backend that knows all."""
        return str(StanBackendEnum.CMDSTANPY.name)

    def load_model(self) -> None:
        """Nothing to load."""

    def fit(
        self, stan_init: dict[str, Any], stan_data: dict[str, Any], **kwargs: Any
    ) -> dict[str, Floats]:
        """The mode, as arrays (1 x size) like Stan's."""
        if not _is_ours(stan_data) or set(kwargs) - {"init"}:
            stock = self._stock_backend()
            fitted: dict[str, Floats] = stock.fit(stan_init, stan_data, **kwargs)
            self.stan_fit = stock.stan_fit
            return fitted
        return _fitted(stan_data, kwargs.get("init"))

    def sampling(
        self, stan_init: dict[str, Any], stan_data: dict[str, Any], samples: int, **kwargs: Any
    ) -> dict[str, Floats]:
        stock = self._stock_backend()
        sampled: dict[str, Floats] = stock.sampling(stan_init, stan_data, samples, **kwargs)
        self.stan_fit = stock.stan_fit
        return sampled

    def cleanup(self) -> None:
        if self._stock is not None:
            self._stock.cleanup()

    def _stock_backend(self) -> Any:
        if self._stock is None:
            self._stock = CmdStanPyBackend()
            self._stock.set_options(newton_fallback=self.newton_fallback)
        return self._stock


class FastProphet(Prophet):  # type: ignore[misc]
    """Prophet with our backend, and with the slowest parts of its preparation written as arrays.

    Parameters, results and errors are Prophet's. Prophet's own cross-validation copies it as it is.
    """

    changepoints: Any
    changepoints_t: Floats

    def _load_stan_backend(self, stan_backend: str | None) -> None:
        if stan_backend is not None:
            StanBackendEnum.get_backend_class(stan_backend)  # an unknown name is Prophet's error
        self.stan_backend = MapBackend()

    def preprocess(self, df: pd.DataFrame, **kwargs: Any) -> Any:
        """Prophet's model data; a frame that must be looked into is prepared by Prophet itself."""
        if "ds" not in df or "y" not in df or not self._is_plain(df):
            return super().preprocess(df, **kwargs)
        dates = np.unique(df["ds"].to_numpy())
        if dates.size < 2:
            return super().preprocess(df, **kwargs)  # it knows what is wrong
        history = self.history = self.setup_dataframe(df, initialize_scales=True)
        self.history_dates = pd.Series(dates, name="ds")
        self.set_auto_seasonalities()
        features, scales, component_cols, modes = self.make_all_seasonality_features(history)
        self.train_component_cols, self.component_modes = component_cols, modes
        self.fit_kwargs = deepcopy(kwargs)
        self.set_changepoints()
        return ModelInputData(
            T=len(history),
            S=len(self.changepoints_t),
            K=features.shape[1],
            tau=self.changepoint_prior_scale,
            trend_indicator=TrendIndicator[self.growth.upper()].value,
            y=history["y_scaled"],
            t=history["t"],
            t_change=self.changepoints_t,
            X=features,
            sigmas=scales,
            s_a=component_cols["additive_terms"],
            s_m=component_cols["multiplicative_terms"],
            cap=np.zeros(len(history)),
        )

    def setup_dataframe(self, df: pd.DataFrame, initialize_scales: bool = False) -> pd.DataFrame:
        """Prophet's columns t, y_scaled and floor; its checks, too, on a frame that needs them."""
        if not self._is_plain(df) or (initialize_scales and not np.ptp(df["ds"].to_numpy())):
            stock: pd.DataFrame = super().setup_dataframe(df, initialize_scales)
            return stock
        order = np.argsort(df["ds"].to_numpy(), kind="stable")
        columns = {str(name): df[name].to_numpy()[order] for name in df}
        dates = columns["ds"]
        if initialize_scales:
            size = float(np.abs(columns["y"]).max())
            self.y_min, self.y_scale = 0.0, size or 1.0
            self.start = pd.Timestamp(dates[0])
            self.t_scale = pd.Timedelta(dates[-1] - dates[0])
        columns["floor"] = np.zeros(dates.size)
        columns["t"] = (dates - self.start.to_datetime64()) / self.t_scale.to_timedelta64()
        if "y" in columns:
            columns["y_scaled"] = columns["y"] / self.y_scale
        return pd.DataFrame(columns)

    def _is_plain(self, df: pd.DataFrame) -> bool:
        """Whether there are only dates without a zone and finite numbers, and nothing to look up in them."""
        if self.growth == "logistic" or self.scaling != "absmax" or not self._has_seasons_only():
            return False
        if set(df.columns) - {"ds", "y"} or df["ds"].dtype != np.dtype("datetime64[ns]"):
            return False
        has_numbers = "y" not in df or (
            df["y"].dtype == np.float64 and bool(np.isfinite(df["y"].to_numpy()).all())
        )
        return has_numbers and not np.isnat(df["ds"].to_numpy()).any()

    def set_auto_seasonalities(self) -> None:
        dates = self.history["ds"].to_numpy()
        span, gaps = dates[-1] - dates[0], np.diff(dates)
        if self.yearly_seasonality != "auto" or not span:
            super().set_auto_seasonalities()  # it warns of a year that is asked for too early
            return
        shortest = gaps[gaps > np.timedelta64(0)].min()
        for name, period, order, history, gap in _SEASONS:
            is_short = span < np.timedelta64(history, "D")
            is_coarse = gap > 0 and shortest >= np.timedelta64(gap, "D")
            asked = getattr(self, f"{name}_seasonality")
            terms = self.parse_seasonality_args(name, asked, is_short or is_coarse, order)
            if terms > 0:
                self.seasonalities[name] = {
                    "period": period,
                    "fourier_order": terms,
                    "prior_scale": self.seasonality_prior_scale,
                    "mode": self.seasonality_mode,
                    "condition_name": None,
                }

    def set_changepoints(self) -> None:
        history = self.history
        first = int(np.floor(len(history) * self.changepoint_range))
        if self.changepoints is not None or not 0 < self.n_changepoints < first:
            super().set_changepoints()
            return
        rows = np.linspace(0, first - 1, self.n_changepoints + 1).round().astype(int)[1:]
        self.changepoints = history["ds"].iloc[rows]
        passed = self.changepoints.to_numpy() - self.start.to_datetime64()
        self.changepoints_t = np.sort(passed / self.t_scale.to_timedelta64())

    @staticmethod
    def fourier_series(dates: "pd.Series[Any]", period: float, series_order: int) -> Floats:
        if series_order < 1 or dates.dtype.kind != "M" or hasattr(dates.dtype, "tz"):
            stock: Floats = Prophet.fourier_series(dates, period, series_order)
            return stock
        return fourier_terms(days_since_1970(dates.to_numpy()), period, series_order)

    def make_all_seasonality_features(
        self, df: pd.DataFrame
    ) -> tuple[pd.DataFrame, list[float], pd.DataFrame, dict[str, list[str]]]:
        if not self.seasonalities or not self._has_seasons_only():
            return super().make_all_seasonality_features(df)  # type: ignore[no-any-return]
        blocks, names, scales = [], [], []
        modes: dict[str, list[str]] = {"additive": [], "multiplicative": []}
        for name, use in self.seasonalities.items():
            blocks.append(self.fourier_series(df["ds"], use["period"], use["fourier_order"]))
            names += [f"{name}_delim_{term + 1}" for term in range(2 * use["fourier_order"])]
            scales += [use["prior_scale"]] * (2 * use["fourier_order"])
            modes[use["mode"]].append(name)
        features = pd.DataFrame(np.hstack(blocks), columns=names)
        return features, scales, *self.regressor_column_matrix(features, modes)

    def _has_seasons_only(self) -> bool:
        """Whether features follow from the date alone: no holidays, regressors or conditions."""
        has_holidays = self.holidays is not None or self.country_holidays is not None
        has_holidays = has_holidays or self.train_holiday_names is not None
        conditions = [use["condition_name"] for use in self.seasonalities.values()]
        return not has_holidays and not self.extra_regressors and not any(conditions)

    def regressor_column_matrix(
        self, seasonal_features: pd.DataFrame, modes: dict[str, list[str]]
    ) -> tuple[pd.DataFrame, dict[str, list[str]]]:
        """Which columns belong to which component: the table that Prophet asks pandas to count out."""
        names = [name.split("_delim_")[0] for name in seasonal_features.columns]
        members = {
            name: np.array([own == name for own in names], dtype=np.int64) for name in set(names)
        }
        if self.train_holiday_names is not None:
            _add_group(members, "holidays", self.train_holiday_names)
        for mode in ("additive", "multiplicative"):
            _add_group(members, f"{mode}_terms", modes[mode])
            regressors = [
                name for name, use in self.extra_regressors.items() if use["mode"] == mode
            ]
            _add_group(members, f"extra_regressors_{mode}", regressors)
            modes[mode] += [f"{mode}_terms", f"extra_regressors_{mode}"]
        modes[self.holidays_mode].append("holidays")
        # The placeholder for no columns at all, and the two totals that are always there.
        columns = sorted(members.keys() - {"zeros"})
        columns += [name for name in _TOTALS if name not in members]
        blank = np.zeros(len(names), dtype=np.int64)
        table = pd.DataFrame(
            np.column_stack([members.get(name, blank) for name in columns]),
            index=pd.Index(np.arange(len(names)), name="col"),
            columns=pd.Index(columns, name="component"),
        )
        if self.train_component_cols is not None:
            table = table[self.train_component_cols.columns]
            if not table.equals(self.train_component_cols):
                message = "the components are not those of the fit"
                raise ValueError(message)
        return table, modes


_SEASONS = (
    # name, period in days, order, days of history needed, days between rows from which it is not seen
    ("yearly", 365.25, 10, 730, 0),
    ("weekly", 7, 3, 14, 7),
    ("daily", 1, 4, 2, 1),
)
_TOTALS = ("additive_terms", "multiplicative_terms")


def _add_group(members: dict[str, Ints], group: str, names: Iterable[str]) -> None:
    """Add a component that has every column of those named; none when they have no column."""
    found = [members[name] for name in set(names) if name in members]
    if found:
        members[group] = np.maximum.reduce(found)


def _is_ours(data: Mapping[str, Any]) -> bool:
    is_logistic = data["trend_indicator"] == TrendIndicator.LOGISTIC.value
    if is_logistic or np.any(data["s_m"]):
        return False
    # An infinite regressor, or dates that are all one: Stan says what is wrong with them.
    return bool(np.isfinite(np.asarray(data["X"]).sum() + np.asarray(data["t"]).sum()))


def _fitted(data: Mapping[str, Any], init: Mapping[str, Any] | None) -> dict[str, Floats]:
    has_slope = data["trend_indicator"] == TrendIndicator.LINEAR.value
    t, t_change, y = (np.asarray(data[name], dtype=np.float64) for name in ("t", "t_change", "y"))
    features = np.asarray(data["X"], dtype=np.float64) * np.asarray(data["s_a"], dtype=np.float64)
    columns = design(t, t_change, features, has_slope=has_slope)
    sigmas = np.asarray(data["sigmas"], dtype=np.float64)
    problem = problem_of(columns, y, data["tau"], sigmas, has_slope=has_slope)
    mode = fitted_mode(columns, y, problem, _start(init, t_change.size, sigmas.size, has_slope))
    ramps = t_change.size if has_slope else 0
    location, delta, beta = np.split(mode.coefficients, [1 + has_slope, 1 + has_slope + ramps])
    parameters = {
        "lp__": np.array([-mode.objective]),
        "k": location[1:] if has_slope else np.zeros(1),
        "m": location[:1],
        # Flat growth leaves slopes to their priors, whose mode is 0.
        "delta": delta if has_slope else np.zeros(t_change.size),
        "sigma_obs": np.array([mode.noise]),
        "beta": beta,
        "trend": columns[:, : 1 + has_slope + ramps] @ np.concatenate((location, delta)),
    }
    return {name: values.reshape((1, -1)) for name, values in parameters.items()}


def _start(
    init: Mapping[str, Any] | None, ramps: int, features: int, has_slope: bool
) -> Mode | None:
    """The coefficients of an earlier fit; None when there is none or it was of another shape."""
    if init is None or not has_slope:
        return None
    sizes = {"m": 1, "k": 1, "delta": ramps, "beta": features}
    if any(np.size(init.get(name, ())) != size for name, size in sizes.items()):
        return None
    coefficients = np.concatenate([np.ravel(init[name]).astype(np.float64) for name in sizes])
    return Mode(coefficients, MIN_NOISE, np.inf) if np.isfinite(coefficients).all() else None
