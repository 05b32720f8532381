"""flows/health.py and flows/storage/backlog.py: who hears of messages that don't arrive, and whether the service lives."""

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import update

from alerts import heartbeat
from alerts.delivery import lease_for
from alerts.incident import Incident, State
from alerts.ledger import EntryKind, NewEntry, OutboxState
from alerts.rules import DEFAULT_OPTIONS, Severity, Undelivered
from alerts.ruleset import load_ruleset
from alerts.telling import acknowledge
from flows import cli, health, steps
from flows.desk import drill, end_old_drills
from flows.health import Trouble, outbox, troubles
from flows.known import RAISE_STEP, undelivered
from flows.postroom import sender
from flows.service import LIVE_BOOK, Moment, Service
from flows.settings import load_settings
from flows.storage.backlog import Backlog, Owed
from flows.storage.tables import outbox as outbox_table
from flows.wiring import build
from forecasting.results import UnsentMessage
from tests.builders import make_reading
from tests.delivery.helpers import Clock
from tests.flows.cli_home import LendDatabase, answer, own_home
from tests.slack_standin import Fault, StandIn

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
TOKEN = "xoxb-test"
RULES = """
[routes.buyers]
channel = "#magnets"
[routes.operators]
channel = "#operators"
[rules.lost]
type = "undelivered"
cooldown_days = 0
"""


@pytest.fixture
def slack() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock(NOON)


@pytest.fixture
def service(
    tmp_path: Path,
    lend_service_database: LendDatabase,
    sqlite_template: Path,
    slack: StandIn,
    clock: Clock,
) -> Iterator[Service]:
    """A service on the stand-in whose clock moves only when told to; it waits for nothing."""
    with lend_service_database() as url:
        shutil.copy(sqlite_template, tmp_path / "lodestone.db")  # used where no other is lent
        variables = {
            "LODESTONE_HOME": str(tmp_path),
            "LODESTONE_DATABASE_URL": url,
            "LODESTONE_SLACK_TOKEN": TOKEN,
            "LODESTONE_SLACK_BASE_URL": slack.api_url,
            "LODESTONE_SLACK_MIN_INTERVAL_SECONDS": "0",
            "LODESTONE_SLACK_HEARTBEAT": "false",
        }
        settings = load_settings(variables, tmp_path / "none.toml")
        with closing(build(settings)) as opened:
            yield with_rules(replace(opened, clock=clock, pause=clock.forward), RULES)


def with_rules(service: Service, text: str) -> Service:
    names: set[str] = set()
    ruleset = load_ruleset(
        [("rules.toml", text)], known_series=names, known_markets=names, known_scenarios=names
    )
    return replace(service, ruleset=ruleset)


def beating(service: Service) -> Service:
    return replace(service, settings=service.settings.model_copy(update={"slack_heartbeat": True}))


def now(service: Service) -> Moment:
    return Moment(service.clock(), LIVE_BOOK, live=False)


def look(service: Service) -> None:
    """What the flow deliver-alerts does every five minutes."""
    at = now(service)
    steps.watch(service, at, run_id="")
    end_old_drills(service)
    steps.deliver(service, at, patience_seconds=health.delivery_patience_seconds(service))
    steps.watch_delivery(service, now(service), run_id="")
    steps.deliver(service, now(service))


def say(
    service: Service,
    channel: str = "#magnets",
    *,
    subject: str = "dy_oxide",
    book: str = LIVE_BOOK,
    not_before: datetime | None = None,
) -> Incident:
    """An alert for a channel, written into the outbox."""
    reading = make_reading(Severity.WARNING, subject=subject, fingerprint=f"of {subject}")
    message = {"kind": "root", "headline": f"{subject} rises"}
    decision = service.ledger.record(
        book,
        reading,
        DEFAULT_OPTIONS,
        now=service.clock(),
        compose=lambda _: (NewEntry("root", "buyers", channel, message, not_before=not_before),),
    )
    assert decision.incident is not None
    return decision.incident


def notices(service: Service) -> list[Incident]:
    found = service.ledger.open_incidents(LIVE_BOOK)
    return [one for one in found if one.type == Undelivered.type]


def texts(slack: StandIn, channel: str) -> list[str]:
    return [one.text.splitlines()[0] for one in slack.workspace.roots(channel)]


# --- operators hear of it ------------------------------------------------------------


