"""How much rare earth is in it: oxide, metal and magnet by atomic weights and stated yields."""

ATOMIC_WEIGHTS_SOURCE = "IUPAC 2021"
"""Standard atomic weights of the elements 2021 (IUPAC Technical Report), Pure Appl. Chem. 94 (2022)
573–600, doi 10.1515/pac-2019-0603; oxygen has a range there, 15.999 is its conventional value."""

ATOMIC_WEIGHTS = {
    "O": 15.999,
    "Sc": 44.955907,
    "Y": 88.905838,
    "La": 138.90547,
    "Ce": 140.116,
    "Pr": 140.90766,
    "Nd": 144.242,
    # No isotope is stable, so there is no standard weight: the mass number of the longest-lived one.
    "Pm": 145.0,
    "Sm": 150.36,
    "Eu": 151.964,
    "Gd": 157.25,
    "Tb": 158.925354,
    "Dy": 162.500,
    "Ho": 164.930329,
    "Er": 167.259,
    "Tm": 168.934219,
    "Yb": 173.045,
    "Lu": 174.9668,
}

ELEMENT_NAMES = {
    "Sc": "scandium",
    "Y": "yttrium",
    "La": "lanthanum",
    "Ce": "cerium",
    "Pr": "praseodymium",
    "Nd": "neodymium",
    "Pm": "promethium",
    "Sm": "samarium",
    "Eu": "europium",
    "Gd": "gadolinium",
    "Tb": "terbium",
    "Dy": "dysprosium",
    "Ho": "holmium",
    "Er": "erbium",
    "Tm": "thulium",
    "Yb": "ytterbium",
    "Lu": "lutetium",
}
"""The 17 rare-earth elements: symbol → English name."""

OXIDES = {
    "Sc2O3": ("Sc", 2, 3),
    "Y2O3": ("Y", 2, 3),
    "La2O3": ("La", 2, 3),
    "CeO2": ("Ce", 1, 2),
    "Pr6O11": ("Pr", 6, 11),
    "Pr2O3": ("Pr", 2, 3),
    "Nd2O3": ("Nd", 2, 3),
    "Pm2O3": ("Pm", 2, 3),
    "Sm2O3": ("Sm", 2, 3),
    "Eu2O3": ("Eu", 2, 3),
    "Gd2O3": ("Gd", 2, 3),
    "Tb4O7": ("Tb", 4, 7),
    "Tb2O3": ("Tb", 2, 3),
    "Dy2O3": ("Dy", 2, 3),
    "Ho2O3": ("Ho", 2, 3),
    "Er2O3": ("Er", 2, 3),
    "Tm2O3": ("Tm", 2, 3),
    "Yb2O3": ("Yb", 2, 3),
    "Lu2O3": ("Lu", 2, 3),
}
"""Formula → element, its atoms, oxygen atoms."""

COMMERCIAL_OXIDES = {
    element: formula
    for formula, (element, _, _) in OXIDES.items()
    # Traded praseodymium and terbium oxides are the mixed-valence ones.
    if formula not in ("Pr2O3", "Tb2O3")
}
"""Element → the oxide that is traded, and that "REO equivalent" counts in; promethium isn't in any ore."""

# Defaults of the magnet rules, for today's average sintered magnet: an analyst's knowledge, to be verified.
NDPR_SHARE_OF_MAGNET = 0.285  # 0.24–0.305, falls as dysprosium rises
METAL_YIELD = 0.96  # oxide to metal by electrolysis, beyond the stoichiometry; 0.92–0.98
ALLOY_YIELD = 0.98  # strip casting; 0.96–0.99
MACHINING_YIELD = 0.73  # finished magnet per block: 25–30 % is swarf (Argus, 2025); 0.60–0.85
MAGNET_CONFIDENCE = "background"


def metal_share(oxide: str) -> float:
    """Tonnes of metal in a tonne of oxide: n·M / (n·M + m·O), by standard atomic weights (IUPAC 2021).

    Raises KeyError for a formula that is not in OXIDES.
    """
    element, atoms, oxygens = OXIDES[oxide]
    metal = atoms * ATOMIC_WEIGHTS[element]
    return metal / (metal + oxygens * ATOMIC_WEIGHTS["O"])


def ndpr_metal_share(nd_share: float = 0.75) -> float:
    """Tonnes of metal in a tonne of NdPr oxide that holds `nd_share` Nd2O3 by mass, the rest Pr6O11.

    The trade's NdPr oxide is 75 % to 25 %; 60 to 80 % Nd2O3 moves the result between 0.846 and 0.852.
    """
    _check_share("nd_share", nd_share, may_be_zero=True)
    return nd_share * metal_share("Nd2O3") + (1 - nd_share) * metal_share("Pr6O11")


def ndpr_oxide_per_gross_magnet(
    *,
    ndpr_share: float = NDPR_SHARE_OF_MAGNET,
    oxide_metal_share: float | None = None,
    metal_yield: float = METAL_YIELD,
) -> float:
    """Tonnes of NdPr oxide behind a tonne of gross magnet: w_NdPr / (stoichiometry · η_metal), about 0.35.

    Gross: blocks and blanks before machining, which is what most "magnet production" counts.
    """
    stoichiometry = ndpr_metal_share() if oxide_metal_share is None else oxide_metal_share
    for name, value in (
        ("ndpr_share", ndpr_share),
        ("oxide_metal_share", stoichiometry),
        ("metal_yield", metal_yield),
    ):
        _check_share(name, value)
    return ndpr_share / (stoichiometry * metal_yield)


def ndpr_oxide_per_finished_magnet(
    *,
    ndpr_share: float = NDPR_SHARE_OF_MAGNET,
    oxide_metal_share: float | None = None,
    metal_yield: float = METAL_YIELD,
    alloy_yield: float = ALLOY_YIELD,
    machining_yield: float = MACHINING_YIELD,
) -> float:
    """Tonnes of NdPr oxide behind a tonne of finished magnet: gross / (η_alloy · η_machining), about 0.49.

    Without a scrap loop: 2.05 t of finished magnet from a tonne of oxide. Swarf that comes back to
    separation belongs to the next period and is not in here.
    """
    _check_share("alloy_yield", alloy_yield)
    _check_share("machining_yield", machining_yield)
    gross = ndpr_oxide_per_gross_magnet(
        ndpr_share=ndpr_share, oxide_metal_share=oxide_metal_share, metal_yield=metal_yield
    )
    return gross / (alloy_yield * machining_yield)


def _check_share(name: str, value: float, *, may_be_zero: bool = False) -> None:
    if not (0 < value <= 1 or (may_be_zero and value == 0)):
        message = f"{name}: {value!r} is not a share {'from' if may_be_zero else 'above'} 0 to 1"
        raise ValueError(message)
