"""Limits proposed for a wanted number of false alarms, or for what an alert costs against what it saves."""

from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import numpy as np

from alerts.rules import Severity
from alerts.rules.prices import PriceSpike
from alerts.scoring import DAYS_PER_MONTH, Episode, Quality, score_episodes
from alerts.wording import percent
from flows.replay.panel import BAND, FALSE_TIME, Grid, default_shape
from flows.replay.shapes import (
    GRID,
    Shape,
    Track,
    first_posts,
    log_odds,
    logistic,
    scored_limits,
)
from forecasting.panel import PanelError
from forecasting.series import Floats

_CHOICES: Floats = np.unique(np.round(GRID, 2))[
    1:
]  # as a file states them; below 2 % no exit is left
_BANDS = (0.2, 0.5, 1.0)  # log odds between enter and exit
FEW_EVENTS = 10  # with fewer the interval of a recall spans half of all there is
LEARNT_SHARE = 2 / 3  # of the time from which limits are chosen; the rest is held out


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An enter and an exit limit (chances, 0–1), and what they gave: where they were chosen, and after."""

    enter: float
    exit: float
    cooldown_days: int
    wish: str
    split_on: date  # the first day that the choice did not see
    in_sample: Quality
    held_out: Quality

    def snippet(self, rule: str, *settings: str, since_months: int = 0) -> str:
        """The limits as a piece of rules.toml under a rule's name; `settings` are lines that go before them.

        `since_months` is what the rule had: the chance that was tried counts from the newest price.
        """
        was = f", not {since_months} months before" if since_months else ""
        lines = [
            f"[rules.{rule}]",
            *settings,
            f"since_months = 0  # counted from the newest price{was}",
            f"warning = {{ enter = {self.enter:.2f}, exit = {self.exit:.2f} }}",
            f"cooldown_days = {self.cooldown_days}",
        ]
        return "\n".join(lines) + "\n"

    def lines(self) -> list[str]:
        """As a reader sees it."""
        lines = [
            f"Wanted: {self.wish}",
            f"Chosen on the time before {self.split_on}: {_told(self.in_sample)}",
            f"Held out, from {self.split_on} on:     {_told(self.held_out)}",
        ]
        if self.in_sample.events < FEW_EVENTS:
            lines.append(
                f"Fewer than {FEW_EVENTS} events to choose by: another year of prices may well give other limits."
            )
        return lines

    def as_dict(self) -> dict[str, Any]:
        """As JSON shows it."""
        return {
            "enter": self.enter,
            "exit": self.exit,
            "cooldown_days": self.cooldown_days,
            "wish": self.wish,
            "split_on": self.split_on.isoformat(),
            "in_sample": self.in_sample.as_dict(),
            "held_out": self.held_out.as_dict(),
        }


def suggest(
    grid: Grid,
    *,
    false_per_month: float | None = None,
    cost_loss: float | None = None,
) -> Suggestion:
    """Limits chosen on the first two thirds of the time, and scored on the last third as well.

    With `false_per_month` the limit with the most hits that gives no more false episodes a calendar month
    (all series together); with `cost_loss` (the cost of acting on an alert over the loss that acting in
    time prevents, 0–1) the one with the smallest expense: that ratio for each hit or false episode, 1 for
    each missed event. With neither, as many false episodes as stand for FALSE_TIME of the time. Raises
    PanelError when both are given, or when nothing can be chosen.
    """
    if false_per_month is not None and cost_loss is not None:
        message = "give either a number of false alarms a month or a cost/loss ratio"
        raise PanelError(message)
    judged = np.flatnonzero(~np.isnan(grid.chances).all(axis=0))
    if not judged.size:
        message = "no period has a chance, so there is nothing to learn from"
        raise PanelError(message)
    split = int(judged[0] + LEARNT_SHARE * (judged[-1] + 1 - judged[0]))
    if split - judged[0] < 2 * grid.truth.horizon:
        message = (
            f"{judged.size} periods have a chance; limits are chosen on two thirds of them, "
            f"which have to be at least two horizons ({2 * grid.truth.horizon} periods)"
        )
        raise PanelError(message)
    wish = _wish_words(grid, false_per_month, cost_loss)
    if cost_loss is None and false_per_month is None:
        false_per_month = _usual_false_per_month(grid)
    usual = default_shape(grid, grid.truth.horizon * grid.days_per_period)
    # A chance whose horizon ends after the split speaks of what is held out.
    early = grid.between(int(judged[0]), split - grid.truth.horizon)
    late = grid.between(split, int(judged[-1]) + 1)
    best: tuple[float, Shape, int] | None = None
    for band in _BANDS:
        tried = replace(usual, band=band, in_per_cent=True)
        hits, false = scored_limits(tried, early.days, early.chances, early.truth, _CHOICES)
        if false_per_month is not None:
            allowed = false <= false_per_month * early.months
            expense = np.where(allowed, -hits, np.inf)
        else:
            announcing = _announcing(early, tried)
            expense = float(cost_loss or 0.0) * (false + announcing) + len(early.events) - hits
        at = int(np.argmin(expense))
        if np.isfinite(expense[at]) and (best is None or float(expense[at]) < best[0]):
            best = (float(expense[at]), tried, at)
    if best is None:
        message = "no limit gives so few false alarms on this panel"
        raise PanelError(message)
    _, shape, at = best
    enter = float(_CHOICES[at])
    leave = round(float(shape.exits(np.asarray([enter]))[0]), 2)
    cooldown = max(0, round(shape.cooldown_days))
    return Suggestion(
        enter=enter,
        exit=leave,
        cooldown_days=cooldown,
        wish=wish,
        split_on=grid.starts[split],
        in_sample=quality_at(early, shape, enter),
        held_out=quality_at(late, shape, enter),
    )


def suggest_for(rule: PriceSpike, found: Suggestion) -> str:
    """The proposal as a piece of rules.toml for this rule, which keeps everything that is not named in it."""
    settings = [f"rise = {rule.rise:g}", f"horizon_months = {rule.horizon_months}"]
    options = rule.options
    # What was tried opens at the first crossing and ends at the first clear reading.
    if options.for_evaluations > 1:
        settings.append("for_evaluations = 1")
    if options.out_of > 1:
        settings.append("out_of = 1")
    if options.clear_evaluations > 1:
        settings.append("clear_evaluations = 1")
    text = found.snippet(rule.name, *settings, since_months=rule.since_months)
    tried = log_odds(np.asarray([found.enter, found.exit]))
    for limit in rule.limits:
        above = int(limit.severity) - int(Severity.WARNING)
        # A file whose severities begin in another order is refused.
        if above * (limit.enter - found.enter) < 0 or (above and limit.enter == found.enter):
            enter, leave = logistic(tried + BAND * above).tolist()
            text += (
                f"{limit.severity.name.lower()} = {{ enter = {enter:.2f}, exit = {leave:.2f} }}"
                f"  # not tried: it has to lie {'above' if above > 0 else 'below'} the warning\n"
            )
    return text


def _usual_false_per_month(grid: Grid) -> float:
    """False episodes a month that stand for FALSE_TIME of the time, one for each horizon, of all series."""
    horizon_months = grid.truth.horizon * grid.days_per_period / DAYS_PER_MONTH
    return FALSE_TIME * len(grid.series) / horizon_months


def _wish_words(grid: Grid, false_per_month: float | None, cost_loss: float | None) -> str:
    if cost_loss is not None:
        return f"the smallest expense when an alert costs {cost_loss:g} of what it can save"
    if false_per_month is not None:
        return f"at most {false_per_month:g} false alarms a month, all series together"
    return (
        f"at most {_usual_false_per_month(grid):.2g} false alarms a month, all series together: alerts that "
        f"come to nothing stand for {percent(FALSE_TIME)} of the time"
    )


def quality_at(grid: Grid, shape: Shape, enter: float) -> Quality:
    """What one fixed enter limit gives."""
    enters = np.asarray([enter])
    exits = shape.exits(enters)
    track = Track(shape, len(grid.series), 1)
    episodes = []
    for at in range(len(grid.starts)):
        seen = track.step(at, float(grid.days[at]), grid.chances[:, at], enters, exits)
        now: datetime = grid.moment(at)
        episodes += [
            Episode(grid.series[row], now, now, None, Severity.WARNING)
            for row in np.flatnonzero(seen[:, 0]).tolist()
        ]
    return score_episodes(
        grid.events,
        episodes,
        horizon=grid.reach,
        known_through=grid.known_through,
        months=grid.months,
        posts=int(track.posts.sum()),
    )


def _announcing(grid: Grid, shape: Shape) -> Floats:
    """Episodes that announced an event, by limit."""
    found = np.zeros(_CHOICES.size)
    for at in range(0, _CHOICES.size, 16):
        seen = first_posts(shape, grid.days, grid.chances, _CHOICES[at : at + 16])
        found[at : at + 16] = (seen & grid.truth.is_before[:, :, None]).sum(axis=(0, 1))
    return found


def _told(quality: Quality) -> str:
    def span(pair: tuple[float, float] | None) -> str:
        return "" if pair is None else f" (95 %: {100 * pair[0]:.0f}–{100 * pair[1]:.0f} %)"

    recall = "–" if quality.recall is None else f"{100 * quality.recall:.0f} %"
    precision = "–" if quality.precision is None else f"{100 * quality.precision:.0f} %"
    rate = "–" if quality.false_per_month is None else f"{quality.false_per_month:.2f}"
    return (
        f"{quality.hits} of {quality.events} events announced, {recall}{span(quality.recall_interval)}; "
        f"{quality.false_episodes} false alarms, {rate} a month; "
        f"precision {precision}{span(quality.precision_interval)}"
    )
