import re
import tomllib
from dataclasses import replace
from datetime import date, time, timedelta
from pathlib import Path

import pytest

from alerts.errors import RuleFileError
from alerts.mutes import Mute
from alerts.routing import Route
from alerts.rules import (
    BadData,
    Concentration,
    Limit,
    PolicyEvent,
    Premium,
    PriceLevel,
    PriceSpike,
    Rule,
    Severity,
    Shortfall,
    SilentPipeline,
    StaleSource,
    StockCover,
    Undelivered,
    VolumeDrop,
)
from alerts.rules.models import ModelDegraded
from alerts.ruleset import TYPES, Ruleset, load_ruleset

ROOT = Path(__file__).parents[2]
DEFAULTS = ROOT / "flows" / "reference" / "rules.toml"
GUIDE = ROOT / "docs" / "rules.md"
UNITS = {
    "nd_oxide": "USD/kg",
    "dy_oxide": "USD/kg",
    "tb_oxide": "USD/kg",
    "dy_oxide_europe": "USD/kg",
    "ndpr_oxide_cn": "CNY/t",
    "cn_magnet_exports": "t",
}
SERIES = set(UNITS)
KINDS = {"export_control", "export_ban", "export_quota", "export_restriction", "embargo", "law"}
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
        series_units=UNITS,
        known_sources={"prices", "trade"},
        known_publishers={"komis", "customs"},
        known_indicators={"hhi_origins", "hhi_mine", "net_import_reliance"},
        known_kinds=KINDS,
        known_materials={"Nd", "Pr", "Dy", "Tb", "Sm"},
        series_kinds={name: "trade" if unit == "t" else "price" for name, unit in UNITS.items()},
        series_titles={"nd_oxide": "Neodymium oxide, 99.5 %", "tb_oxide": "Terbium oxide"},
        indicator_units={"hhi_origins": "0-10000", "net_import_reliance": "share"},
    )


def only(text: str) -> Rule:
    """The one rule of a file with both default routes."""
    (rule,) = load(ROUTES + text).rules
    return rule


def defaults() -> str:
    return DEFAULTS.read_text(encoding="utf-8")


def test_the_default_rules_load_and_have_the_documented_limits():
    ruleset = load(defaults())

    by_name = {rule.name: rule for rule in ruleset.rules}
    assert list(by_name) == [
        "oxide-price-spike",
        "magnet-shortfall",
        "world-shortfall",
        "magnet-stock-cover",
        "magnet-exports-drop",
        "policy-decisions",
        "source-is-stale",
        "data-turned-away",
        "pipeline-was-silent",
        "messages-undelivered",
        "model-degraded",
    ]
    spike, shortfall, world, stock, drop, policy, stale, bad, silent, lost, degraded = ruleset.rules
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
    assert isinstance(stock, StockCover)
    assert (stock.market, stock.limits) == (
        ("india-ndfeb",),
        (Limit(Severity.CRITICAL, 14, 18),),
    )
    assert isinstance(drop, VolumeDrop)
    assert [x.months_running for x in drop.limits] == [1, 2]
    assert drop.options.cooldown == timedelta(days=30)
    assert isinstance(policy, PolicyEvent)
    assert set(policy.kinds) == KINDS - {"law"}
    assert (policy.directions, policy.days) == (("tighten",), 30)
    assert policy.materials == ("Nd", "Pr", "Dy", "Tb", "Sm")
    assert isinstance(stale, StaleSource)
    assert isinstance(bad, BadData)
    assert [x.enter for x in bad.limits] == [0.1, 0.5]
    assert isinstance(silent, SilentPipeline)
    assert (silent.hours, silent.severity) == (26, Severity.CRITICAL)
    assert isinstance(lost, Undelivered)
    assert (lost.minutes, lost.severity) == (30, Severity.WARNING)
    # What is given up after a repair is news, however soon.
    assert lost.options.cooldown == timedelta(0)
    assert isinstance(degraded, ModelDegraded)
    assert (degraded.series, degraded.cutoffs) == (("nd_oxide", "dy_oxide", "tb_oxide"), 8)
    assert (degraded.crps, degraded.held) == (
        Limit(Severity.WARNING, 1.15, 1.05),
        Limit(Severity.WARNING, 0.55, 0.65),
    )
    assert {rule.options.route for rule in ruleset.rules} == {""}
    assert ruleset.routes["buyers"].channel == "#magnet-supply"
    assert ruleset.routes["operators"].channel == "#lodestone-operators"
    assert not ruleset.mutes


def test_a_users_route_that_matches_takes_the_shipped_rules():
    mine = '[routes.desk]\nchannel = "#desk"\nmatch = { market = "india-*" }\n'

    assert load(defaults(), mine).routes["desk"].match == (("market", "india-*"),)


def commented_examples(text: str) -> list[str]:
    """The rules that stand in a file as comments, made real."""
    lines = [line[4:] if line.startswith("#   ") else "" for line in text.splitlines()]
    blocks = re.split(r"(?m)^(?=\[rules\.)", "\n".join(lines))[1:]
    # A blank line ends an example: what follows is prose.
    return [block.split("\n\n")[0] + "\n" for block in blocks if "type =" in block.split("\n\n")[0]]


def test_the_examples_in_the_shipped_file_load_when_their_comment_signs_are_taken_off():
    examples = commented_examples(defaults())

    kinds = [rule.type for text in examples for rule in load(ROUTES, text).rules]
    assert kinds == ["premium", "concentration"]


