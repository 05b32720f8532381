"""A picture of how good a rule's alerts were: chances beside what came, hits against false alarms."""

from collections.abc import Sequence

from forecasting.charts.frame import BLUE, INK, MUTED, ORANGE, dress, foot, picture, titles
from forecasting.metrics import ReliabilityBin


def quality_picture(
    rule: str,
    bins: Sequence[ReliabilityBin],
    curve: Sequence[tuple[float, int]],
    *,
    at: tuple[float, int],
    events: int,
) -> bytes:
    """PNG of two panels for one rule.

    Left: how often the rise came (share, 0–1) after chances of about the same size. Right: for every
    limit (false alarms a month, events announced); `at` is what the rule itself gave of `events`.
    """
    with picture() as (figure, out):
        left = figure.add_axes((0.085, 0.17, 0.37, 0.58))
        dress(left)
        left.plot([0, 100], [0, 100], color=MUTED, lw=1.6, ls="--")
        said = [100 * one.mean_forecast for one in bins]
        came = [100 * one.observed_share for one in bins]
        left.plot(said, came, color=BLUE, lw=2.4)
        most = max((one.n for one in bins), default=1)
        left.scatter(said, came, s=[30 + 220 * one.n / most for one in bins], color=BLUE, zorder=3)
        left.set_xlim(0, 100)
        left.set_ylim(0, 100)
        left.set_xlabel("chance that was stated, %", fontsize=15, color=INK)
        left.set_ylabel("rises that came, %", fontsize=15, color=INK)
        right = figure.add_axes((0.575, 0.17, 0.37, 0.58))
        dress(right)
        ordered = sorted(curve)
        right.scatter(
            [rate for rate, _ in ordered],
            [hits for _, hits in ordered],
            s=26,
            color=BLUE,
            alpha=0.55,
        )
        right.scatter([at[0]], [at[1]], s=170, color=ORANGE, marker="D", zorder=3)
        widest = max([rate for rate, _ in ordered] + [at[0]], default=1.0) or 1.0
        highest = max([hits for _, hits in ordered] + [at[1], 1])
        is_right = at[0] > widest / 2
        right.annotate(
            f"this rule: {at[1]} of {events}",
            at,
            xytext=(-12 if is_right else 12, -22),
            textcoords="offset points",
            ha="right" if is_right else "left",
            fontsize=15,
            color=ORANGE,
            fontweight="bold",
        )
        right.set_xlim(-0.03 * widest, 1.06 * widest)
        right.set_ylim(0, 1.12 * highest)
        right.set_xlabel("false alarms a month, all series", fontsize=15, color=INK)
        right.set_ylabel("events announced", fontsize=15, color=INK)
        titles(
            figure,
            f"How good were the alerts: {rule}",
            "Left: on the dashed line chances come true as often as stated. Right: one dot for each limit.",
        )
        foot(figure, "Larger dots on the left stand for more cases.")
    return out.getvalue()
