from datetime import timedelta
from pathlib import Path

import pytest

from alerts.errors import RuleFileError
from alerts.rules import Limit, PriceSpike, Severity, Shortfall, StaleSource, VolumeDrop
from alerts.rules.models import ModelDegraded
from alerts.ruleset import Ruleset, load_ruleset

DEFAULTS = Path(__file__).parents[2] / "flows" / "reference" / "rules.toml"
SERIES = {"nd_oxide", "dy_oxide", "tb_oxide", "cn_magnet_exports"}
MARKETS = {"india-ndfeb", "world-ndfeb"}

ROUTES = """
[routes.buyers]
channel = "#magnet-supply"
[routes.operators]
channel = "C0123456789"
"""
SPIKE = """
[rules.spike]
type = "price_spike"
series = "nd_oxide"
warning = { enter = 0.5, exit = 0.35 }
"""


def load(*texts: str) -> Ruleset:
    files = [(f"file{ordinal}.toml", text) for ordinal, text in enumerate(texts, start=1)]
    return load_ruleset(
        files,
        known_series=SERIES,
        known_markets=MARKETS,
        known_scenarios={"base", "licence-freeze"},
    )


def defaults() -> str:
    return DEFAULTS.read_text(encoding="utf-8")


def test_the_default_rules_load_and_have_the_documented_limits():
    ruleset = load(defaults())

    spike, shortfall, world, drop, stale, degraded = ruleset.rules
    assert isinstance(spike, PriceSpike)
    assert spike.series == ("nd_oxide", "dy_oxide", "tb_oxide")
    assert [(x.severity, x.enter, x.exit) for x in spike.limits] == [
        (Severity.WARNING, 0.5, 0.35),
        (Severity.CRITICAL, 0.8, 0.6),
    ]
    assert isinstance(shortfall, Shortfall)
    assert (shortfall.name, shortfall.market) == ("magnet-shortfall", ("india-ndfeb",))
    assert [x.enter for x in shortfall.limits] == [0.05, 0.15]
    assert shortfall.tail is not None
    assert shortfall.max_age_days == 120
    assert isinstance(world, Shortfall)
    assert (world.name, world.market, world.tail) == ("world-shortfall", ("world-ndfeb",), None)
    assert [(x.severity, x.enter, x.exit) for x in world.limits] == [
        (Severity.WARNING, 0.10, 0.08),
        (Severity.CRITICAL, 0.20, 0.16),
    ]
    assert isinstance(drop, VolumeDrop)
    assert [x.months_running for x in drop.limits] == [1, 2]
    assert drop.options.cooldown == timedelta(days=30)
    assert isinstance(stale, StaleSource)
    assert stale.options.route == "operators"
    assert isinstance(degraded, ModelDegraded)
    assert (degraded.series, degraded.cutoffs) == (("nd_oxide", "dy_oxide", "tb_oxide"), 8)
    assert (degraded.crps, degraded.held) == (
        Limit(Severity.WARNING, 1.15, 1.05),
        Limit(Severity.WARNING, 0.55, 0.65),
    )
    assert degraded.options.route == "operators"
    assert ruleset.routes["buyers"].channel == "#magnet-supply"


def test_a_bare_rule_on_models_has_the_documented_limits_and_watches_every_series():
    (rule,) = load(
        "[routes.operators]\nchannel = '#ops'\n[rules.x]\ntype = 'model_degraded'\n"
    ).rules

    assert rule == ModelDegraded("x")


def test_the_severity_of_a_rule_on_models_is_that_of_both_its_limits():
    (rule,) = load(
        "[routes.operators]\nchannel = '#ops'\n"
        "[rules.x]\ntype = 'model_degraded'\nseverity = 'critical'\n"
        "held = { enter = 0.4, exit = 0.5 }\n"
    ).rules

    assert isinstance(rule, ModelDegraded)
    assert rule.crps == Limit(Severity.CRITICAL, 1.15, 1.05)
    assert rule.held == Limit(Severity.CRITICAL, 0.4, 0.5)


def test_a_later_table_without_type_changes_only_what_it_names():
    (rule,) = load(ROUTES + SPIKE, "[rules.spike]\nrise = 0.4\n").rules

    assert isinstance(rule, PriceSpike)
    assert (rule.rise, rule.limits[0].enter) == (0.4, 0.5)


def test_a_later_table_with_type_replaces_the_rule():
    text = SPIKE.replace("nd_oxide", "dy_oxide").replace("0.5", "0.7")
    (rule,) = load(ROUTES + SPIKE.replace("[rules.spike]", "[rules.spike]\nrise = 0.9"), text).rules

    assert isinstance(rule, PriceSpike)
    assert (rule.series, rule.rise, rule.limits[0].enter) == (("dy_oxide",), 0.25, 0.7)


def test_a_later_file_can_switch_a_rule_off_and_add_another():
    added = SPIKE.replace("rules.spike", "rules.other")
    ruleset = load(ROUTES + SPIKE, f"[rules.spike]\nenabled = false\n{added}")

    assert [rule.name for rule in ruleset.rules] == ["other"]


