"""The replay on a panel: no look-ahead, the real lifecycle, and arrays that post when the lifecycle does."""

import tomllib
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from alerts.rules import RuleOptions, Severity
from alerts.rules.limits import Limit
from alerts.rules.prices import PriceSpike
from benchmarks.alert_quality import KINDS, simulated
from flows.replay.panel import (
    FALSE_TIME,
    OURS,
    SINGLE,
    WALK,
    Asked,
    Contender,
    auc_by_series,
    live,
    read_grid,
    replay_panel,
)
from flows.replay.shapes import (
    Shape,
    Truth,
    best_limit,
    counted,
    first_posts,
    learnt_limits,
    log_odds,
    scored_limits,
)
from flows.replay.suggest import quality_at, suggest, suggest_for
from flows.replay.tables import panel_histories
from forecasting.metrics import auc
from forecasting.panel import PanelError
from forecasting.series import from_grid

LIMITS = np.linspace(0.02, 0.4, 12)
ASKED = Asked(freq="MS", rise=0.25, horizon=6, seed=1)


def months(count, first=2000):
    return [date(first + at // 12, at % 12 + 1, 1) for at in range(count)]


def panel(series=6, count=130, seed=5):
    """Prices that move in waves of calm and storm, with some momentum."""
    draw = np.random.default_rng(seed)
    found = []
    for number in range(series):
        calm = np.repeat(draw.choice([0.02, 0.08], size=count // 10 + 1), 10)[:count]
        moves = draw.standard_normal(count) * calm
        moves[1:] += 0.4 * moves[:-1]
        values = 100 * np.exp(np.cumsum(moves))
        found.append(from_grid(f"s{number}", months(count), values, "month"))
    return found


@pytest.fixture(scope="module")
def grid():
    return read_grid(panel(), ASKED)


@pytest.fixture(scope="module")
def result():
    return replay_panel(panel(), ASKED)


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(Shape(0.0), id="one limit"),
        pytest.param(Shape(0.5), id="a gap"),
        pytest.param(Shape(0.5, 76.0), id="a gap and a cooldown"),
        pytest.param(Shape(1.0, 76.0, 6), id="a claim renewed after its horizon"),
        pytest.param(Shape(0.2, 200.0, 2), id="a cooldown longer than the claim"),
    ],
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_arrays_post_exactly_when_the_lifecycle_does(grid, shape, seed):
    chances = np.random.default_rng(seed).random(grid.chances.shape)
    chances[np.isnan(grid.chances)] = np.nan
    chances[0, 60:64] = np.nan  # months that can't be judged
    enters = np.asarray([0.6])
    exits = shape.exits(enters)
    limit = Limit(Severity.WARNING, 0.6, float(exits[0]))
    options = RuleOptions(cooldown=timedelta(days=shape.cooldown_days))
    rule = Contender("r", chances, lambda _: (limit,), options, "v", shape.renew_periods)
    run = live(grid, rule, ASKED, lambda _: None)
    seen = {
        (episode.subject, episode.seen_at.date()) for episode in run.episodes if episode.seen_at
    }
    rows, ats = np.nonzero(first_posts(shape, grid.days, chances, enters)[:, :, 0])
    arrays = {(grid.series[row], grid.ends[at]) for row, at in zip(rows, ats, strict=True)}
    assert arrays
    assert seen == arrays


def test_a_figure_that_comes_later_changes_no_transition_before(result):
    histories = panel()
    cut = 110
    changed = []
    for history in histories:
        values = history.values.copy()
        values[cut:] *= 3
        changed.append(replace(history, values=values))
    other = replay_panel(changed, ASKED)
    until = date(2009, 2, 1)  # the first day of month number 110
    before = [row for row in result.timeline if row.at.date() < until - timedelta(days=1)]
    after = [row for row in other.timeline if row.at.date() < until - timedelta(days=1)]
    assert before
    assert [row.as_dict() for row in before] == [row.as_dict() for row in after]


def test_three_rules_answer_with_the_same_events(result):
    found = result.as_dict()
    assert list(found)[:2] == ["rules", "timeline"]
    assert list(found["rules"]) == [OURS, SINGLE, WALK]
    assert len({figures["events"] for figures in found["rules"].values()}) == 1
    for figures in found["rules"].values():
        assert figures["hits"] + figures["misses"] == figures["events"] > 0
    row = found["timeline"][0]
    assert set(row) == {"at", "incident", "transition", "reason", "headline"}
    assert row["transition"].startswith("INACTIVE → ")


def test_over_four_kinds_of_market_at_equal_false_alarms_ours_keeps_at_least_as_many_hits():
    # One panel of a hundred events decides little (docs/alert-quality.md says how often it holds): four together.
    found = []
    for kind in KINDS:
        histories, _ = panel_histories(simulated(kind, 300), "MS")
        result = replay_panel(histories, ASKED)
        found.append(result.rules)
        for name in (SINGLE, WALK):
            allowed = result.extra["limits"][name]["false_alarms_allowed"]
            assert result.rules[name].false_episodes <= allowed
            assert allowed >= result.rules[OURS].false_episodes
    hits = {name: sum(rules[name].hits for rules in found) for name in (OURS, SINGLE, WALK)}
    assert hits[OURS] >= max(hits[SINGLE], hits[WALK])


def test_a_placebo_has_no_skill_against_each_series_own_base_rate():
    found = replay_panel(panel(series=12, count=200, seed=11), replace(ASKED, placebo=4))
    assert found.rules[OURS].brier_skill is not None
    assert found.rules[OURS].brier_skill <= 0.01
    assert found.extra["auc_by_series"][OURS] <= 0.52


def lived(grid, chances, **changes):
    limit = Limit(Severity.WARNING, 0.5, 0.3)
    rule = Contender("r", chances, lambda _: (limit,), RuleOptions(), "v", **changes)
    return live(grid, rule, ASKED, lambda _: None)


def test_auc_within_a_series_ignores_which_series_moves_more(grid):
    # The chance of each series is its own base rate, and nothing else: pooled that ranks well.
    known = ~np.isnan(grid.chances) & ~np.isnan(grid.outcomes)
    rates = np.asarray([came[seen].mean() for came, seen in zip(grid.outcomes, known, strict=True)])
    chances = np.where(known, rates[:, None], np.nan)
    assert auc(chances[known], grid.outcomes[known]) > 0.55
    assert auc_by_series(grid, chances) == pytest.approx(0.5)
    assert auc_by_series(grid, np.where(known, grid.outcomes, np.nan)) == pytest.approx(1.0)


def test_a_claim_that_still_holds_is_renewed_with_its_horizon_in_the_same_incident(grid):
    chances = np.where(np.isnan(grid.chances), np.nan, 0.9)
    run = lived(grid, chances, renew_periods=6)
    rows = [row for row in run.timeline if row.subject == "s0"]
    assert [(row.transition, row.reason) for row in rows[:3]] == [
        ("INACTIVE → FIRING", "OPENED"),
        ("FIRING → FIRING", "RENEWED"),
        ("FIRING → FIRING", "RENEWED"),
    ]
    assert len({row.incident for row in rows}) == 1
    assert (rows[1].at - rows[0].at).days in range(180, 186)
    episodes = [one for one in run.episodes if one.subject == "s0"]
    assert len(episodes) == len(rows)
    assert [one.ends_at for one in episodes] == [*(one.begins_at for one in episodes[1:]), None]
    assert all(one.seen_at == one.begins_at for one in episodes)
    assert run.posts == len(run.episodes)


def test_a_claim_between_the_limits_expires_with_its_horizon_and_one_post(grid):
    chances = np.where(np.isnan(grid.chances), np.nan, 0.4)
    first = int(np.flatnonzero(~np.isnan(chances[0]))[0])
    chances[:, first] = 0.9
    run = lived(grid, chances, renew_periods=6)
    rows = [row for row in run.timeline if row.subject == "s0"]
    assert [(row.transition, row.reason) for row in rows] == [
        ("INACTIVE → FIRING", "OPENED"),
        ("FIRING → EXPIRED", "EXPIRED"),
    ]
    assert run.posts == 2 * len(grid.series)


def test_the_plain_rules_renew_nothing(grid):
    chances = np.where(np.isnan(grid.chances), np.nan, 0.9)
    run = lived(grid, chances)
    assert {row.reason for row in run.timeline} == {"OPENED"}
    assert run.posts == len(grid.series)


def test_rules_of_a_file_keep_their_own_limits_and_are_renewed_as_the_service_renews():
    rule = PriceSpike("mine", ("nd",), (Limit(Severity.WARNING, 0.12, 0.03),))
    found = replay_panel(panel(), replace(ASKED, rules=(rule,)))
    assert list(found.rules) == ["mine", SINGLE, WALK]
    assert found.extra["limits"]["mine"] == {"warning": {"enter": 0.12, "exit": 0.03}}
    reasons = {row.reason for row in found.timeline}
    assert "RENEWED" in reasons
    assert reasons <= {
        "OPENED", "RESOLVED", "REOPENED", "RECOVERING", "UPDATED", "RENEWED", "EXPIRED"
    }  # fmt: skip


def test_days_from_and_to_bound_what_is_judged():
    first, last = date(2006, 1, 1), date(2009, 6, 30)
    found = replay_panel(panel(), replace(ASKED, first=first, last=last))
    days = [row.at.date() for row in found.timeline]
    assert days
    assert min(days) >= first
    assert max(days) <= last


def test_a_learnt_limit_keeps_false_alerts_to_their_share_of_the_time(grid):
    shape = Shape(1.0, 76.0, 6)
    few = learnt_limits(shape, grid.days, grid.chances, grid.truth, 0.02)
    many = learnt_limits(shape, grid.days, grid.chances, grid.truth, 0.30)
    assert (many <= few).all()
    assert many[-1] < few[-1]


def test_counting_is_an_obvious_loop(grid):
    seen = first_posts(Shape(0.5), grid.days, grid.chances, np.asarray([0.1, 0.2]))
    hits, false = counted(seen, grid.truth)
    truth: Truth = grid.truth
    for limit in range(2):
        obvious_false = obvious_hits = 0
        rows, ats = np.nonzero(seen[:, :, limit])
        for row, at in zip(rows, ats, strict=True):
            ahead = truth.starts[row, at + 1 : at + 7].any()
            begins_before_judged = truth.is_before[row, at] and not ahead
            if not ahead and not begins_before_judged and not truth.is_during[row, at]:
                obvious_false += bool(truth.is_known[row, at])
        for row, at in zip(*np.nonzero(truth.starts), strict=True):
            obvious_hits += bool(seen[row, max(0, at - 6) : at, limit].any())
        assert (hits[limit], false[limit]) == (obvious_hits, obvious_false)


@pytest.mark.parametrize(
    ("false", "hits", "wanted", "chosen"),
    [
        pytest.param([9, 5, 2, 0], [8, 6, 3, 0], 5, 1, id="just as many"),
        pytest.param([9, 5, 2, 0], [8, 6, 3, 0], 1, 2, id="one more is allowed"),
        pytest.param([42, 21, 20, 0], [9, 6, 3, 0], 40, 0, id="five per cent more are allowed"),
        pytest.param([43, 21, 20, 0], [9, 6, 3, 0], 40, 1, id="eight per cent more are not"),
        pytest.param([90, 50, 20, 0], [80, 60, 30, 0], 30, 2, id="any number below is allowed"),
        pytest.param([31, 30, 9, 0], [1, 3, 40, 0], 30, 2, id="a low limit that is never left"),
        pytest.param([30, 9, 5, 0], [3, 8, 8, 0], 30, 1, id="as many hits, more false alarms"),
        pytest.param([9, 0], [5, 0], 0, 1, id="none is allowed: it says nothing"),
    ],
)
def test_a_plain_rule_gets_the_limit_with_the_most_hits_of_all_it_may_have(
    false, hits, wanted, chosen
):
    found = best_limit(np.asarray(false, float), np.asarray(hits, float), wanted)
    assert found == chosen


def test_the_exit_limit_lies_a_band_of_log_odds_below():
    exits = Shape(1.0).exits(np.asarray([0.5]))
    assert log_odds(exits)[0] == pytest.approx(-1.0)
    assert Shape(0.0).exits(np.asarray([0.5]))[0] == pytest.approx(0.5 - 1e-9)


def test_more_false_alarms_allowed_never_cost_hits_where_limits_were_chosen(grid):
    few = suggest(grid, false_per_month=0.02)
    many = suggest(grid, false_per_month=0.5)
    assert (many.in_sample.hits or 0) >= (few.in_sample.hits or 0)
    assert (few.in_sample.false_per_month or 0) <= 0.02
    assert few.exit < few.enter
    assert f"enter = {few.enter:.2f}, exit = {few.exit:.2f}" in few.snippet("mine")


@pytest.mark.parametrize("enter", [0.05, 0.12, 0.25])
def test_a_part_of_the_time_is_scored_as_its_limits_were_chosen(grid, enter):
    shape = Shape(0.5, 76.0, 6)
    for part in (grid.between(40, 90), grid.between(90, 130), grid):
        scored = quality_at(part, shape, enter)
        hits, false = scored_limits(shape, part.days, part.chances, part.truth, np.asarray([enter]))
        assert (scored.hits, scored.false_episodes) == (hits[0], false[0])
    assert grid.known_through == grid.ends[-1]
    assert grid.between(40, 90).known_through == grid.ends[89]


def test_what_is_proposed_is_what_was_tried(grid):
    # The exit limit of a file has two digits: rounding it afterwards would be another rule.
    enters = np.round(np.linspace(0.02, 0.6, 59), 2)
    exits = Shape(0.2, in_per_cent=True).exits(enters)
    np.testing.assert_allclose(exits, np.round(exits, 2))
    assert (exits < enters).all()
    assert (exits > 0).all()
    found = suggest(grid, false_per_month=0.1)
    assert found.exit in {
        round(float(Shape(band, in_per_cent=True).exits(np.asarray([found.enter]))[0]), 2)
        for band in (0.2, 0.5, 1.0)
    }
    assert (found.in_sample.false_per_month or 0) <= 0.1


def test_a_proposal_keeps_severities_apart_and_names_what_it_replaces(grid):
    found = replace(suggest(grid, false_per_month=0.5), enter=0.55, exit=0.40)
    low = Limit(Severity.INFO, 0.60, 0.50)
    near, far = Limit(Severity.CRITICAL, 0.55, 0.50), Limit(Severity.CRITICAL, 0.80, 0.60)
    rule = PriceSpike("mine", ("s0",), (low, near), horizon_months=6, since_months=3)
    given = tomllib.loads(suggest_for(rule, found))["rules"]["mine"]
    assert given["warning"] == {"enter": 0.55, "exit": 0.40}
    assert given["info"]["enter"] < 0.55 < given["critical"]["enter"]
    assert (given["rise"], given["horizon_months"], given["since_months"]) == (0.25, 6, 0)
    assert "not 3 months before" in suggest_for(rule, found)
    assert "critical" not in suggest_for(replace(rule, limits=(far,)), found)


def test_a_proposal_for_a_patient_rule_states_the_patience_that_was_tried(grid):
    found = suggest(grid, false_per_month=0.5)
    options = RuleOptions(for_evaluations=2, out_of=3, clear_evaluations=2)
    rule = PriceSpike("mine", ("s0",), (Limit(Severity.WARNING, 0.5, 0.4),), options=options)
    given = tomllib.loads(suggest_for(rule, found))["rules"]["mine"]
    assert [given[name] for name in ("for_evaluations", "out_of", "clear_evaluations")] == [1, 1, 1]


def test_some_series_of_a_panel_keep_the_chances_that_all_have_taught(grid):
    found = grid.only({"s1", "s4", "elsewhere"})
    assert found.series == ("s1", "s4")
    np.testing.assert_array_equal(found.chances, grid.chances[[1, 4]])
    assert {event.subject for event in found.events} <= {"s1", "s4"}
    assert len(found.events) == int(found.truth.starts.sum())
    hits, false = scored_limits(Shape(0.5), found.days, found.chances, found.truth, enters=LIMITS)
    parts = [
        scored_limits(Shape(0.5), one.days, one.chances, one.truth, enters=LIMITS)
        for one in (grid.only({"s1"}), grid.only({"s4"}))
    ]
    np.testing.assert_array_equal(hits, parts[0][0] + parts[1][0])
    np.testing.assert_array_equal(false, parts[0][1] + parts[1][1])


def test_series_without_any_chance_leave_nothing_to_propose(grid):
    with pytest.raises(PanelError, match="nothing to learn from"):
        suggest(grid.only(()), false_per_month=1.0)


def test_without_a_wish_false_alerts_may_stand_for_their_usual_share_of_the_time(grid):
    found = suggest(grid)
    # An alert stands for six months, and six series can have one at a time.
    assert 0 < found.in_sample.false_per_month * 6 <= FALSE_TIME * 6
    assert found.in_sample.hits >= suggest(grid, false_per_month=0.02).in_sample.hits


def test_a_cheaper_alert_is_proposed_at_no_higher_limit(grid):
    cheap = suggest(grid, cost_loss=0.05)
    dear = suggest(grid, cost_loss=0.9)
    assert cheap.in_sample.hits >= dear.in_sample.hits


def test_a_panel_that_is_too_short_names_what_is_missing():
    with pytest.raises(PanelError, match=r"periods needed .* the longest has 17"):
        replay_panel(panel(count=17), ASKED)


def test_weeks_are_judged_on_their_last_day():
    first = date(2000, 1, 7)
    weeks = [first + timedelta(days=7 * at) for at in range(200)]
    values = 100 * np.exp(np.cumsum(np.random.default_rng(1).standard_normal(200) * 0.05))
    history = from_grid("w", weeks, values, "week")
    found = read_grid([history], Asked(freq="W-FRI", rise=0.25, horizon=8, seed=1))
    assert found.ends[0] == first
    assert found.starts[0] == first - timedelta(days=6)
