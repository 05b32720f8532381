"""A call in another channel, against a stateful Slack: it says what is true for as long as it stands."""

import random
import shutil
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import update

from alerts.delivery import Rendered, deliver
from alerts.grouping import Desk
from alerts.incident import Reason
from alerts.interactions import Action
from alerts.ledger import EntryKind, Judgement, NewEntry, OutboxState
from alerts.messages import amended_notice, call_notice, root_message, transition_reply
from alerts.rules import RuleOptions, Severity
from alerts.ruleset import load_ruleset
from alerts.telling import acknowledge, snooze, unsnooze
from flows import steps, wiring
from flows.listen import Listener
from flows.service import LIVE_BOOK, Moment
from flows.settings import load_settings
from flows.storage.ledger import SqlLedger
from flows.storage.tables import outbox
from flows.telling import desk_of, teller
from tests import builders
from tests.delivery.helpers import TOKEN, Clock, clear, make_reading
from tests.slack_standin import Fault

WINDOW = timedelta(seconds=60)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL
OPTIONS = RuleOptions(cooldown=DAY)
DESK = Desk(call_after=lambda reading, severity: HOUR if severity is CRITICAL else None)
OPEN = "Nobody has taken this on"


def compose(decision):
    """What the service says of a decision, without charts, links and mutes."""
    incident, reason = decision.incident, decision.reason
    how = {"known_at": incident.read_at, "book": "live"}
    say = partial(NewEntry, route="buyers", channel="#alerts")
    if decision.says:
        yield say("root", message=root_message(incident, reason, **how).as_dict())
        yield say("amend", message=amended_notice(incident, reason, **how).as_dict())
    if decision.replies or decision.calls:
        yield say("reply", message=transition_reply(incident, reason, **how).as_dict())
    if decision.calls:
        called = call_notice(incident, reason, mention="here", **how).as_dict()
        yield NewEntry("notice", "on-call", "#on-call", called)


def in_words(message) -> Rendered:
    """Label, who is called by name, what can be pressed, and where it stands."""
    can = ["take it on"] if Action.ACKNOWLEDGE.value in message["actions"] else []
    parts = [message["label"], message["mention"] and "@here", *can, message["lead"]]
    return Rendered(" | ".join(part for part in parts if part))


@pytest.fixture
def clock():
    # Days before Slack's own: however far it is moved, what stands there is not too old to be found.
    return Clock(datetime.now(UTC) - timedelta(days=9))


@pytest.fixture
def run(ledger, sender, clock):
    def call(**options):
        return deliver(
            ledger, sender, now=clock, reconcile_after=WINDOW, render=in_words, **options
        )

    return call


@pytest.fixture
def key(ledger, slack, run, clock) -> str:
    """A critical that stands in its channel, and that nobody took on for an hour: its id."""
    slack.workspace.channel_id("#on-call")
    decisions = judge(ledger, clock, make_reading(1, "dy_oxide", CRITICAL))
    run()
    call(ledger, clock)
    return decisions[0].incident.id


def judge(ledger: SqlLedger, clock, *readings):
    judgements = [Judgement(one, OPTIONS) for one in readings]
    return ledger.judge("live", judgements, now=clock(), compose=compose, desk=DESK)


def call(ledger: SqlLedger, clock) -> None:
    clock.at += HOUR
    (called,) = ledger.attend("live", now=clock(), compose=compose, desk=DESK)
    assert called.calls


def ask(ledger: SqlLedger, clock, key: str, change, **options):
    change = partial(change, now=clock(), **options)
    return ledger.act(key, change, note="by priya", now=clock(), compose=compose, desk=DESK)


def take(ledger: SqlLedger, clock, key: str):
    return ask(ledger, clock, key, acknowledge, by="priya")


def notices(slack) -> list[str]:
    return [one.text for one in slack.workspace.roots("#on-call")]


def states(ledger: SqlLedger, *kinds: EntryKind) -> list[OutboxState]:
    return [one.state for one in ledger.entries() if one.kind in kinds]


