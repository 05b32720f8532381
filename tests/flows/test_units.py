import csv
import re
from datetime import date
from importlib import resources
from itertools import permutations, product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows import units
from flows.errors import CatalogError
from flows.units import (
    Conversion,
    Rate,
    Unit,
    UnknownCodeError,
    chinese_vat,
    codes,
    comtrade_country,
    conversion,
    countries,
    country,
    fiscal_year,
    fiscal_year_months,
    fob_parity,
    hs,
    hs_codes,
    lower_confidence,
    metal_share,
    ndpr_oxide_per_finished_magnet,
    parse_unit,
)

DAY = date(2025, 6, 2)
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "units.md"
CODES = Path(str(resources.files("flows"))) / "reference" / "codes"
CONFIDENCES = {"high", "medium", "low", "background", "derived"}

# Worth of one US dollar; the same numbers as in docs/units.md.
PER_USD = {"USD": 1.0, "CNY": 7.1234, "INR": 85.5, "JPY": 143.2, "EUR": 1 / 1.1419}


def rates(base: str, quote: str, day: date) -> Rate:
    return Rate(PER_USD[quote] / PER_USD[base], day, "ECB", "high")


def rate_of(value: float, confidence: str = "high"):
    return lambda base, quote, day: Rate(value, day, "FX", confidence)


def convert(written: str, wanted: str, day: date = DAY, **options) -> Conversion:
    found = conversion(written, wanted, day=day, **({"rates": rates} | options))
    assert isinstance(found, Conversion), found
    return found


def refusal(written: str, wanted: str, day: date = DAY, **options) -> str:
    found = conversion(written, wanted, day=day, **({"rates": rates} | options))
    assert isinstance(found, str), found
    return found


# --- the rules, by hand


@pytest.mark.parametrize(
    ("year", "domestic_cny_per_kg", "cny_per_usd", "usgs_usd_per_kg"),
    # Neodymium oxide, yearly means: domestic quotes with VAT, CNY/USD, USGS MCS 2026 (from Argus, FOB).
    [(2021, 629.2, 6.449, 98), (2022, 893.8, 6.737, 134), (2023, 555.3, 7.084, 78)],
)
def test_usgs_fob_neodymium_is_the_domestic_price_with_vat_over_the_exchange_rate(
    year, domestic_cny_per_kg, cny_per_usd, usgs_usd_per_kg
):
    found = convert(
        "kCNY/t incl. VAT", "USD/kg", date(year, 12, 31), rates=rate_of(cny_per_usd, "background")
    )
    fob = domestic_cny_per_kg * found.factor
    assert fob == pytest.approx(usgs_usd_per_kg, rel=0.011)
    assert fob / 1.13 < 0.9 * usgs_usd_per_kg, "without VAT it would be off by more than a tenth"
    assert found.confidence == "background"


def test_a_rule_can_be_checked_by_a_buyer():
    found = convert("CNY/t incl. VAT", "USD/kg")
    assert found.factor == pytest.approx(1 / 1000 / 7.1234, rel=1e-15)
    assert found.rule == (
        "CNY/t incl. VAT to USD/kg: ÷ 1000 ÷ 7.1234 CNY/USD (ECB, 2025-06-02); "
        "FOB parity includes VAT: none is rebated on export"
    )
    assert found.confidence == "high"


@pytest.mark.parametrize(
    ("written", "wanted", "factor", "words"),
    [
        ("CNY/t excl. VAT", "USD/kg", 1.13 / 7123.4, "× 1.13 (VAT 13% on 2025-06-02)"),
        ("10^4 CNY/t incl. VAT", "USD/kg", 10 / 7.1234, "× 10 ÷ 7.1234 CNY/USD"),
        ("USD/kg", "CNY/t incl. VAT", 7123.4, "× 1000 × 7.1234 CNY/USD"),
        ("USD/kg excl. VAT", "USD/kg", 1.13, "× 1.13 (VAT 13% on 2025-06-02)"),
        ("CNY/t FOB", "USD/kg", 1 / 7123.4, "÷ 1000 ÷ 7.1234"),
        ("EUR/kg", "USD/kg", 1.1419, "× 1.1419 USD/EUR"),
        ("crore INR", "INR", 1e7, "× 10000000"),
        ("lb", "kg", 0.45359237, "× 0.45359237"),
        ("metric tons", "t", 1.0, "metric tons is t"),
        ("USD/kg Nd", "USD/kg Nd2O3", 0.857356, "÷ 1.166377 (Nd2O3 per Nd, IUPAC 2021)"),
        ("t Pr2O3", "t REO", 0.854472 / 0.827704, "× 1.208161 (Pr6O11 per Pr, IUPAC 2021)"),
    ],
)
def test_a_rule_names_its_steps(written, wanted, factor, words):
    found = convert(written, wanted)
    assert found.factor == pytest.approx(factor, rel=2e-6)
    assert words in found.rule


