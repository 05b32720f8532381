import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.market.units import UnitError, chain, parse_unit, per_month, scale_to, without_time

FACTORS = Path(__file__).parents[2] / "flows" / "reference" / "snapshot" / "factors.csv"
MASSES = {"g": 1e-6, "kg": 1e-3, "t": 1.0, "kt": 1e3}


@pytest.mark.parametrize(
    ("written", "wanted", "scale"),
    [
        pytest.param("kg NdFeB", "t NdFeB", 0.001, id="kilogrammes"),
        pytest.param("kt REO", "t REO", 1000, id="kilotonnes"),
        pytest.param("GW", "MW", 1000, id="gigawatts"),
        pytest.param("kW", "MW", 0.001, id="kilowatts"),
        pytest.param("thousand vehicles", "vehicles", 1000, id="thousands"),
        pytest.param("million units", "units", 1e6, id="millions"),
        pytest.param("%", "share", 0.01, id="per cent"),
        pytest.param("probability/month", "share/year", 12, id="a chance a month"),
        pytest.param("days", "weeks", 1 / 7, id="days in weeks"),
        pytest.param("years", "months", 12, id="years in months"),
        pytest.param("t finished magnet", "t NdFeB", 1, id="a finished magnet is NdFeB"),
        pytest.param("t Dy oxide", "t Dy2O3", 1, id="an oxide and its formula"),
        pytest.param("kg NdFeB / MW", "t NdFeB/GW", 1, id="tonnes per gigawatt"),
        pytest.param("kg NdFeB/MW/year", "t NdFeB/MW/month", 0.001 / 12, id="two strokes"),
    ],
)
def test_one_unit_is_so_many_of_another(written, wanted, scale):
    assert scale_to(parse_unit(written), wanted) == pytest.approx(scale, rel=1e-12)


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("t REO", "t NdPr oxide"),
        ("t NdFeB gross", "t NdFeB"),
        ("t alloy", "t NdFeB gross"),
        ("t", "t NdFeB"),
        ("vehicles", "units"),
        ("MW", "vehicles"),
        ("t NdFeB/year", "t NdFeB"),
        ("share of mass", "share"),
        ("t Nd", "t Nd2O3"),
        ("t Tb4O7", "t Tb2O3"),
    ],
)
def test_what_differs_is_not_added_up(written, wanted):
    with pytest.raises(UnitError) as caught:
        scale_to(parse_unit(written), wanted)
    assert repr(written) in str(caught.value)
    assert repr(wanted) in str(caught.value)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("kg NdFeBB/vehicle", "did you mean 'kg NdFeB/vehicle'?"),
        ("tonnes NdFeB", "did you mean 't NdFeB'?"),
        ("mw", "did you mean 'MW'?"),
        ("t ndpr oxide/year", "did you mean 't NdPr oxide/year'?"),
        ("thousand thousand vehicles", "did you mean 'thousand vehicles'?"),
        ("USD/kg", "known are masses (g, kg, t, kt)"),
        ("", "no unit is written"),
        ("/", "there is no unit '/'"),
        ("t NdFeB/", "there is no unit 't NdFeB/'"),
        ("thousand share", "there is no unit 'thousand share'"),
        ("t" * 500, "a text of more than 80 characters is no unit"),
    ],
)
def test_an_unknown_unit_is_told_with_the_nearest_known_spelling(written, says):
    with pytest.raises(UnitError) as caught:
        parse_unit(written)
    assert says in str(caught.value)


@given(st.text(alphabet="tkgMW NdFeBPrREO/%sharevcl1²×,", max_size=30))
def test_any_text_is_a_unit_or_a_named_error(written):
    try:
        unit = parse_unit(written)
    except UnitError:
        return
    assert unit.size > 0
    assert scale_to(unit, written) == 1


