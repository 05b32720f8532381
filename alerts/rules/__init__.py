"""Rules: what counts as news, judged on plain values; each answers with a reading or says why it can't."""

from alerts.rules.limits import Limit, Verdict, judge_falling, judge_rising
from alerts.rules.markets import Concentration, Shortfall, StockCover
from alerts.rules.models import ModelDegraded
from alerts.rules.operators import (
    EVALUATION_ERROR,
    BadData,
    SilentPipeline,
    StaleSource,
    Undelivered,
    evaluation_error_reading,
)
from alerts.rules.policy import PolicyEvent
from alerts.rules.prices import Premium, PriceLevel, PriceSpike
from alerts.rules.reading import (
    DEFAULT_OPTIONS,
    FOR_OPERATORS,
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
    "DEFAULT_OPTIONS",
    "EVALUATION_ERROR",
    "FOR_OPERATORS",
    "HEADLINE_LIMIT",
    "BadData",
    "ChartRef",
    "Concentration",
    "DropLimit",
    "Fact",
    "Limit",
    "ModelDegraded",
    "NotEvaluated",
    "PolicyEvent",
    "Premium",
    "PriceLevel",
    "PriceSpike",
    "Reading",
    "Rule",
    "RuleOptions",
    "Severity",
    "Shortfall",
    "SilentPipeline",
    "StaleSource",
    "StockCover",
    "Undelivered",
    "Verdict",
    "VolumeDrop",
    "evaluation_error_reading",
    "judge_falling",
    "judge_rising",
    "short_hash",
]