@pytest.mark.parametrize(
    ("written", "wanted", "factor"),
    [
        ("kg", "g", 1000),
        ("kt", "kg", 1e6),
        ("short ton", "kg", 907.18474),
        ("long ton", "kg", 1016.0469088),
        ("thousand t", "t", 1e3),
        ("10^4 t", "t", 1e4),
        ("lakh t", "t", 1e5),
        ("million t", "t", 1e6),
        ("crore t", "t", 1e7),
        ("10^8 CNY", "CNY", 1e8),
        ("billion USD", "USD", 1e9),
        ("MW", "kW", 1e3),
        ("GW", "kW", 1e6),
        ("USD/g", "USD/kg", 1e3),
        ("CNY/10^4 t", "CNY/t", 1e-4),
    ],
)
def test_sizes_are_those_of_the_books(written, wanted, factor):
    assert convert(written, wanted).factor == pytest.approx(factor, rel=1e-15)


def test_equal_texts_need_no_rule_even_where_the_unit_is_not_known():
    assert convert("CNY/EUR", "CNY/EUR") == Conversion(1.0, "CNY/EUR, as written")
    assert convert(" CNY/t ", "CNY/t").factor == 1.0


@pytest.mark.parametrize(
    ("day", "rate"),
    [
        (date(2018, 4, 30), 0.17),
        (date(2018, 5, 1), 0.16),
        (date(2019, 3, 31), 0.16),
        (date(2019, 4, 1), 0.13),
        (DAY, 0.13),
    ],
)
def test_chinese_vat_changes_on_its_days(day, rate):
    assert chinese_vat(day) == rate
    assert convert("CNY/t incl. VAT", "CNY/t excl. VAT", day).factor == pytest.approx(
        1 / (1 + rate), rel=1e-15
    )


def test_a_price_from_before_the_tax_is_not_freed_of_it():
    assert "before 1994-01-01" in refusal("CNY/t incl. VAT", "CNY/t excl. VAT", date(1993, 12, 31))


def test_what_is_rebated_on_export_leaves_fob_parity_and_what_is_not_stays_in():
    assert fob_parity("incl. VAT", 0.13, rebated=False) == 1
    assert fob_parity("excl. VAT", 0.13, rebated=False) == 1.13
    assert fob_parity("incl. VAT", 0.13, rebated=True) == pytest.approx(1 / 1.13)
    assert fob_parity("excl. VAT", 0.13, rebated=True) == 1
    assert fob_parity("FOB", 0.13, rebated=True) == fob_parity("", 0.13, rebated=False) == 1


DOMESTIC = [("CNY/kg incl. VAT", "USD/kg"), ("USD/kg", "CNY/kg excl. VAT")]


@pytest.mark.parametrize(("written", "wanted"), DOMESTIC)
def test_domestic_and_fob_are_no_parity_while_china_taxed_exports(written, wanted):
    text = refusal(written, wanted, date(2015, 4, 30))
    assert "can't be converted for days before 2015-05-01 (here 2015-04-30)" in text
    assert "export tax and quotas kept FOB prices of rare earths 38 to 44 % above" in text
    assert convert(written, wanted, date(2015, 5, 1)).confidence == "high"


@pytest.mark.parametrize(("written", "wanted"), DOMESTIC)
def test_a_period_that_begins_while_china_taxed_exports_is_no_parity_either(written, wanted):
    text = refusal(written, wanted, date(2015, 12, 31), since=date(2015, 1, 1))
    assert "before 2015-05-01 (here 2015-01-01)" in text


def test_before_2015_what_crosses_no_border_and_what_paid_no_export_tax_is_converted():
    then = date(2013, 5, 31)
    assert convert("CNY/t incl. VAT", "CNY/t excl. VAT", then).factor == pytest.approx(1 / 1.17)
    assert convert("CNY/kg FOB", "USD/kg", then).factor == pytest.approx(1 / 7.1234)
    assert convert("CNY/kg incl. VAT", "USD/kg incl. VAT", then).factor == pytest.approx(1 / 7.1234)
    magnets = convert("CNY/kg NdFeB excl. VAT", "USD/kg NdFeB", then, vat_rebated=True)
    assert magnets.factor == pytest.approx(1 / 7.1234)


YEAR_2018 = {"day": date(2018, 12, 31), "since": date(2018, 1, 1)}
CHANGED = (
    "Chinese VAT changed within 2018-01-01 to 2018-12-31: 17% from 2018-01-01, 16% from 2018-05-01"
)


@pytest.mark.parametrize(
    ("written", "wanted", "rebated"),
    [
        ("CNY/t incl. VAT", "CNY/t excl. VAT", False),
        ("CNY/t excl. VAT", "CNY/t incl. VAT", True),
        ("CNY/t excl. VAT", "USD/kg", False),
        ("CNY/kg incl. VAT", "USD/kg", True),
        ("USD/kg excl. VAT", "USD/kg", False),
    ],
)
def test_a_mean_of_a_period_in_which_vat_changed_is_not_freed_of_one_rate(written, wanted, rebated):
    text = refusal(written, wanted, vat_rebated=rebated, **YEAR_2018)
    assert CHANGED in text
    assert "one factor is not right for all of it, use shorter periods" in text
    convert(written, wanted, date(2018, 12, 31), vat_rebated=rebated)


@pytest.mark.parametrize(
    ("written", "wanted", "rebated"),
    [
        ("CNY/t incl. VAT", "USD/kg", False),
        ("CNY/kg excl. VAT", "USD/kg", True),
        ("CNY/kg FOB", "USD/kg", False),
        ("CNY/kg incl. VAT", "USD/kg incl. VAT", False),
        ("t Nd2O3", "t Nd", False),
    ],
)
def test_what_needs_no_rate_of_vat_may_be_a_mean_over_its_change(written, wanted, rebated):
    convert(written, wanted, vat_rebated=rebated, **YEAR_2018)


