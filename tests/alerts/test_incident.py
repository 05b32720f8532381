"""An incident as plain values: what is stored is what was meant, and old rows can still be read."""

import json
from dataclasses import fields, replace
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.incident import DataState, Incident, State, incident_id, labels_of
from alerts.rules import Severity
from tests.builders import NOW, make_incident, make_reading

WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL
INSTANTS = st.datetimes(timezones=st.just(UTC))
WORDS = st.text(max_size=20)
READINGS = st.builds(
    make_reading,
    st.none() | st.sampled_from(Severity),
    value=st.floats(allow_nan=False),
    headline=WORDS,
    holds=st.none() | st.sampled_from(Severity),
    ends_on=st.none() | st.dates(),
    labels=st.lists(st.tuples(WORDS, WORDS), max_size=2).map(tuple),
    rests_on=st.lists(WORDS, max_size=2).map(tuple),
    probability=st.none() | st.floats(0, 1),
    exits=st.lists(st.tuples(st.sampled_from(Severity), WORDS), max_size=2).map(tuple),
)
INCIDENTS = st.builds(
    make_incident,
    st.sampled_from(State),
    reading=READINGS,
    severity=st.sampled_from(Severity),
    peak=st.sampled_from(Severity),
    previous_at=st.none() | INSTANTS,
    read_at=st.none() | INSTANTS,
    told_state=st.none() | st.sampled_from(State),
    told_at=st.none() | INSTANTS,
    data_state=st.sampled_from(DataState),
    data_why=WORDS,
    data_since=st.none() | INSTANTS,
    acknowledged_by=WORDS,
    acknowledged_at=st.none() | INSTANTS,
    snoozed_by=WORDS,
    snoozed_until=st.none() | INSTANTS,
    snoozed_at=st.none() | st.sampled_from(Severity),
    held=WORDS,
    held_by=WORDS,
    called_at=st.none() | INSTANTS,
    claim_ends_on=st.none() | st.dates(),
    leader=WORDS,
    beside=st.lists(WORDS, max_size=3).map(tuple),
)


@given(INCIDENTS)
def test_every_field_of_an_incident_survives_json(incident):
    assert Incident.from_dict(json.loads(json.dumps(incident.as_dict()))) == incident


def test_no_field_is_left_out_when_it_is_stored():
    assert set(make_incident().as_dict()) == {field.name for field in fields(Incident)}


def test_an_incident_of_an_older_version_is_read_with_nothing_of_what_it_did_not_know():
    stored = make_incident().as_dict()
    newer = ["data_state", "data_why", "data_since", "acknowledged_by", "acknowledged_at"]
    newer += ["snoozed_by", "snoozed_until", "snoozed_at", "held", "held_by", "called_at"]
    newer += ["leader", "beside", "crossings"]
    for name in newer:
        del stored[name]
    for name in ("ends_on", "labels", "rests_on", "probability", "exits"):
        del stored["reading"][name]
    assert Incident.from_dict(stored) == make_incident()


def test_an_incident_that_knew_one_moment_has_read_and_judged_at_it():
    stored = make_incident(read_at=NOW).as_dict()
    del stored["reading_at"]
    assert Incident.from_dict(stored).reading_at == NOW


@pytest.mark.parametrize("state", State)
def test_a_state_is_pending_or_open_or_ended_and_never_two_of_them(state):
    assert [state is State.PENDING, state.is_open, state.is_ended].count(True) == 1


def test_labels_say_how_loud_it_stands_and_not_how_loud_the_last_reading_was():
    reading = make_reading(None, is_clear=False, labels=(("market", "world-ndfeb"),))
    incident = make_incident(reading=reading, severity=CRITICAL)
    assert incident.labelled() == {
        "type": "volume_drop",
        "rule": "magnet-exports-drop",
        "subject": "cn_magnet_exports",
        "market": "world-ndfeb",
        "severity": "critical",
    }


def test_a_label_of_a_rule_cannot_pretend_another_severity():
    reading = make_reading(labels=(("severity", "critical"),))
    assert labels_of(reading, WARNING)["severity"] == "warning"


def test_a_story_has_the_same_id_on_every_machine_and_another_story_has_another():
    stories = [("live", "f1", 1), ("live", "f1", 2), ("live", "f2", 1), ("as-of", "f1", 1)]
    assert len({incident_id(*story) for story in stories}) == len(stories)
    assert incident_id("live", "f1", 1) == "48f036bf-1d50-551d-a89f-8ecd1833fc6e"


def test_an_incident_cannot_be_changed_in_place():
    with pytest.raises(AttributeError):
        make_incident().state = State.RESOLVED
    assert replace(make_incident(), state=State.RESOLVED).state is State.RESOLVED
