"""What a replay works on: figures from memory that answer as the store does, and a file that goes on or goes."""

import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from alerts.rules import DropLimit, VolumeDrop
from flows.errors import UsageError
from flows.replay.scratch import (
    MOST_KEPT,
    RememberedFigures,
    RememberedForecasts,
    end_of,
    replay_key,
    scratch,
)
from flows.storage.database import Database, open_database
from flows.storage.observations import ObservationStore
from flows.validation import Observation
from tests.builders import make_forecast, make_projection, make_scorecard
from tests.replay.replay_helpers import only, opened

FIRST = date(2025, 5, 1)
LAST = date(2025, 5, 3)
EVER = datetime(2027, 1, 1, tzinfo=UTC)


# --- figures ---------------------------------------------------------------------------


@pytest.fixture
def database(tmp_path: Path):
    with open_database(f"sqlite:///{tmp_path / 'figures.db'}") as opened_one:
        opened_one.upgrade()
        yield opened_one


def say(database: Database, period: str, value: float, said: str, *, dated: bool = True) -> None:
    at = datetime.fromisoformat(said).replace(tzinfo=UTC)
    row = Observation(
        series="dy_oxide",
        period=date.fromisoformat(period),
        known_at=at,
        value=value,
        unit="USD/kg",
        source_id="here",
        confidence="high",
        statistic="mean",
        raw_value=str(value),
        raw_unit="USD/kg",
        is_dated=dated,
    )
    ObservationStore(database).keep("prices", [row], (), fetched_at=at + timedelta(hours=1))


def test_revisions_repeats_and_late_editions_read_from_memory_as_from_the_store(database: Database):
    say(database, "2025-01-01", 200.0, "2025-02-03")
    say(database, "2025-02-01", 210.0, "2025-03-03")
    say(database, "2025-01-01", 205.0, "2025-03-03")  # a revision
    say(database, "2025-01-01", 205.0, "2025-04-03")  # said again: it stands since March
    say(database, "2025-01-01", 200.0, "2025-05-03")  # and back
    say(database, "2025-02-01", 209.0, "2025-02-20")  # an older edition that arrives last
    say(database, "2025-03-01", 220.0, "2025-05-05", dated=False)
    store, remembered = ObservationStore(database), RememberedFigures(database, EVER)
    days = [date(2025, 1, 30) + timedelta(days=count) for count in range(110)]
    answers = []
    for day in days:
        at = end_of(day)
        assert remembered.points("dy_oxide", at) == store.points("dy_oxide", at), day
        assert remembered.newest(at) == store.newest(at), day
        answers.append(
            [(point.value, point.known_at) for point in remembered.points("dy_oxide", at)]
        )
    assert (
        len({str(answer) for answer in answers}) == 6
    )  # nothing, then a new answer at each instant but April 3


def test_every_bundled_series_reads_from_memory_as_from_the_store(figures: Path):
    with opened(figures) as service:
        remembered = RememberedFigures(service.database, EVER)
        compared = 0
        for day in (date(2012, 3, 1), date(2021, 6, 30), date(2025, 5, 20), date(2026, 11, 1)):
            at = end_of(day)
            for name, entry in service.catalog.stored_series.items():
                wanted = service.observations.points(name, at, unit=entry.unit)
                assert remembered.points(name, at, unit=entry.unit) == wanted, (name, day)
                compared += len(wanted)
            assert remembered.newest(at) == service.observations.newest(at)
    assert compared > 1000


def test_nothing_new_gives_the_same_points_and_the_same_version(database: Database):
    say(database, "2025-01-01", 200.0, "2025-02-03")
    say(database, "2025-02-01", 210.0, "2025-03-03")
    remembered = RememberedFigures(database, EVER)
    before, after = end_of(date(2025, 2, 10)), end_of(date(2025, 3, 2))
    assert remembered.points("dy_oxide", before) is remembered.points("dy_oxide", after)
    assert remembered.version(before) == remembered.version(after) == 1
    assert remembered.version(end_of(date(2025, 3, 3))) == 2


