"""flows/outcomes.py: what became of alerts of the live book, and what counts as their episodes."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from alerts.incident import Reason, State
from alerts.ledger import Receipt
from alerts.rules import DropLimit, Limit, PriceSpike, Severity, VolumeDrop
from flows import steps
from flows.outcomes import DROP_DAYS, episodes_of, falls, rises, score_closed
from flows.settings import load_settings
from flows.storage.ledger import LifeStep
from flows.wiring import build
from tests.builders import make_observed

DAY = timedelta(days=1)
NOW = datetime(2025, 5, 21, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[steps.Service]:
    """A live book of 2025 in which exports fell, were told of, and came back; messages were shown at once."""
    home = tmp_path_factory.mktemp("outcomes")
    settings = load_settings({"LODESTONE_HOME": str(home)}, Path(home) / "none.toml")
    with closing(build(settings)) as opened:
        steps.ingest(opened, steps.moment(opened, None, live=False))
        kinds = {"volume_drop", "policy_event"}
        rules = tuple(rule for rule in opened.ruleset.rules if rule.type in kinds)
        service = replace(opened, ruleset=replace(opened.ruleset, rules=rules))
        for month, day in ((5, 21), (6, 21), (7, 21), (9, 21)):
            at = moment(datetime(2025, month, day, 12, tzinfo=UTC))
            steps.raise_alerts(service, at, run_id="r", draws=False)
            while entry := service.ledger.claim("live", at.known_at, DAY):
                receipt = Receipt("C1", str(entry.id))
                service.ledger.mark_sent(entry, receipt, now=at.known_at)
        yield service


def moment(known_at: datetime) -> steps.Moment:
    return steps.Moment(known_at, "live", live=False)


def test_a_fall_that_was_told_in_time_is_kept_as_a_hit_with_its_lead_once(lived):
    at = moment(datetime(2026, 1, 10, tzinfo=UTC))
    (drop,) = [one for one in lived.ledger.incidents("live") if one.type == "volume_drop"]
    assert drop.state is State.RESOLVED

    first, again = score_closed(lived, at), score_closed(lived, at)

    scores = {one.incident_id: one for one in lived.ledger.scores("live")}
    assert (first, again) == (len(scores), 0)
    assert scores[drop.id].verdict == "hit"
    # April had ended on the 30th; it was told on 21 May, at noon.
    assert scores[drop.id].lead_days == pytest.approx(-20.5)
    decisions = [one.id for one in lived.ledger.incidents("live") if one.type == "policy_event"]
    assert {scores[key].verdict for key in decisions} == {"no truth published"}


def step(day: int, state: State, reason: Reason = Reason.OPENED) -> LifeStep:
    return LifeStep(
        NOW + day * DAY, "i", "r", "dy_oxide", reason.value, "", state, Severity.WARNING, "up"
    )


def test_what_was_said_anew_is_an_episode_of_its_own():
    life = [
        step(0, State.FIRING),
        step(90, State.FIRING, Reason.RENEWED),
        step(120, State.RESOLVED, Reason.RESOLVED),
    ]
    posts = {"i": [NOW, NOW + 90 * DAY, NOW + 120 * DAY]}

    first, second = (episode for _, _, episode in episodes_of(life, posts))

    assert (first.seen_at, first.ends_at) == (NOW, NOW + 90 * DAY)
    assert (second.seen_at, second.ends_at) == (NOW + 90 * DAY, NOW + 120 * DAY)


def test_the_post_of_an_end_is_no_sight_of_what_nobody_saw():
    life = [step(0, State.FIRING), step(5, State.RESOLVED, Reason.RESOLVED)]
    ((_, _, episode),) = episodes_of(life, {"i": [NOW + 5 * DAY]})
    assert episode.seen_at is None


def test_an_episode_begins_with_its_first_crossing_and_is_seen_when_it_is_posted():
    life = [step(0, State.PENDING, Reason.PENDING), step(3, State.FIRING)]
    ((_, _, episode),) = episodes_of(life, {"i": [NOW + 3 * DAY]})
    assert (episode.begins_at, episode.seen_at) == (NOW, NOW + 3 * DAY)
    assert episode.ends_at is None


def test_a_stretch_of_waiting_that_came_to_nothing_is_no_episode():
    life = [step(0, State.PENDING, Reason.PENDING), step(3, State.RESOLVED, Reason.STILL_QUIET)]
    assert episodes_of(life, {}) == ()


def months(year: int, count: int) -> dict[str, float]:
    return {f"{year}-{month:02}": 100.0 for month in range(1, count + 1)}


def test_the_truth_of_each_series_is_known_as_far_as_its_own_figures():
    now = make_observed(months(2024, 12) | months(2025, 7), series="nd_oxide")
    ended = make_observed(months(2019, 12), series="sm_oxide")
    empty = make_observed({}, series="tb_oxide")
    names = ("nd_oxide", "sm_oxide", "tb_oxide")
    finals = dict(zip(names, (now, ended, empty), strict=True))

    spike = PriceSpike("spike", names, (Limit(Severity.WARNING, 0.5, 0.35),))
    drop = VolumeDrop("drop", names, (DropLimit(Severity.WARNING, 0.6, 0.75),))
    told = timedelta(days=DROP_DAYS)

    assert rises(spike, finals).known_through == {
        "nd_oxide": date(2025, 7, 31),
        "sm_oxide": date(2019, 12, 31),
    }
    assert falls(drop, finals).known_through == {
        "nd_oxide": date(2025, 7, 31) + told,
        "sm_oxide": date(2019, 12, 31) + told,
    }
