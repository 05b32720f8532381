"""The role of a model, and every model by name."""

from collections.abc import Mapping, Sequence
from datetime import date
from types import MappingProxyType
from typing import Protocol

from forecasting.models.baselines import Drift, GaussianWalk, RandomWalk
from forecasting.models.prophet_model import AnchoredProphet
from forecasting.models.statistical import Theta
from forecasting.series import Floats

YARDSTICK = "gaussian_walk"
INCUMBENT = "random_walk"


class Model(Protocol):
    """Something that turns a history into quantiles; it keeps nothing from one call to the next."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str:
        """The name in a sentence: "Theta", "Anchored Prophet"."""

    @property
    def needs(self) -> Mapping[str, int]:
        """Minimum observations for each frequency; a frequency not named is one it can't do."""

    @property
    def is_calibrated(self) -> bool:
        """Whether the quantiles already come from past changes, so that past errors add nothing."""

    def fit_predict(
        self, log_values: Floats, periods: Sequence[date], frequency: str, horizon: int
    ) -> Floats:
        """Quantiles (horizon x level) on the scale of the values: logarithms when they are positive."""


_MODELS: tuple[Model, ...] = (GaussianWalk(), RandomWalk(), Drift(), Theta(), AnchoredProphet())

REGISTRY: Mapping[str, Model] = MappingProxyType({model.name: model for model in _MODELS})


def models_named(names: Sequence[str]) -> tuple[Model, ...]:
    """Models in the order asked; raises ValueError naming the known ones."""
    unknown = [name for name in names if name not in REGISTRY]
    if unknown:
        message = f"unknown model {', '.join(unknown)}; known: {', '.join(REGISTRY)}"
        raise ValueError(message)
    return tuple(REGISTRY[name] for name in dict.fromkeys(names))
