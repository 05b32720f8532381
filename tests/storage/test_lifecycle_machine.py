"""The life of incidents as a machine: whatever happens in whatever order, readers see the truth or why not."""

import itertools
import json
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select

from alerts.delivery import Rendered, deliver
from alerts.errors import NotAppliedError, RefusedError, UnclearError
from alerts.grouping import Desk
from alerts.ledger import EntryKind, Judgement, NewEntry, Receipt
from alerts.lifecycle import Reason, State
from alerts.rules import NotEvaluated, RuleOptions, Severity
from alerts.silences import Silence
from alerts.telling import acknowledge, snooze, unsnooze
from flows.storage.database import open_database
from flows.storage.ledger import SqlLedger
from flows.storage.tables import evaluation
from tests.builders import make_reading

WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL
START = datetime(2025, 6, 1, 12, tzinfo=UTC)
CALL_AFTER = timedelta(days=1)
DAY = timedelta(days=1)

# Each bears on another: the source on both prices, the market on the drop, one price on the other.
SIGNALS = {
    "source": {"type": "stale_source", "subject": "prices", "route": "operators"},
    "price": {"type": "price_level", "subject": "dy_oxide", "rests_on": ("dy_oxide",)},
    "other-price": {"type": "price_level", "subject": "dy_oxide", "rests_on": ("dy_oxide",)},
    "market": {
        "type": "shortfall",
        "subject": "world-ndfeb",
        "rests_on": ("exports",),
        "labels": (("market", "world-ndfeb"),),
    },
    "drop": {"type": "volume_drop", "subject": "exports", "rests_on": ("exports",)},
}
LEVELS = {
    "quiet": {"severity": None, "is_clear": True},
    "band": {"severity": None, "is_clear": False},
    "band above warning": {"severity": None, "is_clear": False, "holds": WARNING},
    "warning": {"severity": WARNING, "is_clear": False, "holds": WARNING},
    "critical": {"severity": CRITICAL, "is_clear": False, "holds": CRITICAL},
}
NEXT = {
    "": {State.PENDING, State.FIRING},
    State.PENDING: {State.PENDING, State.FIRING, State.RESOLVED, State.WITHDRAWN},
    State.FIRING: set(State) - {State.PENDING},
    State.RECOVERING: set(State) - {State.PENDING},
    # Only one that nobody was shown waits again; a story that was shown continues as open.
    State.RESOLVED: {State.FIRING, State.PENDING},
    State.EXPIRED: set(),
    State.WITHDRAWN: set(),
}


@dataclass
class Channel:
    """What a reader sees: messages by key with their newest text, and every post in its order."""

    # "lost": applied, but the answer never comes; "down": not applied, "refused": nor will it ever be
    fault: str = ""
    texts: dict[str, dict] = field(default_factory=dict)  # by delivery key, as they look now
    posts: list[dict] = field(default_factory=list)  # as they were when posted
    receipts: dict[str, Receipt] = field(default_factory=dict)

    def _meets(self, *, is_applied: bool) -> None:
        if self.fault == "down" and not is_applied:
            raise NotAppliedError("connection refused")
        if self.fault == "refused" and not is_applied:
            raise RefusedError("channel_not_found")
        if self.fault == "lost" and is_applied:
            raise UnclearError("timeout")

    def post(self, channel, text, blocks, delivery_key, thread_ts=None):
        self._meets(is_applied=False)
        assert delivery_key not in self.receipts, "posted twice"
        said = json.loads(text)
        self.receipts[delivery_key] = Receipt(channel, f"{len(self.receipts) + 1}.0")
        self.texts[delivery_key] = said
        self.posts.append(said)
        self._meets(is_applied=True)
        return self.receipts[delivery_key]

    def edit(self, receipt, text, blocks, delivery_key):
        self._meets(is_applied=False)
        assert self.receipts[delivery_key].ts == receipt.ts
        self.texts[delivery_key] = json.loads(text)
        self._meets(is_applied=True)

    def upload(self, root, image, alt_text, delivery_key):
        raise AssertionError("no pictures here")

    def find(self, channel, delivery_key, *, since, thread_ts=None):
        found = self.receipts.get(delivery_key)
        return () if found is None else (found,)

    def delete(self, receipt):
        raise AssertionError("nothing stands twice here")

    def lacks(self):
        return ()

    def root(self, incident):
        """How an incident's own message looks now; None when it was never posted."""
        found = [text for key, text in self.texts.items() if key.startswith(f"{incident}:root@")]
        return found[0] if found else None

    def notices(self, incident):
        """How the calls for an incident in the other channel look now."""
        return [text for key, text in self.texts.items() if key.startswith(f"{incident}:notice:")]


