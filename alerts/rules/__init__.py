"""Rules: what counts as news, judged on plain values; each answers with a reading or says why it can't."""

from alerts.rules.limits import Limit, Verdict, judge_rising
from alerts.rules.markets import Shortfall
from alerts.rules.models import ModelDegraded
from alerts.rules.operators import StaleSource
from alerts.rules.prices import PriceSpike
from alerts.rules.reading import (
    HEADLINE_LIMIT,
    ChartRef,
    Fact,
    NotEvaluated,
    Reading,
    Rule,
    RuleOptions,
    Severity,
    short_hash,
)
from alerts.rules.volumes import DropLimit, VolumeDrop

__all__ = [
    "HEADLINE_LIMIT",
    "ChartRef",
    "DropLimit",
    "Fact",
    "Limit",
    "ModelDegraded",
    "NotEvaluated",
    "PriceSpike",
    "Reading",
    "Rule",
    "RuleOptions",
    "Severity",
    "Shortfall",
    "StaleSource",
    "Verdict",
    "VolumeDrop",
    "judge_rising",
    "short_hash",
]