def test_a_bare_rule_on_models_has_the_documented_limits_and_watches_every_series():
    (rule,) = load(
        "[routes.operators]\nchannel = '#ops'\n[rules.x]\ntype = 'model_degraded'\n"
    ).rules

    assert rule == replace(ModelDegraded("x"), options=rule.options)


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
            "unknown rule type 'price_spik' (did you mean 'price_spike'?); allowed: bad_data, "
            "concentration, model_degraded, policy_event, premium, price_level, price_spike, "
            "shortfall, silent_pipeline, stale_source, stock_cover, undelivered, volume_drop",
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
            "unknown series 'copper'; known: cn_magnet_exports, dy_oxide, dy_oxide_europe, nd_oxide, "
            "ndpr_oxide_cn, tb_oxide",
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
        pytest.param(
            "[rules.evaluation-errors]\ntype = 'price_spike'\n",
            "rules.evaluation-errors (line 1)",
            "the name 'evaluation-errors' is taken",
            id="a name that is taken",
        ),
        pytest.param(
            "[rules.a]\ntype = 'price_spike'\ntype = 'shortfall'\n",
            "line 3",
            "a key can be used once in a table",
            id="duplicate key",
        ),
        pytest.param(
            "[mute.nights]\n", "mute", "unknown table (did you mean 'mutes'?)", id="mute table"
        ),
        pytest.param(
            "[rules.spike]\nfor_evaluations = 3\nout_of = 2\n",
            "rules.spike.out_of (line 3)",
            "`out_of` (2) must be at least `for_evaluations` (3), 100 at most",
            id="two of three the wrong way round",
        ),
        pytest.param(
            "[rules.spike]\nout_of = 101\n",
            "rules.spike.out_of (line 2)",
            "101 is out of range; 1 to 100 is allowed",
            id="a window too long",
        ),
        pytest.param(
            "[rules.spike]\nlabels = { Team = 'x' }\n",
            "rules.spike.labels.Team (line 2)",
            "a label begins with a small letter",
            id="a label with a capital",
        ),
        pytest.param(
            "[rules.spike]\nlabels = { market = 'x' }\n",
            "rules.spike.labels.market (line 2)",
            "every reading has this label by itself",
            id="a label that readings have",
        ),
        pytest.param(
            "[rules.spike]\nlabels = { team = 'a*' }\n",
            "rules.spike.labels.team (line 2)",
            "'a*' is not a label's value: 1 to 80 characters without *",
            id="a label with a star",
        ),
        pytest.param(
            "[rules.spike]\nlabels = 'team'\n",
            "rules.spike.labels (line 2)",
            'a table is needed, { team = "magnets" }, not a text',
            id="labels as a text",
        ),
        pytest.param(
            "[rules.spike]\nmention = '@asha'\n",
            "rules.spike.mention (line 2)",
            'write a person\'s id like "U0123ABCD", a group\'s like "S0123ABCD", or "here"',
            id="a name is no id",
        ),
        pytest.param(
            "[mutes.nights]\ntimezone = 'UTC'\nfrom = '18:00'\n[rules.spike]\nmute = 'night'\n",
            "rules.spike.mute (line 5)",
            "unknown mute 'night' (did you mean 'nights'?)",
            id="unknown mute",
        ),
        pytest.param(
            "[mutes.day]\ntimezone = 'UTC'\nfrom = '08:00'\nto = '18:00'\n"
            "[mutes.night]\ntimezone = 'UTC'\nfrom = '18:00'\nto = '08:00'\n"
            "[rules.spike]\nmute = ['day', 'night']\n",
            "rules.spike.mute (line 10)",
            "together they leave no hour in which one of severity info could be posted",
            id="two mutes that leave no time",
        ),
        pytest.param(
            "[mutes.x]\ntimezone = 'UTC'\n",
            "mutes.x.from (line 1)",
            "every hour of every day would be muted",
            id="a mute for ever",
        ),
        pytest.param(
            "[mutes.x]\ndays = ['sat']\n",
            "mutes.x.timezone (line 1)",
            'missing; a time zone like "Asia/Kolkata" is needed',
            id="no time zone",
        ),
        pytest.param(
            "[mutes.x]\ntimezone = 'Asia/Kolkatta'\n",
            "mutes.x.timezone (line 2)",
            "unknown time zone 'Asia/Kolkatta' (did you mean 'Asia/Kolkata'?)",
            id="unknown time zone",
        ),
        pytest.param(
            "[mutes.x]\ntimezone = '../etc/passwd'\n",
            "mutes.x.timezone (line 2)",
            "unknown time zone '../etc/passwd'",
            id="a path is no time zone",
        ),
        pytest.param(
            "[mutes.x]\ntimezone = 'UTC'\ndays = ['sat', 'sunday']\n",
            "mutes.x.days (line 3)",
            "unknown weekday 'sunday' (did you mean 'sun'?)",
            id="unknown weekday",
        ),
        pytest.param(
            "[mutes.x]\ntimezone = 'UTC'\nfrom = '24:00'\n",
            "mutes.x.from (line 3)",
            "a time like \"18:00\" is needed (00:00 to 23:59), not '24:00'",
            id="no such time",
        ),
        pytest.param(
            "[mutes.x]\ntimezone = 'UTC'\nfrom = 18\n",
            "mutes.x.from (line 3)",
            'a time like "18:00" is needed (00:00 to 23:59), not a number',
            id="an hour is no time",
        ),
        pytest.param(
            "[mutes.x]\ntimezone = 'UTC'\nfrom = '18:00'\nholidays = ['2026-01-26']\n",
            "mutes.x.holidays (line 4)",
            "a list of dates is needed, such as [2026-01-26, 2026-08-15] without quotes; "
            "found '2026-01-26'",
            id="a date in quotes",
        ),
        pytest.param(
            "[mutes.x]\ntimezone = 'UTC'\nfrom = '18:00'\nseverities = ['warn']\n",
            "mutes.x.severities (line 4)",
            "unknown severity 'warn' (did you mean 'warning'?)",
            id="a mute's severity",
        ),
        pytest.param(
            "[mutes.x]\ntimezone = 'UTC'\nfrom = '18:00'\nuntil = '20:00'\n",
            "mutes.x.until (line 4)",
            "unknown key; allowed: days, from, holidays, severities, timezone, to",
            id="a mute's key",
        ),
        pytest.param(
            "[routes.desk]\nchannel = '#desk'\nmatch = { markt = 'india-ndfeb' }\n",
            "routes.desk.match.markt (line 3)",
            "unknown label 'markt' (did you mean 'market'?); labels: type, rule, subject, ",
            id="unknown label",
        ),
        pytest.param(
            "[routes.desk]\nchannel = '#desk'\nmatch = { market = 'indai-ndfeb' }\n",
            "routes.desk.match.market (line 3)",
            "unknown market 'indai-ndfeb' (did you mean 'india-ndfeb'?)",
            id="a route for no market",
        ),
        pytest.param(
            "[routes.desk]\nchannel = '#desk'\nmatch = { rule = 'spikes' }\n",
            "routes.desk.match.rule (line 3)",
            "unknown rule 'spikes' (did you mean 'spike'?)",
            id="a route for no rule",
        ),
        pytest.param(
            "[routes.desk]\nchannel = '#desk'\nmatch = { source = 'price' }\n",
            "routes.desk.match.source (line 3)",
            "unknown source 'price' (did you mean 'prices'?)",
            id="a route for no source",
        ),
        pytest.param(
            "[routes.desk]\nchannel = '#desk'\nmatch = { severity = 'high' }\n",
            "routes.desk.match.severity (line 3)",
            "unknown severity 'high'; known: info, warning, critical",
            id="a route for no severity",
        ),
        pytest.param(
            "[routes.desk]\nchannel = '#desk'\nescalate_after_hours = 4\nescalate_to = 'operator'\n",
            "routes.desk.escalate_to (line 4)",
            "unknown route 'operator' (did you mean 'operators'?)",
            id="escalation to nowhere",
        ),
        pytest.param(
            "[routes.desk]\nchannel = '#desk'\nescalate_after_hours = 4\nescalate_to = 'desk'\n",
            "routes.desk.escalate_to (line 4)",
            "a route can't escalate to itself",
            id="escalation to itself",
        ),
        pytest.param(
            "[routes.desk]\nchannel = '#desk'\nescalate_to = 'operators'\n",
            "routes.desk.escalate_to (line 3)",
            "`escalate_after_hours` is missing",
            id="escalation without hours",
        ),
        pytest.param(
            "[routes.desk]\nchannel = '#desk'\nescalate_after_hours = 4\n",
            "routes.desk.escalate_after_hours (line 3)",
            "nobody is to be told: set `escalate_to` to a route, or `mention` to who is called",
            id="escalation to nobody",
        ),
        pytest.param(
            "[routes.desk]\nchannel = '#desk'\nescalate_after_hours = 0\n",
            "routes.desk.escalate_after_hours (line 3)",
            "0 is out of range; a number is needed (above 0, up to 720)",
            id="escalation at once",
        ),
        pytest.param(
            "[routes.desk]\nchannel = '#desk'\nmatches = {}\n",
            "routes.desk.matches (line 3)",
            "unknown key (did you mean 'match'?)",
            id="a route's key",
        ),
        pytest.param(
            "[rules.spike]\nquantile = 0.9\n",
            "rules.spike.quantile (line 2)",
            "with a quantile the limits are rises, no chances: state `type` and the limits beside it",
            id="chances can't become rises",
        ),
        pytest.param(
            "[rules.x]\ntype = 'price_spike'\nseries = 'nd_oxide'\nquantile = 0.9\nrise = 0.3\n"
            "warning = { enter = 0.5, exit = 0.3 }\n",
            "rules.x.rise (line 5)",
            "isn't used with `quantile`",
            id="two ways to say a rise",
        ),
        pytest.param(
            "[rules.x]\ntype = 'price_spike'\nseries = 'nd_oxide'\nquantile = 0.8\n"
            "warning = { enter = 0.5, exit = 0.3 }\n",
            "rules.x.quantile (line 4)",
            "0.8 is not kept; allowed: 0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975",
            id="a quantile that no forecast has",
        ),
        pytest.param(
            "[rules.x]\ntype = 'price_level'\nseries = 'nd_oxide'\nunit = 'EUR/kg'\n"
            "warning = { enter = 100, exit = 90 }\n",
            "rules.x.unit (line 4)",
            "'EUR/kg', but nd_oxide is in 'USD/kg'",
            id="another unit",
        ),
        pytest.param(
            "[rules.x]\ntype = 'price_level'\nseries = ['nd_oxide', 'ndpr_oxide_cn']\n"
            "warning = { enter = 100, exit = 90 }\n",
            "rules.x.series (line 3)",
            "these differ in unit: nd_oxide in USD/kg, ndpr_oxide_cn in CNY/t",
            id="two units in one rule",
        ),
        pytest.param(
            "[rules.x]\ntype = 'price_level'\nseries = 'nd_oxide'\ndirection = 'down'\n"
            "warning = { enter = 100, exit = 90 }\n",
            "rules.x.direction (line 4)",
            "unknown direction 'down'; allowed: above, below",
            id="unknown direction",
        ),
        pytest.param(
            "[rules.x]\ntype = 'price_level'\nseries = 'nd_oxide'\ndirection = 'below'\n"
            "warning = { enter = 50, exit = 40 }\n",
            "rules.x.warning.exit (line 5)",
            "40 must be above `enter` (50)",
            id="a falling price clears above",
        ),
        pytest.param(
            "[rules.x]\ntype = 'price_level'\nseries = 'nd_oxide'\ndirection = 'below'\n"
            "warning = { enter = 50, exit = 60 }\ncritical = { enter = 55, exit = 60 }\n",
            "rules.x.critical (line 6)",
            "`enter` (55) must be below that of `warning` (50), or `warning` could never be reached",
            id="falling limits, unreachable order",
        ),
        pytest.param(
            "[rules.x]\ntype = 'price_level'\nseries = 'nd_oxide'\nquantile = 0.9\n"
            "warning = { enter = 100, exit = 90 }\n",
            "rules.x.quantile (line 4)",
            "needs `horizon_months`",
            id="a quantile of an observed price",
        ),
        pytest.param(
            "[rules.x]\ntype = 'price_level'\nseries = 'nd_oxide'\n"
            "warning = { enter = inf, exit = 90 }\n",
            "rules.x.warning.enter (line 4)",
            "inf is out of range",
            id="an endless limit",
        ),
        pytest.param(
            "[rules.x]\ntype = 'premium'\nseries = 'dy_oxide_europe'\nagainst = 'dy_oxid'\n"
            "warning = { enter = 0.3, exit = 0.2 }\n",
            "rules.x.against (line 4)",
            "unknown series 'dy_oxid' (did you mean 'dy_oxide'?)",
            id="a premium over nothing",
        ),
        pytest.param(
            "[rules.x]\ntype = 'premium'\nseries = 'dy_oxide'\nagainst = 'dy_oxide'\n"
            "warning = { enter = 0.3, exit = 0.2 }\n",
            "rules.x.against (line 4)",
            "'dy_oxide' can't be compared with itself",
            id="a premium over itself",
        ),
        pytest.param(
            "[rules.x]\ntype = 'premium'\nseries = 'nd_oxide'\nagainst = 'ndpr_oxide_cn'\n"
            "warning = { enter = 0.3, exit = 0.2 }\n",
            "rules.x.series (line 3)",
            "these differ in unit: nd_oxide in USD/kg, ndpr_oxide_cn in CNY/t",
            id="a premium across units",
        ),
        pytest.param(
            "[rules.x]\ntype = 'concentration'\nmarket = 'india-ndfeb'\nindicator = 'hhi_origin'\n"
            "warning = { enter = 2500, exit = 2400 }\n",
            "rules.x.indicator (line 4)",
            "unknown indicator 'hhi_origin' (did you mean 'hhi_origins'?)",
            id="unknown indicator",
        ),
        pytest.param(
            "[rules.x]\ntype = 'stock_cover'\nmarket = 'india-ndfeb'\n"
            "warning = { enter = 42, exit = 30 }\n",
            "rules.x.warning.exit (line 4)",
            "30 must be above `enter` (42)",
            id="a stock clears above",
        ),
        pytest.param(
            "[rules.x]\ntype = 'stock_cover'\nmarket = 'india-ndfeb'\nquantile = 0.25\n"
            "warning = { enter = 42, exit = 50 }\n",
            "rules.x.quantile (line 4)",
            "0.25 is not kept; allowed: 0.1, 0.5, 0.9",
            id="a quantile that no stock has",
        ),
        pytest.param(
            "[rules.x]\ntype = 'stock_cover'\nmarket = 'india-ndfeb'\n"
            "warning = { enter = 14, exit = 18 }\ncritical = { enter = 42, exit = 50 }\n",
            "rules.x.critical (line 5)",
            "`enter` (42) must be below that of `warning` (14)",
            id="stock limits, unreachable order",
        ),
        pytest.param(
            "[rules.x]\ntype = 'policy_event'\nkinds = ['export_controls']\n",
            "rules.x.kinds (line 3)",
            "unknown kind 'export_controls' (did you mean 'export_control'?)",
            id="unknown kind",
        ),
        pytest.param(
            "[rules.x]\ntype = 'policy_event'\ndirections = ['tighter']\n",
            "rules.x.directions (line 3)",
            "unknown direction 'tighter' (did you mean 'tighten'?)",
            id="unknown direction of a decision",
        ),
        pytest.param(
            "[rules.x]\ntype = 'policy_event'\nmaterials = ['dy']\n",
            "rules.x.materials (line 3)",
            "unknown material 'dy'",
            id="unknown material",
        ),
        pytest.param(
            "[rules.x]\ntype = 'stale_source'\nsource = 'price'\n",
            "rules.x.source (line 3)",
            "unknown source 'price' (did you mean 'prices'?)",
            id="unknown source",
        ),
        pytest.param(
            "[rules.x]\ntype = 'bad_data'\nsource = 'komi'\nwarning = { enter = 0.2, exit = 0.1 }\n",
            "rules.x.source (line 3)",
            "unknown source 'komi' (did you mean 'komis'?)",
            id="unknown publisher",
        ),
        pytest.param(
            "[rules.x]\ntype = 'bad_data'\nwarning = { enter = 20, exit = 10 }\n",
            "rules.x.warning.enter (line 3)",
            "20 is out of range; a share of rows turned away, 0–1 is needed (above 0, up to 1)",
            id="percent is no share",
        ),
        pytest.param(
            "[rules.x]\ntype = 'silent_pipeline'\nhours = 0\n",
            "rules.x.hours (line 3)",
            "0 is out of range; 1 to 8760 is allowed",
            id="silent at once",
        ),
        pytest.param(
            "[rules.x]\ntype = 'undelivered'\nminutes = 4\n",
            "rules.x.minutes (line 3)",
            "4 is out of range; 5 to 10080 is allowed",
            id="looked at every five minutes",
        ),
        *(
            pytest.param(
                f"[rules.x]\ntype = 'undelivered'\n{key} = 2\n",
                f"rules.x.{key} (line 3)",
                "isn't used here: what stays the same counts once; use `minutes`",
                id=f"undelivered {key}",
            )
            for key in ("for_evaluations", "out_of", "clear_evaluations")
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


def test_a_mistake_in_a_limit_of_an_override_blames_the_line_that_made_it():
    with pytest.raises(RuleFileError) as caught:
        load(ROUTES + SPIKE, "[rules.spike.warning]\nenter = 0.5\nexit = 0.6\n")

    assert (caught.value.file, caught.value.place) == (
        "file2.toml",
        "rules.spike.warning.exit (line 3)",
    )


def test_a_name_in_two_rooms_is_found_in_its_own():
    text = "[routes.spike]\nchannel = '#x'\nowner = 'y'\n[rules.spike]\nowner = 3\n"

    with pytest.raises(RuleFileError) as caught:
        load(ROUTES + SPIKE, text)
    assert caught.value.place == "rules.spike.owner (line 5)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "type = 'price_spike'\nseries = 'nd_oxide'\nquantile = 0.9\n"
            "warning = { enter = 1.5, exit = 1.2 }\n",
            lambda options: PriceSpike(
                "x",
                ("nd_oxide",),
                (Limit(Severity.WARNING, 1.5, 1.2),),
                quantile=0.9,
                options=options,
            ),
            id="a rise at a quantile may be above one",
        ),
        pytest.param(
            "type = 'price_level'\nseries = ['nd_oxide', 'dy_oxide']\ndirection = 'below'\n"
            "unit = 'USD/kg'\nhorizon_months = 6\nquantile = 0.1\nmax_age_days = 50\n"
            "warning = { enter = 60, exit = 65 }\ncritical = { enter = 40, exit = 45 }\n",
            lambda options: PriceLevel(
                "x",
                ("nd_oxide", "dy_oxide"),
                (Limit(Severity.WARNING, 60, 65), Limit(Severity.CRITICAL, 40, 45)),
                direction="below",
                unit="USD/kg",
                horizon_months=6,
                quantile=0.1,
                max_age_days=50,
                options=options,
            ),
            id="price level",
        ),
        pytest.param(
            "type = 'premium'\nseries = 'dy_oxide_europe'\nagainst = 'dy_oxide'\n"
            "critical = { enter = 3, exit = 2.5 }\n",
            lambda options: Premium(
                "x",
                ("dy_oxide_europe",),
                "dy_oxide",
                (Limit(Severity.CRITICAL, 3, 2.5),),
                options=options,
            ),
            id="premium",
        ),
        pytest.param(
            "type = 'concentration'\nmarket = 'india-ndfeb'\nindicator = 'hhi_mine'\n"
            "scenario = 'licence-freeze'\ninfo = { enter = 2500, exit = 2400 }\n",
            lambda options: Concentration(
                "x",
                ("india-ndfeb",),
                (Limit(Severity.INFO, 2500, 2400),),
                indicator="hhi_mine",
                scenario="licence-freeze",
                options=options,
            ),
            id="concentration",
        ),
        pytest.param(
            "type = 'stock_cover'\nmarket = ['india-ndfeb', 'world-ndfeb']\nhorizon_months = 2\n"
            "quantile = 0.1\nwarning = { enter = 42, exit = 50 }\n",
            lambda options: StockCover(
                "x",
                ("india-ndfeb", "world-ndfeb"),
                (Limit(Severity.WARNING, 42, 50),),
                horizon_months=2,
                quantile=0.1,
                options=options,
            ),
            id="stock cover",
        ),
        pytest.param(
            "type = 'policy_event'\nkinds = ['law', 'embargo']\ndirections = ['tighten', 'unknown']\n"
            "materials = 'Dy'\ndays = 7\nseverity = 'info'\n",
            lambda options: PolicyEvent(
                "x",
                kinds=("law", "embargo"),
                directions=("tighten", "unknown"),
                materials=("Dy",),
                days=7,
                severity=Severity.INFO,
                options=options,
            ),
            id="policy event",
        ),
        pytest.param(
            "type = 'policy_event'\n",
            lambda options: PolicyEvent("x", options=options),
            id="a bare rule on decisions",
        ),
        pytest.param(
            "type = 'bad_data'\nsource = 'komis'\nmin_rows = 1\nmax_age_days = 3\n"
            "warning = { enter = 0.2, exit = 0.1 }\n",
            lambda options: BadData(
                "x",
                source=("komis",),
                limits=(Limit(Severity.WARNING, 0.2, 0.1),),
                min_rows=1,
                max_age_days=3,
                options=options,
            ),
            id="bad data",
        ),
        pytest.param(
            "type = 'silent_pipeline'\nhours = 50\nseverity = 'warning'\n",
            lambda options: SilentPipeline("x", 50, Severity.WARNING, options=options),
            id="silent pipeline",
        ),
        pytest.param(
            "type = 'undelivered'\nminutes = 45\nseverity = 'critical'\n",
            lambda options: Undelivered("x", 45, Severity.CRITICAL, options=options),
            id="undelivered",
        ),
    ],
)
def test_every_option_of_a_type_reaches_its_rule(text, expected):
    rule = only(f"[rules.x]\n{text}")

    assert rule == expected(rule.options)