def test_a_later_file_can_move_a_route():
    moved = '[routes.buyers]\nchannel = "#elsewhere"\n'

    assert load(ROUTES + SPIKE, moved).routes["buyers"].channel == "#elsewhere"


def test_the_version_changes_with_limits_subjects_and_routes_only():
    version = load(ROUTES + SPIKE).version
    assert load(ROUTES + SPIKE + "\n# a comment\n").version == version
    assert load(ROUTES + SPIKE.replace("0.35", "0.3")).version != version
    assert load(ROUTES + SPIKE.replace("nd_oxide", "dy_oxide")).version != version
    assert load(ROUTES.replace("#magnet-supply", "#x") + SPIKE).version != version


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        pytest.param(
            "[rules.spike\n",
            "line 1",
            "not valid TOML: Expected ']' at the end of a table declaration",
            id="broken TOML",
        ),
        pytest.param(
            "rules = 3\nx = [\n",
            "line 3",
            "not valid TOML: Invalid value at the end",
            id="unclosed",
        ),
        pytest.param(
            "[rules.a]\ntype = 'price_spike'\n[rules.a]\ntype = 'price_spike'\n",
            "line 3",
            "Cannot declare ('rules', 'a') twice: a name can be used once in a file",
            id="duplicate name",
        ),
        pytest.param(
            "[rule.spike]\nrise = 1\n", "rule", "unknown table (did you mean 'rules'?)", id="table"
        ),
        pytest.param("rules = 3", "rules", "a table is needed, [rules], not a number", id="kind"),
        pytest.param("[rules]\na = 1", "rules.a", "a table is needed", id="rule is no table"),
        pytest.param("[routes]\na = 1", "routes.a", "a table is needed", id="route is no table"),
        pytest.param(
            "[rules.Spike]\ntype = 'price_spike'", "rules.Spike", "small letters", id="odd name"
        ),
        pytest.param(
            "[rules.spikes]\nrise = 0.3\n",
            "rules.spikes (line 1)",
            "no earlier rule of this name to change (did you mean 'spike'?)",
            id="override of nothing",
        ),
        pytest.param(
            "[rules.x]\ntype = 'price_spik'\n",
            "rules.x.type (line 2)",
            "unknown rule type 'price_spik' (did you mean 'price_spike'?); "
            "types: model_degraded, price_spike, shortfall, stale_source, volume_drop",
            id="unknown type",
        ),
        pytest.param(
            "[rules.spike]\nhorizon_month = 3\n",
            "rules.spike.horizon_month (line 2)",
            "unknown key (did you mean 'horizon_months'?); allowed: advice, ",
            id="misspelt key",
        ),
        pytest.param(
            "[rules.spike.warning]\nenter = 0.5\nexit = 0.3\nentre = 1\n",
            "rules.spike.warning.entre",
            "unknown key (did you mean 'enter'?); allowed: enter, exit",
            id="misspelt limit",
        ),
        pytest.param(
            "[rules.spike]\nseries = ['nd_oxid']\n",
            "rules.spike.series (line 2)",
            "unknown series 'nd_oxid' (did you mean 'nd_oxide'?)",
            id="unknown series",
        ),
        pytest.param(
            "[rules.spike]\nseries = 'copper'\n",
            "rules.spike.series (line 2)",
            "unknown series 'copper'; known: cn_magnet_exports, dy_oxide, nd_oxide, tb_oxide",
            id="nothing near",
        ),
        pytest.param(
            "[rules.spike]\nseries = ['nd_oxide', 'nd_oxide']\n",
            "rules.spike.series",
            "'nd_oxide' is named twice",
            id="series twice",
        ),
        pytest.param(
            "[rules.spike]\nseries = []\n", "rules.spike.series", "list of names", id="no series"
        ),
        pytest.param(
            "[rules.spike]\nwarning = { enter = 0.5, exit = 0.5 }\n",
            "rules.spike.warning.exit (line 2)",
            "0.5 must be below `enter` (0.5)",
            id="exit not below enter",
        ),
        pytest.param(
            "[rules.spike]\nwarning = { enter = 1.5, exit = 0.5 }\n",
            "rules.spike.warning.enter (line 2)",
            "1.5 is out of range; a probability, 0–1 is needed",
            id="probability above one",
        ),
        pytest.param(
            "[rules.spike]\nwarning = { enter = nan, exit = 0.5 }\n",
            "rules.spike.warning.enter",
            "nan is out of range",
            id="not a number",
        ),
        pytest.param(
            "[rules.spike]\nwarning = { enter = 0.5 }\n",
            "rules.spike.warning.exit",
            "missing; a probability, 0–1 is needed",
            id="no exit",
        ),
        pytest.param(
            "[rules.spike]\nwarning = 0.5\n",
            "rules.spike.warning",
            "a table is needed, { enter = …, exit = … }, not a number",
            id="bare limit",
        ),
        pytest.param(
            "[rules.spike]\ncritical = { enter = 0.4, exit = 0.3 }\n",
            "rules.spike.critical",
            "`warning` could never be reached",
            id="unreachable order",
        ),
        pytest.param(
            "[rules.x]\ntype = 'price_spike'\nseries = 'nd_oxide'\n",
            "rules.x.warning",
            "no limit is given; set at least one of info, warning, critical",
            id="no limit",
        ),
        pytest.param(
            "[rules.spike]\nroute = 'buyer'\n",
            "rules.spike.route (line 2)",
            "no route 'buyer' is defined (did you mean 'buyers'?); defined: buyers, operators",
            id="route to nowhere",
        ),
        pytest.param(
            "[routes.buyers]\nchannel = 'Magnet supply'\n",
            "routes.buyers.channel (line 2)",
            "'Magnet supply' is not a channel",
            id="no channel",
        ),
        pytest.param(
            "[rules.spike]\nhorizon_months = 2.5\n",
            "rules.spike.horizon_months",
            "a whole number is needed, not 2.5",
            id="half a month",
        ),
        pytest.param(
            "[rules.spike]\nhorizon_months = true\n",
            "rules.spike.horizon_months",
            "a whole number is needed, not true or false",
            id="a truth is no number",
        ),
        pytest.param(
            "[rules.spike]\ncooldown_days = -1\n",
            "rules.spike.cooldown_days",
            "-1 is out of range",
            id="negative days",
        ),
        pytest.param(
            "[rules.spike]\nenabled = 'no'\n",
            "rules.spike.enabled",
            "true or false is needed, not a text",
            id="enabled",
        ),
        pytest.param(
            "[rules.spike]\nrunbook = 'see wiki'\n",
            "rules.spike.runbook",
            "not a web address",
            id="runbook",
        ),
        pytest.param(
            "[rules.x]\ntype = 'shortfall'\nmarket = 'indai-ndfeb'\n"
            "warning = { enter = 0.05, exit = 0.04 }\n",
            "rules.x.market (line 3)",
            "unknown market 'indai-ndfeb' (did you mean 'india-ndfeb'?)",
            id="unknown market",
        ),
        pytest.param(
            "[rules.x]\ntype = 'shortfall'\nmarket = 'india-ndfeb'\nscenario = 'licence-freez'\n",
            "rules.x.scenario (line 4)",
            "unknown scenario 'licence-freez' (did you mean 'licence-freeze'?)",
            id="unknown scenario",
        ),
        pytest.param(
            "[rules.x]\ntype = 'shortfall'\nmarket = 'india-ndfeb'\n"
            "warning = { enter = 0.05, exit = 0.04 }\nmax_age_days = 0\n",
            "rules.x.max_age_days (line 5)",
            "0 is out of range; 1 to 3650 is allowed",
            id="figures of today only",
        ),
        pytest.param(
            "[rules.x]\ntype = 'volume_drop'\nseries = 'cn_magnet_exports'\n"
            "warning = { enter = 0.6, exit = 0.5 }\n",
            "rules.x.warning.exit (line 4)",
            "0.5 must be above `enter` (0.6): a volume is bad when it falls",
            id="a falling measure clears above",
        ),
        pytest.param(
            "[rules.x]\ntype = 'volume_drop'\nseries = 'cn_magnet_exports'\n"
            "warning = { enter = 0.5, exit = 0.7 }\ncritical = { enter = 0.6, exit = 0.7 }\n",
            "rules.x.critical (line 5)",
            "`warning` could never be reached",
            id="falling, unreachable order",
        ),
        pytest.param(
            "[rules.x]\ntype = 'stale_source'\nseverity = 'critcal'\n",
            "rules.x.severity",
            "unknown severity 'critcal' (did you mean 'critical'?)",
            id="unknown severity",
        ),
        pytest.param(
            "[rules.x]\ntype = 'model_degraded'\ncrps = { enter = 1.0, exit = 1.1 }\n",
            "rules.x.crps.exit (line 3)",
            "1.1 must be below `enter` (1)",
            id="an error clears below",
        ),
        pytest.param(
            "[rules.x]\ntype = 'model_degraded'\nheld = { enter = 0.6, exit = 0.5 }\n",
            "rules.x.held.exit (line 3)",
            "0.5 must be above `enter` (0.6)",
            id="a share held clears above",
        ),
        pytest.param(
            "[rules.x]\ntype = 'model_degraded'\nhold = 0.5\n",
            "rules.x.hold (line 3)",
            "unknown key (did you mean 'held'?)",
            id="a misspelt limit",
        ),
    ],
)
def test_every_mistake_names_file_place_and_what_is_allowed(text, place, problem):
    with pytest.raises(RuleFileError) as caught:
        load(ROUTES + SPIKE, text)

    assert caught.value.file == "file2.toml"
    assert caught.value.place.startswith(place)
    assert problem in caught.value.problem


def test_a_mistake_in_an_override_blames_the_file_that_made_it():
    with pytest.raises(RuleFileError) as caught:
        load(ROUTES + SPIKE.replace("0.35", "0.9"), "[rules.spike]\nrise = 0.5\n")

    assert caught.value.file == "file1.toml"
    assert caught.value.place == "rules.spike.warning.exit (line 10)"
