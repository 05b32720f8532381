"""The past day by day: what became known later changes nothing, and an interruption changes nothing."""

import csv
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from alerts.rules import PriceSpike, VolumeDrop
from flows import steps
from flows.errors import UsageError
from flows.known import situation
from flows.outcomes import fallen_months, finals_of
from flows.replay.days import Past, needs_of, replay_reference, replayable
from flows.replay.result import ReplayResult
from flows.replay.scratch import end_of, scratch
from flows.replay.timeline import (
    A_FACT,
    BEGINNING,
    Stated,
    chance_scores,
    has_risen,
)
from flows.service import Moment, Service
from flows.storage.database import open_database
from flows.storage.observations import ObservationStore
from flows.storage.tables import metadata, observation
from flows.validation import Observation
from tests.builders import make_observed
from tests.replay.replay_helpers import copy_home, only, opened, told

SPRING = (date(2025, 5, 10), date(2025, 6, 25))
QUICK_RULES = ("oxide-price-spike", "magnet-exports-drop", "source-is-stale")
A_DAY = timedelta(days=1)


def replay(home: Path, first: date, last: date, *names: str, **more) -> ReplayResult:
    with opened(home) as service:
        rules = only(service.ruleset, *(names or QUICK_RULES))
        return replay_reference(service, first=first, last=last, ruleset=rules, **more)


# --- no look ahead -------------------------------------------------------------------


def test_a_figure_known_a_day_later_changes_nothing_before(home: Path, tmp_path: Path):
    other = copy_home(home, tmp_path / "other")
    revised_on = date(2025, 6, 5)
    with open_database(f"sqlite:///{other / 'lodestone.db'}") as database:
        at = datetime(2025, 6, 5, 9, tzinfo=UTC)
        # April's exports, published at 2,629 t, turn out as those of any month.
        row = Observation(
            series="cn_magnet_exports",
            period=date(2025, 4, 1),
            known_at=at,
            value=5_000.0,
            unit="t",
            source_id="test",
            confidence="high",
            statistic="total",
            raw_value="5000",
            raw_unit="t",
            is_dated=True,
        )
        kept = ObservationStore(database).keep("exports", [row], (), fetched_at=at)
        assert kept.revised == 1
    as_it_was, revised = replay(home, *SPRING), replay(other, *SPRING)
    before = end_of(revised_on - A_DAY)
    assert [row for row in told(as_it_was) if row[0] <= before] == [
        row for row in told(revised) if row[0] <= before
    ]
    assert told(as_it_was) != told(revised)
    assert any(row.rule == "magnet-exports-drop" for row in as_it_was.timeline if row.at <= before)


def test_without_all_later_figures_the_days_are_the_same(home: Path, tmp_path: Path):
    first, last = date(2025, 4, 1), date(2025, 4, 22)
    names = (*QUICK_RULES, "magnet-shortfall", "world-shortfall")
    early = copy_home(home, tmp_path / "early")
    with open_database(f"sqlite:///{early / 'lodestone.db'}") as database, database.writing() as it:
        gone = it.execute(observation.delete().where(observation.c.known_at > end_of(last)))
        assert gone.rowcount > 0
    here, there = replay(home, first, last, *names), replay(early, first, last, *names)
    assert told(here) == told(there)
    assert {row.rule for row in here.timeline} >= {"magnet-shortfall", "world-shortfall"}


def test_a_day_of_the_replay_knows_what_the_service_itself_says_of_that_day(
    home: Path, tmp_path: Path
):
    # Days with new prices, exports, a licence regime and a new month among them.
    first, last = date(2025, 3, 28), date(2025, 4, 8)
    compared = {date(2025, 3, 31), date(2025, 4, 3), date(2025, 4, 4), date(2025, 4, 7)}
    with opened(home) as service, opened(copy_home(home, tmp_path / "live")) as real:
        rules, _ = replayable(service.ruleset)
        chosen = replace(service.ruleset, rules=rules)
        needs = needs_of(rules, service.catalog)
        with scratch(service, chosen, first=first, last=last) as work:
            past = Past(work, needs)
            for count in range((last - first).days + 1):
                day = first + count * A_DAY
                with work.day(day) as at:
                    seen = past.known(at)
                if day in compared:
                    _assert_as_the_service_says(replace(real, ruleset=chosen), seen, needs, day)
                    compared.discard(day)
    assert not compared


def _assert_as_the_service_says(real: Service, seen, needs, day: date) -> None:
    at = Moment(end_of(day), f"as-of {day}", live=False)
    steps.forecast(real, at, needs.forecast, run_id=f"live {day}")
    for market, scenarios in needs.projected.items():
        steps.project(real, at, [market], run_id=f"live {day}", scenarios=scenarios)
    said = situation(real, at)
    assert seen.known_at == said.known_at
    assert seen.observed == said.observed
    assert seen.sources == said.sources
    for name in needs.forecast:
        ours, theirs = seen.forecasts.get(name), said.forecasts.get(name)
        assert (ours is None) == (theirs is None), name
        if ours is not None and theirs is not None:
            assert ours.forecast_id == theirs.forecast_id
    assert set(needs.projected) == {market for market, _ in seen.projections}
    for key, ours in seen.projections.items():
        assert ours.projection_id == said.projections[key].projection_id, (key, day)


