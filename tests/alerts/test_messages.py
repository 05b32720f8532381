from dataclasses import replace
from datetime import timedelta

import pytest

from alerts import telling
from alerts.interactions import Action
from alerts.lifecycle import Reason, State
from alerts.messages import (
    CAPTION_LIMIT,
    Message,
    call_notice,
    chart_caption,
    numbers_message,
    root_message,
    transition_reply,
)
from alerts.rules import HEADLINE_LIMIT, Fact, Severity
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
        "May 2025 at 25 % and Apr 2025 at 52 % of the 12-month mean; the critical limit is "
        "two months running below 60 % of the 12-month mean. "
        "On 21 May 2025 it was 52 % of the 12-month mean."
    )
    assert message.drivers[0] == ("May 2025: 1,238 t, -53 % on Apr 2025; known from 20 Jun 2025.")
    assert any("5 of 11 months rest on low-confidence" in fact.value for fact in message.facts)


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_every_message_can_be_read_on_a_phone(name):
    message = SAMPLES[name]

    assert len(message.headline) <= HEADLINE_LIMIT
    # That the service is alive has no reason of its own.
    assert message.why_now or name == "heartbeat"
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
        "Owner: Magnet desk",
    )


def test_an_operator_learns_which_source_how_old_the_limit_and_what_to_do():
    message = SAMPLES["stale_source"]

    assert message.headline == (
        "Rare-earth oxide prices (KOMIS): no new figure for 60 days (limit 45 days)"
    )
    assert message.why_now == (
        "On 21 Jun 2025 the newest figure was 60 days old; the limit is 45 days."
    )
    assert message.lead.endswith(
        "It ends when every watched series of this source has a newer figure."
    )
    assert message.advice.startswith("Newer prices come with lodestone ingest --live.")


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
        (make_incident(severity=Severity.CRITICAL), Reason.RENEWED, "Still critical"),
        (make_incident(), Reason.RENEWED, "Still a warning"),
        (make_incident(), Reason.WOKEN, "Snooze over, still a warning"),
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


@pytest.mark.parametrize(("times", "said"), [(1, "once"), (3, "3 times")])
def test_being_said_again_is_counted(times, said):
    message = root(make_incident(renewals=times), Reason.RENEWED)

    assert f"It was said again {said}, since it still held when its time was over." in message.lead


def test_coming_back_is_counted():
    message = root(make_incident(episode=3), Reason.REOPENED)

    assert "It has opened 3 times since 14 Jun 2025." in message.lead


RISE = make_reading(
    Severity.WARNING,
    type="price_spike",
    holds=Severity.CRITICAL,
    exits=(
        (Severity.CRITICAL, "the chance falls below 60 %"),
        (Severity.WARNING, "the chance falls below 35 %"),
    ),
)
CRITICAL_NOW = replace(RISE, severity=Severity.CRITICAL)
BELOW_60 = replace(RISE, holds=Severity.WARNING)
IN_THE_GAP = replace(RISE, severity=None, holds=Severity.WARNING)


@pytest.mark.parametrize(
    ("severity", "state", "reading", "says"),
    [
        pytest.param(
            Severity.CRITICAL,
            State.FIRING,
            CRITICAL_NOW,
            "It ends when the chance falls below 35 %.",
            id="critical by its own figures",
        ),
        pytest.param(
            Severity.CRITICAL,
            State.FIRING,
            RISE,
            "Stays critical until the chance falls below 60 %. "
            "It ends when the chance falls below 35 %.",
            id="the figures alone would be a warning",
        ),
        pytest.param(
            Severity.CRITICAL,
            State.FIRING,
            BELOW_60,
            "Stays critical until the next figures confirm that it is less. "
            "It ends when the chance falls below 35 %.",
            id="below, and not confirmed yet",
        ),
        pytest.param(
            Severity.WARNING,
            State.FIRING,
            IN_THE_GAP,
            "Stays a warning until the chance falls below 35 %.",
            id="the figures alone would be nothing",
        ),
        pytest.param(
            Severity.WARNING,
            State.RECOVERING,
            replace(IN_THE_GAP, holds=None, is_clear=True),
            "It ends once enough figures in a row confirm that it is clear.",
            id="clear, and not confirmed yet",
        ),
    ],
)
def test_a_severity_that_is_kept_says_until_when(severity, state, reading, says):
    incident = make_incident(state, severity=severity, reading=reading)

    assert root(incident).lead == f"Open since 14 Jun 2025. {says}"


