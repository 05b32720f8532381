"""forecasting/market/chemistry.py: formulas against the tables of the trade, and constants against factors.csv."""

import csv
from importlib import resources

import pytest

from forecasting.market.chemistry import (
    ALLOY_YIELD,
    ATOMIC_WEIGHTS,
    COMMERCIAL_OXIDES,
    ELEMENT_NAMES,
    MACHINING_YIELD,
    METAL_YIELD,
    NDPR_SHARE_OF_MAGNET,
    OXIDES,
    metal_share,
    ndpr_metal_share,
    ndpr_oxide_per_finished_magnet,
    ndpr_oxide_per_gross_magnet,
)

PUBLISHED = {
    "Nd2O3": 0.8574,
    "Pr6O11": 0.8277,
    "Pr2O3": 0.8545,
    "Dy2O3": 0.8713,
    "Tb4O7": 0.8502,
    "Tb2O3": 0.8688,
    "Gd2O3": 0.8676,
    "Sm2O3": 0.8624,
    "Ho2O3": 0.8730,
    "La2O3": 0.8527,
    "CeO2": 0.8141,
    "Y2O3": 0.7874,
    "Eu2O3": 0.8636,
    "Er2O3": 0.8745,
    "Tm2O3": 0.8756,
    "Yb2O3": 0.8782,
    "Lu2O3": 0.8794,
    "Sc2O3": 0.6520,
    "Pm2O3": 0.8580,  # by hand: 290 / (290 + 47.997)
}


def shipped_factors() -> dict[str, float]:
    file = resources.files("flows") / "reference" / "snapshot" / "factors.csv"
    rows = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    return {row["factor"]: float(row["central"]) for row in rows}


@pytest.mark.parametrize("oxide", OXIDES)
def test_shares_of_metal_agree_with_the_tables_of_the_trade(oxide):
    assert round(metal_share(oxide), 4) == PUBLISHED[oxide]


def test_a_share_of_metal_by_hand():
    assert metal_share("Nd2O3") == pytest.approx(
        2 * 144.242 / (2 * 144.242 + 3 * 15.999), rel=1e-15
    )


def test_there_are_seventeen_rare_earths_each_with_a_weight_and_one_traded_oxide():
    assert len(ELEMENT_NAMES) == 17
    assert set(ATOMIC_WEIGHTS) == {"O", *ELEMENT_NAMES}
    assert set(COMMERCIAL_OXIDES) == set(ELEMENT_NAMES)
    assert {element for element, _, _ in OXIDES.values()} == set(ELEMENT_NAMES)
    for element, oxide in COMMERCIAL_OXIDES.items():
        assert OXIDES[oxide][0] == element


def test_a_formula_names_its_own_atoms():
    for formula, (element, atoms, oxygens) in OXIDES.items():
        counted = f"{element}{atoms if atoms > 1 else ''}O{oxygens}"
        assert formula == counted


def test_ndpr_oxide_is_three_parts_to_one_unless_said_otherwise():
    assert round(ndpr_metal_share(), 4) == 0.8499
    assert ndpr_metal_share(1) == metal_share("Nd2O3")
    assert ndpr_metal_share(0) == metal_share("Pr6O11")
    with pytest.raises(ValueError, match="nd_share: 75 is not a share"):
        ndpr_metal_share(75)


def test_a_gross_magnet_stands_for_a_third_of_its_weight_in_oxide_and_a_finished_one_for_half():
    gross = ndpr_oxide_per_gross_magnet(ndpr_share=0.285, oxide_metal_share=0.850, metal_yield=0.96)
    assert gross == pytest.approx(0.285 / (0.850 * 0.96), rel=1e-15)
    assert round(gross, 3) == 0.349
    assert ndpr_oxide_per_gross_magnet() == pytest.approx(gross, rel=1e-4)
    assert round(1 / ndpr_oxide_per_finished_magnet(), 2) == 2.05
    without_loss = ndpr_oxide_per_finished_magnet(alloy_yield=1, machining_yield=1)
    assert without_loss == ndpr_oxide_per_gross_magnet()


@pytest.mark.parametrize("name", ["ndpr_share", "metal_yield", "alloy_yield", "machining_yield"])
@pytest.mark.parametrize("value", [0, -0.1, 1.1, 95, float("nan")])
def test_a_yield_that_is_no_share_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}: .* is not a share above 0 to 1"):
        ndpr_oxide_per_finished_magnet(**{name: value})


def test_the_yields_of_the_unit_rules_are_those_of_the_factors():
    factors = shipped_factors()
    assert factors["magnet_ndpr"] == NDPR_SHARE_OF_MAGNET
    assert factors["eta_metal"] == METAL_YIELD
    assert factors["eta_alloy"] == ALLOY_YIELD
    assert factors["eta_sinter_machining"] == MACHINING_YIELD
    assert factors["oxide_to_metal_NdPr_75_25"] == round(ndpr_metal_share(), 4)
    for oxide in ("Nd2O3", "Pr6O11", "Dy2O3", "Tb4O7"):
        assert factors[f"oxide_to_metal_{oxide}"] == round(metal_share(oxide), 4)