def test_operators_hear_of_a_channel_that_refuses_messages_and_of_the_end_after_the_repair(
    service, slack, clock
):
    slack.workspace.closed_channels = {"magnets": "is_archived"}
    say(service)
    say(service, subject="tb_oxide")
    look(service)
    clock.forward(300)
    look(service)
    (notice,) = notices(service)
    assert notice.reading.headline == (
        "#magnets: 2 messages given up, since 30 Nov 2026, 12:00 UTC"
    )
    (posted,) = slack.workspace.roots("#operators")
    assert "2 messages given up" in posted.text
    assert "is_archived" in str(posted.blocks)
    assert "lodestone alerts redrive" in str(posted.blocks)

    clock.forward(300)
    look(service)  # nothing new: nothing is said
    assert posted.edited == 0
    say(service, subject="nd_oxide")
    look(service)
    clock.forward(300)
    look(service)
    assert posted.edited == 1
    assert "Still stuck. #magnets: 3 messages given up" in str(posted.blocks)
    assert "On 30 Nov 2026 it was 2 stuck messages." in str(posted.blocks)

    slack.workspace.closed_channels = {}
    service.ledger.redrive()
    clock.forward(300)
    steps.watch(service, now(service), run_id="")
    assert notices(service), "not over before the messages have arrived"
    steps.deliver(service, now(service))
    assert len(texts(slack, "#magnets")) == 3
    clock.forward(300)
    look(service)
    assert notices(service) == []
    (posted,) = slack.workspace.roots("#operators")
    assert posted.text.startswith("🟢 Resolved: #magnets: no message is stuck")
    assert len(slack.workspace.thread(posted.ts)) == 1


def test_a_message_given_up_again_after_an_end_is_a_post_of_its_own(service, slack, clock):
    for _ in range(2):
        slack.workspace.closed_channels = {"magnets": "is_archived"}
        say(service, subject=f"at {clock()}")
        look(service)
        clock.forward(300)
        look(service)
        slack.workspace.closed_channels = {}
        service.ledger.redrive()
        look(service)
        clock.forward(300)
        look(service)
    assert len(texts(slack, "#operators")) == 2


def test_a_message_that_is_tried_in_vain_is_told_after_the_minutes_of_the_rule(
    service, slack, clock
):
    say(service)
    busy = Fault("status", applied=False, status=429, headers={"Retry-After": "600"})
    for minutes, told in ((0, 0), (11, 0), (22, 0), (33, 1)):
        clock.at = NOON + timedelta(minutes=minutes)
        slack.fail("chat.postMessage", busy)
        look(service)
        assert len(notices(service)) == told, minutes


def asked_to_wait(service: Service, slack: StandIn) -> None:
    fault = Fault("status", applied=False, status=429, headers={"Retry-After": "600"})
    slack.fail("chat.postMessage", fault)
    look(service)


def killed(service: Service, slack: StandIn) -> None:
    service.ledger.claim(LIVE_BOOK, service.clock(), lease_for(60))


@pytest.mark.parametrize("before", [None, asked_to_wait, killed])
def test_a_service_that_stood_still_says_nothing_of_messages_it_sends_at_once(
    service, slack, clock, before
):
    say(service)
    if before is not None:
        before(service, slack)
    clock.forward(3 * 86_400)
    # As the pulse has it: rules are judged, then what waits is delivered.
    steps.raise_alerts(service, now(service), run_id="r", draws=False)
    look(service)
    assert len(texts(slack, "#magnets")) == 1
    assert texts(slack, "#operators") == []
    assert [
        one for one in service.ledger.incidents(LIVE_BOOK) if one.type == Undelivered.type
    ] == []


def revise(service: Service, value: float) -> None:
    """A new word of the alert that `say` opened, edited into its message."""
    reading = make_reading(
        Severity.WARNING,
        subject="dy_oxide",
        fingerprint="of dy_oxide",
        value=value,
        input_id=f"at {value}",
        headline=f"dy_oxide at {value}",
        facts=(),
    )
    message = {"kind": "root", "headline": f"dy_oxide at {value}"}
    decision = service.ledger.record(
        LIVE_BOOK,
        reading,
        DEFAULT_OPTIONS,
        now=service.clock(),
        compose=lambda _: (NewEntry("root", "buyers", "#magnets", message),),
    )
    assert decision.says