def test_a_chain_multiplies_and_cancels():
    cars = chain("thousand vehicles", [("pm_share", "share"), ("kg_per_car", "kg NdFeB/vehicle")])
    assert scale_to(cars, "t NdFeB") == pytest.approx(1.0)
    mined = chain(
        "kt REO",
        [
            ("china", "%"),
            ("ndpr_oxide_in_reo", "t NdPr oxide / t REO"),
            ("eta_separation", "share"),
            ("mb_ratio_net", "t finished magnet / t NdPr oxide"),
        ],
    )
    assert scale_to(mined, "t NdFeB") == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("start", "factors", "says"),
    [
        pytest.param(
            "MW",
            [("kg_per_car", "kg NdFeB/vehicle")],
            "kg_per_car is in 'kg NdFeB/vehicle', but the chain stands at 'MW'",
            id="a car's factor on wind",
        ),
        pytest.param(
            "t REO",
            [
                ("ndpr_oxide_in_reo", "t NdPr oxide / t REO"),
                ("ndpr_oxide_in_reo", "t NdPr oxide / t REO"),
            ],
            "ndpr_oxide_in_reo is in 't NdPr oxide / t REO', but the chain stands at 't NdPr oxide'",
            id="the same factor twice",
        ),
        pytest.param(
            "vehicles",
            [("output", "t NdFeB")],
            "output is in 't NdFeB', but the chain stands at 'vehicles'",
            id="an amount in place of a rate",
        ),
        pytest.param(
            "t NdFeB",
            [("growth", "share/year")],
            "growth is in 'share/year', but the chain stands at 't NdFeB'",
            id="a growth in a chain",
        ),
        pytest.param(
            "vehicles",
            [("kg_per_car", "kg NdFeBB/vehicle")],
            "kg_per_car: there is no unit 'kg NdFeBB/vehicle'; did you mean 'kg NdFeB/vehicle'?",
            id="a misspelt factor",
        ),
    ],
)
def test_a_chain_that_does_not_meet_names_the_factor_and_where_it_stands(start, factors, says):
    with pytest.raises(UnitError) as caught:
        chain(start, factors)
    assert str(caught.value) == says


def test_a_mass_share_that_does_not_say_of_what_leads_nowhere():
    with pytest.raises(UnitError, match="magnet_ndpr is in 'share of mass'"):
        chain("t NdFeB", [("magnet_ndpr", "share of mass")])


@given(
    masses=st.lists(st.sampled_from(sorted(MASSES)), min_size=2, max_size=8),
    substances=st.permutations(
        ["REO", "NdPr oxide", "NdPr metal", "alloy", "NdFeB gross", "NdFeB"]
    ),
)
def test_a_chain_scales_by_the_sizes_of_its_units_alone(masses, substances):
    # mass i of substance i becomes one mass i + 1 of the next substance per unit of the first mass.
    steps = min(len(masses), len(substances)) - 1
    factors = [
        (f"step{i}", f"{masses[i + 1]} {substances[i + 1]}/{masses[i]} {substances[i]}")
        for i in range(steps)
    ]
    end = chain(f"{masses[0]} {substances[0]}", factors)
    assert scale_to(end, f"t {substances[steps]}") == pytest.approx(MASSES[masses[steps]])


@pytest.mark.parametrize(
    ("written", "unit", "divisor"),
    [
        ("t NdFeB/year", "t NdFeB", 12),
        ("vehicles / year", "vehicles", 12),
        ("kt REO/month", "kt REO", 1),
        ("t NdFeB/day", "t NdFeB", 12 / 365.25),
        ("kg NdFeB/MW/year", "kg NdFeB/MW", 12),
        ("kg NdFeB/year/MW", "kg NdFeB/MW", 12),
    ],
)
def test_a_rate_is_divided_into_months(written, unit, divisor):
    found, by = per_month(written)
    assert (found, by) == (parse_unit(unit), pytest.approx(divisor))
    assert found.size == parse_unit(unit).size


def test_what_is_no_rate_can_not_be_divided_into_months():
    with pytest.raises(UnitError, match="'t NdFeB' is not a rate; it must be per day, week, month"):
        per_month("t NdFeB")
    assert without_time("t NdFeB") == (parse_unit("t NdFeB"), "")
    assert without_time("t NdFeB/year") == (parse_unit("t NdFeB"), "year")


def test_every_shipped_factor_has_a_unit_of_the_table():
    with FACTORS.open(encoding="utf-8") as file:
        units = {row["factor"]: row["unit"] for row in csv.DictReader(file)}
    assert len(units) > 30
    for name, written in units.items():
        assert parse_unit(written).size > 0, name