def test_every_option_of_any_rule_reaches_it():
    text = (
        "[mutes.nights]\ntimezone = 'UTC'\nfrom = '18:00'\nto = '08:00'\n"
        "[rules.x]\ntype = 'silent_pipeline'\nfor_evaluations = 2\nout_of = 3\n"
        "clear_evaluations = 4\ncooldown_days = 0.5\nroute = 'buyers'\nowner = 'Asha'\n"
        "runbook = 'https://example.com/x'\nadvice = 'Look.'\nmention = 'U0123ABCD'\n"
        "labels = { team = 'magnets', site = 'Pune 2' }\nmute = ['nights']\n"
    )
    options = only(text).options

    assert (options.for_evaluations, options.out_of, options.clear_evaluations) == (2, 3, 4)
    assert options.cooldown == timedelta(hours=12)
    assert (options.route, options.owner, options.advice) == ("buyers", "Asha", "Look.")
    assert (options.runbook, options.mention) == ("https://example.com/x", "U0123ABCD")
    assert options.labels == (("team", "magnets"), ("site", "Pune 2"))
    assert options.mutes == ("nights",)


def test_without_out_of_the_crossings_have_to_be_in_a_row():
    options = only("[rules.x]\ntype = 'silent_pipeline'\nfor_evaluations = 3\n").options

    assert (options.out_of, options.window) == (0, 3)