def test_what_it_was_is_told_against_the_level_of_that_time():
    message = root(
        make_incident(
            reading=replace(RISE, standing="The chance of more than 90 USD/kg is 70 %."),
            previous_value=0.62,
            previous_measured="62 % for a price above 75 USD/kg",
            previous_at=NOW,
        ),
        Reason.UPDATED,
    )

    assert message.why_now == (
        "New figures. The chance of more than 90 USD/kg is 70 %. "
        "On 21 Jun 2025 it was 62 % for a price above 75 USD/kg."
    )


def test_the_end_of_a_spike_says_where_the_price_stands():
    assert SAMPLES["price_spike_resolved"].lead == (
        "Over since 21 Jul 2025 after 30 days. The rise is no longer steep: +1 % over 3 months, "
        "since Mar 2025, where +25 % counts. The price itself stands at 91.5 USD/kg (Jun 2025), "
        "50 % above the price a year before."
    )


def test_a_source_that_stays_silent_brings_no_new_figures():
    silent = make_incident(type="stale_source", reading=make_reading(type="stale_source"))

    assert root(silent, Reason.UPDATED).why_now.startswith("Still no newer figure. ")


def test_a_look_into_the_past_does_not_claim_to_know_since_when():
    message = SAMPLES["drop_as_of_june"]
    assert message.lead.startswith("Open on 21 Jun 2025. ")

    over = root(make_incident(State.RESOLVED), Reason.RESOLVED, book="as-of 2025-06-21")
    assert over.lead == "Over on 21 Jun 2025."


def test_the_owner_of_a_rule_is_shown_when_it_has_one():
    message = root(make_incident(reading=make_reading(owner="Magnet desk")))

    assert "Owner: Magnet desk" in message.context
    assert not any("Owner" in line for line in root(make_incident()).context)


def test_a_withdrawn_alert_does_not_claim_that_all_is_well():
    assert "says nothing about whether" in root(make_incident(State.WITHDRAWN)).lead


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
        # An outbox may have noted its own things beside it.
        assert Message.from_dict(message.as_dict() | {"delivery_key": "x"}) == message


def test_a_runbook_is_a_link():
    assert SAMPLES["shortfall"].links[-1] == ("What to do", "https://example.com/shortfall")


TAKE, DAY, WEEK, WAKE, NUMBERS = (
    Action.ACKNOWLEDGE,
    Action.SNOOZE_DAY,
    Action.SNOOZE_WEEK,
    Action.UNSNOOZE,
    Action.NUMBERS,
)
TAKEN = telling.acknowledge(make_incident(), "Ravi", now=NOW).incident
ASLEEP = telling.snooze(make_incident(), "Ravi", NOW + timedelta(days=1), now=NOW).incident


@pytest.mark.parametrize(
    ("incident", "root_offers", "notice_offers"),
    [
        pytest.param(make_incident(), (TAKE, DAY, WEEK, NUMBERS), (TAKE, NUMBERS), id="open"),
        pytest.param(
            make_incident(State.RECOVERING),
            (TAKE, DAY, WEEK, NUMBERS),
            (TAKE, NUMBERS),
            id="easing",
        ),
        pytest.param(TAKEN, (DAY, WEEK, NUMBERS), (NUMBERS,), id="taken on"),
        pytest.param(ASLEEP, (TAKE, WAKE, NUMBERS), (TAKE, NUMBERS), id="snoozed"),
        pytest.param(make_incident(State.RESOLVED), (NUMBERS,), (NUMBERS,), id="resolved"),
        pytest.param(make_incident(State.EXPIRED), (NUMBERS,), (NUMBERS,), id="expired"),
        pytest.param(make_incident(State.WITHDRAWN), (NUMBERS,), (NUMBERS,), id="withdrawn"),
    ],
)
def test_what_can_be_asked_follows_how_the_alert_stands(incident, root_offers, notice_offers):
    how = {"known_at": NOW, "book": "live"}

    assert root(incident).actions == root_offers
    assert root(incident).incident == incident.id
    assert transition_reply(incident, Reason.RENEWED, **how).actions == ()
    assert call_notice(incident, Reason.UNACKNOWLEDGED, **how).actions == notice_offers
    assert numbers_message(incident, **how).actions == ()