def test_a_newer_word_in_the_place_of_one_that_was_given_up_ends_no_notice(service, slack, clock):
    say(service)
    look(service)
    for value in (91.0, 92.0, 93.0):
        clock.forward(86_100)
        revise(service, value)
        slack.fail("chat.update", Fault("error", applied=False, error="restricted_action"))
        look(service)
        clock.forward(300)
        look(service)
    assert texts(slack, "#operators") == [
        "🟠 Warning: #magnets: 1 message given up, since 1 Dec 2026, 11:55 UTC"
    ]
    (notice,) = notices(service)
    revise(service, 94.0)
    steps.watch_delivery(service, now(service), run_id="")
    assert [one.id for one in notices(service)] == [notice.id], "nobody has tried the newest yet"
    look(service)
    assert notices(service) == []


def test_an_edit_that_newer_words_replace_again_and_again_is_late_all_the_same(
    service, slack, clock
):
    say(service)
    look(service)
    judged(service)
    busy = Fault("status", applied=False, status=429, headers={"Retry-After": "240"})
    for step in range(5):
        revise(service, 91.0 + step)
        slack.fail("chat.update", busy)
        look(service)
        clock.forward(600)
    assert slack.workspace.roots("#magnets")[0].edited == 0
    assert "1 message waits since 30 Nov 2026, 12:00 UTC" in health.health(service, clock()).why
    assert len(texts(slack, "#operators")) == 1


def test_what_a_mute_window_keeps_is_not_stuck_nor_what_has_to_come_after_it(service, clock):
    morning = NOON + timedelta(hours=20)
    leader = say(service, not_before=morning)
    # Told in the thread of one that waits for the morning: it can't be sent before.
    member = say(service, subject="tb_oxide")
    with service.database.writing("ledger") as connection:
        mine = outbox_table.c.incident_id == member.id
        connection.execute(update(outbox_table).where(mine).values(thread_of=leader.id))
    clock.forward(7200)
    assert Backlog(service.database).owed([LIVE_BOOK], clock()) == ()
    clock.at = morning
    first, second = Backlog(service.database).owed([LIVE_BOOK], clock())
    assert (first.message.state, first.message.since) == ("waiting", morning)
    assert (second.message.since, second.message.is_tried) == (NOON, False)


def test_a_turn_that_waits_for_the_morning_is_not_stuck_though_its_alert_stands(service, clock):
    incident = say(service)
    look(service)
    morning = NOON + timedelta(hours=20)
    reply = NewEntry(
        "reply", "buyers", "#magnets", {"kind": "reply", "headline": "it rose"}, not_before=morning
    )
    service.ledger.act(
        incident.id,
        lambda one: acknowledge(one, "Asha", now=clock()),
        note="by Asha",
        now=clock(),
        compose=lambda _: (reply,),
    )
    clock.forward(7200)
    waiting = service.ledger.entries(LIVE_BOOK, states=(OutboxState.PENDING,))
    assert [one.kind for one in waiting] == [EntryKind.REPLY]
    assert Backlog(service.database).owed([LIVE_BOOK], clock()) == ()
    clock.at = morning
    (owed,) = Backlog(service.database).owed([LIVE_BOOK], clock())
    assert owed.message.since == morning


def test_nothing_is_said_of_drills_of_looks_into_the_past_nor_without_a_token(
    service, slack, clock
):
    slack.workspace.closed_channels = {"magnets": "is_archived"}
    for book in ("as-of 2025-06-21", "drill 2026-11-30T12:00:00.000000"):
        say(service, book=book, subject=book)
        steps.deliver(service, Moment(clock(), book, live=False))
    assert {one.state for one in service.ledger.entries()} == {OutboxState.DEAD}
    look(service)
    assert notices(service) == []
    say(service)
    steps.watch_delivery(replace(service, sender=None), now(service), run_id="")
    assert notices(service) == []
    look(service)
    assert undelivered(service, Moment(clock(), "as-of 2025-06-21", live=False)) == {}
    assert undelivered(service, now(service))["lost", "#magnets"]


