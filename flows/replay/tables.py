"""A long table unique_id, ds, y as the series of a replay."""

from typing import TYPE_CHECKING

from forecasting.panel import PanelError, panel_history
from forecasting.series import CannotForecastError, History

if TYPE_CHECKING:
    import pandas as pd


def panel_histories(frame: "pd.DataFrame", freq: str) -> tuple[list[History], dict[str, str]]:
    """Every series of the table that can be read, by name, and why others can't; PanelError for the table."""
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
            histories.append(panel_history(str(series), group, freq))
        except CannotForecastError as error:
            left_out[str(series)] = error.reason
    nameless = int(frame["unique_id"].isna().sum())
    if nameless:
        left_out["(no unique_id)"] = f"{nameless} rows don't say which series they belong to"
    return histories, left_out
