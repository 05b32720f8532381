"""Scores of alerts: the definitions, each with numbers worked out by hand."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from alerts.rules import Severity
from alerts.scoring import (
    Episode,
    Event,
    Verdict,
    clopper_pearson,
    price_events,
    score_episodes,
    score_incident,
)

HORIZON = timedelta(days=90)
EVENT = Event("nd", date(2025, 6, 1), date(2025, 6, 30))
SECOND = Event("nd", date(2025, 7, 15), date(2025, 7, 31))


def seen_on(day: date | None, subject: str = "nd") -> Episode:
    at = None if day is None else datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    begins = at or datetime(2025, 5, 1, tzinfo=UTC)
    return Episode(subject, begins, at, None, Severity.WARNING)


def scored(events, episodes, known_through=date(2025, 12, 31), months=12.0):
    return score_episodes(
        events, episodes, horizon=HORIZON, known_through=known_through, months=months
    )


@pytest.mark.parametrize(
    ("day", "known_through", "verdict"),
    [
        pytest.param(date(2025, 5, 31), date(2025, 12, 31), Verdict.HIT, id="the day before"),
        pytest.param(date(2025, 3, 3), date(2025, 12, 31), Verdict.HIT, id="90 days before"),
        pytest.param(date(2025, 3, 2), date(2025, 12, 31), Verdict.FALSE, id="91 days before"),
        pytest.param(date(2025, 6, 1), date(2025, 12, 31), Verdict.LATE, id="on its first day"),
        pytest.param(date(2025, 6, 30), date(2025, 12, 31), Verdict.LATE, id="on its last day"),
        pytest.param(date(2025, 7, 1), date(2025, 12, 31), Verdict.FALSE, id="the day after"),
        pytest.param(date(2025, 7, 1), date(2025, 9, 28), Verdict.UNKNOWN_YET, id="horizon open"),
        pytest.param(date(2025, 7, 1), date(2025, 9, 29), Verdict.FALSE, id="horizon just over"),
        pytest.param(date(2025, 6, 10), date(2025, 7, 1), Verdict.UNKNOWN_YET, id="late or hit"),
        pytest.param(None, date(2025, 12, 31), Verdict.NOT_SEEN, id="nobody saw it"),
    ],
)
def test_an_episode_is_what_its_first_post_makes_it(day, known_through, verdict):
    found = score_incident(seen_on(day), [EVENT], horizon=HORIZON, known_through=known_through)
    assert found is verdict


def test_a_subject_that_is_known_less_far_leaves_the_episodes_of_others_judged():
    """Of "nd" nothing came, and all is known; "sm" ended in 2019; of "dy" nothing is known."""
    episodes = [seen_on(date(2025, 8, 1), subject) for subject in ("nd", "sm", "dy")]
    through = {"nd": date(2025, 12, 31), "sm": date(2019, 12, 31)}
    quality = scored([EVENT], episodes, known_through=through)
    assert (quality.episodes, quality.false_episodes) == (1, 1)
    assert scored([EVENT], episodes).false_episodes == 3


def test_an_event_of_another_subject_makes_no_hit():
    episode = seen_on(date(2025, 5, 1), "dy")
    found = score_incident(episode, [EVENT], horizon=HORIZON, known_through=date(2026, 1, 1))
    assert found is Verdict.FALSE


def test_without_published_truth_nothing_is_claimed():
    episode = seen_on(date(2025, 5, 1))
    assert (
        score_incident(episode, None, horizon=HORIZON, known_through=date(2026, 1, 1))
        is Verdict.NO_TRUTH
    )
    assert score_incident(episode, [], horizon=HORIZON, known_through=None) is Verdict.UNKNOWN_YET


def test_an_event_that_two_episodes_announce_counts_once_with_the_earlier_lead():
    quality = scored([EVENT], [seen_on(date(2025, 5, 22)), seen_on(date(2025, 4, 12))])
    assert (quality.hits, quality.hit_episodes, quality.false_episodes) == (1, 2, 0)
    assert quality.median_lead_days == pytest.approx(49.5)  # noon of 12 April to 1 June


def test_one_episode_may_announce_two_events():
    quality = scored([EVENT, SECOND], [seen_on(date(2025, 5, 22))])
    assert (quality.hits, quality.misses, quality.hit_episodes) == (2, 0, 1)
    assert quality.precision == 1.0
    assert quality.median_lead_days == pytest.approx((9.5 + 53.5) / 2)


def test_an_episode_that_nobody_saw_counts_neither_for_nor_against():
    quality = scored([EVENT], [seen_on(None)])
    assert (quality.hits, quality.misses, quality.episodes) == (0, 1, 0)
    assert quality.precision is None
    assert quality.median_lead_days is None


def test_late_episodes_are_in_no_denominator_but_are_told():
    quality = scored([EVENT], [seen_on(date(2025, 6, 5)), seen_on(date(2025, 8, 5))])
    assert (quality.late_episodes, quality.false_episodes, quality.precision) == (1, 1, 0.0)
    assert quality.false_per_month == pytest.approx(1 / 12)


def test_a_quality_has_exactly_the_promised_keys():
    promised = {
        "events", "hits", "misses", "false_episodes", "precision", "recall", "recall_interval",
        "median_lead_days", "false_per_month", "brier_skill", "auc", "posts",
    }  # fmt: skip
    more = {"precision_interval", "late_episodes", "hit_episodes", "episodes", "brier"}
    found = scored([], []).as_dict()
    assert set(found) == promised | more
    assert found["recall"] is None
    assert found["recall_interval"] is None


@given(st.integers(0, 400), st.integers(0, 400))
def test_clopper_pearson_is_the_textbook_interval(successes, failures):
    trials = successes + failures
    found = clopper_pearson(successes, trials)
    if trials == 0:
        assert found is None
        return
    assert found is not None
    low = beta.ppf(0.025, successes, failures + 1) if successes else 0.0
    high = beta.ppf(0.975, successes + 1, failures) if failures else 1.0
    assert found == pytest.approx((low, high), abs=1e-9)


def test_four_of_four_proves_little():
    low, high = clopper_pearson(4, 4) or (0.0, 0.0)
    assert low == pytest.approx(0.398, abs=5e-4)
    assert high == 1.0


def test_more_successes_than_trials_are_refused():
    with pytest.raises(ValueError, match="5 successes in 4 trials"):
        clopper_pearson(5, 4)


# --- events of a price ---------------------------------------------------------


def months(values):
    return [
        (date(2020 + at // 12, at % 12 + 1, 1), float(value)) for at, value in enumerate(values)
    ]


def test_a_rise_starts_where_it_is_reached_and_ends_with_its_last_month():
    events = price_events(months([100, 100, 125, 140, 130, 120, 120]), rise=0.25, window=3)
    # In May the lowest of the three months before is still February's 100.
    assert events == (Event("", date(2020, 3, 1), date(2020, 5, 31)),)


def test_a_rise_of_exactly_the_share_counts_whatever_doubles_do():
    assert price_events(months([0.1, 0.1 * 1.25]), rise=0.25, window=1)
    assert price_events(months([1.12, 1.40]), rise=0.25, window=1)
    assert not price_events(months([100, 124.99]), rise=0.25, window=1)


def test_two_events_have_a_quiet_month_between_them():
    events = price_events(months([100, 130, 100, 130]), rise=0.25, window=2)
    assert [event.starts_on for event in events] == [date(2020, 2, 1), date(2020, 4, 1)]


@given(st.lists(st.floats(1, 1000), min_size=2, max_size=40), st.integers(1, 8))
def test_events_equal_an_obvious_loop(values, window):
    points = months(values)
    events = price_events(points, rise=0.25, window=window)
    inside = {day for day, _ in points if any(e.starts_on <= day <= e.ends_on for e in events)}
    obvious = {
        points[at][0]
        for at in range(1, len(values))
        if values[at] >= 1.25 * (1 - 1e-12) * np.min(values[max(0, at - window) : at])
    }
    assert inside == obvious


def test_a_window_or_a_rise_of_nothing_is_refused():
    with pytest.raises(ValueError, match="window 0"):
        price_events(months([1, 2]), rise=0.25, window=0)
    with pytest.raises(ValueError, match="rise 0"):
        price_events(months([1, 2]), rise=0.0, window=1)