@pytest.mark.parametrize("other", ["no token", "trial in the same channel"])
def test_whoever_judges_without_the_token_or_on_trial_keeps_what_is_open(
    service, slack, clock, other
):
    slack.workspace.closed_channels = {"magnets": "is_archived"}
    say(service)
    look(service)
    (notice,) = notices(service)
    clock.forward(300)
    trial = service.settings.model_copy(update={"slack_channel": "#magnets"})
    elsewhere = (
        replace(service, sender=None) if other == "no token" else replace(service, settings=trial)
    )
    for judge in (steps.raise_alerts, steps.watch_delivery):
        judge(elsewhere, now(service), run_id="r")
        assert [(one.id, one.state) for one in notices(service)] == [(notice.id, State.FIRING)]
    clock.forward(300)
    look(service)
    assert len(texts(slack, "#operators")) == 1
    assert slack.workspace.roots("#operators")[0].edited == 0


def test_a_notice_is_never_about_the_channel_that_it_would_go_to(service, slack, clock):
    slack.workspace.closed_channels = {"operators": "is_archived"}
    say(service, "#operators")
    look(service)
    clock.forward(300)
    look(service)
    assert notices(service) == []
    assert ("lost", "#operators") not in undelivered(service, now(service))
    left = outbox(service, LIVE_BOOK, clock())
    assert (left.dead, len(left.problems)) == (1, 1)


def test_a_route_for_it_tells_of_the_channel_of_operators_on_a_second_path(service, slack, clock):
    second = with_rules(
        service,
        RULES
        + """
[routes.second]
channel = "#it-desk"
match = { type = "undelivered", subject = "#operators" }
""",
    )
    slack.workspace.closed_channels = dict.fromkeys(("operators", "magnets"), "is_archived")
    say(second, "#operators")
    say(second, subject="tb_oxide")
    look(second)
    clock.forward(300)
    look(second)
    (told,) = slack.workspace.roots("#it-desk")
    assert "#operators: 1 message given up" in told.text
    assert len(notices(second)) == 2


def test_with_one_channel_for_everything_there_is_nobody_to_tell(service, slack):
    trial = service.settings.model_copy(update={"slack_channel": "#trial"})
    assert undelivered(replace(service, settings=trial), now(service)) == {}


def test_a_notice_that_is_refused_itself_opens_no_other_however_routes_lead(service, slack, clock):
    crossed = (
        RULES
        + """
[routes.first]
channel = "#first"
match = { type = "undelivered", subject = "#operators" }
"""
    )
    service = with_rules(service, crossed)
    slack.workspace.closed_channels = dict.fromkeys(
        ("magnets", "operators", "first"), "is_archived"
    )
    say(service)
    for _ in range(6):
        look(service)
        clock.forward(300)
    (notice,) = notices(service)
    assert notice.reading.subject == "#magnets"
    say(service, "#operators", subject="of operators")
    for _ in range(6):
        look(service)
        clock.forward(300)
    assert sorted(one.subject for one in notices(service)) == ["#magnets", "#operators"]
    assert len(service.ledger.entries(LIVE_BOOK)) == 4


def test_the_daily_look_at_all_rules_keeps_what_is_open_and_ends_what_is_over(
    service, slack, clock
):
    slack.workspace.closed_channels = {"magnets": "is_archived"}
    say(service)
    look(service)
    clock.forward(300)
    look(service)
    (notice,) = notices(service)
    clock.forward(300)
    steps.raise_alerts(service, now(service), run_id="r", draws=False)
    assert [one.id for one in notices(service)] == [notice.id]
    slack.workspace.closed_channels = {}
    service.ledger.redrive()
    look(service)
    clock.forward(300)
    steps.raise_alerts(service, now(service), run_id="r", draws=False)
    ended = service.ledger.incident(notice.id)
    assert ended is not None
    assert ended.state is State.RESOLVED


def test_a_channel_that_no_route_leads_to_any_more_is_told_of_until_its_end(service, slack, clock):
    slack.workspace.closed_channels = {"magnets": "is_archived"}
    say(service)
    look(service)
    clock.forward(300)
    look(service)
    assert len(notices(service)) == 1
    moved = with_rules(service, RULES.replace("#magnets", "#magnets-2"))
    moved.ledger.redrive(channels={"buyers": "#magnets-2"})
    look(moved)
    clock.forward(300)
    look(moved)
    assert notices(service) == []
    assert len(texts(slack, "#magnets-2")) == 1


# --- sentences -------------------------------------------------------------------------


