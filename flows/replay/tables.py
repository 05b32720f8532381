"""The series of a replay on a panel: a long table unique_id, ds, y, or the monthly prices that are kept here."""

from typing import TYPE_CHECKING

from forecasting.panel import PanelError, panel_history
from forecasting.series import CannotForecastError, History, prepare

if TYPE_CHECKING:
    import pandas as pd

    from flows.service import Moment, Service


def panel_histories(frame: "pd.DataFrame", freq: str) -> tuple[list[History], dict[str, str]]:
    """Every series of the table that can be read, by name, and why others can't; PanelError for the table.

    A date with several different values can't be read; the same value twice counts once.
    """
    missing = [column for column in ("unique_id", "ds", "y") if column not in frame.columns]
    if missing:
        found = ", ".join(map(str, frame.columns))[:120]
        message = (
            f"the panel has no column {', '.join(missing)}; unique_id, ds and y are needed, "
            f"with commas between them; found: {found}"
        )
        raise PanelError(message)
    if frame.empty:
        message = "the panel has no rows"
        raise PanelError(message)
    histories, left_out = [], {}
    for series, group in frame.groupby("unique_id", sort=True):
        try:
            history = panel_history(str(series), group, freq)
            _require_one_value_a_date(str(series), group)
            histories.append(history)
        except CannotForecastError as error:
            left_out[str(series)] = error.reason
    nameless = int(frame["unique_id"].isna().sum())
    if nameless:
        left_out["(no unique_id)"] = f"{nameless} rows don't say which series they belong to"
    return histories, left_out


def _require_one_value_a_date(series: str, group: "pd.DataFrame") -> None:
    """Refuse a date that has several values: which one is meant, nobody but the sender knows."""
    import pandas as pd

    days = group["ds"].astype("string").str.strip()
    values = pd.to_numeric(group["y"], errors="coerce")
    counts = values.groupby(days).nunique()
    doubtful = counts[counts > 1]
    if len(doubtful):
        more = f" and {len(doubtful) - 1} more dates" if len(doubtful) > 1 else ""
        reason = f"{int(doubtful.iloc[0])} values for {doubtful.index[0]}{more}"
        raise CannotForecastError(series, reason)


def own_histories(service: "Service", at: "Moment") -> tuple[list[History], dict[str, str]]:
    """The monthly prices that are forecast, as known at the moment, and why others can't be read.

    They are the ones whose chances the service states too (`flows.known.situation`).
    """
    from flows.known import observed

    histories, left_out = [], {}
    for name in service.catalog.forecast_series:
        if service.catalog.series[name].kind != "price":
            continue
        try:
            history = prepare(observed(service, name, at))
        except CannotForecastError as error:
            left_out[name] = error.reason
            continue
        if history.frequency == "month":
            histories.append(history)
        else:
            left_out[name] = f"a price by {history.frequency}: only months can be learnt from"
    return histories, left_out