def test_figures_after_the_end_of_what_was_read_are_refused_and_not_left_out(database: Database):
    remembered = RememberedFigures(database, end_of(date(2025, 3, 1)))
    with pytest.raises(ValueError, match="read only up to 2025-03-01"):
        remembered.points("dy_oxide", end_of(date(2025, 3, 2)))


# --- forecasts ---------------------------------------------------------------------------


def test_the_projection_before_is_the_last_one_that_differs_and_counts_until_it_was_said(
    database: Database,
):
    kept = RememberedForecasts(database)
    days = [end_of(date(2025, 4, day)) for day in (1, 2, 3, 4)]
    first, second = make_projection(projection_id="m-1"), make_projection(projection_id="m-2")
    key = (first.market, first.scenario)
    kept.save(first, days[0], "run 1")
    kept.say_again(days[1])
    kept.save(second, days[2], "run 3")
    for forecasts in (
        kept,
        RememberedForecasts(database, days[2].date()),
    ):  # and gone on from the file
        forecasts.say_again(days[3])
        latest = forecasts.latest_projection(*key, days[3])
        assert latest is not None
        assert (latest.projection_id, latest.shortfall_t_paths) == ("m-2", second.shortfall_t_paths)
        said = forecasts.previous_projection(*key, days[3], other_than="m-2")
        assert said is not None
        assert (said.projection.projection_id, said.known_at) == ("m-1", days[1])
        assert said.projection.shortfall_t_paths == ()


def test_what_a_day_that_was_not_done_said_is_no_earlier_word(database: Database):
    first, second = make_projection(projection_id="m-1"), make_projection(projection_id="m-2")
    key = (first.market, first.scenario)
    kept = RememberedForecasts(database)
    kept.save(first, end_of(FIRST), "run 1")
    kept.save(second, end_of(LAST), "run 3")  # and then the process died
    again = RememberedForecasts(database, FIRST)
    again.save(second, end_of(LAST), "run 3")
    said = again.previous_projection(*key, end_of(LAST), other_than="m-2")
    assert said is not None
    assert (said.projection.projection_id, said.known_at) == ("m-1", end_of(FIRST))


def test_a_forecast_is_not_known_before_it_was_made(database: Database):
    kept = RememberedForecasts(database)
    one = make_forecast()
    kept.save(one, end_of(FIRST), "run")
    assert kept.latest_forecast(one.series, end_of(FIRST - timedelta(days=1))) is None
    assert kept.latest_forecast(one.series, end_of(FIRST)) is one


def test_a_scorecard_is_refused(database: Database):
    with pytest.raises(TypeError, match="makes no scorecards"):
        RememberedForecasts(database).save(make_scorecard(), end_of(FIRST), "run")


# --- the key -------------------------------------------------------------------------


def test_a_changed_limit_first_day_market_or_setting_is_another_replay(figures: Path):
    with opened(figures) as service:
        rules = service.ruleset
        key = replay_key(service, rules, FIRST, None)
        drop = next(rule for rule in rules.rules if isinstance(rule, VolumeDrop))
        limits = tuple(
            DropLimit(one.severity, one.enter - 0.01, one.exit, one.months_running)
            for one in drop.limits
        )
        changed = replace(
            rules,
            rules=tuple(
                replace(drop, limits=limits) if rule is drop else rule for rule in rules.rules
            ),
        )
        others = {
            replay_key(service, changed, FIRST, None),
            replay_key(service, rules, FIRST + timedelta(days=1), None),
            replay_key(service, rules, FIRST, "india-ndfeb"),
            replay_key(service, only(rules, "oxide-price-spike"), FIRST, None),
        }
        assert replay_key(service, rules, FIRST, None) == key
    for name, value in (("SEED", "7"), ("PATHS", "150"), ("MARKET_MONTHS", "9")):
        with opened(figures, **{f"LODESTONE_{name}": value}) as service:
            others.add(replay_key(service, service.ruleset, FIRST, None))
    assert len(others) == 7
    assert key not in others