def owing(state: str, minutes: float, reason: str = "why", channel: str = "#magnets") -> Owed:
    since = NOON - timedelta(minutes=minutes)
    message = UnsentMessage(state, since, since, reason, is_tried=bool(reason))
    return Owed(channel, "price_spike", message)


@pytest.mark.parametrize(
    ("owed", "sentences"),
    [
        pytest.param([owing("waiting", 14)], [], id="waits a little"),
        pytest.param(
            [owing("waiting", 15, "ratelimited: Slack asks to wait"), owing("waiting", 20, "")],
            [
                "#magnets: 2 messages wait since 30 Nov 2026, 11:40 UTC: ratelimited: Slack asks to wait"
            ],
            id="waits for too long",
        ),
        pytest.param(
            [owing("waiting", 60, "")],
            [
                "#magnets: 1 message waits since 30 Nov 2026, 11:00 UTC: not tried yet; "
                "`lodestone alerts deliver` sends it"
            ],
            id="nobody tries",
        ),
        pytest.param(
            [owing("unknown", 1, "timeout")],
            [
                "#magnets: unclear whether 1 message arrived, since 30 Nov 2026, 11:59 UTC: timeout; "
                "each delivery looks for it again"
            ],
            id="unclear",
        ),
        pytest.param(
            [
                owing("dead", 1, "not_in_channel: invite the app"),
                owing("dead", 3, "is_archived.\nsecond line"),
                owing("dead", 2, "not_in_channel: invite the app"),
                owing("dead", 0, "is_archived", "#other"),
            ],
            [
                "#magnets: 3 messages given up, since 30 Nov 2026, 11:57 UTC: "
                "not_in_channel: invite the app; mend it, then `lodestone alerts redrive`",
                "#other: 1 message given up, since 30 Nov 2026, 12:00 UTC: "
                "is_archived; mend it, then `lodestone alerts redrive`",
            ],
            id="given up, in two channels",
        ),
    ],
)
def test_trouble_is_one_plain_sentence_a_channel_and_kind_with_the_mend(owed, sentences):
    assert [one.sentence for one in troubles(owed, NOON)] == sentences


def test_what_may_still_be_found_is_no_trouble_to_a_watchman_at_once():
    young = [owing("unknown", 14)]
    assert troubles(young, NOON, unclear_after=health.LATE_AFTER) == ()
    assert isinstance(troubles(young, NOON)[0], Trouble)


def test_a_refused_token_is_one_sentence_until_a_message_is_sent_again(service, slack, clock):
    say(service)
    say(service, "#operators", subject="tb_oxide")
    slack.workspace.tokens = {"xoxb-another"}
    look(service)
    clock.forward(3600)
    look(service)
    (problem,) = outbox(service, LIVE_BOOK, clock()).problems
    assert problem.startswith("nothing can be sent: ")
    assert "LODESTONE_SLACK_TOKEN" in problem
    assert TOKEN not in problem
    # Between two deliveries nobody asks Slack: it stays refused until a message has gone.
    clock.forward(600)
    assert outbox(service, LIVE_BOOK, clock()).token_problem
    slack.workspace.tokens = None
    look(service)
    assert outbox(service, LIVE_BOOK, clock()).problems == ()
    assert len(slack.workspace.roots()) >= 2


def test_a_token_that_slack_takes_again_is_not_blamed_for_channels_that_are_gone(
    service, slack, clock
):
    say(service)
    slack.workspace.tokens = {"xoxb-another"}
    look(service)
    clock.forward(600)
    slack.workspace.tokens = None
    slack.workspace.closed_channels = {"magnets": "is_archived"}
    look(service)
    (problem,) = outbox(service, LIVE_BOOK, clock()).problems
    assert problem.startswith("#magnets: 1 message given up")


def test_a_token_that_somebody_else_tried_in_vain_makes_nobody_ill_for_longer_than_its_pause(
    service, slack, clock
):
    judged(service)
    say(service)
    look(service)
    clock.forward(60)
    slack.workspace.tokens = {TOKEN}
    wrong = service.settings.model_copy(update={"slack_token": SecretStr("xoxb-typo")})
    drill(replace(service, settings=wrong, sender=sender(wrong)), by="ops")
    assert outbox(service, LIVE_BOOK, clock()).token_problem
    clock.forward(61)
    assert health.health(service, clock()).is_well
    # What was written since then was kept by nothing.
    say(service, subject="tb_oxide")
    clock.forward(10)
    assert health.health(service, clock()).is_well
    look(service)
    assert len(texts(slack, "#magnets")) == 2