def test_a_call_says_who_has_taken_it_on_and_offers_it_to_nobody_else(
    ledger, slack, run, clock, key
):
    run()
    assert notices(slack) == [f"{OPEN} | @here | take it on"]
    take(ledger, clock, key)
    assert run().is_drained
    (told,) = notices(slack)
    assert told.startswith("Taken on | Open since ")
    assert "Taken on by priya on " in told
    (notice,) = slack.workspace.roots("#on-call")
    assert notice.edited == 1


@pytest.mark.parametrize(
    ("readings", "words"),
    [
        ([make_reading(2, severity=CRITICAL)], f"{OPEN} | take it on | Open since "),
        ([make_reading(2)], "Warning | take it on | Open since "),
        ([clear()], "Resolved | Over since "),
        ([clear(), make_reading(3)], "Warning | take it on | Open since "),
    ],
    ids=["newer figures", "lowered", "resolved", "open again, as less"],
)
def test_a_call_says_how_its_alert_stands(ledger, slack, run, clock, key, readings, words):
    run()
    for reading in readings:
        clock.at += HOUR
        judge(ledger, clock, reading)
    run()
    (told,) = notices(slack)
    assert told.startswith(words)


def test_a_call_for_a_rule_that_is_gone_is_withdrawn(ledger, slack, run, clock, key):
    run()
    ledger.withdraw(key, now=clock(), compose=compose, desk=DESK)
    run()
    (told,) = notices(slack)
    assert told.startswith("Withdrawn | Withdrawn on ")


def test_a_call_sleeps_and_wakes_with_its_alert(ledger, slack, run, clock, key):
    run()
    ask(ledger, clock, key, snooze, by="priya", until=clock() + DAY)
    run()
    assert notices(slack)[0].startswith("Snoozed | take it on | Open since ")
    assert "Snoozed by priya until " in notices(slack)[0]
    ask(ledger, clock, key, unsnooze)
    run()
    assert notices(slack)[0].startswith(f"{OPEN} | take it on | Open since ")


def test_every_call_for_one_alert_is_kept_true(ledger, slack, run, clock, key):
    run()
    take(ledger, clock, key)
    run()
    # It is less, then critical again, and again nobody takes it on.
    for reading in (make_reading(2), make_reading(3, severity=CRITICAL)):
        clock.at += HOUR
        judge(ledger, clock, reading)
        run()
    call(ledger, clock)
    run()
    assert [told.split(" | ")[0] for told in notices(slack)] == [OPEN, OPEN]
    take(ledger, clock, key)
    run()
    assert [told.split(" | ")[0] for told in notices(slack)] == ["Taken on", "Taken on"]


@pytest.mark.parametrize("ends", ["taken on", "resolved", "lowered", "snoozed"])
def test_a_call_that_was_not_sent_yet_is_dropped_when_nobody_has_to_be_called_any_more(
    ledger, slack, run, clock, key, ends
):
    match ends:
        case "taken on":
            take(ledger, clock, key)
        case "snoozed":
            ask(ledger, clock, key, snooze, by="priya", until=clock() + DAY)
        case _:
            clock.at += HOUR
            judge(ledger, clock, clear() if ends == "resolved" else make_reading(2))
    assert run().is_drained
    assert notices(slack) == []
    assert states(ledger, EntryKind.NOTICE, EntryKind.AMEND) == [OutboxState.SKIPPED]
    (dropped,) = [one for one in ledger.entries() if one.kind is EntryKind.NOTICE]
    assert dropped.error.startswith("nobody has to be called any more")


def test_a_call_that_was_not_sent_yet_calls_with_the_newest_figures(ledger, slack, run, clock, key):
    clock.at += HOUR
    judge(ledger, clock, make_reading(2, severity=CRITICAL))
    assert run().is_drained
    (notice,) = slack.workspace.roots("#on-call")
    assert notice.text.startswith(f"{OPEN} | @here | take it on | Open since ")
    assert notice.edited == 0