def test_a_stated_rate_of_vat_is_not_that_of_a_period_in_which_it_changed():
    text = refusal("CNY/t incl. 16% VAT", "USD/kg", **YEAR_2018)
    assert f"states 16%, but {CHANGED}" in text


@pytest.mark.parametrize(
    ("since", "day", "rate"),
    [
        (date(2018, 1, 1), date(2018, 4, 30), 0.17),
        (date(2018, 5, 1), date(2018, 5, 31), 0.16),
        (date(2019, 4, 1), date(2019, 12, 31), 0.13),
        (date(2025, 6, 2), date(2025, 6, 2), 0.13),
    ],
)
def test_a_period_of_one_rate_is_converted_with_it(since, day, rate):
    found = convert("CNY/t incl. VAT", "CNY/t excl. VAT", day, since=since)
    assert found.factor == pytest.approx(1 / (1 + rate), rel=1e-15)


def test_a_stated_rate_that_begins_with_the_period_is_the_one_in_force():
    found = convert(
        *("CNY/t incl. 16% VAT", "CNY/t excl. VAT", date(2018, 12, 31)), since=date(2018, 5, 1)
    )
    assert found.factor == pytest.approx(1 / 1.16, rel=1e-15)


def test_every_rate_of_vat_within_a_period_is_told():
    text = refusal("CNY/t incl. VAT", "CNY/t excl. VAT", date(2019, 4, 1), since=date(2018, 4, 30))
    assert "17% from 2018-04-30, 16% from 2018-05-01, 13% from 2019-04-01" in text


def test_a_period_that_ends_before_it_begins_is_a_mistake_of_ours():
    with pytest.raises(ValueError, match="since: 2025-06-03 is after day 2025-06-02"):
        conversion("kg", "t", day=DAY, since=date(2025, 6, 3))


def test_a_missing_rate_of_a_mean_is_told_with_its_period():
    text = refusal("CNY/kg FOB", "USD/kg", rates=None, **YEAR_2018)
    assert "needs the rate of CNY per USD from 2018-01-01 to 2018-12-31, but no" in text


def test_a_rebate_is_an_analysts_word_and_says_so():
    assert convert("CNY/kg incl. VAT", "USD/kg", vat_rebated=True).confidence == "background"
    assert convert("CNY/kg incl. VAT", "CNY/kg excl. VAT", vat_rebated=True).confidence == ""
    assert convert("USD/kg", "USD/t", vat_rebated=True).confidence == ""


@pytest.mark.parametrize("substance", ["NdFeB", "NdFeB gross", "NdFeB finished"])
def test_a_series_of_magnets_that_forgets_the_rebate_is_told(substance):
    written, wanted = f"CNY/kg {substance} incl. VAT", f"USD/kg {substance}"
    assert f"VAT on exports of {substance} is given back" in refusal(written, wanted)
    assert convert(written, wanted, vat_rebated=True).factor == pytest.approx(1 / 1.13 / 7.1234)


def test_vat_is_taken_out_of_a_domestic_price_whatever_happens_on_export():
    assert convert("CNY/kg NdFeB incl. VAT", "CNY/kg NdFeB excl. VAT").factor == 1 / 1.13


def test_a_series_of_oxides_that_claims_a_rebate_is_told():
    text = refusal("CNY/kg Nd2O3 incl. VAT", "USD/kg Nd2O3", vat_rebated=True)
    assert "VAT on exports of Nd2O3 is not given back" in text


# --- chemistry (the figures themselves: tests/market/test_chemistry.py)


@pytest.mark.parametrize("oxide", units.OXIDES)
def test_oxide_becomes_metal_by_its_share(oxide):
    metal = re.match("[A-Z][a-z]?", oxide)[0]
    assert convert(f"t {oxide}", f"t {metal}").factor == metal_share(oxide)


def test_magnets_converted_with_average_yields_say_so():
    found = convert("t NdFeB finished", "t NdPr oxide")
    assert found.factor == ndpr_oxide_per_finished_magnet()
    assert found.confidence == "background"
    assert "to be verified" in found.rule


# --- exchange rates


def test_a_rate_hands_on_its_day_its_source_and_its_confidence():
    def friday(base, quote, day):
        return Rate(7.2, date(2025, 5, 30), "FX_BG", "background")

    found = convert("CNY/kg incl. VAT", "USD/kg", date(2025, 6, 1), rates=friday)
    assert "÷ 7.2 CNY/USD (FX_BG, 2025-05-30)" in found.rule
    assert found.confidence == "background"


def test_a_rate_is_asked_in_one_direction_for_both_ways_and_for_the_day():
    asked = []

    def recording(base, quote, day):
        asked.append((base, quote, day))
        return Rate(7.0, day, "ECB", "high")

    convert("CNY", "USD", rates=recording)
    convert("USD", "CNY", rates=recording)
    assert asked == [("USD", "CNY", DAY)] * 2


def test_no_rate_is_asked_where_none_is_needed():
    def never(base, quote, day):
        raise AssertionError

    assert convert("CNY/t incl. VAT", "CNY/kg excl. VAT", rates=never).confidence == ""


