"""How fast a channel is spoken to: one post a second, whoever makes it, and never in the way of other channels."""

from collections import defaultdict
from datetime import timedelta
from functools import partial
from itertools import pairwise

import pytest

from alerts.delivery import deliver
from tests.delivery.helpers import (
    NOON,
    OPTIONS,
    clear,
    compose,
    make_reading,
    record,
    with_chart,
)
from tests.slack_standin import Fault

PACE = timedelta(seconds=1)


@pytest.fixture
def run(ledger, sender, clock):
    def call(**options):
        return deliver(ledger, sender, now=clock, pace=options.pop("pace", PACE), **options)

    return call


def tell(ledger, count, channel="#alerts", first=0):
    for number in range(first, first + count):
        record(ledger, make_reading(1, f"s{number}"), compose=partial(compose, channel=channel))


def sent_by_channel(ledger):
    found = defaultdict(list)
    for entry in ledger.entries():
        assert entry.sent_at is not None, entry
        found[entry.channel].append(entry.sent_at)
    return {channel: sorted(instants) for channel, instants in found.items()}


def test_posts_of_a_channel_are_a_pace_apart_and_those_of_another_go_on_meanwhile(
    ledger, until_rest, clock
):
    began = clock.at
    tell(ledger, 4)
    tell(ledger, 4, "#other", first=4)
    until_rest()
    found = sent_by_channel(ledger)
    for instants in found.values():
        gaps = [after - before for before, after in pairwise(instants)]
        assert min(gaps) >= PACE
    # Side by side: both are done in the time of one.
    assert clock.at - began < 5 * PACE


def test_the_workspace_as_a_whole_has_a_limit_too(ledger, until_rest, clock):
    for number in range(10):
        tell(ledger, 1, f"#c{number}", first=number)
    began = clock.at
    until_rest()
    instants = sorted(at for (at,) in sent_by_channel(ledger).values())
    gaps = [after - before for before, after in pairwise(instants)]
    assert min(gaps) >= PACE / 5
    assert clock.at - began < 3 * PACE


def test_one_call_sends_what_the_pace_allows_and_says_when_the_next_is_due(ledger, run, clock):
    tell(ledger, 3)
    report = run()
    assert (report.sent, report.pending) == (1, 2)
    assert report.next_due_at == clock.at + PACE
    assert run().sent == 0
    clock.forward(0.99)
    assert run().sent == 0
    clock.forward(0.01)
    assert run().sent == 1


def test_a_slow_answer_is_not_followed_too_closely(ledger, run, slack, clock):
    tell(ledger, 2)
    slack.fail("chat.postMessage", Fault("hook", hook=lambda: clock.forward(1.5)))
    assert run().sent == 1
    clock.forward(0.99)
    assert run().sent == 0
    clock.forward(0.01)
    assert run().sent == 1


def test_two_workers_keep_one_pace(ledger, sender, slack, clock):
    tell(ledger, 3)
    both = [deliver(ledger, sender, now=clock, pace=PACE) for _ in range(2)]
    assert [report.sent for report in both] == [1, 0]
    assert len(slack.workspace.roots()) == 1


def test_edits_do_not_wait_for_posts_and_have_a_pace_of_their_own(ledger, run, slack, clock):
    tell(ledger, 3)
    for _ in range(3):
        run()
        clock.forward(1)
    for number in range(3):
        record(ledger, make_reading(2, f"s{number}"), NOON + timedelta(hours=1))
    tell(ledger, 1, first=3)
    assert run().sent == 1  # the oldest edit; the post waits for the workspace's own pace only
    clock.forward(0.2)
    assert run().sent == 1
    assert len(slack.workspace.roots()) == 4
    assert len(slack.calls("chat.update")) == 1
    clock.forward(0.8)
    assert run().sent == 1
    assert len(slack.calls("chat.update")) == 2


def test_a_clock_that_was_set_back_does_not_silence_a_channel(ledger, run, clock):
    tell(ledger, 2)
    run()
    clock.forward(-3600)
    assert run().sent == 1


def test_without_a_pace_everything_goes_at_once(ledger, run):
    tell(ledger, 5)
    assert run(pace=timedelta(0)).sent == 5


def test_a_post_that_may_go_now_passes_one_whose_channel_has_to_wait(ledger, run, slack):
    tell(ledger, 2)
    tell(ledger, 1, "#other", first=2)
    run(pace=timedelta(0), at_most=1)
    slack.fail("chat.postMessage", Fault("status", applied=False, status=429))
    run(pace=timedelta(0))
    assert len(slack.workspace.roots("#other")) == 1