@pytest.mark.parametrize(
    "fault",
    [Fault("lost"), Fault("reset"), Fault("status", status=502)],
    ids=["the answer is lost", "the connection breaks", "Slack fails afterwards"],
)
def test_an_edit_of_a_call_whose_answer_is_lost_is_made_again(
    ledger, slack, run, until_rest, clock, key, fault
):
    run()
    take(ledger, clock, key)
    slack.fail("chat.update", fault, fault)
    assert until_rest().is_drained
    (told,) = notices(slack)
    assert told.startswith("Taken on | ")


def test_a_call_that_may_stand_is_found_and_then_says_who_has_taken_it_on(
    ledger, slack, run, until_rest, clock, key
):
    run(at_most=2)
    slack.fail("chat.postMessage", Fault("lost"))
    run()
    assert states(ledger, EntryKind.NOTICE) == [OutboxState.UNKNOWN]
    take(ledger, clock, key)
    run()
    assert states(ledger, EntryKind.AMEND) == [OutboxState.PENDING]
    assert until_rest().is_drained
    (told,) = notices(slack)
    assert told.startswith("Taken on | ")


def test_a_call_that_never_arrived_is_not_sent_again_once_somebody_has_taken_it_on(
    ledger, slack, run, until_rest, clock, key
):
    run(at_most=2)
    slack.fail("chat.postMessage", Fault("status", status=502, applied=False))
    run()
    assert states(ledger, EntryKind.NOTICE) == [OutboxState.UNKNOWN]
    take(ledger, clock, key)
    assert until_rest().is_drained
    assert notices(slack) == []


def test_a_call_that_slack_refused_stays_given_up_and_a_redrive_tells_what_is_true(
    ledger, slack, run, until_rest, clock, key
):
    slack.workspace.closed_channels["on-call"] = "is_archived"
    assert until_rest().dead == 1
    take(ledger, clock, key)
    report = until_rest()
    assert (report.dead, report.pending) == (1, 0)
    slack.workspace.closed_channels.clear()
    ledger.redrive()
    assert until_rest().is_drained
    (told,) = notices(slack)
    assert told.startswith("Taken on | Open since ")


def test_a_call_whose_route_was_mended_goes_to_the_other_channel(
    ledger, slack, run, until_rest, clock, key
):
    slack.workspace.closed_channels["on-call"] = "is_archived"
    assert until_rest().dead == 1
    ledger.redrive(channels={"on-call": "#nurses"})
    assert until_rest().is_drained
    assert len(slack.workspace.roots("#nurses")) == 1


def test_what_waited_behind_a_call_that_slack_then_refuses_goes_into_it(
    ledger, slack, run, until_rest, clock, key
):
    run(at_most=2)
    slack.fail("chat.postMessage", Fault("lost"))
    run()
    take(ledger, clock, key)
    slack.workspace.messages[:] = [m for m in slack.workspace.messages if "@here" not in m.text]
    slack.workspace.closed_channels["on-call"] = "is_archived"
    until_rest()
    assert notices(slack) == []
    assert EntryKind.AMEND not in [one.kind for one in ledger.entries()]


def test_a_worker_that_dies_while_it_edits_a_call_leaves_the_edit_to_the_next(
    ledger, slack, run, until_rest, clock, key
):
    run()
    take(ledger, clock, key)
    clock.at += HOUR
    claimed = [ledger.claim(None, clock(), WINDOW) for _ in range(2)]
    assert {one.kind for one in claimed} == {EntryKind.EDIT, EntryKind.AMEND}
    assert ledger.claim(None, clock(), WINDOW) is None
    clock.at += 2 * WINDOW
    assert until_rest().is_drained
    (told,) = notices(slack)
    assert told.startswith("Taken on | ")