@pytest.mark.parametrize(
    ("given_rates", "words"),
    [
        (None, "needs the rate of CNY per USD on 2025-06-02, but no exchange rates are at hand"),
        (lambda *_: "none before 1999", "CNY per USD on 2025-06-02: none before 1999"),
        (rate_of(0.0), "is 0.0; it must be above 0"),
        (rate_of(-7.0), "is -7.0; it must be above 0"),
        (rate_of(float("nan")), "is nan; it must be above 0"),
        (rate_of(float("inf")), "is inf; it must be above 0"),
        (rate_of(7.0, "sure"), "confidence 'sure', which is none of high"),
    ],
)
def test_without_a_usable_rate_nothing_is_converted(given_rates, words):
    text = refusal("CNY/t incl. VAT", "USD/kg", rates=given_rates)
    assert text.startswith("'CNY/t incl. VAT' can't become 'USD/kg': ")
    assert words in text


def test_the_lower_confidence_is_the_word_to_rely_on_least():
    assert lower_confidence() == lower_confidence("", "") == ""
    assert lower_confidence("", "high") == "high"
    assert lower_confidence("medium", "high") == lower_confidence("high", "medium") == "medium"
    assert lower_confidence("low", "background", "derived") == "background"
    with pytest.raises(ValueError, match="confidence: 'sure' is none of high, derived"):
        lower_confidence("sure", "high")


# --- what is refused


def test_a_chinese_price_without_a_vat_word_is_told_the_two_spellings():
    text = refusal("10^4 CNY/t", "USD/kg")
    assert "write '10^4 CNY/t incl. VAT' or '10^4 CNY/t excl. VAT'" in text
    assert "write 'CNY/t incl. VAT' or" in refusal("USD/kg", "CNY/t")
    assert "write 'CNY/t incl. VAT' or" in refusal("CNY/t incl. VAT", "CNY/t")


def test_a_stated_rate_of_vat_must_be_the_one_in_force():
    assert convert("CNY/t incl. 13% VAT", "USD/kg").factor == pytest.approx(1 / 7123.4)
    assert convert("CNY/t incl. 16 % VAT", "USD/kg", date(2019, 3, 31)).factor > 0
    text = refusal("CNY/t incl. 13% VAT", "USD/kg", date(2019, 3, 31))
    assert "states 13%, but 16% was in force on 2019-03-31; write 'incl. VAT' alone" in text


def test_european_vat_is_not_taken_for_chinese():
    assert convert("EUR/t incl. 19 % VAT", "EUR/kg incl. VAT").factor == 0.001
    assert "whose VAT" in refusal("EUR/t incl. 19 % VAT", "EUR/kg")
    assert "whose VAT" in refusal("EUR/kg excl. VAT", "USD/kg excl. VAT")


@pytest.mark.parametrize("written", ["t REO", "kg REO"])
@pytest.mark.parametrize("wanted", ["t Nd2O3", "t Nd", "t NdPr oxide", "t NdFeB gross"])
def test_reo_does_not_tell_one_oxide(written, wanted):
    assert "needs a distribution" in refusal(written, wanted)


def test_a_price_per_reo_is_that_of_a_basket():
    assert "basket" in refusal("USD/kg Nd2O3", "USD/kg REO")


def test_an_unknown_unit_of_the_series_is_not_blamed_on_the_publisher():
    text = refusal("USD/kg", "USD/kgg")
    assert "the unit of the series: there is no such unit; did you mean 'USD/kg'?" in text


@pytest.mark.parametrize(
    ("written", "nearest"),
    [
        ("USD/kqm", "USD/kg"),
        ("Vehicels", "vehicles"),
        ("t Nd203", "t Nd2O3"),
        ("CNY/t inc VAT", "CNY/t incl. VAT"),
        ("MWh", "MW"),
        ("USD per kgs Nd2O", "USD/kg Nd2O3"),
    ],
)
def test_an_unknown_unit_is_told_the_nearest_and_what_is_known(written, nearest):
    text = refusal(written, "t")
    assert f"did you mean {nearest!r}?" in text
    assert "known are masses (g, kg, t" in text


@pytest.mark.parametrize(
    "written",
    [
        "",
        "  ",
        "kg/t",
        "USD/vehicle",
        "vehicles REO",
        "USD/kg/t",
        "million thousand t",
        "million kCNY",
        "MW incl. VAT",
        "CNY/t incl. VAT excl. VAT",
        "CNY/t FOB incl. VAT",
        "USD Nd/kg",
        "104 t",
        "m",
        "x" * 100,
    ],
)
def test_what_is_no_unit_is_none(written):
    assert isinstance(parse_unit(written), str)


def test_a_long_text_does_not_push_the_reason_out_of_sight():
    text = refusal("x" * 5000, "t")
    assert len(text) < 200
    assert "a text of 5000 characters is no unit" in text


# --- spellings