# --- going on ------------------------------------------------------------------------


def test_an_interrupted_replay_goes_on_and_says_the_same(home: Path, tmp_path: Path):
    other = copy_home(home, tmp_path / "other")
    counted: list[tuple[int, int]] = []

    def stop(done: int, of: int) -> None:
        counted.append((done, of))
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replay(home, *SPRING, told=stop)
    resumed = replay(home, *SPRING, told=lambda done, of: counted.append((done, of)))
    assert [done for done, _ in counted] == list(range(1, 48))
    assert {of for _, of in counted} == {47}
    in_one_go = replay(other, *SPRING)
    assert told(resumed) == told(in_one_go)
    assert resumed.as_dict() == in_one_go.as_dict()
    assert len(resumed.messages) >= 2


def test_a_later_last_day_goes_on_and_an_earlier_one_is_cut_off(home: Path, tmp_path: Path):
    first, last = SPRING
    early = replay(home, first, date(2025, 6, 1))
    days_done: list[int] = []
    late = replay(home, first, last, told=lambda done, _: days_done.append(done))
    assert days_done == list(range(24, 48))
    assert told(late) == told(replay(copy_home(home, tmp_path / "other"), first, last))
    again = replay(home, first, date(2025, 6, 1), told=lambda *_: pytest.fail("it was done"))
    assert told(again) == told(early)
    assert again.as_dict() == early.as_dict()


# --- what it touches -------------------------------------------------------------------


class _Deaf:
    """A sender that must not be asked for anything."""

    def __getattr__(self, name: str):
        pytest.fail(f"a replay asked the sender to {name}")


def test_the_users_database_and_channel_are_not_touched(home: Path):
    def rows() -> dict[str, int]:
        with (
            open_database(f"sqlite:///{home / 'lodestone.db'}") as database,
            database.reading() as connection,
        ):
            return {
                table.name: connection.scalars(select(func.count()).select_from(table)).one()
                for table in metadata.sorted_tables
            }

    before = rows()
    with opened(home) as service:
        speaking = replace(service, sender=_Deaf())
        result = replay_reference(
            speaking,
            first=SPRING[0],
            last=SPRING[1],
            ruleset=only(service.ruleset, "magnet-exports-drop"),
        )
    assert result.messages
    assert rows() == before


def test_every_message_is_its_own_because_each_was_shown_the_day_it_was_written(home: Path):
    result = replay(home, *SPRING, "magnet-exports-drop")
    assert [(one.at.date().isoformat(), one.kind) for one in result.messages] == [
        ("2025-05-20", "root"),
        ("2025-06-20", "reply"),
    ]
    assert result.rules["magnet-exports-drop"].posts == 2
    assert result.timeline[0].transition.startswith(f"{BEGINNING} → ")
    assert result.extra["posts_per_month"] == {"2025-05": 1, "2025-06": 1}


# --- rules ---------------------------------------------------------------------------


def test_rules_that_cannot_be_replayed_are_named_with_the_reason(home: Path):
    with opened(home) as service:
        rules, left_out = replayable(service.ruleset, "india-ndfeb")
    assert "model-degraded" not in {rule.name for rule in rules}
    assert "backtests" in left_out["model-degraded"]
    assert "other markets" in left_out["world-shortfall"]
    assert {"magnet-shortfall", "oxide-price-spike"} <= {rule.name for rule in rules}


def test_rules_without_truth_say_so(home: Path):
    result = replay(home, date(2025, 5, 1), date(2025, 5, 2))
    assert result.without_truth == {"source-is-stale": A_FACT}


def test_a_fallen_month_that_is_told_within_two_months_is_a_hit_with_a_negative_lead(home: Path):
    quality = replay(home, *SPRING, "magnet-exports-drop").rules["magnet-exports-drop"]
    assert (quality.events, quality.hits, quality.false_episodes) == (1, 1, 0)
    # April ended on the 30th, its figure was out on 20 May: posted at the end of the 20th day after.
    assert quality.median_lead_days == pytest.approx(-20, abs=0.01)


def test_fallen_months_are_those_the_rule_itself_finds(home: Path):
    with opened(home) as service:
        (rule,) = only(service.ruleset, "magnet-exports-drop").rules
        assert isinstance(rule, VolumeDrop)
        (series,) = finals_of(service, rule.series).values()
        fallen = fallen_months(rule, series)
    found = [point.period for point, is_down in zip(series.points, fallen, strict=True) if is_down]
    assert found == [date(2025, 4, 1), date(2025, 5, 1)]