def test_of_two_edits_of_a_call_the_newer_waits_for_the_one_under_way(
    ledger, slack, run, clock, key
):
    run()
    take(ledger, clock, key)
    first = {one.kind: one for one in (ledger.claim(None, clock(), WINDOW) for _ in range(2))}
    judge(ledger, clock, clear())
    claims = [ledger.claim(None, clock(), WINDOW) for _ in range(3)]
    assert EntryKind.AMEND not in {one.kind for one in claims if one is not None}
    ledger.mark_sent(first[EntryKind.AMEND], first[EntryKind.AMEND].root, now=clock())
    assert ledger.claim(None, clock(), WINDOW).message["label"] == "Resolved"


def test_a_call_in_a_channel_that_has_to_wait_keeps_nothing_of_the_alert_waiting(
    ledger, slack, run, clock, key
):
    run()
    ledger.pause("#on-call", clock() + DAY, "Slack asks to wait")
    take(ledger, clock, key)
    report = run()
    assert report.pending == 1
    (root,) = slack.workspace.roots("#alerts")
    assert "Taken on by priya" in root.text
    assert report.next_due_at == clock() + DAY
    clock.at += DAY
    assert run().is_drained
    assert notices(slack)[0].startswith("Taken on | ")


def test_a_call_whose_place_slack_did_not_tell_is_left_as_it_stands(ledger, run, clock, key):
    run()
    (notice,) = [one for one in ledger.entries() if one.kind is EntryKind.NOTICE]
    forget_where(ledger, notice.id)
    take(ledger, clock, key)
    assert run().is_drained
    assert states(ledger, EntryKind.AMEND) == [OutboxState.SKIPPED]


def forget_where(ledger: SqlLedger, key: int) -> None:
    with ledger._database.writing() as connection:
        connection.execute(update(outbox).where(outbox.c.id == key).values(receipt_ts=""))


@pytest.mark.parametrize("seed", range(8))
def test_whatever_comes_after_a_call_it_says_what_is_true_once_all_is_delivered(
    ledger, slack, run, until_rest, clock, key, seed
):
    chance = random.Random(seed)
    turns = [
        lambda number: judge(ledger, clock, make_reading(number, severity=CRITICAL)),
        lambda number: judge(ledger, clock, make_reading(number)),
        lambda number: judge(ledger, clock, clear(number)),
        lambda _: take(ledger, clock, key),
        lambda _: ask(ledger, clock, key, snooze, by="priya", until=clock() + HOUR),
        lambda _: ask(ledger, clock, key, unsnooze),
        lambda _: attended(ledger, clock),
        lambda _: attended(ledger, clock),
    ]
    faults = [Fault("lost"), Fault("status", status=502, applied=False), Fault("reset")]
    for number in range(2, 22):
        clock.at += HOUR / 2
        chance.choice(turns)(number)
        slack.fail("chat.postMessage", *chance.choices(faults, k=chance.randint(0, 1)))
        slack.fail("chat.update", *chance.choices(faults, k=chance.randint(0, 1)))
        run(at_most=chance.choice([0, 1, 2, None]))
    assert until_rest().is_drained

    one = ledger.incident(key)
    true = amended_notice(one, Reason.UPDATED, known_at=clock(), book="live")
    for text in notices(slack):
        label, *rest = text.split(" | ")
        assert (label, "take it on" in rest) == (true.label, Action.ACKNOWLEDGE in true.actions)
    keys = [message.delivery_key for message in slack.workspace.messages]
    assert len(keys) == len(set(keys))


# --- a message that speaks for several ------------------------------------------------


SUBJECTS = ("dy_oxide", "nd_oxide", "tb_oxide")


def three(ledger: SqlLedger, run, clock) -> list[str]:
    """Three criticals of one rule at once, told in one thread: their ids, the leader's first."""
    readings = [make_reading(1, subject, CRITICAL) for subject in SUBJECTS]
    made = [one.incident for one in judge(ledger, clock, *readings)]
    run()
    return [made[0].id, made[1].id, made[2].id]