def test_a_refused_token_that_no_delivery_has_met_for_a_while_leaves_what_waits_to_speak(
    service, slack, clock
):
    say(service)
    slack.workspace.tokens = {"xoxb-another"}
    look(service)
    clock.forward(14 * 60)
    assert outbox(service, LIVE_BOOK, clock()).token_problem
    clock.forward(2 * 60)
    (problem,) = outbox(service, LIVE_BOOK, clock()).problems
    assert problem.startswith("#magnets: 1 message waits since 30 Nov 2026, 12:00 UTC: not tried")


def test_without_a_token_at_hand_messages_in_trouble_are_trouble_all_the_same(
    service, slack, clock
):
    judged(service)
    say(service)
    busy = Fault("status", applied=False, status=429, headers={"Retry-After": "3000"})
    slack.fail("chat.postMessage", busy)
    look(service)
    clock.forward(15 * 60)
    here = replace(service, sender=None)
    assert health.health(here, clock()) == health.health(service, clock())
    assert "1 message waits since 30 Nov 2026, 12:00 UTC: " in health.health(here, clock()).why


@pytest.mark.parametrize(("minutes", "is_well"), [(14, True), (15, False)])
def test_where_messages_were_delivered_before_a_token_that_is_not_set_is_missed(
    service, clock, minutes, is_well
):
    judged(service)
    say(service)
    look(service)
    say(service, subject="tb_oxide")
    clock.forward(minutes * 60)
    found = health.health(replace(service, sender=None), clock())
    assert found.is_well == is_well
    if not is_well:
        assert found.problems == (
            "#magnets: 1 message waits since 30 Nov 2026, 12:00 UTC: LODESTONE_SLACK_TOKEN is not set here",
        )


def test_without_a_token_whatever_waits_does_so_as_it_should(service, clock):
    say(service)
    clock.forward(7 * 86_400)
    left = outbox(replace(service, sender=None), LIVE_BOOK, clock())
    assert (left.pending, left.problems) == (1, ())
    assert left.oldest_unsent_seconds == 7 * 86_400


# --- the daily word --------------------------------------------------------------------


def test_the_first_day_posts_one_message_and_every_later_day_edits_it(service, slack, clock):
    service = beating(service)
    for _ in range(3):  # three looks on the first day
        look(service)
        clock.forward(300)
    (word,) = slack.workspace.roots("#operators")
    assert "Lodestone is alive" in word.text
    assert "1 Dec 2026, 13:00 UTC" in str(word.blocks)
    first = word.edited
    for day in (1, 2):
        clock.at = NOON + timedelta(days=day)
        look(service)
        look(service)
        assert word.edited == first + day
    assert slack.workspace.roots() == [word]
    assert slack.workspace.thread(word.ts) == []
    assert "3 Dec 2026, 13:00 UTC" in str(word.blocks)
    assert service.ledger.open_incidents(LIVE_BOOK) == ()


def test_a_word_that_was_deleted_in_slack_is_posted_anew_and_nothing_of_it_stays_stuck(
    service, slack, clock
):
    service = beating(service)
    look(service)
    (word,) = slack.workspace.roots("#operators")
    slack.workspace.messages.remove(word)
    for _ in range(4):
        clock.forward(86_400)
        look(service)
        clock.forward(300)
        look(service)
    (anew,) = slack.workspace.roots("#operators")
    assert anew.ts != word.ts
    assert "5 Dec 2026" in str(anew.blocks)
    assert outbox(service, LIVE_BOOK, clock()).dead == 0


def test_two_workers_that_move_the_word_at_once_leave_one(service, slack, clock, monkeypatch):
    service = beating(service)
    look(service)
    clock.forward(300)
    moved = with_rules(service, RULES.replace("#operators", "#watch"))
    real, has_gone = Backlog.stands_in, []

    def slow(self: Backlog, incident: str) -> str:
        found = real(self, incident)
        if not has_gone:
            has_gone.append(incident)
            look(moved)  # the other worker goes through while this one has read
        return found

    monkeypatch.setattr(Backlog, "stands_in", slow)
    look(moved)
    look(moved)
    assert len(texts(slack, "#watch")) == 1
    assert len(service.ledger.open_incidents(heartbeat.BOOK)) == 1


