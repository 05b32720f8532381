"""Scorecards come back as they were saved, and the last one said at a moment is found."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from flows.storage.database import open_database
from flows.storage.forecasts import ForecastStore
from forecasting.results import Score
from tests.builders import make_scorecard

NOON = datetime(2025, 6, 21, 12, tzinfo=UTC)


@pytest.fixture
def store(database_url: str):
    with open_database(database_url) as database:
        yield ForecastStore(database)


def test_a_scorecard_comes_back_as_it_was_saved(store):
    card = make_scorecard((0.1 + 0.2, 1.15, float("inf")), held=1 / 3)
    store.save(card, NOON, "run-1")
    assert store.latest_scorecard("dy_oxide", NOON) == card
    assert store.latest_scorecard("tb_oxide", NOON) is None


def test_a_figure_that_is_not_known_stays_unknown(store):
    card = make_scorecard(scores=(Score("theta", 4, 0.9, 0.9, 0.8, 0.95),))
    store.save(card, NOON, "run-1")
    (score,) = store.latest_scorecard("dy_oxide", NOON).scores
    assert all(math.isnan(it) for it in (score.coverage_50, score.mase, score.bias))
    assert score.coverage_80 == 0.8


def test_what_was_said_later_is_not_seen_earlier(store):
    store.save(make_scorecard(model="theta"), NOON, "run-1")
    store.save(make_scorecard(model="prophet"), NOON + timedelta(days=7), "run-2")
    assert store.latest_scorecard("dy_oxide", NOON).model == "theta"
    assert store.latest_scorecard("dy_oxide", NOON + timedelta(days=8)).model == "prophet"
    assert store.latest_scorecard("dy_oxide", NOON - timedelta(seconds=1)) is None


def test_a_look_into_the_past_made_later_does_not_replace_todays_card(store):
    store.save(make_scorecard(model="theta"), NOON, "run-1")
    past = NOON - timedelta(days=60)
    store.save(make_scorecard(model="drift"), past, "run-2", made_at=NOON + timedelta(days=1))
    assert store.latest_scorecard("dy_oxide", NOON).model == "theta"
    assert store.latest_scorecard("dy_oxide", past).model == "drift"


def test_a_retried_step_says_its_card_once_and_the_last_word_counts(store):
    store.save(make_scorecard(model="theta"), NOON, "run-1")
    store.save(make_scorecard(model="prophet"), NOON, "run-1")
    store.save(replace(make_scorecard(), series="tb_oxide"), NOON, "run-1")
    assert store.latest_scorecard("dy_oxide", NOON).model == "prophet"
    assert store.latest_scorecard("tb_oxide", NOON).model == "theta"
