"""Chinese value-added tax in a price: its rate by day, and what of it is in an export price."""

from datetime import date
from typing import Literal

Basis = Literal["", "FOB", "incl. VAT", "excl. VAT"]
"""What a price says of tax: nothing, free on board for export, domestic with VAT, domestic without."""

_RATES = (
    (date(2019, 4, 1), 0.13),  # Announcement [2019] No. 39 of MOF, STA and Customs, 20 March 2019
    (date(2018, 5, 1), 0.16),  # Cai Shui [2018] No. 32 of MOF and STA, 4 April 2018
    (date(1994, 1, 1), 0.17),  # the first day of today's VAT
)


PARITY_SINCE = date(2015, 5, 1)
"""When China's export tax on rare earths ended, after its quotas: before, FOB stood 38 to 44 % above domestic."""


def chinese_vat(day: date) -> float | str:
    """The standard rate on goods in China on `day` (0.13 is 13 %), or why there was none."""
    for first, rate in _RATES:
        if day >= first:
            return rate
    return f"China had no VAT of today's kind on {day}, before 1994-01-01"


def chinese_vats(since: date, day: date) -> tuple[tuple[date, float], ...] | str:
    """The rates in force from `since` to `day`, each with its first day among these, or why there were none."""
    first = chinese_vat(since)
    if isinstance(first, str):
        return first
    later = sorted((began, rate) for began, rate in _RATES if since < began <= day)
    return ((since, first), *later)


def fob_parity(basis: Basis, vat: float, *, rebated: bool) -> float:
    """The price free on board that equals a domestic Chinese price of 1, in the same currency.

    An exporter needs what the domestic buyer pays, less the VAT that the state gives back on export.
    Rare-earth oxides and metals get none back: 1 with VAT, 1 + v without. Magnets (HS 8505.11) get all
    of it back: 1 / (1 + v) with VAT, 1 without. Not for oxides and metals before `PARITY_SINCE`. Source: tariff pages for HS 2805 (rebate 0); USGS/Argus
    FOB neodymium oxide equals the domestic price with VAT within 1 % in 2021, 2022 and 2023.
    """
    if basis == "incl. VAT":
        return 1 / (1 + vat) if rebated else 1.0
    if basis == "excl. VAT":
        return 1.0 if rebated else 1 + vat
    return 1.0
