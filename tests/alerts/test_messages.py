from dataclasses import replace

import pytest

from alerts.lifecycle import Reason, State
from alerts.messages import (
    CAPTION_LIMIT,
    Message,
    chart_caption,
    delivery_key,
    root_message,
    transition_reply,
)
from alerts.rules import HEADLINE_LIMIT, Severity
from tests.alerts.samples import drop_of_2025, samples
from tests.builders import NOW, make_incident, make_reading

SAMPLES = samples()


def root(incident, reason=Reason.OPENED, book="live") -> Message:
    return root_message(incident, reason, known_at=NOW, book=book)


def test_the_drop_of_june_2025_in_a_buyers_words():
    message = SAMPLES["drop_raised_root"]

    assert message.label == "Critical"
    assert message.headline == (
        "China's exports of rare-earth magnets: 1,238 t in May 2025, "
        "75 % below the 12-month mean, second month running"
    )
    assert message.lead == (
        "Open since 21 May 2025. It ends when two months running are at 75 % "
        "of the 12-month mean or above."
    )
    assert message.why_now == (
        "Was 52 % of the 12-month mean on 21 May 2025. May 2025 at 25 % and Apr 2025 at 52 % "
        "of the 12-month mean; the critical limit is two months running below 60 % "
        "of the 12-month mean."
    )
    assert message.drivers[0] == ("May 2025: 1,238 t, -53 % on Apr 2025; published 20 Jun 2025.")
    assert any("5 of 11 months rest on low-confidence" in fact.value for fact in message.facts)


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_every_message_can_be_read_on_a_phone(name):
    message = SAMPLES[name]

    assert len(message.headline) <= HEADLINE_LIMIT
    assert message.why_now
    assert message.facts
    for text in (message.headline, message.lead, message.why_now):
        assert "6f1c0a52" not in text
        assert "nd_oxide" not in text
        assert "cn_magnet_exports" not in text
    words = f"{message.lead} {message.why_now} {' '.join(message.drivers)}"
    for jargon in ("P50", "P90", "quantile", "CRPS", "prediction interval"):
        assert jargon not in words


def test_a_replay_is_marked_and_a_live_message_is_not():
    message = SAMPLES["drop_as_of_june"]
    assert message.replay == "Replay: as known on 21 Jun 2025"
    assert "Not a live alert" in message.context

    live = SAMPLES["price_spike"]
    assert live.replay == ""
    assert "Not a live alert" not in live.context


def test_a_message_says_when_it_was_known_and_how_far_the_data_go():
    assert SAMPLES["price_spike"].context == (
        "As known on 21 Jun 2025, 23:59 UTC",
        "Data through May 2025",
        "Rule: oxide-price-spike",
    )


def test_an_operator_learns_which_source_how_old_the_limit_and_what_to_do():
    message = SAMPLES["stale_source"]

    assert message.headline == (
        "Rare-earth oxide prices (KOMIS): no new figure for 60 days (limit 45 days)"
    )
    assert message.why_now == "The newest figure is 60 days old; the limit is 45 days."
    assert message.advice.startswith("Run lodestone ingest --live")


def test_something_that_is_over_gives_no_advice():
    message = SAMPLES["drop_resolved_root"]

    assert message.label == "Resolved"
    assert message.lead == "Over since 21 Sep 2025 after 123 days."
    assert message.advice == ""


@pytest.mark.parametrize(
    ("incident", "label"),
    [
        pytest.param(make_incident(), "Warning", id="firing"),
        pytest.param(
            make_incident(reading=make_reading(None, is_clear=False)), "Warning, easing", id="gap"
        ),
        pytest.param(make_incident(State.RECOVERING), "Warning, easing", id="recovering"),
        pytest.param(make_incident(State.RESOLVED), "Resolved", id="resolved"),
        pytest.param(make_incident(State.WITHDRAWN), "Withdrawn", id="withdrawn"),
    ],
)
def test_the_label_is_a_word_for_severity_or_end(incident, label):
    assert root(incident).label == label


@pytest.mark.parametrize(
    ("incident", "reason", "label"),
    [
        (make_incident(severity=Severity.CRITICAL), Reason.ESCALATED, "Raised to critical"),
        (make_incident(State.RESOLVED), Reason.RESOLVED, "Resolved"),
        (make_incident(State.WITHDRAWN), Reason.WITHDRAWN, "Withdrawn"),
        (make_incident(State.WITHDRAWN), Reason.LIMIT_CHANGED, "Withdrawn"),
        (make_incident(), Reason.LIMIT_CHANGED, "Limit changed, now warning"),
        (make_incident(episode=2), Reason.UNCHANGED, "Open again, warning"),
    ],
)
def test_a_reply_says_what_has_changed(incident, reason, label):
    reply = transition_reply(incident, reason, known_at=NOW, book="live")

    assert (reply.kind, reply.label) == ("reply", label)


def test_every_reason_has_a_why_now():
    for reason in Reason:
        text = root(make_incident(previous_value=0.7, previous_at=NOW), reason).why_now
        assert text.endswith(".")
        assert "None" not in text


def test_coming_back_is_counted():
    message = root(make_incident(episode=3), Reason.REOPENED)

    assert "It has opened 3 times since 14 Jun 2025." in message.lead


def test_a_withdrawn_alert_does_not_claim_that_all_is_well():
    assert "says nothing about whether" in root(make_incident(State.WITHDRAWN)).lead


def test_delivery_keys_differ_for_every_post_and_stay_the_same_for_the_root():
    first = make_incident(revision=1)
    later = replace(first, revision=2)
    assert delivery_key(first, "root") == delivery_key(later, "root")
    assert delivery_key(first, "reply") != delivery_key(later, "reply")
    assert delivery_key(first, "reply") != delivery_key(first, "chart")


def test_a_caption_tells_the_number_to_who_cannot_see_the_picture():
    incident = drop_of_2025("2025-05-21", "2025-06-21").incident
    caption = chart_caption(incident, known_at=NOW, book="as-of 2025-06-21")

    assert caption.startswith("Monthly volume and its limit. China's exports")
    assert "1,238 t in May 2025" in caption
    assert caption.endswith("Data through May 2025. Replay: as known on 21 Jun 2025.")
    long = make_incident(reading=make_reading(headline="x" * 2000))
    assert len(chart_caption(long, known_at=NOW, book="live")) <= CAPTION_LIMIT


def test_a_message_survives_being_stored():
    for message in SAMPLES.values():
        assert Message.from_dict(message.as_dict()) == message


def test_a_runbook_is_a_link():
    assert SAMPLES["shortfall"].links[-1] == ("What to do", "https://example.com/shortfall")