def test_every_option_of_a_route_reaches_it():
    text = (
        "[routes.desk]\nchannel = '#desk'\nmatch = { severity = 'critical', market = 'india-*' }\n"
        "owner = 'Asha'\nmention = 'here'\nescalate_after_hours = 1.5\nescalate_to = 'operators'\n"
    )

    assert load(ROUTES + SPIKE, text).routes["desk"] == Route(
        "desk",
        "#desk",
        (("severity", "critical"), ("market", "india-*")),
        "Asha",
        "here",
        timedelta(minutes=90),
        "operators",
    )


def test_a_later_route_changes_only_what_it_names():
    route = load(ROUTES + SPIKE, "[routes.buyers]\nmention = 'S0123ABCD'\n").routes["buyers"]

    assert (route.channel, route.mention) == ("#magnet-supply", "S0123ABCD")


def test_a_route_that_calls_again_in_its_channel_needs_no_other():
    text = "[routes.buyers]\nmention = 'here'\nescalate_after_hours = 4\n"

    assert load(ROUTES + SPIKE, text).routes["buyers"].escalate_after == timedelta(hours=4)


def test_a_route_may_match_labels_of_rules_and_rules_that_are_switched_off():
    text = (
        "[rules.spike]\nlabels = { team = 'magnets' }\n"
        "[rules.off]\ntype = 'silent_pipeline'\nenabled = false\n"
        "[routes.a]\nchannel = '#a'\nmatch = { team = 'magnets' }\n"
        "[routes.b]\nchannel = '#b'\nmatch = { rule = 'off' }\n"
        "[routes.c]\nchannel = '#c'\nmatch = { type = 'evaluation_error' }\n"
    )

    assert list(load(ROUTES + SPIKE, text).routes) == ["buyers", "operators", "a", "b", "c"]


