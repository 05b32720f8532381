"""What a service would have to say, as scenes: the same words each time they are played."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from alerts.grouping import Desk
from alerts.incident import Decision
from alerts.ledger import Judgement, NewEntry
from alerts.rules import Reading, Severity
from flows.storage.ledger import SqlLedger
from tests.delivery.helpers import NOON, OPTIONS, PNG, clear, compose, make_reading

CHANNEL = "#alerts"
WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL


@dataclass(frozen=True)
class Scene:
    """Everything that one evaluation finds out."""

    at: datetime
    readings: tuple[Reading, ...]


def of_a_day() -> tuple[Scene, ...]:
    """Two alerts in one thread, one of them with a picture, and a third by itself; one rises, all end."""
    dy, nd = make_reading(1, "dy_oxide", CRITICAL), make_reading(1, "nd_oxide")
    tb = make_reading(1, "tb_oxide")
    return (
        Scene(NOON, (dy, nd)),
        Scene(NOON + timedelta(days=2), (tb,)),
        Scene(NOON + timedelta(days=3), (make_reading(2, "nd_oxide", CRITICAL),)),
        Scene(NOON + timedelta(days=4), tuple(clear(3, f"{name}_oxide") for name in ("dy", "tb"))),
    )


def of_a_storm() -> tuple[Scene, ...]:
    """Ten alerts of ten rules at one evaluation: one message with nine in its thread; then one ends."""
    readings = [replace(make_reading(1, f"s{n}"), rule=f"rule-{n}") for n in range(10)]
    ended = replace(clear(2, "s4"), rule="rule-4")
    return Scene(NOON, tuple(readings)), Scene(NOON + timedelta(days=1), (ended,))


def of_many(count: int) -> tuple[Scene, ...]:
    """`count` alerts, none in another's thread; each third rises later, each fourth ends, each tenth has a picture."""
    turns: list[tuple[float, Reading]] = []
    for number in range(count):
        subject = f"m{number}"
        turns.append((number, make_reading(1, subject)))
        if number % 3 == 0:
            turns.append((number + 12.1, make_reading(2, subject, CRITICAL)))
        if number % 4 == 0:
            turns.append((number + 24.2, clear(3, subject)))
    # More than a day apart, or they would share a thread.
    return tuple(
        Scene(NOON + timedelta(days=2 * turn), (reading,))
        for turn, reading in sorted(turns, key=lambda one: one[0])
    )


STORIES = {"day": of_a_day, "storm": of_a_storm}


def tell(ledger: SqlLedger, scene: Scene) -> None:
    """Judge a scene, in one transaction; told again, it changes nothing."""
    ledger.judge(
        "live",
        [Judgement(one, OPTIONS) for one in scene.readings],
        now=scene.at,
        compose=_words,
        desk=Desk(),
    )


def _words(decision: Decision) -> list[NewEntry]:
    incident = decision.incident
    assert incident is not None
    is_pictured = incident.subject == "dy_oxide" or incident.subject.endswith("0")
    return compose(decision, channel=CHANNEL, chart=PNG if is_pictured else None)
