"""flows/storage/interactions.py: kept once, done once, told to whoever asks later; on both databases."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from alerts import telling
from alerts.incident import Decision, Reason
from alerts.interactions import Press
from flows.storage.database import Database, open_database
from flows.storage.interactions import AlreadySettledError, InteractionStore, Settling
from flows.storage.ledger import SqlLedger
from flows.storage.tables import interaction
from tests.delivery.helpers import NOON, make_reading, record
from tests.postgres import Server

AT = datetime(2025, 6, 21, 12, 30, tzinfo=UTC)
PRESS = Press(
    key="a" * 64,
    user_id="U0PRIYA",
    user_name="priya",
    action="acknowledge",
    incident_id="6f1c0a52-0000-5000-8000-000000000001",
    channel_id="C0ALERTS",
    message_ts="1750507200.000100",
)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with open_database(database_url) as opened:
        yield opened


@pytest.fixture
def store(database: Database) -> InteractionStore:
    return InteractionStore(database)


def test_a_press_comes_back_as_it_was_kept(store):
    assert store.keep(PRESS, AT)
    (one,) = store.waiting()
    assert one.press == PRESS
    assert (one.received_at, one.done_at, one.outcome) == (AT, None, "")


def test_the_same_press_is_kept_once(store):
    assert store.keep(PRESS, AT)
    assert not store.keep(replace(PRESS, user_name="another"), AT + timedelta(hours=1))
    (one,) = store.recent()
    assert (one.press.user_name, one.received_at) == ("priya", AT)


def test_of_many_deliveries_at_one_moment_one_is_kept(database, store):
    ready, kept = threading.Barrier(8), []

    def keep() -> None:
        ready.wait()
        kept.append(store.keep(PRESS, AT))

    threads = [threading.Thread(target=keep) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(kept) == [False] * 7 + [True]
    assert len(store.recent()) == 1


def test_a_delivery_that_looked_before_another_had_written_is_no_second_press(
    database, store, monkeypatch
):
    # As PostgreSQL lets it happen: the look finds nothing, and the row stands when it is written.
    store.keep(PRESS, AT)
    looks = iter([False, True])
    monkeypatch.setattr("flows.storage.interactions._is_kept", lambda *_: next(looks))
    assert not store.keep(PRESS, AT)


def test_on_postgresql_a_press_does_not_wait_until_alerts_are_judged(postgres: Server):
    with postgres.database() as url, open_database(url) as database, database.writing("ledger"):
        assert InteractionStore(database).keep(PRESS, AT)


def test_what_is_done_does_not_wait_and_is_done_once(store):
    store.keep(PRESS, AT)
    assert store.done(PRESS.key, "shown the numbers", AT)
    assert not store.done(PRESS.key, "something else", AT)
    assert store.waiting() == ()
    (one,) = store.recent()
    assert (one.done_at, one.outcome) == (AT, "shown the numbers")


def test_a_press_that_is_refused_is_kept_with_the_words_and_never_waits(store):
    assert store.keep(PRESS, AT, "not for you")
    assert store.waiting() == ()
    (one,) = store.recent()
    assert (one.done_at, one.outcome) == (AT, "not for you")
    assert not store.keep(PRESS, AT), "sent again, it is not applied after all"
    assert store.waiting() == ()


def test_nothing_that_was_never_kept_is_done(store):
    assert not store.done("b" * 64, "done", AT)


def test_presses_wait_in_the_order_in_which_they_came_and_are_listed_newest_first(store):
    for number in range(3):
        store.keep(replace(PRESS, key=f"{number}" * 64), AT + timedelta(seconds=number))
    assert [one.press.key[0] for one in store.waiting()] == ["0", "1", "2"]
    assert [one.press.key[0] for one in store.recent(2)] == ["2", "1"]


def test_text_that_a_column_refuses_is_kept_without_it(store):
    store.keep(replace(PRESS, user_name="a\x00\ud800b"), AT)
    store.done(PRESS.key, "x\x00\ud800y", AT)
    (one,) = store.recent()
    assert (one.press.user_name, one.outcome) == ("a?b", "x?y")


# --- together with what it asks for -----------------------------------------------------


def acknowledged(ledger: SqlLedger, key: str, press: Settling) -> Decision:
    return ledger.act(
        key,
        lambda one: telling.acknowledge(one, "priya", now=AT),
        note="by priya",
        now=AT,
        compose=lambda _: (),
        press=press,
    )


def test_a_press_is_marked_with_what_it_asks_for(database, store):
    ledger = SqlLedger(database)
    incident = record(ledger, make_reading(), NOON).incident
    store.keep(PRESS, AT)
    settling = Settling(PRESS.key, lambda decision: f"came to {decision.reason}")
    assert acknowledged(ledger, incident.id, settling).reason is Reason.ACKNOWLEDGED
    (one,) = store.recent()
    assert (one.done_at, one.outcome) == (AT, "came to ACKNOWLEDGED")


def test_a_press_that_was_applied_changes_nothing_a_second_time(database, store):
    ledger = SqlLedger(database)
    incident = record(ledger, make_reading(), NOON).incident
    store.keep(PRESS, AT)
    store.done(PRESS.key, "by another", AT)
    with pytest.raises(AlreadySettledError):
        acknowledged(ledger, incident.id, Settling(PRESS.key, lambda _: "again"))
    assert ledger.incident(incident.id).acknowledged_at is None
    assert len(ledger.transitions(incident.id)) == 1
    assert store.recent()[0].outcome == "by another"


def test_when_what_it_asks_for_fails_the_press_still_waits(database, store):
    ledger = SqlLedger(database)
    incident = record(ledger, make_reading(), NOON).incident
    store.keep(PRESS, AT)

    def broken(_: Decision) -> str:
        message = "no words for it"
        raise ZeroDivisionError(message)

    with pytest.raises(ZeroDivisionError):
        acknowledged(ledger, incident.id, Settling(PRESS.key, broken))
    assert ledger.incident(incident.id).acknowledged_at is None
    assert len(store.waiting()) == 1


def test_the_database_itself_refuses_a_second_row_of_one_press(database, store):
    store.keep(PRESS, AT)
    row = {
        "press": PRESS.key,
        "received_at": AT,
        "user_id": "U1",
        "user_name": "u",
        "action": "numbers",
        "incident_id": "",
        "channel": "C1",
        "message_ts": "1.2",
        "done_at": None,
        "outcome": "",
    }
    with pytest.raises(IntegrityError), database.writing() as connection:
        connection.execute(insert(interaction).values(**row))