def test_the_key_is_the_same_in_every_process(figures: Path):
    program = (
        "import sys; from datetime import date; from pathlib import Path\n"
        "from tests.replay.replay_helpers import opened\n"
        "from flows.replay.scratch import replay_key\n"
        "with opened(Path(sys.argv[1])) as s: print(replay_key(s, s.ruleset, date(2025, 5, 1), None))"
    )
    keys = {
        subprocess.run(
            [sys.executable, "-c", program, str(figures)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(keys) == 1
    assert len(keys.pop().strip()) == 16


# --- the file ------------------------------------------------------------------------


def live(home: Path, days: int) -> list[date]:
    """Live through the next days that are not done; the days done before."""
    with opened(home) as service:
        rules = only(service.ruleset, "oxide-price-spike")
        with scratch(service, rules, first=FIRST, last=LAST) as work:
            done = work.done()
            start = FIRST if done is None else done + timedelta(days=1)
            before = [FIRST + timedelta(days=n) for n in range((start - FIRST).days)]
            for count in range(days):
                with work.day(start + timedelta(days=count)):
                    pass
    return before


def the_file(home: Path) -> Path:
    (found,) = (home / "replay").glob("*.db")
    return found


def test_days_that_are_done_stay_done(home: Path):
    assert live(home, 1) == []
    assert live(home, 1) == [FIRST]
    assert live(home, 0) == [FIRST, FIRST + timedelta(days=1)]


def test_a_day_that_failed_is_not_done(home: Path):
    with opened(home) as service:
        rules = only(service.ruleset, "oxide-price-spike")
        with scratch(service, rules, first=FIRST, last=LAST) as work:
            with pytest.raises(RuntimeError, match="half way"), work.day(FIRST):
                raise RuntimeError("half way")
            assert work.done() is None


def _cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _overwrite(path: Path) -> None:
    path.write_bytes(b"no database at all" * 100)


def _replace_by_a_stranger(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as stranger:
        stranger.execute("CREATE TABLE pipeline_run (name TEXT)")


@pytest.mark.parametrize("harm", [_cut, _overwrite, _replace_by_a_stranger])
def test_a_broken_or_foreign_file_is_thrown_away(home: Path, harm):
    live(home, 2)
    harm(the_file(home))
    assert live(home, 1) == []
    assert live(home, 0) == [FIRST]


def test_days_that_saw_other_figures_are_thrown_away(home: Path):
    live(home, 2)
    with open_database(f"sqlite:///{home / 'lodestone.db'}") as database:
        say(database, "2025-05-01", 250.0, "2025-06-05")  # known after the days that are done
    assert live(home, 0) == [FIRST, FIRST + timedelta(days=1)]
    with open_database(f"sqlite:///{home / 'lodestone.db'}") as database:
        say(database, "2025-03-01", 250.0, "2025-04-05")
    assert live(home, 0) == []


def test_the_same_replay_twice_at_once_is_refused(home: Path):
    with opened(home) as service:
        rules = only(service.ruleset, "oxide-price-spike")
        with (
            scratch(service, rules, first=FIRST, last=LAST),
            pytest.raises(UsageError, match="already at work"),
            scratch(service, rules, first=FIRST, last=LAST),
        ):
            pass
        with scratch(service, rules, first=FIRST, last=LAST):
            pass  # free again


def test_only_the_newest_replays_are_kept(home: Path):
    folder = home / "replay"
    folder.mkdir()
    for count in range(MOST_KEPT + 3):
        old = folder / f"old-{count:02d}.db"
        old.touch()
        os.utime(old, (count, count))
    live(home, 1)
    left = sorted(path.name for path in folder.glob("old-*.db"))
    assert left == [f"old-{count:02d}.db" for count in range(3, MOST_KEPT + 3)]
