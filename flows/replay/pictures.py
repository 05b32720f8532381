"""Pictures of a panel's replay, one for each rule, into a folder."""

from pathlib import Path

import numpy as np

from flows.replay.panel import WALK, Grid, default_shape
from flows.replay.result import ReplayResult
from flows.replay.shapes import GRID, Shape, scored_limits
from forecasting.charts.quality import quality_picture
from forecasting.metrics import reliability


def draw_panel(folder: Path, grid: Grid, result: ReplayResult) -> list[Path]:
    """`quality-RULE.png` for each rule: chances beside what came, and hits against false alarms of every limit."""
    ours = default_shape(grid, grid.truth.horizon * grid.days_per_period)
    drawn = []
    curves = {
        chances_of: scored_limits(shape, grid.days, chances, grid.truth, GRID)
        for chances_of, shape, chances in (
            ("ours", ours, grid.chances),
            ("single", Shape(0.0), grid.chances),
            (WALK, Shape(0.0), grid.walk),
        )
    }
    for name, quality in result.rules.items():
        chances = grid.walk if name == WALK else grid.chances
        known = ~np.isnan(chances) & ~np.isnan(grid.outcomes)
        key = name if name in curves else "single" if name == "single_limit" else "ours"
        hits, false = curves[key]
        path = folder / f"quality-{name}.png"
        path.write_bytes(
            quality_picture(
                name.replace("_", " "),
                reliability(chances[known], grid.outcomes[known]),
                [(float(f) / grid.months, int(h)) for f, h in zip(false, hits, strict=True)],
                at=(quality.false_per_month or 0.0, quality.hits),
                events=quality.events,
            )
        )
        drawn.append(path)
    return drawn
