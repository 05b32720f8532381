"""Factors that every balance uses by name: what each is, its unit and what it may be."""

from typing import NamedTuple


class CommonFactor(NamedTuple):
    """A factor that no component names: every draw of it must lie between `least` and `most`, in `unit`."""

    unit: str
    least: float
    most: float
    meaning: str


LICENCE_LEAD = "licence_lead_days"
NEW_CONTROL = "new_control_per_month"
CONTROL_FLOW = "export_flow_in_freeze"
FREE_DELAY = "free_grade_delay"
SLIP = "project_slip_months"
RAMP = "project_ramp_months"
CHANCES = {
    "construction": "project_chance_construction",
    "planned": "project_chance_planned",
}
"""Status of a plant that doesn't produce yet -> the chance that it ever does."""
CLEARANCE_NOISE = "clearance_noise"
REBUILD = "stock_rebuild_months"
SHOCK_SUPPLY = "common_shock_supply"
SHOCK_DEMAND = "common_shock_demand"

LICENCE_FACTORS = (LICENCE_LEAD, NEW_CONTROL, CONTROL_FLOW, FREE_DELAY, CLEARANCE_NOISE)
"""What every line that needs an export licence rests on, beside its regimes."""

COMMON_FACTORS = {
    LICENCE_LEAD: CommonFactor("days", 1.0, 3650.0, "time of an export licence"),
    NEW_CONTROL: CommonFactor("probability/month", 0.0, 1.0, "chance of a new export control"),
    CONTROL_FLOW: CommonFactor("share", 0.001, 1.0, "what a new control leaves of exports"),
    FREE_DELAY: CommonFactor("share", 0.0, 1.0, "delay of grades without licence"),
    CLEARANCE_NOISE: CommonFactor("share", 0.0, 1.0, "noise of customs clearance"),
    SLIP: CommonFactor("months", 0.0, 600.0, "how late a plant comes"),
    RAMP: CommonFactor("months", 1.0, 600.0, "time until nameplate output"),
    REBUILD: CommonFactor("months", 1.0, 600.0, "time in which buyers rebuild their stock"),
    **{
        name: CommonFactor("share", 0.0, 1.0, f"chance of a plant: {status}")
        for status, name in CHANCES.items()
    },
    SHOCK_SUPPLY: CommonFactor("share", 0.0, 1.0, "correlation of supply of one origin"),
    SHOCK_DEMAND: CommonFactor("share", 0.0, 1.0, "correlation of demand"),
}
