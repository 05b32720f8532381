"""Units and bases at the door: named rules from what a publisher writes to what a series is kept in."""

from flows.units.codes import (
    Country,
    HsCode,
    UnknownCodeError,
    comtrade_country,
    countries,
    country,
    hs,
    hs_codes,
)
from flows.units.convert import Conversion, Rate, Rates, conversion, lower_confidence
from flows.units.fiscal import fiscal_year, fiscal_year_months
from flows.units.spelling import Unit, parse_unit
from flows.units.vat import chinese_vat, fob_parity
from forecasting.market.chemistry import (
    ATOMIC_WEIGHTS,
    COMMERCIAL_OXIDES,
    OXIDES,
    metal_share,
    ndpr_metal_share,
    ndpr_oxide_per_finished_magnet,
    ndpr_oxide_per_gross_magnet,
)

__all__ = [
    "ATOMIC_WEIGHTS",
    "COMMERCIAL_OXIDES",
    "OXIDES",
    "Conversion",
    "Country",
    "HsCode",
    "Rate",
    "Rates",
    "Unit",
    "UnknownCodeError",
    "chinese_vat",
    "comtrade_country",
    "conversion",
    "countries",
    "country",
    "fiscal_year",
    "fiscal_year_months",
    "fob_parity",
    "hs",
    "hs_codes",
    "lower_confidence",
    "metal_share",
    "ndpr_metal_share",
    "ndpr_oxide_per_finished_magnet",
    "ndpr_oxide_per_gross_magnet",
    "parse_unit",
]