@pytest.mark.parametrize(
    ("through", "prices", "came"),
    [
        pytest.param("2025-01-01", [100, 90, 90, 126], True, id="passed in the last month"),
        pytest.param("2025-01-01", [100, 90, 90, 125], False, id="reached, not passed"),
        pytest.param("2025-01-01", [100, 90, 90], None, id="a month is still to come"),
        pytest.param("2025-01-01", [100, 126], True, id="passed before the horizon is over"),
        pytest.param("2025-01-01", [100, 90, 90, 90, 500], False, id="passed after the horizon"),
        pytest.param("2025-03-01", [100, 90, 90, 90], None, id="nothing known after it"),
    ],
)
def test_a_chance_came_true_when_the_price_passed_its_level_within_the_horizon(
    through, prices, came
):
    rule = PriceSpike("spike", ("dy_oxide",), (), rise=0.25, horizon_months=3, since_months=0)
    months = {f"2025-{at:02d}": one for at, one in enumerate(prices, start=1)}
    series = make_observed(months, series="dy_oxide", unit="USD/kg")
    stated = Stated("spike", "dy_oxide", date.fromisoformat(through), 0.5)
    assert has_risen(rule, stated, series) is came


def test_stated_chances_are_scored_against_what_came():
    scores = chance_scores(
        [("a", 0.9, True), ("a", 0.2, False), ("a", 0.4, False), ("a", 0.3, True)]
    )
    assert scores is not None
    brier, skill, area = scores
    assert brier == pytest.approx((0.01 + 0.04 + 0.16 + 0.49) / 4)
    assert skill == pytest.approx(1 - 0.175 / 0.25)
    assert area == pytest.approx(3 / 4)
    assert chance_scores([]) is None


# --- what can't be done ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"first": date(2025, 6, 1), "last": date(2025, 5, 1)}, "2025-06-01 is after --to 2025-05"),
        ({"last": date(2999, 1, 1)}, "2999-01-01: that day has not come yet"),
        ({"market": "india-ndfe"}, "did you mean 'india-ndfeb'"),
    ],
)
def test_what_cannot_be_replayed_is_refused(home: Path, changes, says):
    wanted = {"first": date(2025, 5, 1), "last": date(2025, 5, 2), **changes}
    with opened(home) as service, pytest.raises(UsageError, match=says):
        replay_reference(service, ruleset=service.ruleset, **wanted)


def test_an_empty_database_names_the_command_that_fills_it(tmp_path: Path):
    home = tmp_path / "empty"
    home.mkdir()
    with opened(home) as service, pytest.raises(UsageError, match="run `lodestone ingest` first"):
        replay_reference(
            service, first=SPRING[0], last=SPRING[1], ruleset=only(service.ruleset, *QUICK_RULES)
        )


def test_rules_of_which_none_can_be_replayed_are_refused(home: Path):
    with pytest.raises(UsageError, match=r"none of the rules can be replayed .*backtests"):
        replay(home, *SPRING, "model-degraded")


# --- pages ---------------------------------------------------------------------------


@pytest.fixture
def written(home: Path, tmp_path: Path) -> tuple[Path, ReplayResult]:
    out = tmp_path / "out"
    (out / "messages").mkdir(parents=True)
    (out / "messages" / "001-2020-01-01-old-root.txt").write_text("of an earlier replay")
    (out / "messages" / "notes.txt").write_text("the reader's own")
    return out, replay(home, *SPRING, "oxide-price-spike", "magnet-exports-drop", out=out)


def test_files_hold_the_timeline_every_message_and_a_picture(written):
    out, result = written
    with (out / "timeline.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["at"], row["headline"]) for row in rows] == [
        (row.at.isoformat(), row.headline) for row in result.timeline
    ]
    texts = sorted(path for path in (out / "messages").glob("0*.txt"))
    assert [path.read_text(encoding="utf-8").rstrip("\n") for path in texts] == [
        one.text for one in result.messages
    ]
    for path in texts:
        payload = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        assert payload["text"]
        assert payload["blocks"]
    assert (out / "messages" / "notes.txt").exists()
    assert (out / "replay.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (out / "replay.svg").read_bytes()[:2000]
    words = (out / "replay.txt").read_text(encoding="utf-8")
    assert "China's exports of rare-earth magnets: warning from 20 May 2025 to 20 Jun 2025" in words
    assert not list(out.rglob("*.part"))


def test_a_folder_that_cannot_be_written_is_named(home: Path, tmp_path: Path):
    out = tmp_path / "file"
    out.write_text("no folder")
    with pytest.raises(UsageError, match="can't be written there"):
        replay(home, date(2025, 5, 19), date(2025, 5, 21), "magnet-exports-drop", out=out)