def attended(ledger: SqlLedger, clock):
    return ledger.attend("live", now=clock(), compose=compose, desk=DESK)


def test_taking_on_a_message_that_speaks_for_several_calls_nobody_for_any_of_them(
    ledger, slack, run, clock
):
    keys = three(ledger, run, clock)
    decision = take(ledger, clock, keys[0])
    assert decision.with_it == 2
    assert [ledger.incident(key).acknowledged_by for key in keys] == ["priya"] * 3
    headline = ledger.incident(keys[0]).reading.headline
    notes = [ledger.transitions(key)[-1].note for key in keys]
    assert notes == ["by priya", *[f"by priya, with “{headline}”"] * 2]
    assert run().is_drained
    assert ["Taken on by priya" in one.text for one in slack.workspace.messages] == [True] * 3
    clock.at += DAY
    assert attended(ledger, clock) == ()
    assert notices(slack) == []


def test_one_that_rises_after_its_message_was_taken_on_is_called_for_by_itself(
    ledger, slack, run, clock
):
    member = make_reading(1, "nd_oxide", WARNING)
    leader, led = (
        one.incident.id
        for one in judge(ledger, clock, make_reading(1, "dy_oxide", CRITICAL), member)
    )
    run()
    take(ledger, clock, leader)
    clock.at += HOUR
    judge(ledger, clock, make_reading(2, "nd_oxide", CRITICAL))
    run()
    clock.at += HOUR
    (called,) = [one for one in attended(ledger, clock) if one.calls]
    assert called.incident.id == led


def test_taking_on_one_of_several_concerns_that_one_alone(ledger, run, clock):
    keys = three(ledger, run, clock)
    assert take(ledger, clock, keys[1]).with_it == 0
    taken = [ledger.incident(key).acknowledged_by for key in keys]
    assert taken == ["", "priya", ""]
    # Whoever has it keeps it when another takes on the rest.
    decision = ask(ledger, clock, keys[0], acknowledge, by="ravi")
    assert decision.with_it == 1
    taken = [ledger.incident(key).acknowledged_by for key in keys]
    assert taken == ["ravi", "priya", "ravi"]
    clock.at += HOUR
    assert attended(ledger, clock) == ()


def test_a_snooze_of_a_message_that_speaks_for_several_is_a_snooze_of_each(ledger, run, clock):
    keys = three(ledger, run, clock)
    until = clock() + DAY
    assert ask(ledger, clock, keys[0], snooze, by="priya", until=until).with_it == 2
    assert [ledger.incident(key).snoozed_until for key in keys] == [until] * 3
    clock.at += HOUR
    assert attended(ledger, clock) == ()
    assert ask(ledger, clock, keys[0], unsnooze).with_it == 2
    assert [ledger.incident(key).snoozed_until for key in keys] == [None] * 3


def test_what_has_ended_in_the_thread_is_left_as_it_is(ledger, run, clock):
    keys = three(ledger, run, clock)
    judge(ledger, clock, clear(2, "nd_oxide"))
    assert take(ledger, clock, keys[0]).with_it == 1
    assert ledger.incident(keys[1]).acknowledged_at is None
    assert len(ledger.transitions(keys[1])) == 2


def test_taking_it_on_again_does_nothing_to_any_of_them(ledger, run, clock):
    keys = three(ledger, run, clock)
    take(ledger, clock, keys[0])
    assert ask(ledger, clock, keys[0], acknowledge, by="ravi").with_it == 0
    assert [len(ledger.transitions(key)) for key in keys] == [2, 2, 2]


# --- pressed in Slack -----------------------------------------------------------------


RULES = """
[routes.buyers]
channel = "#alerts"
escalate_after_hours = 1
escalate_to = "board"
[routes.board]
channel = "#on-call"
mention = "here"
[rules.magnet-exports-drop]
type = "volume_drop"
series = "cn_magnet_exports"
warning = { enter = 0.6, exit = 0.75 }
critical = { enter = 0.4, exit = 0.5 }
route = "buyers"
"""