@pytest.mark.parametrize(
    ("canonical", "spellings"),
    [
        (
            "USD/kg",
            "USD / kg|US$/kg|$/kg|usd/KG|dollars per kilogram|US dollars per kilogram|美元/公斤",
        ),
        ("USD/lb", "dollars per pound|$/lb|USD/lbs"),
        (
            "CNY/t",
            "RMB/mt|yuan/mt|Yuan per tonne|元/吨|RMB/t|CNY/metric ton|renminbi/t|元人民币/吨",
        ),
        ("CNY/kg", "元/公斤|元/千克|RMB/kg|yuan/kg"),
        ("10^4 CNY/t", "万元/吨|10⁴ CNY/t|10 ^ 4 CNY/t|10,000 RMB/t|ten thousand yuan/mt"),
        ("thousand CNY/t", "kCNY/t|'000 CNY/t|10^3 CNY/t|1000 CNY/t"),
        ("10^4 CNY/t incl. VAT", "万元/吨(含税)|万元/吨（含税）|10^4 CNY/t, VAT included"),
        ("CNY/t excl. VAT", "元/吨 不含税|CNY/t ex VAT|CNY/t (excluding VAT)|CNY/t without VAT"),
        ("CNY/t incl. VAT", "元/吨含税|CNY/t including VAT|CNY/t with VAT|CNY/t VAT incl."),
        (
            "CNY/t incl. 13 % VAT",
            "CNY/t incl. 13% VAT|元/吨(含13%增值税)|CNY/t incl. 13 % Chinese VAT",
        ),
        ("USD/kg FOB", "USD/kg FOB China|US$/kg (FOB)"),
        ("INR/kg", "Rs/kg|Rs. per kg|₹/kg|rupees/kg"),
        ("JPY/kg", "yen/kg|円/kg"),
        ("t", "T|mt|MT|tonnes|metric tons|metric tonnes|吨|metric\u00a0tons"),
        ("10^4 t", "万吨|10,000 t|10000 t|10 000 tonnes|10⁴ t"),
        ("kt", "KT|kilotonnes|千吨"),
        ("kg", "KG|kgs|Kilograms|公斤|千克"),
        ("short ton", "Short tons"),
        ("million t", "1000000 t|1,000,000 t|10^6 t|百万吨"),
        ("million USD", "USD million|US$ million|$ mn|10^6 USD|$million"),
        ("crore INR", "Rs crore|INR crore|₹crore|10^7 INR|Rs. crores"),
        ("thousand vehicles", "Vehicles (thousands)|'000 vehicles|1,000 vehicles"),
        ("10^4 vehicles", "万辆"),
        ("MW", "megawatts|mw|兆瓦"),
        ("t REO", "t (REO)|metric tons REO equivalent|t rare-earth oxide|t TREO|tonnes of REO eq."),
        ("t Nd2O3", "t Nd₂O₃|t nd2o3|t Nd oxide|t of neodymium oxide"),
        ("t Pr6O11", "t Pr oxide|t praseodymium oxide"),
        ("t NdPr oxide", "t PrNd oxide|t Nd-Pr oxide|t NdPr-oxide"),
        ("t Nd", "t Nd metal|t contained Nd|t Nd content"),
    ],
)
def test_spellings_of_a_unit_are_one(canonical, spellings):
    for spelling in [canonical, *spellings.split("|")]:
        unit = parse_unit(spelling)
        assert isinstance(unit, Unit), f"{spelling}: {unit}"
        assert unit.text == canonical, spelling


# --- properties

OXIDES_OF_ND = ("t Nd2O3", "kg Nd2O3", "t Nd", "lb Nd", "10^4 t Nd")
PRICES = [
    *("USD/kg", "USD/t", "USD/lb", "EUR/kg", "INR/kg", "JPY/t", "USD/kg FOB", "CNY/kg FOB"),
    *("CNY/t incl. VAT", "10^4 CNY/t incl. VAT", "CNY/kg excl. VAT", "thousand CNY/t excl. VAT"),
    *("USD/kg incl. VAT", "USD/t excl. VAT"),
]
FAMILIES = {
    "mass": ("g", "kg", "t", "kt", "10^4 t", "lb", "short ton", "long ton", "million t"),
    "neodymium": OXIDES_OF_ND,
    "praseodymium": ("t Pr6O11", "t Pr2O3", "kg Pr"),
    "ndpr": ("t NdPr oxide", "t NdPr", "kg NdPr oxide"),
    "price": tuple(PRICES),
    "price of dysprosium": ("USD/kg Dy", "USD/t Dy2O3", "CNY/t Dy2O3 incl. VAT", "CNY/kg Dy FOB"),
    "money": ("USD", "CNY", "million EUR", "10^4 CNY", "crore INR", "JPY"),
    "vehicles": ("vehicles", "thousand vehicles", "million vehicles"),
    "power": ("kW", "MW", "GW"),
}


@st.composite
def three_of_a_family(draw):
    family = draw(st.sampled_from(sorted(FAMILIES)))
    return [draw(st.sampled_from(FAMILIES[family])) for _ in range(3)]


days = st.dates(date(1994, 1, 1), date(2030, 12, 31))


@settings(deadline=None)
@given(
    three=three_of_a_family(),
    day=st.dates(date(2015, 5, 1), date(2030, 12, 31)),  # before, FOB and domestic were no parity
    rebated=st.booleans(),
)
def test_there_and_back_is_one_and_a_detour_changes_nothing(three, day, rebated):
    if any("Dy" in unit for unit in three):
        rebated = False
    options = {"day": day, "vat_rebated": rebated}
    first, second, third = three
    there = convert(first, second, **options)
    assert there.factor > 0
    back = convert(second, first, **options)
    assert there.factor * back.factor == pytest.approx(1, rel=1e-12)
    onward = convert(second, third, **options)
    straight = convert(first, third, **options)
    assert there.factor * onward.factor == pytest.approx(straight.factor, rel=1e-12)


