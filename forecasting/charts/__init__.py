"""Pictures of forecasts, balances, volumes and scores, made to be read on a phone."""

from forecasting.charts.markets import balance_fan, demand_stack, supply_stack, waterfall_chart
from forecasting.charts.series import price_fan, score_panels, volume_bars

__all__ = [
    "balance_fan",
    "demand_stack",
    "price_fan",
    "score_panels",
    "supply_stack",
    "volume_bars",
    "waterfall_chart",
]