def test_of_a_look_into_the_past_only_the_numbers_can_be_asked():
    how = {"known_at": NOW, "book": "as-of 2025-06-21"}

    for incident in (make_incident(), TAKEN, ASLEEP, make_incident(State.RESOLVED)):
        assert root(incident, book=how["book"]).actions == (NUMBERS,)
        assert call_notice(incident, Reason.UNACKNOWLEDGED, **how).actions == (NUMBERS,)


def test_a_message_of_an_older_version_has_no_buttons():
    stored = root(make_incident()).as_dict()
    del stored["incident"], stored["actions"]

    message = Message.from_dict(stored)

    assert (message.incident, message.actions) == ("", ())


def numbers(incident) -> dict[str, str]:
    message = numbers_message(incident, known_at=NOW, book="live")
    assert message.kind == "numbers"
    return {fact.label: fact.value for fact in message.facts}


def test_the_numbers_hold_everything_that_was_measured_and_what_ends_it():
    incident = drop_of_2025("2025-05-21", "2025-06-21").incident
    found = numbers(incident)

    assert found["Measure"] == "25 % of the 12-month mean"
    assert found["Before"] == "52 % of the 12-month mean (21 May 2025)"
    until = "two months running are at 75 % of the 12-month mean or above"
    assert found["Critical and warning end when"] == until
    assert found.items() >= {(fact.label, fact.value) for fact in incident.reading.facts}
    message = numbers_message(incident, known_at=NOW, book="live")
    assert message.why_now == incident.reading.standing
    assert message.lead.startswith("Open since 21 May 2025. ")
    assert message.drivers == incident.reading.drivers
    assert message.evidence == incident.reading.evidence
    assert "Data through May 2025" in message.context
    assert message.advice == ""


def test_the_numbers_say_what_ends_each_severity_where_that_differs():
    found = numbers(make_incident(reading=RISE))

    assert found["Critical ends when"] == "the chance falls below 60 %"
    assert found["Warning ends when"] == "the chance falls below 35 %"


@pytest.mark.parametrize("state", [State.RESOLVED, State.EXPIRED, State.WITHDRAWN])
def test_the_numbers_of_what_is_over_name_no_end_to_come(state):
    found = numbers(make_incident(state, reading=RISE))

    assert not [label for label in found if "when" in label]
    assert "Limit" in found


def test_the_numbers_of_a_rule_without_words_are_measure_limit_and_side():
    found = numbers(make_incident(previous_value=0.7, previous_at=NOW))

    assert found["Measure"] == "52 % of the mean"
    assert found["Limit"] == "below 60 % of the mean"
    assert found["Before"] == "70 % of the mean (21 Jun 2025)"


def test_the_numbers_say_how_high_it_was_and_how_often_it_opened():
    found = numbers(make_incident(peak=Severity.CRITICAL, episode=3))
    assert found["Highest so far"] == "critical"
    assert found["Times opened"] == "3 since 14 Jun 2025"

    once = numbers(make_incident())
    assert not {"Highest so far", "Times opened", "Before"} & set(once)


def test_numbers_keep_the_rules_own_words_where_both_name_the_same():
    limit = Fact("Limit", "two months running below 60 %")
    found = numbers(make_incident(reading=make_reading(facts=(limit,))))

    assert found["Limit"] == "two months running below 60 %"