@pytest.mark.parametrize(("one", "other"), list(permutations(FAMILIES, 2)))
def test_units_of_different_things_refuse_each_other_and_name_both(one, other):
    for written, wanted in product(FAMILIES[one][:3], FAMILIES[other][:3]):
        text = refusal(written, wanted)
        assert text.startswith(f"{written!r} can't become {wanted!r}: ")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_canonical_spelling_is_its_own(family):
    for unit in FAMILIES[family]:
        assert parse_unit(unit).text == unit


@settings(deadline=None)
@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_is_answered_with_a_factor_or_a_reason(written, wanted):
    found = conversion(written, wanted, day=DAY, rates=rates)
    assert isinstance(found, str) or found.factor > 0


pieces = st.sampled_from(
    [
        "/",
        "(",
        ")",
        "%",
        ",",
        ".",
        "¥",
        "$",
        "€",
        "10^4",
        "万",
        "t",
        "kg",
        "CNY",
        "元",
        "USD",
        "REO",
        "Nd",
        "incl.",
        "VAT",
        "excl.",
        "FOB",
        "含税",
        "per",
        "million",
        "crore",
        "k",
        "vehicles",
        "13",
        "NdFeB",
        "oxide",
        "MW",
        "of",
    ]
)


@settings(deadline=None)
@given(st.lists(pieces, max_size=8).map("".join), st.lists(pieces, max_size=8).map(" ".join))
def test_any_mixture_of_known_words_is_answered_and_what_is_understood_stays_understood(
    glued, apart
):
    for text in (glued, apart):
        unit = parse_unit(text)
        assert isinstance(unit, str) or parse_unit(unit.text) == unit


# --- fiscal years


@pytest.mark.parametrize(
    ("day", "where", "year"),
    [
        (date(2024, 3, 31), "IN", 2024),
        (date(2024, 4, 1), "IN", 2025),
        (date(2025, 3, 31), "IN", 2025),
        (date(2024, 3, 31), "JP", 2023),
        (date(2024, 4, 1), "JP", 2024),
        (date(2024, 6, 30), "AU", 2024),
        (date(2024, 7, 1), "AU", 2025),
        (date(2024, 12, 31), "CN", 2024),
    ],
)
def test_a_fiscal_year_begins_on_its_day(day, where, year):
    assert fiscal_year(day, where) == year


@settings(deadline=None)
@given(days, st.sampled_from(["IN", "JP", "AU", "CN", "US"]))
def test_a_fiscal_year_has_twelve_months_and_holds_the_days_that_belong_to_it(day, where):
    months = fiscal_year_months(f"FY{fiscal_year(day, where)}", where)
    assert len(months) == 12
    assert day.replace(day=1) in months
    assert {fiscal_year(month, where) for month in months} == {fiscal_year(day, where)}


@pytest.mark.parametrize(
    "text",
    [
        *("FY25", "fy 25", "FY'25", "FY2025", "FY24-25", "FY2024-25", "FY 2024/25", "2024-25"),
        *("2024–25", "2024-2025", "Fiscal year 2025", "Financial Year 2024-25", " FY25 "),
    ],
)
def test_an_indian_fiscal_year_is_written_in_many_ways(text):
    months = fiscal_year_months(text, "IN")
    assert (months[0], months[-1]) == (date(2024, 4, 1), date(2025, 3, 1))


@pytest.mark.parametrize("text", ["FY2011-12", "FY11-12", "2011-2012", "financial year 2011/12"])
def test_a_fiscal_year_that_says_so_is_not_taken_for_a_december(text):
    assert fiscal_year_months(text, "IN")[0] == date(2011, 4, 1)


@pytest.mark.parametrize("text", ["2012-13", "1999-00"])
def test_two_years_of_which_the_second_is_no_month_need_no_word(text):
    assert fiscal_year_months(text, "IN")[0] == date(int(text[:4]), 4, 1)


def test_a_fiscal_year_of_the_last_century_is_not_in_the_next():
    assert fiscal_year_months("FY1999-00", "IN")[0] == date(1999, 4, 1)
    assert fiscal_year_months("FY99", "IN")[0] == date(1998, 4, 1)
    assert fiscal_year_months("FY00", "IN")[0] == date(1999, 4, 1)


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("2025", "IN", "does not say that it is a fiscal year; allowed: FY25"),
        ("25", "CN", "does not say that it is a fiscal year"),
        ("24-25", "IN", "does not say that it is a fiscal year"),
        ("2024-12", "IN", "does not join two years in a row (a month?)"),
        *(
            (f"{year}-{year - 1999:02d}", "IN", f"or {month} {year}; write FY{year}-")
            for year, month in ((2000, "January"), (2009, "October"), (2010, "November"))
        ),
        (
            *("2011-12", "IN"),
            "'2011-12' may be the fiscal year FY2011-12 or December 2011; write FY2011-12",
        ),
        ("2011/12", "AU", "may be the fiscal year FY2011-12 or December 2011"),
        ("2011-12", "CN", "fiscal years of CN are calendar years"),
        ("FY2024-26", "IN", "does not join two years in a row"),
        ("FY2024-24", "IN", "does not join two years in a row"),
        ("2024-25", "CN", "fiscal years of CN are calendar years: write FY2024"),
        ("FY025", "IN", "is no fiscal year"),
        ("FY0000", "IN", "is not between 1900 and 2200"),
        ("", "IN", "'' is no fiscal year"),
        ("next", "JP", "'next' is no fiscal year; allowed: FY25"),
    ],
)
def test_what_is_no_fiscal_year_says_why(text, where, words):
    assert words in fiscal_year_months(text, where)


