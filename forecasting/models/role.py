"""The role of a model: quantiles at many past moments of one series, and nothing seen beforehand."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

import numpy as np

from forecasting.results import QUANTILE_LEVELS
from forecasting.series import Floats, Track

LEVEL_COUNT = len(QUANTILE_LEVELS)


class Model(Protocol):
    """Something that turns what was seen into quantiles; it keeps nothing from one series to the next."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str:
        """The name in a sentence: "Theta", "Anchored Prophet"."""

    @property
    def needs(self) -> Mapping[str, int]:
        """Minimum observations for each frequency; a frequency not named is one it can't do."""

    def quantiles(self, track: Track, origins: Sequence[int], horizon: int) -> Floats:
        """Quantiles (origin x step x level) on the scale of the track, each from its origin's past alone.

        All origins reach what the model needs. An answer depends on its own origin only, not on which
        others are asked with it.
        """


def raw_quantiles(model: Model, track: Track, origins: Sequence[int], horizon: int) -> Floats:
    """What a model says of a track, worked out once for each origin however many combinations ask for it."""
    return once(track, (model.name, horizon), origins, partial(_sorted, model, track, horizon))


def _sorted(model: Model, track: Track, horizon: int, origins: Sequence[int]) -> Floats:
    # Crossed levels can come from averaged or fitted quantiles; sorted ones serve every level better.
    return np.sort(model.quantiles(track, origins, horizon), axis=-1)


def once(
    track: Track,
    key: tuple[object, ...],
    origins: Sequence[int],
    compute: Callable[[Sequence[int]], Floats],
) -> Floats:
    """Rows by origin, of which `compute` is asked only for those that nobody asked for before."""
    known = track.memo.setdefault(key, {})
    missing = [seen for seen in origins if seen not in known]
    if missing:
        known.update(zip(missing, compute(missing), strict=True))
    return np.stack([known[seen] for seen in origins])