def test_every_option_of_a_mute_reaches_it():
    text = (
        "[mutes.nights]\ntimezone = 'Asia/Kolkata'\ndays = ['sat', 'sun']\nfrom = '18:00'\n"
        "to = 08:30:00\nholidays = [2026-01-26]\nseverities = ['info', 'critical']\n"
    )

    assert load(ROUTES + SPIKE, text).mutes["nights"] == Mute(
        "nights",
        "Asia/Kolkata",
        frozenset({5, 6}),
        time(18),
        time(8, 30),
        frozenset({date(2026, 1, 26)}),
        frozenset({Severity.INFO, Severity.CRITICAL}),
    )


def test_a_mute_holds_back_all_but_critical_unless_it_says_otherwise():
    mute = load(ROUTES + SPIKE, "[mutes.x]\ntimezone = 'UTC'\ndays = 'sun'\n").mutes["x"]

    assert mute == Mute("x", "UTC", frozenset({6}))
    assert mute.severities == {Severity.INFO, Severity.WARNING}


def test_the_mutes_of_a_rule_are_those_it_names():
    text = "[mutes.a]\ntimezone = 'UTC'\ndays = 'sun'\n[mutes.b]\ntimezone = 'UTC'\ndays = 'sat'\n"
    ruleset = load(ROUTES + SPIKE, f"{text}[rules.spike]\nmute = 'b'\n")

    assert [mute.name for mute in ruleset.mutes_of(ruleset.rules[0].options)] == ["b"]


