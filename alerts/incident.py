"""An incident: the life of one signal as plain values, and what follows from one look at it."""

import enum
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Self

from alerts.rules import Reading, Severity

_NAMESPACE = uuid.UUID("5b0c4d8e-6a0f-5f0e-9d6e-0d1f2c9a7b31")


class State(enum.StrEnum):
    """Where an incident stands. PENDING has not been said to anyone yet."""

    PENDING = "PENDING"
    FIRING = "FIRING"
    RECOVERING = "RECOVERING"
    RESOLVED = "RESOLVED"  # its condition cleared
    EXPIRED = "EXPIRED"  # what it spoke of has passed, and nothing newer could be judged
    WITHDRAWN = "WITHDRAWN"  # its rule is gone, or its limits moved

    @property
    def is_open(self) -> bool:
        """Whether a reader should still reckon with it."""
        return self in {State.FIRING, State.RECOVERING}

    @property
    def is_ended(self) -> bool:
        """Whether its story is over; a return may still continue it within the cooldown."""
        return self in {State.RESOLVED, State.EXPIRED, State.WITHDRAWN}


class DataState(enum.StrEnum):
    """Whether an open incident still rests on answers: if not, it keeps its last state and says so."""

    FRESH = ""
    STALE = "STALE"  # its rule can't judge: input or forecast missing, or older than it may be
    EVAL_ERROR = "EVAL_ERROR"  # its rule fails


class Reason(enum.StrEnum):
    """Why a decision came out as it did: stored, logged and shown as "why now"."""

    OPENED = "OPENED"
    PENDING = "PENDING"  # crossed, but not often enough in a row
    ESCALATED = "ESCALATED"
    LOWERED = "LOWERED"  # still crossed, at a lower severity, after the clear rule
    UPDATED = "UPDATED"  # same severity, new numbers
    UNCHANGED = "UNCHANGED"
    STILL_QUIET = "STILL_QUIET"
    RECOVERING = "RECOVERING"
    RESOLVED = "RESOLVED"
    REOPENED = "REOPENED"
    KEPT_LAST = "KEPT_LAST"  # could not be evaluated
    ALREADY_EVALUATED = "ALREADY_EVALUATED"
    WITHDRAWN = "WITHDRAWN"  # its rule is gone
    LIMIT_CHANGED = "LIMIT_CHANGED"
    EXPIRED = "EXPIRED"
    RENEWED = "RENEWED"  # the time it spoke of is over, and it is still crossed: said anew
    EVAL_ERROR = "EVAL_ERROR"  # its rule failed; the last state is kept
    ACKNOWLEDGED = "ACKNOWLEDGED"
    SNOOZED = "SNOOZED"
    WOKEN = "WOKEN"  # a snooze ended while it is open
    RELEASED = "RELEASED"  # nothing holds it back any more: told for the first time
    UNACKNOWLEDGED = "UNACKNOWLEDGED"  # critical, and nobody has taken it on in time