def test_the_word_follows_its_route_to_another_channel(service, slack, clock):
    service = beating(service)
    look(service)
    clock.forward(300)
    moved = with_rules(service, RULES.replace("#operators", "#watch"))
    look(moved)
    look(moved)
    assert len(texts(slack, "#operators")) == len(texts(slack, "#watch")) == 1


def test_a_word_that_is_refused_waits_for_the_repair_and_is_posted_once(service, slack, clock):
    service = beating(service)
    slack.workspace.closed_channels = {"operators": "is_archived"}
    for _ in range(3):
        look(service)
        clock.forward(86_400)
    assert outbox(service, LIVE_BOOK, clock()).dead == 1
    assert len(service.ledger.entries(heartbeat.BOOK)) == 1
    slack.workspace.closed_channels = {}
    service.ledger.redrive()
    look(service)
    (word,) = slack.workspace.roots("#operators")
    assert "4 Dec 2026, 13:00 UTC" in str(word.blocks)


def test_there_is_no_word_where_nobody_wants_it_or_nothing_can_be_posted(service):
    for quiet in (service, replace(beating(service), sender=None)):
        steps.watch_delivery(quiet, now(quiet), run_id="")
    health.beat(beating(service), Moment(NOON, "as-of 2026-11-29", live=False))
    assert service.ledger.incidents(heartbeat.BOOK) == ()


# --- health ----------------------------------------------------------------------------


def judged(service: Service) -> None:
    """As a run leaves it that has judged the rules."""
    at = service.clock()
    service.runs.start(f"run at {at}", LIVE_BOOK, at, at)
    service.runs.step(f"run at {at}", RAISE_STEP, 1.0, {"evaluated": 1})
    service.runs.finish(f"run at {at}", at)


def test_a_service_that_judges_and_delivers_is_well(service, clock):
    judged(service)
    say(service)
    look(service)
    clock.forward(600)
    found = health.health(service, clock())
    assert found.is_well
    assert found.problems == ()
    assert found.why == "rules were judged on 30 Nov 2026, 12:00 UTC, and no message is overdue"
    assert (found.last_evaluation_at, found.last_delivery_at) == (NOON, NOON)
    told = json.loads(json.dumps(found.as_dict()))
    assert told["is_well"] is True
    assert told["last_delivery_at"] == "2026-11-30T12:00:00+00:00"
    assert (told["pending"], told["unknown"], told["dead"]) == (0, 0, 0)
    assert told["oldest_unsent_seconds"] == 0


@pytest.mark.parametrize(("hours", "is_late"), [(25.9, False), (26, True)])
def test_rules_that_were_not_judged_for_too_long_are_late(service, clock, hours, is_late):
    judged(service)
    clock.forward(hours * 3600)
    found = health.health(service, clock())
    assert (found.is_late, found.is_well) == (is_late, not is_late)
    if is_late:
        (problem,) = found.problems
        assert "last judged on 30 Nov 2026, 12:00 UTC, longer than 26 hours ago" in problem


def test_the_strictest_rule_on_silence_says_how_long_is_late(service, clock):
    strict = with_rules(
        service,
        RULES + "[rules.a]\ntype = 'silent_pipeline'\nhours = 3\n"
        "[rules.b]\ntype = 'silent_pipeline'\nhours = 9\n",
    )
    judged(strict)
    clock.forward(4 * 3600)
    assert health.health(strict, clock()).is_late
    assert not health.health(service, clock()).is_late


def test_a_limit_of_one_hour_is_told_as_an_hour(service, clock):
    strict = with_rules(service, RULES + "[rules.a]\ntype = 'silent_pipeline'\nhours = 1\n")
    judged(strict)
    clock.forward(3600)
    assert "longer than an hour ago" in health.health(strict, clock()).why


def test_a_service_that_never_judged_a_rule_is_not_well(service, clock):
    found = health.health(service, clock())
    assert not found.is_well
    assert "no rule has been judged yet" in found.why
    assert found.as_dict()["last_evaluation_at"] is None


def test_messages_are_late_after_a_quarter_of_an_hour_but_not_those_that_a_mute_keeps(
    service, clock
):
    judged(service)
    say(service, not_before=NOON + timedelta(hours=8))
    say(service, subject="tb_oxide")
    clock.forward(14 * 60)
    found = health.health(service, clock())
    assert (found.is_well, found.pending) == (True, 1)
    assert found.oldest_unsent_seconds == 14 * 60
    clock.forward(60)
    found = health.health(service, clock())
    assert (found.is_late, found.dead) == (True, 0)
    assert "1 message waits since 30 Nov 2026, 12:00 UTC: not tried yet" in found.why