def test_a_rule_without_a_route_needs_the_default_one_of_its_kind_or_one_that_is_sure_to_fit():
    buyers = "[routes.buyers]\nchannel = '#b'\n"
    operators = "[routes.operators]\nchannel = '#o'\n"
    silent = "[rules.quiet]\ntype = 'silent_pipeline'\n"
    for routes, rule in ((operators, SPIKE), (buyers, silent)):
        with pytest.raises(RuleFileError, match="none is sure to fit, and no route '") as caught:
            load(routes + rule)
        assert caught.value.place.startswith("rules.")

    desk = "[routes.desk]\nchannel = '#d'\nmatch = { %s }\n"
    assert load(operators + desk % "type = 'price_spike'" + SPIKE).rules
    with pytest.raises(RuleFileError, match="none is sure to fit"):
        load(operators + desk % "severity = 'critical'" + SPIKE)


def test_the_labels_of_a_ruleset_are_what_silences_can_name():
    text = "[rules.spike]\nlabels = { team = 'magnets' }\n"
    labels = load(ROUTES + SPIKE, text).labels

    assert labels["rule"] == {"spike", "evaluation-errors"}
    assert labels["source"] == {"prices", "trade", "komis", "customs"}
    # A notice on what a channel lacks has the channel for its subject.
    assert labels["subject"] > {"#magnet-supply", "C0123456789"}
    assert labels["team"] == {"magnets"}
    assert labels["subject"] > {"spike", "nd_oxide", "india-ndfeb", "pipeline", "policy-*"}


def test_the_version_does_not_change_with_what_changes_no_judgement():
    version = load(ROUTES + SPIKE).version
    text = (
        "[mutes.x]\ntimezone = 'UTC'\ndays = 'sun'\n[routes.buyers]\nmention = 'here'\n"
        "[rules.spike]\nmute = 'x'\nadvice = 'Look.'\nowner = 'Asha'\n"
        "runbook = 'https://example.com'\nmention = 'here'\n"
    )

    assert load(ROUTES + SPIKE, text).version == version


@pytest.mark.parametrize(
    "change",
    [
        "[rules.spike]\nfor_evaluations = 2\n",
        "[rules.spike]\nout_of = 2\n",
        "[rules.spike]\nclear_evaluations = 2\n",
        "[rules.spike]\ncooldown_days = 2\n",
        "[rules.spike]\nroute = 'operators'\n",
        "[rules.spike]\nlabels = { team = 'x' }\n",
        "[routes.buyers]\nmatch = { rule = 'spike' }\n",
        "[routes.buyers]\nescalate_after_hours = 2\nescalate_to = 'operators'\n",
    ],
)
def test_the_version_changes_with_what_opens_ends_or_moves_an_alert(change):
    assert load(ROUTES + SPIKE, change).version != load(ROUTES + SPIKE).version


def guide_examples() -> list[str]:
    return re.findall(r"(?ms)^```toml\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"))


def test_every_example_of_the_guide_loads_beside_the_shipped_rules():
    examples = guide_examples()

    assert len(examples) > 10
    for example in examples:
        assert load(defaults(), example).rules
    # All in one file, since that is how someone would copy them.
    load(defaults(), *examples)