@pytest.fixture
def service(slack, clock, sqlite_template, tmp_path):
    """A service whose criticals are told to #on-call when nobody takes them on for an hour."""
    shutil.copy(sqlite_template, tmp_path / "lodestone.db")
    environment = {
        "LODESTONE_HOME": str(tmp_path),
        "LODESTONE_SLACK_TOKEN": TOKEN,
        "LODESTONE_SLACK_BASE_URL": slack.api_url,
        "LODESTONE_SLACK_MIN_INTERVAL_SECONDS": "0",
        "LODESTONE_SLACK_RECONCILE_SECONDS": "1",
    }
    ruleset = load_ruleset(
        [("rules.toml", RULES)],
        known_series={"cn_magnet_exports"},
        known_markets=set(),
        known_scenarios=set(),
    )
    with closing(wiring.build(load_settings(environment, tmp_path / "none.toml"))) as opened:
        yield replace(opened, ruleset=ruleset, clock=clock)


def at_work(service, *readings) -> None:
    """One look at what rules say, and one after what is open; then everything is sent."""
    at = Moment(service.clock(), LIVE_BOOK, live=False)
    tell = teller(service, at, "", None, draws=False)
    how = {"now": at.known_at, "compose": tell.entries, "desk": desk_of(service)}
    service.ledger.judge(LIVE_BOOK, [Judgement(one, OPTIONS) for one in readings], **how)
    tell = teller(service, at, "", None, draws=False)
    service.ledger.attend(LIVE_BOOK, **how | {"compose": tell.entries})
    left = steps.deliver(service, at).left
    assert (left.pending, left.unknown, left.dead) == (0, 0, 0)


def drop(number: int, severity: Severity | None = CRITICAL, **changes):
    """One of several falls that share a message, since they are of one rule."""
    own = {"fingerprint": f"f{number}", "subject": f"s{number}", "chart": None}
    return builders.make_reading(severity, **own | changes)


def pressed(service, slack, message, times: int = 1) -> list[str]:
    """Somebody presses Acknowledge; what the ledger keeps as the answer, once for each delivery."""
    listener = Listener(service, None)
    click = slack.click(message, "lodestone:acknowledge")
    for _ in range(times):
        assert listener.hear(click.payload)
        listener.apply_waiting()
    steps.deliver(service, Moment(service.clock(), LIVE_BOOK, live=False))
    return [one.outcome for one in listener._store.recent()]


def buttons(message) -> list[str]:
    parts = [part for block in message.blocks for part in block.get("elements", ())]
    return [part["action_id"] for part in parts if part.get("type") == "button"]


def test_a_press_on_a_call_changes_the_call_and_the_alert(service, slack, clock):
    at_work(service, drop(1))
    clock.at += HOUR
    at_work(service)
    (notice,) = slack.workspace.roots("#on-call")
    assert OPEN in notice.text
    assert "lodestone:acknowledge" in buttons(notice)

    pressed(service, slack, notice)

    (alert,) = slack.workspace.roots("#alerts")
    for message in (notice, alert):
        assert "Taken on by priya" in message.text
        assert "lodestone:acknowledge" not in buttons(message)
    assert OPEN not in notice.text
    at_work(service, drop(1, None, input_id="input-2"))
    assert "Resolved" in notice.text


def test_a_press_on_a_message_that_speaks_for_three_says_so_and_nobody_is_called(
    service, slack, clock
):
    at_work(service, *map(drop, range(3)))
    (alert,) = slack.workspace.roots("#alerts")
    (answer,) = pressed(service, slack, alert, times=2)
    assert answer.endswith("You have taken this on, and the 2 told with it. Nobody else is called.")
    clock.at += DAY
    at_work(service)
    assert slack.workspace.roots("#on-call") == []
    steps_taken = [
        len(service.ledger.transitions(one.id)) for one in service.ledger.incidents(LIVE_BOOK)
    ]
    assert steps_taken == [2, 2, 2]