def test_a_refused_token_makes_the_service_late(service, slack, clock):
    judged(service)
    say(service)
    slack.workspace.tokens = {"xoxb-another"}
    look(service)
    found = health.health(service, clock())
    assert (found.is_late, found.is_well) == (True, False)
    assert "nothing can be sent" in found.why


def test_dead_messages_are_not_well_and_not_late(service, slack, clock):
    judged(service)
    slack.workspace.closed_channels = {"magnets": "is_archived"}
    say(service)
    look(service)
    found = health.health(service, clock())
    assert (found.dead, found.is_well, found.is_late) == (1, False, False)


def test_a_day_without_the_daily_word_says_that_nobody_delivers(service, clock):
    service = beating(service)
    look(service)
    clock.at = datetime(2026, 12, 1, 13, tzinfo=UTC)
    judged(service)
    assert health.health(service, clock()).is_well
    clock.forward(1)
    found = health.health(service, clock())
    assert found.is_late
    assert "was due on 1 Dec 2026, 13:00 UTC: does the flow deliver-alerts run?" in found.why
    look(service)
    assert health.health(service, clock()).is_well


# --- lodestone alerts health -----------------------------------------------------------


@pytest.fixture
def home(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    lend_service_database: LendDatabase,
    slack: StandIn,
) -> Iterator[Service]:
    with own_home(monkeypatch, tmp_path, lend_service_database):
        monkeypatch.setenv("LODESTONE_SLACK_TOKEN", TOKEN)
        monkeypatch.setenv("LODESTONE_SLACK_BASE_URL", slack.api_url)
        with closing(build(load_settings())) as opened:
            yield opened


def test_a_watchman_gets_an_exit_code_and_why(home, slack, capsys):
    assert cli.main(["alerts", "health"]) == 1
    assert capsys.readouterr().out.startswith("BAD  no rule has been judged yet")
    judged(home)
    assert cli.main(["alerts", "health"]) == 0
    assert capsys.readouterr().out.startswith("ok   rules were judged on ")
    assert cli.main(["alerts", "health", "--json"]) == 0
    assert answer(capsys)["is_well"] is True
    slack.fail("chat.postMessage", Fault("error", applied=False, error="is_archived"))
    say(home)
    steps.deliver(home, now(home))
    assert cli.main(["alerts", "health", "--json"]) == 3
    found = answer(capsys)
    assert (found["dead"], found["is_well"]) == (1, False)
    assert found["problems"][0].startswith("#magnets: 1 message given up, since ")


# --- storage ---------------------------------------------------------------------------


def test_what_is_set_aside_is_never_sent_and_keeps_its_reason(service, slack, clock):
    incident = say(service)
    other = say(service, subject="tb_oxide")
    assert Backlog(service.database).set_aside(incident.id, "nobody needs it") == 1
    look(service)
    (entry,) = service.ledger.entries(incident_id=incident.id)
    assert (entry.state, entry.error) == (OutboxState.SKIPPED, "nobody needs it")
    assert texts(slack, "#magnets") == ["tb_oxide rises"]
    assert Backlog(service.database).set_aside(other.id, "too late") == 0


def test_pictures_are_not_owed_because_the_text_stands(service, slack, clock):
    reading = make_reading(Severity.WARNING)
    service.ledger.record(
        LIVE_BOOK,
        reading,
        DEFAULT_OPTIONS,
        now=clock(),
        compose=lambda _: (
            NewEntry("root", "buyers", "#magnets", {"headline": "x"}),
            NewEntry("chart", "buyers", "#magnets", {}, b"png", "a chart"),
        ),
    )
    slack.fail(
        "files.getUploadURLExternal", *[Fault("error", applied=False, error="missing_scope")] * 9
    )
    look(service)
    states = {one.kind: one.state for one in service.ledger.entries(LIVE_BOOK)}
    assert states == {EntryKind.ROOT: OutboxState.SENT, EntryKind.CHART: OutboxState.DEAD}
    assert Backlog(service.database).owed([LIVE_BOOK], clock()) == ()