def test_the_guide_shows_every_type_with_every_option():
    shown: dict[str, set[str]] = {}
    for example in guide_examples():
        for table in tomllib.loads(example).get("rules", {}).values():
            if "type" in table:
                shown.setdefault(table["type"], set()).update(table)
    assert set(shown) == set(TYPES)

    of_every_rule = set(re.findall(r"(?m)^\| `(\w+)`", GUIDE.read_text(encoding="utf-8")))
    severities = {"info", "warning", "critical"}
    missing = []
    for kind in TYPES:
        with pytest.raises(RuleFileError) as caught:
            load(ROUTES, minimal(kind) + "zzzzzzzz = 1\n")
        allowed = set(caught.value.problem.partition("allowed: ")[2].split(", "))
        assert {"type", "route"} < allowed
        missing += [(kind, option) for option in allowed - of_every_rule - severities - shown[kind]]
    assert missing == []


def minimal(kind: str) -> str:
    """A table of a type with what it can't do without, last so that keys can be added."""
    needs = {
        "price_spike": "series = 'nd_oxide'\n" + LIMIT % (0.5, 0.4),
        "price_level": "series = 'nd_oxide'\n" + LIMIT % (90, 80),
        "premium": "series = 'dy_oxide_europe'\nagainst = 'dy_oxide'\n" + LIMIT % (0.5, 0.4),
        "shortfall": "market = 'india-ndfeb'\n" + LIMIT % (0.5, 0.4),
        "concentration": "market = 'india-ndfeb'\n" + LIMIT % (90, 80),
        "stock_cover": "market = 'india-ndfeb'\n" + LIMIT % (14, 18),
        "volume_drop": "series = 'cn_magnet_exports'\n" + LIMIT % (0.5, 0.6),
        "bad_data": LIMIT % (0.5, 0.4),
    }
    return f"[rules.x]\ntype = '{kind}'\n{needs.get(kind, '')}"


LIMIT = "warning = { enter = %s, exit = %s }\n"


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        pytest.param("x = " + "[" * 2000 + "]" * 2000, "", "too deep inside", id="deep lists"),
        pytest.param("\nx = " + "9" * 5000, "line 2", "a value can't be read", id="5,000 digits"),
        pytest.param("x = ", "line 1", "not valid TOML", id="broken"),
    ],
)
def test_what_the_parser_can_t_read_is_a_mistake_of_the_file(text, place, problem):
    with pytest.raises(RuleFileError, match=problem) as caught:
        load(ROUTES + SPIKE, text)
    assert (caught.value.file, caught.value.place) == ("file2.toml", place)


@pytest.mark.parametrize("key", ["rise", "horizon_months"])
def test_a_number_that_no_float_holds_is_out_of_range_and_told_by_its_length(key):
    with pytest.raises(RuleFileError, match="a number of 400 digits is out of range"):
        load(ROUTES + SPIKE, f"[rules.spike]\n{key} = {'9' * 400}\n")


def test_a_file_may_begin_with_a_byte_order_mark():
    assert load("\ufeff" + ROUTES + SPIKE).rules == load(ROUTES + SPIKE).rules