def test_a_request_to_stop_is_heard_between_two_messages(ledger, run, slack):
    tell(ledger, 3)
    report = run(pace=timedelta(0), is_stopped=lambda: len(slack.workspace.roots()) == 2)
    assert (report.sent, report.pending) == (2, 1)


def test_a_rate_limit_of_edits_holds_all_edits_and_no_post(ledger, run, slack, clock):
    for number, channel in enumerate(("#alerts", "#other")):
        tell(ledger, 1, channel, first=number)
    run(pace=timedelta(0))
    for number, channel in enumerate(("#alerts", "#other")):
        edited = partial(compose, channel=channel)
        later = NOON + timedelta(hours=1)
        record(ledger, make_reading(2, f"s{number}"), later, compose=edited)
    tell(ledger, 1, first=2)
    limited = Fault("status", applied=False, status=429, headers={"Retry-After": "30"})
    slack.fail("chat.update", limited)
    report = run(pace=timedelta(0))
    assert len(slack.calls("chat.update")) == 1
    assert len(slack.workspace.roots("#alerts")) == 2
    assert report.next_due_at >= clock.at + timedelta(seconds=30)
    clock.at = report.next_due_at
    run(pace=timedelta(0))
    assert len(slack.calls("chat.update")) == 3


def test_a_reply_keeps_the_pace_of_the_channel_that_its_thread_stands_in(ledger, run, slack, clock):
    tell(ledger, 1, "#warn")
    run()
    clock.forward(10)
    tell(ledger, 1, "#warn", first=1)
    limited = Fault("status", applied=False, status=429, headers={"Retry-After": "60"})
    slack.fail("chat.postMessage", limited)
    run()
    # It ends; by then its route leads elsewhere, but its thread does not.
    moved = partial(compose, channel="#crit")
    record(ledger, clear(2, "s0"), NOON + timedelta(hours=1), compose=moved)
    before = len(slack.calls("chat.postMessage"))
    clock.forward(20)
    run(pace=timedelta(0))
    assert len(slack.calls("chat.postMessage")) == before
    clock.forward(60)
    run(pace=timedelta(0))
    assert len(slack.calls("chat.postMessage")) == before + 2


def test_channels_with_a_long_backlog_do_not_starve_the_others(ledger, run, slack, clock):
    for full in range(4):
        tell(ledger, 10, f"#full{full}", first=10 * full)
    tell(ledger, 1, "#quiet", first=40)
    for _ in range(8):
        run(at_most=1)
        clock.forward(0.5)
    assert len(slack.workspace.roots("#quiet")) == 1


def test_what_has_happened_goes_before_drills(ledger, run, slack):
    for number in range(5):
        ledger.record(
            "drill 2026-11-30T12:00:00.000000",
            make_reading(1, f"d{number}"),
            OPTIONS,
            now=NOON,
            compose=compose,
        )
    tell(ledger, 1)
    run(at_most=1)
    (first,) = slack.workspace.roots()
    assert "s0" in first.text


def test_a_redrive_does_not_forget_what_slack_asked_to_wait_for(ledger, run, slack, clock):
    tell(ledger, 2)
    limited = Fault("status", applied=False, status=429, headers={"Retry-After": "120"})
    slack.fail("chat.postMessage", limited)
    run()
    ledger.redrive()
    clock.forward(60)
    run()
    assert len(slack.calls("chat.postMessage")) == 1
    (wait,) = ledger.summary("live", clock()).waits
    assert "#alerts" in wait
    assert "wait 120 s" in wait


def test_a_chart_that_slack_asks_to_wait_for_all_day_is_given_up_some_day(
    ledger, run, slack, clock
):
    record(ledger, make_reading(1), compose=with_chart)
    limited = Fault("status", applied=False, status=429, headers={"Retry-After": "3600"})
    slack.fail("files.getUploadURLExternal", *[limited] * 50)
    for _ in range(12):
        report = run(pace=timedelta(0))
        clock.forward(3601)
    assert report.dead_charts == 1


def test_a_chart_that_slack_asks_to_wait_for_is_not_given_up(ledger, run, slack, clock):
    record(ledger, make_reading(1), compose=with_chart)
    limited = Fault("status", applied=False, status=429, headers={"Retry-After": "5"})
    slack.fail("files.getUploadURLExternal", *[limited] * 5)
    for _ in range(8):
        run(pace=timedelta(0))
        clock.forward(6)
    (root,) = slack.workspace.roots()
    assert len(slack.workspace.thread(root.ts)) == 1