@settings(deadline=None)
@given(st.text(max_size=12) | st.from_regex(r"(FY)?\d{1,4}[-/]?\d{0,4}"))
def test_any_text_is_twelve_months_or_a_reason(text):
    found = fiscal_year_months(text, "IN")
    assert isinstance(found, str) or len(found) == 12


@pytest.mark.parametrize("where", ["India", "in", "IND", ""])
def test_a_country_that_is_no_code_is_not_given_a_calendar_year(where):
    with pytest.raises(ValueError, match="is not an ISO 3166 alpha-2 code such as IN"):
        fiscal_year(DAY, where)
    with pytest.raises(ValueError, match="is not an ISO 3166 alpha-2 code such as IN"):
        fiscal_year_months("FY25", where)


# --- countries


@pytest.mark.parametrize(
    ("text", "iso3"),
    [
        ("Burma", "MMR"),
        ("Myanmar (Burma)", "MMR"),
        ("Congo (Kinshasa)", "COD"),
        ("Dem. Rep. of the Congo", "COD"),
        ("Congo", "COG"),
        ("Türkiye", "TUR"),
        ("Turkiye", "TUR"),
        ("Turkey", "TUR"),
        ("Viet Nam", "VNM"),
        ("Vietnam", "VNM"),
        ("Rep. of Korea", "KOR"),
        ("Korea, Republic of", "KOR"),
        ("Korea", "KOR"),
        ("Korea, North", "PRK"),
        ("Other Asia, nes", "TWN"),
        ("490", "TWN"),
        ("158", "TWN"),
        ("Côte d’Ivoire", "CIV"),
        ("Cote d'Ivoire", "CIV"),
        ("United\u00a0States ", "USA"),
        ("USA", "USA"),
        ("us", "USA"),
        ("Russia", "RUS"),
        ("Russian Federation", "RUS"),
        ("Czech Republic", "CZE"),
        ("China, Hong Kong SAR", "HKG"),
        ("UNITED KINGDOM", "GBR"),
        ("156", "CHN"),
        ("251", "FRA"),
        ("250", "FRA"),
        ("699", "IND"),
        ("356", "IND"),
        ("579", "NOR"),
        ("757", "CHE"),
        ("842", "USA"),
        ("840", "USA"),
        ("380", "ITA"),
        ("381", "ITA"),
        ("4", "AFG"),
        ("004", "AFG"),
        ("0842", "USA"),
        ("W00", "W00"),
        ("0", "W00"),
        ("World total", "W00"),
    ],
)
def test_a_country_is_found_by_any_code_or_spelling(text, iso3):
    assert country(text).iso3 == iso3


@pytest.mark.parametrize(
    ("name", "m49", "comtrade"),
    [
        ("China", "156", "156"),
        ("France", "250", "251"),
        ("India", "356", "699"),
        ("Italy", "380", "380"),
        ("Norway", "578", "579"),
        ("Switzerland", "756", "757"),
        ("United States", "840", "842"),
        ("Taiwan", "158", "490"),
        ("European Union", "", "97"),
        ("World", "", "0"),
    ],
)
def test_comtrade_is_asked_with_its_own_codes(name, m49, comtrade):
    found = country(name)
    assert (found.m49, found.comtrade) == (m49, comtrade)
    assert comtrade_country(comtrade) == found


def test_a_number_with_two_meanings_is_not_guessed():
    with pytest.raises(UnknownCodeError, match=r"Monaco \(M49\) or Europe EU, nes \(UN Comtrade\)"):
        country("492")
    assert comtrade_country("492").name == "Europe EU, nes"
    assert country("Monaco").comtrade == ""


def test_an_unknown_country_is_told_the_nearest():
    with pytest.raises(
        UnknownCodeError, match=r"'Frnace' is no country .* did you mean 'France'\?"
    ):
        country("Frnace")
    with pytest.raises(UnknownCodeError, match=r"'8400' is no country that is known$"):
        country("8400")
    with pytest.raises(UnknownCodeError, match="'250' is no UN Comtrade country that is known"):
        comtrade_country("250")


@settings(deadline=None)
@given(st.text(max_size=30) | st.from_regex(r"\d{1,40}", fullmatch=True))
def test_any_text_is_a_country_or_an_unknown_code(text):
    try:
        found = country(text)
    except UnknownCodeError as error:
        found = error
    assert found in countries() or found.text == text


def test_every_country_has_a_source_and_codes_of_its_own():
    assert sum(row.kind == "country" for row in countries()) == 249
    for row in countries():
        assert row.source, row.name
        assert row.kind in {"country", "group", "rest"}, row.name
        assert row.kind != "country" or (row.iso2 and row.iso3 and row.m49), row.name
    for field in ("name", "iso2", "iso3", "m49", "comtrade"):
        given_codes = [getattr(row, field) for row in countries() if getattr(row, field)]
        assert len(given_codes) == len(set(given_codes)), field


def test_every_spelling_in_the_table_leads_back_to_its_row():
    for row in countries():
        for text in (row.name, row.iso2, row.iso3, *row.other_names):
            assert not text or country(text) == row, text
        for code in (row.comtrade, *row.comtrade_before):
            assert not code or comtrade_country(code) == row, code