DROP = "[rules.x]\ntype = 'volume_drop'\nseries = 'cn_magnet_exports'\n"
CONCENTRATION = "[rules.x]\ntype = 'concentration'\nmarket = 'india-ndfeb'\n"
DESK = "[routes.desk]\nchannel = '#desk'\nmatch = { %s }\n"


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        pytest.param(
            DROP
            + "warning = { enter = 0.6, exit = 0.75 }\ncritical = { enter = 0.6, exit = 0.75 }\n",
            "rules.x.critical (line 5)",
            "`warning` could never be reached",
            id="two severities at once",
        ),
        pytest.param(
            DROP + "warning = { entr = 0.5, exit = 0.3 }\n",
            "rules.x.warning.entr (line 4)",
            "unknown key (did you mean 'enter'?); allowed: enter, exit, months_running",
            id="misspelt in a severity",
        ),
        pytest.param(
            "[rules.spike]\nwarnin = { enter = 0.5, exit = 0.3 }\ntype = 'price_spike'\n"
            "series = 'nd_oxide'\n",
            "rules.spike.warnin (line 2)",
            "unknown key (did you mean 'warning'?)",
            id="misspelt severity",
        ),
        pytest.param(
            "[rules.x]\ntype = 'price_spike'\nserie = 'nd_oxide'\n"
            "warning = { enter = 0.5, exit = 0.3 }\n",
            "rules.x.serie (line 3)",
            "unknown key (did you mean 'series'?)",
            id="misspelt series",
        ),
        pytest.param(
            "[rules.spike]\nrise = 25\n",
            "rules.spike.rise (line 2)",
            "25 is 2,500 %; write 0.25 for 25 %",
            id="rise in percent",
        ),
        pytest.param(
            CONCENTRATION + "warning = { enter = 0.85, exit = 0.8 }\n",
            "rules.x.warning.enter (line 4)",
            "0.85 is no value of hhi_origins, which is an index from 0 to 10,000; "
            "0.85 as a share of it is 8,500",
            id="a share for an index",
        ),
        pytest.param(
            CONCENTRATION
            + "indicator = 'net_import_reliance'\nwarning = { enter = 85, exit = 80 }\n",
            "rules.x.warning.enter (line 5)",
            "85 is no value of net_import_reliance, which is a share from 0 to 1; write 0.85 for 85 %",
            id="percent for a share",
        ),
        pytest.param(
            CONCENTRATION + "indicator = 'hhi'\nwarning = { enter = 8500, exit = 8000 }\n",
            "rules.x.indicator (line 4)",
            "unknown indicator 'hhi' (did you mean hhi_mine, hhi_origins?)",
            id="the beginning of names",
        ),
        pytest.param(
            "[rules.spike]\nseries = 'neodymium'\n",
            "rules.spike.series (line 2)",
            "unknown series 'neodymium' (did you mean nd_oxide?)",
            id="a word of a title",
        ),
        pytest.param(
            "[rules.spike]\nseries = 'cn_magnet_exports'\n",
            "rules.spike.series (line 2)",
            "'cn_magnet_exports' is no price but of kind 'trade'",
            id="a volume as a price",
        ),
        pytest.param(
            "[rules.x]\ntype = 'price_level'\nseries = 'cn_magnet_exports'\n"
            "warning = { enter = 5, exit = 4 }\n",
            "rules.x.series (line 3)",
            "is no price",
            id="a level of a volume",
        ),
        pytest.param(
            "[rules.x]\ntype = 'premium'\nseries = 'dy_oxide_europe'\nagainst = 'cn_magnet_exports'\n"
            "warning = { enter = 5, exit = 4 }\n",
            "rules.x.against (line 4)",
            "is no price",
            id="a premium over a volume",
        ),
        pytest.param(
            DROP.replace("cn_magnet_exports", "nd_oxide")
            + "warning = { enter = 0.6, exit = 0.75 }\n",
            "rules.x.series (line 3)",
            "'nd_oxide' is a price; a volume is needed",
            id="a price as a volume",
        ),
        pytest.param(
            "[mutes.x]\ntimezone = 'IST'\nfrom = '18:00'\n",
            "mutes.x.timezone (line 2)",
            "unknown time zone 'IST', an abbreviation has no one meaning; "
            'write a place such as "Asia/Kolkata"',
            id="zone by abbreviation",
        ),
        pytest.param(
            "[mutes.x]\ntimezone = 'Kolkata'\nfrom = '18:00'\n",
            "mutes.x.timezone (line 2)",
            "(did you mean 'Asia/Kolkata'?)",
            id="zone by city",
        ),
        pytest.param(
            DESK % "market = 'indien-*'",
            "routes.desk.match.market (line 3)",
            "no market fits 'indien-*'",
            id="wildcard for no market",
        ),
        pytest.param(
            DESK % "series = '*_tungsten'",
            "routes.desk.match.series (line 3)",
            "no series fits '*_tungsten'; known: ",
            id="wildcard for no series",
        ),
        pytest.param(
            DESK % "subject = 'india-ndfebb'",
            "routes.desk.match.subject (line 3)",
            "unknown subject 'india-ndfebb' (did you mean 'india-ndfeb'?)",
            id="no such subject",
        ),
        pytest.param(
            DESK % "type = 'price_spike', market = 'india-*'",
            "routes.desk.match.market (line 3)",
            "no reading of price_spike has this label; types that have it: concentration, "
            "shortfall, stock_cover",
            id="a spike in a market",
        ),
        pytest.param(
            DESK % "rule = 'spike', scenario = 'base'",
            "routes.desk.match.scenario (line 3)",
            "no reading of price_spike has this label",
            id="a rule without a scenario",
        ),
        pytest.param(
            DESK % "type = 'shortfall', rule = 'spike'",
            "routes.desk.match.type (line 3)",
            "no rule of this type fits rule = 'spike'",
            id="a rule of another type",
        ),
        pytest.param(
            DESK % "series = 'nd_*', market = 'india-*'",
            "routes.desk.match.market (line 3)",
            "no reading has these labels together: series, market",
            id="labels that never meet",
        ),
    ],
)
def test_what_could_never_work_is_refused_with_what_would(text, place, problem):
    with pytest.raises(RuleFileError) as caught:
        load(ROUTES + SPIKE, text)

    assert (caught.value.file, caught.value.place) == ("file2.toml", place)
    assert problem in caught.value.problem


@pytest.mark.parametrize(
    "match",
    [
        "market = 'india-*'",
        "subject = 'policy-2025-04-04-*'",
        "subject = 'policy-*'",
        "subject = '*'",
        "subject = 'pipeline'",
        "subject = 'spike'",
        "type = 'price_*', series = '*_oxide', material = 'Dy'",
        "type = '*', market = 'india-ndfeb'",
        "type = 'evaluation_error', rule = 'evaluation-errors'",
        "rule = 'spike', series = 'nd_oxide'",
        "type = 'policy_event', material = 'Tb'",
    ],
)
def test_a_match_that_some_reading_can_have_is_taken(match):
    assert load(ROUTES + SPIKE, DESK % match).routes["desk"].match


def test_a_label_of_one_rule_does_not_meet_the_type_of_another():
    team = "[rules.spike]\nlabels = { team = 'magnets' }\n"

    assert load(ROUTES + SPIKE, team + DESK % "team = 'magnets', type = 'price_spike'").rules
    with pytest.raises(RuleFileError, match="no reading of shortfall has this label") as caught:
        load(ROUTES + SPIKE, team + DESK % "team = 'magnets', type = 'shortfall'")
    assert caught.value.place == "routes.desk.match.team (line 5)"


def test_a_limit_that_clashes_with_a_shipped_one_blames_the_file_of_the_user():
    with pytest.raises(RuleFileError) as caught:
        load(defaults(), "[rules.oxide-price-spike]\nwarning = { enter = 0.9, exit = 0.7 }\n")

    assert caught.value.file == "file2.toml"
    assert caught.value.place == "rules.oxide-price-spike.warning (line 2)"
    assert (
        "`enter` (0.8) of `critical` must be above that of `warning` (0.9)" in caught.value.problem
    )


def test_a_window_that_clashes_with_a_shipped_one_blames_the_file_of_the_user():
    shipped = ROUTES + SPIKE + "for_evaluations = 2\nout_of = 3\n"
    with pytest.raises(RuleFileError) as caught:
        load(shipped, "[rules.spike]\nfor_evaluations = 5\n")

    assert (caught.value.file, caught.value.place) == (
        "file2.toml",
        "rules.spike.for_evaluations (line 2)",
    )


def test_an_unknown_name_is_answered_with_the_nearest_of_many_first():
    names = {f"aaaa_{number}": "t" for number in range(40)} | {"zz_magnets_out": "t"}
    with pytest.raises(RuleFileError, match="known: zz_magnets_out, ") as caught:
        load_ruleset(
            [("r.toml", ROUTES + SPIKE.replace("nd_oxide", "magneten_zz"))],
            known_series=names,
            known_markets=(),
            known_scenarios=(),
        )
    assert caught.value.problem.endswith(" …")