@dataclass(frozen=True, slots=True)
class Incident:
    """The life of one signal. `reading` is the last one; `told_*` is what the last post told a reader."""

    id: str
    book: str
    fingerprint: str
    rule: str
    rule_version: str
    type: str
    route: str
    subject: str
    subject_title: str
    severity: Severity
    state: State
    opened_at: datetime
    changed_at: datetime  # when state or severity last changed
    since: datetime  # when the present episode began to fire
    episode: int  # times it has fired; 0 = never shown to anyone
    revision: int  # times that a reader would see a change
    true_runs: int
    clear_runs: int
    reading: Reading
    lower_runs: int = 0  # evaluations in a row that would allow a lower severity
    previous_value: float | None = None  # the measure before the last visible change
    previous_measured: str = ""  # the same in words, with what it was measured against
    previous_at: datetime | None = None
    reading_at: datetime | None = None  # the moment that `reading` speaks of
    read_at: datetime | None = (
        None  # the last moment judged; after an end it goes on, `reading` stays
    )
    peak: Severity = Severity.INFO  # highest severity ever told
    told_state: State | None = None  # None: nothing of it was ever posted
    told_at: datetime | None = None
    claim_ends_on: date | None = None  # the last day that the last post which said "open" spoke of
    renewals: int = 0  # times that it was said anew, because its time was over and it still held
    crossings: str = ""  # the last evaluations, newest last: "1" crossed, "0" not
    data_state: DataState = DataState.FRESH
    data_why: str = ""  # why it can't be judged
    data_since: datetime | None = None
    acknowledged_by: str = ""
    acknowledged_at: datetime | None = None
    snoozed_by: str = ""
    snoozed_until: datetime | None = None
    snoozed_at: Severity | None = None  # a higher one wakes it
    held: str = ""  # why nothing new of it is posted, in words; empty: it may be
    held_by: str = ""  # id of the incident that explains it; empty: a silence holds it, or nothing
    called_at: datetime | None = None  # when someone was called because nobody had taken it on
    leader: str = (
        ""  # id of the incident in whose thread it is told; empty: it has a message of its own
    )
    beside: tuple[str, ...] = ()  # headlines that are told as part of this one

    def labelled(self) -> dict[str, str]:
        """Every label of it, for routes and silences: those of its reading, and its severity."""
        return labels_of(self.reading, self.severity)

    def as_dict(self) -> dict[str, Any]:
        """A plain dictionary that JSON can hold; `from_dict` reverses it."""
        return {**self.without_reading(), "reading": self.reading.as_dict()}

    def without_reading(self) -> dict[str, Any]:
        """The same without its reading, which is by far the largest part."""
        return {
            "id": self.id,
            "book": self.book,
            "fingerprint": self.fingerprint,
            "rule": self.rule,
            "rule_version": self.rule_version,
            "type": self.type,
            "route": self.route,
            "subject": self.subject,
            "subject_title": self.subject_title,
            "severity": self.severity.name,
            "state": self.state.value,
            "opened_at": self.opened_at.isoformat(),
            "changed_at": self.changed_at.isoformat(),
            "since": self.since.isoformat(),
            "episode": self.episode,
            "revision": self.revision,
            "true_runs": self.true_runs,
            "clear_runs": self.clear_runs,
            "lower_runs": self.lower_runs,
            "previous_value": self.previous_value,
            "previous_measured": self.previous_measured,
            "previous_at": _instant_text(self.previous_at),
            "reading_at": _instant_text(self.reading_at),
            "read_at": _instant_text(self.read_at),
            "peak": self.peak.name,
            "told_state": self.told_state.value if self.told_state else None,
            "told_at": _instant_text(self.told_at),
            "claim_ends_on": self.claim_ends_on.isoformat() if self.claim_ends_on else None,
            "renewals": self.renewals,
            "crossings": self.crossings,
            "data_state": self.data_state.value,
            "data_why": self.data_why,
            "data_since": _instant_text(self.data_since),
            "acknowledged_by": self.acknowledged_by,
            "acknowledged_at": _instant_text(self.acknowledged_at),
            "snoozed_by": self.snoozed_by,
            "snoozed_until": _instant_text(self.snoozed_until),
            "snoozed_at": self.snoozed_at.name if self.snoozed_at else None,
            "held": self.held,
            "held_by": self.held_by,
            "called_at": _instant_text(self.called_at),
            "leader": self.leader,
            "beside": list(self.beside),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The incident that `as_dict` described."""
        return cls(
            **{
                **data,
                "severity": Severity[data["severity"]],
                "state": State(data["state"]),
                "opened_at": datetime.fromisoformat(data["opened_at"]),
                "changed_at": datetime.fromisoformat(data["changed_at"]),
                "since": datetime.fromisoformat(data["since"]),
                "reading": Reading.from_dict(data["reading"]),
                "previous_at": _instant(data["previous_at"]),
                # Incidents written before the two were told apart have one moment for both.
                "reading_at": _instant(data.get("reading_at", data["read_at"])),
                "read_at": _instant(data["read_at"]),
                "peak": Severity[data["peak"]],
                "told_state": State(data["told_state"]) if data["told_state"] else None,
                "told_at": _instant(data["told_at"]),
                # Incidents written before these were kept have none of them.
                "claim_ends_on": date.fromisoformat(claim)
                if (claim := data.get("claim_ends_on"))
                else None,
                "data_state": DataState(data.get("data_state", "")),
                "data_since": _instant(data.get("data_since")),
                "acknowledged_at": _instant(data.get("acknowledged_at")),
                "snoozed_until": _instant(data.get("snoozed_until")),
                "snoozed_at": Severity[data["snoozed_at"]] if data.get("snoozed_at") else None,
                "called_at": _instant(data.get("called_at")),
                "beside": tuple(data.get("beside", ())),
            }
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from one look: the reason, the incident as it is now, and what a reader sees of it.

    `says`: the root message should be posted or edited. `replies`: a line in its thread is due. `calls`:
    someone else has to hear of it as well, since nobody has taken it on. `with_it`: how many incidents that
    are told in its thread the same was done to, where somebody asked for it.
    """

    reason: Reason
    incident: Incident | None
    says: bool = False
    replies: bool = False
    calls: bool = False
    with_it: int = 0


def labels_of(reading: Reading, severity: Severity) -> dict[str, str]:
    """What routes and silences are matched against."""
    own = {"type": reading.type, "rule": reading.rule, "subject": reading.subject}
    return {**own, **dict(reading.labels), "severity": severity.name.lower()}


def incident_id(book: str, fingerprint: str, ordinal: int) -> str:
    """The id of the `ordinal`-th incident (from 1) of a fingerprint in a book: equal on every machine."""
    return str(uuid.uuid5(_NAMESPACE, f"{book}\n{fingerprint}\n{ordinal}"))


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _instant_text(when: datetime | None) -> str | None:
    return when.isoformat() if when else None