def as_said(message) -> Rendered:
    """The neutral message itself, so that the channel can be asked what it says."""
    return Rendered(json.dumps(dict(message)))


class Life(RuleBasedStateMachine):
    """A ledger on a file of its own, two workers on it, one channel."""

    def __init__(self, template: Path) -> None:
        super().__init__()
        self.closing = ExitStack()
        folder = self.closing.enter_context(tempfile.TemporaryDirectory())
        path = Path(folder) / "lodestone.db"
        shutil.copy(template, path)
        self.databases = [
            self.closing.enter_context(open_database(f"sqlite:///{path}")) for _ in range(2)
        ]
        self.workers = [SqlLedger(database) for database in self.databases]
        self.ledger = self.workers[0]
        self.channel = Channel()
        self.now = self.wall = START
        self.went_back = False
        self.numbers = itertools.count(1)
        self.versions = dict.fromkeys(SIGNALS, 1)
        self.present = set(SIGNALS)
        self.last: dict[str, object] = {}
        self.silences: list[Silence] = []
        self.slept: set[str] = set()  # incidents that somebody snoozed
        self.tried = None  # the last judging, to be done again

    def teardown(self) -> None:
        self.closing.close()

    # --- what the world and people do ---------------------------------------------

    @initialize(
        options=st.builds(
            RuleOptions,
            for_evaluations=st.integers(1, 2),
            out_of=st.sampled_from([0, 3]),
            clear_evaluations=st.integers(1, 2),
            cooldown=st.sampled_from([timedelta(0), 3 * DAY, 14 * DAY]),
        ),
        storm=st.sampled_from([1, 8]),
    )
    def begin(self, options, storm):
        self.options = options
        self.desk = Desk(
            call_after=lambda reading, severity: CALL_AFTER,
            stale_series={"dy_oxide": "prices"},
            options=dict.fromkeys(SIGNALS, options),
            storm=storm,
        )

    def compose(self, decision):
        incident = decision.incident
        is_open = incident.state.is_open
        if decision.replies or decision.calls or (decision.says and incident.revision == 1):
            assert not (is_open and self.is_silenced(incident.rule)), "posted while silenced"
            assert not (is_open and incident.held), "posted while held"
            assert incident.told_state is (State.FIRING if is_open else incident.state)
        message = {
            "incident": incident.id,
            "state": incident.state.value,
            "severity": incident.severity.name,
            "headline": incident.reading.headline,
            "episode": incident.episode,
            "reason": decision.reason.value,
            "beside": list(incident.beside),
            "at": self.now.isoformat(),
        }
        say = partial(NewEntry, route=incident.route, channel=f"#{incident.route}")
        if decision.says:
            yield say(kind=EntryKind.ROOT, message={**message, "post": "root"})
            yield say(kind=EntryKind.AMEND, message={**message, "post": "notice"})
        if decision.replies:
            yield say(kind=EntryKind.REPLY, message={**message, "post": "reply"})
        if decision.calls:
            yield say(kind=EntryKind.REPLY, message={**message, "post": "call"})
            notice = {**message, "post": "notice"}
            yield NewEntry(EntryKind.NOTICE, "operators", "#on-call", notice)

    def is_silenced(self, name: str) -> bool:
        return any(one.is_active(self.now) and one.matches({"rule": name}) for one in self.silences)

    def result(self, name: str, level: str, lasts_days: int | None):
        """A new answer of a rule, or with "blind" that it can give none, or the last one "again"."""
        same = {"rule": name, "type": SIGNALS[name]["type"], "subject": SIGNALS[name]["subject"]}
        version = f"v{self.versions[name]}"
        if level == "blind":
            return NotEvaluated(
                **same, rule_version=version, fingerprint=f"f-{name}", why="no forecast"
            )
        if level == "again" and name in self.last:
            return replace(self.last[name], rule_version=version)
        number = next(self.numbers)
        reading = make_reading(
            rule=name,
            rule_version=version,
            fingerprint=f"f-{name}",
            input_id=f"input-{number}",
            value=float(number),
            headline=f"{name}: reading {number}",
            ends_on=None if lasts_days is None else (self.now + timedelta(days=lasts_days)).date(),
            **SIGNALS[name],
            **LEVELS.get(level, LEVELS["quiet"]),
        )
        self.last[name] = reading
        return reading

    def judge(self, results, worker: int, **options):
        judgements = [Judgement(one, self.options) for one in results]
        self.tried = (judgements, self.now, options)
        return self._judge(worker, judgements, self.now, options)

    def _judge(self, worker, judgements, now, options):
        return self.workers[worker].judge(
            "live",
            judgements,
            now=now,
            compose=lambda decision: tuple(self.compose(decision)),
            written_at=self.wall,
            desk=self.desk,
            **options,
        )

    answers = st.sampled_from([*LEVELS, "again", "blind", "warning", "critical", "quiet"])
    lasting = st.sampled_from([None, None, 2, 30])
    worker = st.integers(0, 1)
    signals = st.sampled_from(list(SIGNALS))

    @rule(name=signals, level=answers, lasts=lasting, worker=worker)
    def one_answer(self, name, level, lasts, worker):
        (decision,) = self.judge([self.result(name, level, lasts)], worker)
        assert decision.reason in Reason

    @rule(
        levels=st.lists(answers, min_size=len(SIGNALS), max_size=len(SIGNALS)),
        lasts=lasting,
        failing=st.sets(signals, max_size=1),
        worker=worker,
    )
    def an_evening(self, levels, lasts, failing, worker):
        """All that the rules say at once: one may fail, and what is not spoken of is withdrawn."""
        wanted = [(n, level) for n, level in zip(SIGNALS, levels, strict=True) if n in self.present]
        failing &= self.present
        results = [self.result(n, level, lasts) for n, level in wanted if n not in failing]
        why = dict.fromkeys(failing, "KeyError: 'dy_oxide'")
        self.judge(results, worker, failures=why, is_everything=True)
        for one in self.ledger.incidents("live"):
            assert one.rule in self.present or one.state.is_ended, "of a rule that is gone"

    @precondition(lambda self: self.tried is not None)
    @rule(worker=worker)
    def the_same_again(self, worker):
        """A task that is retried, or a second worker with the same input, at the same moment."""
        judgements, now, options = self.tried
        if now != self.now:
            return
        silent_before = self.unsaid()
        before, rows = self.lives(), self.evaluations()
        self._judge(worker, judgements, now, options)
        assert self.lives() == before
        assert self.evaluations() == rows
        # Nothing is told by a retry but what was held and is held no more.
        assert {key for key, told in self.unsaid().items() if told != silent_before[key]} <= {
            key for key, told in silent_before.items() if told is None
        }

    @rule(hours=st.sampled_from([1, 20, 30, 24 * 4, 24 * 15]))
    def time_passes(self, hours):
        self.now += timedelta(hours=hours)
        self.wall = max(self.wall, self.now)

    @rule(hours=st.sampled_from([1, 30]))
    def the_clock_is_set_back(self, hours):
        self.now -= timedelta(hours=hours)
        self.went_back = True

    @rule(name=signals)
    def limits_move(self, name):
        self.versions[name] = 3 - self.versions[name]

    @rule(name=signals)
    def a_rule_goes_or_returns(self, name):
        self.present ^= {name}

    @rule(worker=worker)
    def someone_looks_after_what_is_open(self, worker):
        self.attend(worker)

    def attend(self, worker: int = 0) -> None:
        self.workers[worker].attend(
            "live",
            now=self.now,
            compose=lambda decision: tuple(self.compose(decision)),
            desk=self.desk,
        )

    def asked(self, which: int, change, note: str):
        found = self.ledger.open_incidents("live")
        if not found:
            return
        key = found[which % len(found)].id
        if note == "ben: known":
            self.slept |= {key, *(one.id for one in found if one.leader == key)}
        self.workers[which % 2].act(
            key,
            change,
            note=note,
            now=self.now,
            compose=lambda decision: tuple(self.compose(decision)),
            written_at=self.wall,
            desk=self.desk,
        )

    @rule(which=st.integers(0, 4))
    def somebody_takes_one_on(self, which):
        self.asked(which, partial(acknowledge, by="ana", now=self.now), "ana: calling suppliers")

    @rule(which=st.integers(0, 4), hours=st.sampled_from([2, 60]))
    def somebody_snoozes_one(self, which, hours):
        until = self.now + timedelta(hours=hours)
        self.asked(which, partial(snooze, by="ben", until=until, now=self.now), "ben: known")

    @rule(which=st.integers(0, 4))
    def somebody_ends_a_snooze(self, which):
        self.asked(which, partial(unsnooze, now=self.now), "ben: awake")
        self.attend()

    @rule(name=st.sampled_from([*SIGNALS, "*price"]), hours=st.sampled_from([2, 50]))
    def a_silence_begins(self, name, hours):
        one = Silence(
            id=f"s{len(self.silences)}",
            match=(("rule", name),),
            until=self.now + timedelta(hours=hours),
            reason="plant is being moved",
            author="ana",
            made_at=self.now,
        )
        self.silences.append(one)
        self.ledger.add_silence(one)

    @precondition(lambda self: self.silences)
    @rule(which=st.integers(0, 3))
    def a_silence_is_ended(self, which):
        at = which % len(self.silences)
        if self.ledger.end_silence(self.silences[at].id, self.now):
            self.silences[at] = replace(self.silences[at], ended_at=self.now)

    @rule(
        fault=st.sampled_from(["", "", "lost", "down", "refused"]),
        at_most=st.sampled_from([1, 2, None]),
    )
    def a_delivery(self, fault, at_most):
        self.channel.fault = fault
        self.deliver(at_most)
        self.channel.fault = ""
        self.wall += timedelta(seconds=20)

    @rule()
    def everything_is_delivered(self):
        """After a repair, until nothing is left: every message then says what is."""
        self.ledger.redrive()
        for _ in range(60):
            report = self.deliver(None)
            if report.next_due_at is None:
                break
            self.wall = max(self.wall, report.next_due_at)
        assert report.is_drained, report
        for one in self.ledger.incidents("live"):
            root = self.channel.root(one.id)
            assert (root is None) == (one.told_state is None)
            if root is not None:
                self.says_what_is(root, one)
            for notice in self.channel.notices(one.id):
                self.says_what_is(notice, one)

    def deliver(self, at_most):
        return deliver(
            self.ledger, self.channel, now=lambda: self.wall, render=as_said, at_most=at_most
        )

    # --- what is compared -----------------------------------------------------------

    def lives(self):
        return {
            one.id: (
                (one.state, one.severity, one.episode, one.reading, one.rule_version),
                (one.crossings, one.true_runs, one.clear_runs, one.lower_runs),
            )
            for one in self.ledger.incidents("live")
        }

    def unsaid(self):
        return {one.id: one.told_state for one in self.ledger.incidents("live")}

    def evaluations(self):
        done = evaluation.c
        columns = (done.fingerprint, done.ordinal, done.input_id, done.rule_version, done.reason)
        with self.databases[0].reading() as connection:
            query = select(*columns).order_by(done.fingerprint, done.ordinal)
            return [tuple(row) for row in connection.execute(query)]

    @staticmethod
    def says_what_is(text, incident):
        said = (text["state"], text["severity"], text["episode"], text["headline"])
        true = (incident.state, incident.severity.name, incident.episode)
        assert said == (*true, incident.reading.headline)

    # --- what must hold after every step ----------------------------------------------

    @invariant()
    def at_most_one_incident_of_a_signal_has_not_ended(self):
        going = [one.fingerprint for one in self.ledger.incidents("live") if not one.state.is_ended]
        assert len(going) == len(set(going))

    @invariant()
    def what_is_told_is_true_or_it_says_why_not(self):
        entries = self.ledger.entries("live")
        for one in self.ledger.incidents("live"):
            mine = [entry for entry in entries if entry.incident_id == one.id]
            roots = [entry for entry in mine if entry.kind is EntryKind.ROOT]
            assert len(roots) == (one.told_state is not None)
            is_awaited = bool(one.held) or one.snoozed_until is not None
            if one.told_state is None:
                assert is_awaited or not one.state.is_open, "open, untold, and nobody says why"
                continue
            # The newest of root and edits is how the message will look.
            shape = [e for e in mine if e.kind in (EntryKind.ROOT, EntryKind.EDIT)][-1]
            self.says_what_is(shape.message, one)
            last = self.last_post(mine, roots[0])
            assert State(last["state"]).is_open == (one.told_state is State.FIRING)
            if one.state.is_ended:
                assert State(last["state"]).is_ended, "over, and the last post says that it is open"
            elif one.told_state is not State.FIRING and not is_awaited:
                assert one.severity < CRITICAL, "critical again, and the last post says it is over"
                assert one.severity <= one.peak

    def last_post(self, mine, root):
        """The last thing that a reader was notified of, or will be."""
        replies = [entry for entry in mine if entry.kind is EntryKind.REPLY]
        if replies:
            return replies[-1].message
        posted = [
            said
            for said in self.channel.posts
            if said["incident"] == root.incident_id and said["post"] == "root"
        ]
        return posted[0] if posted else root.message

    @invariant()
    def every_step_has_a_reason_and_follows_from_the_one_before(self):
        for one in self.ledger.incidents("live"):
            before = ""
            for step in self.ledger.transitions(one.id):
                assert step.reason in Reason
                assert step.state_before == before
                if step.state != before:
                    assert step.state in NEXT[before]
                before = step.state
            assert before == one.state

    @invariant()
    def no_input_is_judged_twice_in_a_row(self):
        for _, rows in itertools.groupby(self.evaluations(), key=lambda row: row[0]):
            found = list(rows)
            assert [row[1] for row in found] == list(range(1, len(found) + 1))
            for earlier, later in itertools.pairwise(found):
                assert earlier[2:] != later[2:]
            # What came late was noted and not judged; what could not be judged was not judged either.
            judged = [
                (input_id, version)
                for _, _, input_id, version, reason in found
                if reason != Reason.KEPT_LAST and not input_id.startswith("not-evaluated:")
            ]
            assert all(earlier != later for earlier, later in itertools.pairwise(judged))

    @invariant()
    def posts_keep_to_their_budget(self):
        said: dict[str, list[dict]] = {}
        for post in self.channel.posts:
            if post["post"] != "notice":
                said.setdefault(post["incident"], []).append(post)
        for posts in said.values():
            assert [post["post"] for post in posts].count("root") == 1
            for number, (earlier, later) in enumerate(itertools.pairwise(posts), start=1):
                was_open = State(earlier["state"]).is_open
                if not State(later["state"]).is_open:
                    assert was_open, "an end is told once"
                    continue
                height = max(Severity[post["severity"]] for post in posts[:number])
                is_higher = Severity[later["severity"]] > height
                if was_open:
                    # Whatever was told when a snooze ended has the reason of that look.
                    is_woken = later["incident"] in self.slept
                    is_anew = later["reason"] == Reason.RENEWED
                    assert is_higher or is_woken or is_anew or later["post"] == "call"
                elif not self.went_back:
                    waited = datetime.fromisoformat(later["at"]) - datetime.fromisoformat(
                        earlier["at"]
                    )
                    is_due = waited >= self.options.cooldown or later["severity"] == "CRITICAL"
                    assert is_higher or is_due, "a mild return was posted within the cooldown"


@pytest.mark.parametrize("is_sent", [True, False], ids=["sent each time", "sent at the end"])
def test_ten_toggles_within_a_cooldown_are_one_message_and_at_most_one_line(
    sqlite_template, is_sent
):
    life = Life(sqlite_template)
    with life.closing:
        life.begin(RuleOptions(cooldown=14 * DAY), storm=8)
        for _ in range(10):
            for level in ("warning", "quiet"):
                life.one_answer("drop", level, None, 0)
                life.time_passes(1)
                if is_sent:
                    life.everything_is_delivered()
                life.posts_keep_to_their_budget()
                life.what_is_told_is_true_or_it_says_why_not()
        life.everything_is_delivered()
        (incident,) = life.ledger.incidents("live")
        assert (incident.state, incident.episode) == (State.RESOLVED, 10)
        assert [post["post"] for post in life.channel.posts] == ["root", "reply"][: 1 + is_sent]
        root = life.channel.root(incident.id)
        assert root is not None
        assert root["episode"] == 10


def test_whatever_happens_readers_see_the_truth_or_why_they_do_not(sqlite_template):
    run_state_machine_as_test(
        lambda: Life(sqlite_template),
        settings=settings(
            max_examples=60,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