def test_every_country_without_a_comtrade_code_says_why():
    missing = [row for row in countries() if row.kind == "country" and not row.comtrade]
    assert {row.iso2 for row in missing} == {"AX", "BL", "GG", "JE", "LI", "MC", "MF", "SJ"}
    assert all("Comtrade" in row.note for row in missing)


# --- customs lines


def test_a_customs_line_is_found_with_or_without_stops():
    assert hs("8505.11").description == "permanent magnets of metal"
    assert hs("8505 11 10 00", "CN10").code == "8505111000"
    assert hs("1c904", "CN_dual_use").description.startswith("Tb items")


@pytest.mark.parametrize(
    ("code", "system", "words"),
    [
        ("850512", "HS6", "is not among the codes of HS6; did you mean '8505"),
        ("8505111000", "HS6", "is not among the codes of HS6; it is one of CN10, KR10"),
        ("850511", "HS7", "'HS7' is no system of customs codes; known: HS6, CN10"),
        ("", "HS6", "'' is not among the codes of HS6"),
    ],
)
def test_an_unknown_customs_line_says_where_to_look(code, system, words):
    with pytest.raises(UnknownCodeError) as caught:
        hs(code, system)
    assert words in str(caught.value)


def test_every_customs_line_has_a_source_a_confidence_and_a_code_of_its_own():
    lines = [(row.system, row.code) for row in hs_codes()]
    assert len(lines) == len(set(lines)) == 88
    for row in hs_codes():
        assert row.source, row
        assert row.confidence in CONFIDENCES, row
        assert row.description, row


def test_no_customs_line_from_background_knowledge_loses_its_word():
    for row in hs_codes():
        assert ("background" in row.source) == (row.confidence == "background"), row
    assert sum(row.confidence == "background" for row in hs_codes()) == 32


@pytest.mark.parametrize("name", ["countries.csv", "hs.csv"])
def test_code_tables_have_whole_rows_of_tidy_cells(name):
    with (CODES / name).open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, strict=True)
    assert all(len(row) == len(header) for row in rows)
    assert all(cell == cell.strip() for row in rows for cell in row)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "hs.csv: can't be read (FileNotFoundError); install the package again"),
        (b"", "hs.csv: its columns must be system,code,stage"),
        (b"system,code\nHS6,850511\n", "hs.csv: its columns must be system,code,stage"),
        (b"\xff", "hs.csv: can't be read (UnicodeDecodeError)"),
        (b"system,code,stage,description,source,confidence,note\nHS6\n", "row 2: has 1 cells"),
    ],
)
def test_a_damaged_code_table_is_named(tmp_path, monkeypatch, content, words):
    if content is not None:
        (tmp_path / "hs.csv").write_bytes(content)
    monkeypatch.setattr(codes, "_TABLES", tmp_path)
    with pytest.raises(CatalogError, match=re.escape(words)):
        hs_codes.__wrapped__()


# --- the page


def table(title: str) -> list[list[str]]:
    """The body of the first table below a heading of docs/units.md."""
    section = DOCUMENT.read_text(encoding="utf-8").split(f"\n## {title}\n", 1)[1]
    block = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)[0]
    return [
        [cell.strip() for cell in line.strip("| \n").split(" | ")]
        for line in block.splitlines()[2:]
    ]


EXAMPLE = re.compile(r"`(\S+) (.+?)` → `(\S+) (.+?)`(?: on (\S+))?")


@pytest.mark.parametrize("row", table("Rules"), ids=lambda row: row[0])
def test_the_example_of_a_rule_on_the_page_is_right(row):
    rule, _, example = row
    number, written, result, wanted, day = EXAMPLE.fullmatch(example).groups()
    found = convert(
        written,
        wanted,
        date.fromisoformat(day) if day else DAY,
        vat_rebated="VAT rebated" in rule,
    )
    decimals = len(result.partition(".")[2])
    assert f"{float(number) * found.factor:.{decimals}f}" == result


@pytest.mark.parametrize("row", table("What is refused"), ids=lambda row: f"{row[0]} {row[1]}")
def test_what_the_page_says_is_refused_is_refused_for_that_reason(row):
    written, wanted, reason = row
    assert reason in refusal(written.strip("`"), wanted.strip("`"))


@pytest.mark.parametrize("row", table("Fiscal years"), ids=lambda row: f"{row[0]} {row[1]}")
def test_fiscal_years_on_the_page_are_right(row):
    written, where, first, last = row
    months = fiscal_year_months(written.strip("`"), where)
    assert (f"{months[0]:%Y-%m}", f"{months[-1]:%Y-%m}") == (first, last)


@pytest.mark.parametrize("row", table("Why FOB parity includes VAT"), ids=lambda row: row[0])
def test_the_fob_check_on_the_page_is_right(row):
    _, domestic, rate, result, _ = (float(cell) for cell in row)
    assert f"{domestic / rate:.1f}" == f"{result:.1f}"


def test_the_page_uses_the_rates_of_the_tests():
    text = DOCUMENT.read_text(encoding="utf-8")
    stated = re.findall(r"`1 (\w+) = ([\d.]+) (\w+)`", text)
    assert len(stated) == 4
    for base, value, quote in stated:
        assert rates(base, quote, DAY).value == pytest.approx(float(value), rel=1e-12)
