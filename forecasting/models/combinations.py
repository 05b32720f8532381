"""Models made of models: the mean of their quantiles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from forecasting.models.role import Model, raw_quantiles
from forecasting.series import Floats, Track


@dataclass(frozen=True)
class Combination:
    """The mean of the members' quantiles, level by level: errors that differ cancel, spreads don't grow."""

    name: str
    title: str
    members: tuple[Model, ...]

    @property
    def needs(self) -> Mapping[str, int]:
        shared = set.intersection(*(set(member.needs) for member in self.members))
        return {
            frequency: max(member.needs[frequency] for member in self.members)
            for frequency in shared
        }

    def quantiles(self, track: Track, origins: Sequence[int], horizon: int) -> Floats:
        parts = [raw_quantiles(member, track, origins, horizon) for member in self.members]
        return np.asarray(np.mean(parts, axis=0), dtype=np.float64)
