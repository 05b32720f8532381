"""A short sweep of what benchmarks/delivery.py does with a thousand alerts: nothing lost, nothing twice."""

import os
import signal

import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.chaos.sweep import Conditions, Outcome, sweep
from tests.postgres import Server

ALERTS = 20


def require_clean(outcome: Outcome) -> None:
    """Clean, and not because nothing happened to it."""
    assert outcome.verdict.is_clean, outcome
    assert outcome.verdict.entries >= outcome.alerts
    assert outcome.share_faulty >= 0.25, outcome
    assert outcome.kills >= outcome.alerts / 5, outcome


def test_a_worker_that_is_killed_all_the_time_in_a_bad_slack_loses_and_repeats_nothing(
    database_url,
):
    require_clean(sweep(database_url, Conditions(ALERTS, seed=1)))


def test_two_workers_that_are_killed_all_the_time_lose_and_repeat_nothing(sqlite_url):
    require_clean(sweep(sqlite_url, Conditions(ALERTS, seed=2, workers=2)))


def test_what_lands_later_than_the_window_is_taken_out_again(sqlite_url):
    kinds = ("lands_late",)
    outcome = sweep(
        sqlite_url, Conditions(ALERTS, seed=3, kinds=kinds, window=0.4, lag=0.1, landing=2.0)
    )
    assert outcome.taken_out > 0, outcome
    require_clean(outcome)


def test_a_database_server_that_crashes_in_the_middle_costs_nothing(crashable: Server):
    with crashable.database() as url:
        name = make_url(url).database
        # The suite's server acknowledges commits before they are safe, to be quick.
        crashable.execute(f"ALTER DATABASE {name} SET synchronous_commit = on")

        def crash() -> None:
            # The server ends every session and recovers from its log when one of its own dies.
            plain = make_url(url).set(drivername="postgresql")
            with psycopg.connect(plain.render_as_string(hide_password=False)) as connection:
                os.kill(connection.info.backend_pid, signal.SIGKILL)
                with pytest.raises(psycopg.OperationalError):
                    connection.execute("SELECT 1")

        require_clean(sweep(url, Conditions(ALERTS, seed=4, workers=2, outage=crash)))
