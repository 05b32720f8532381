"""Every model by name, and the combinations that compete with them."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from forecasting.models.baselines import Drift, SeasonalNaive
from forecasting.models.combinations import Combination
from forecasting.models.prophet_model import AnchoredProphet, ProphetOnScale, StockProphet
from forecasting.models.role import Model, raw_quantiles
from forecasting.models.statistical import ARIMA, ETS, THETA
from forecasting.models.walks import EmpiricalWalk, GaussianWalk, MomentumWalk, RandomWalk

__all__ = ["INCUMBENT", "REGISTRY", "YARDSTICK", "Model", "models_named", "raw_quantiles"]

YARDSTICK = "gaussian_walk"
INCUMBENT = "random_walk"

_WALK, _MOMENTUM, _PROPHET = RandomWalk(), MomentumWalk(), AnchoredProphet()

_MODELS: tuple[Model, ...] = (
    GaussianWalk(),
    EmpiricalWalk(),
    _WALK,
    _MOMENTUM,
    Drift(),
    SeasonalNaive(),
    THETA,
    ETS,
    ARIMA,
    _PROPHET,
    ProphetOnScale(),
    StockProphet(),
    Combination("blend", "Blend", (_MOMENTUM, _PROPHET)),
    Combination("blend_wide", "Wide blend", (_WALK, _MOMENTUM, THETA, ETS, ARIMA)),
)

REGISTRY: Mapping[str, Model] = MappingProxyType({model.name: model for model in _MODELS})


def models_named(names: Sequence[str]) -> tuple[Model, ...]:
    """Models in the order asked, `all` for every one; raises ValueError naming the known ones."""
    names = [known for name in names for known in (REGISTRY if name == "all" else (name,))]
    unknown = [name for name in names if name not in REGISTRY]
    if unknown:
        message = f"unknown model {', '.join(unknown)}; known: {', '.join(REGISTRY)}"
        raise ValueError(message)
    return tuple(REGISTRY[name] for name in dict.fromkeys(names))
