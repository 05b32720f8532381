from datetime import UTC, datetime, timedelta

import pytest

from alerts.silences import MatcherError, Silence, parse_matcher

NOW = datetime(2025, 6, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
KNOWN = {
    "market": {"india-ndfeb", "world-ndfeb"},
    "rule": {"oxide-price-spike"},
    "team": {"magnets", "motors"},
    "subject": frozenset[str](),
}


def make_silence(**changes) -> Silence:
    values = {
        "id": "s1",
        "match": (("market", "india-*"),),
        "until": NOW + HOUR,
        "reason": "moving offices",
        "author": "Asha",
        "made_at": NOW,
    }
    return Silence(**{**values, **changes})


def test_a_silence_lasts_from_when_it_was_made_until_its_end():
    silence = make_silence()

    assert not silence.is_active(NOW - timedelta(seconds=1))
    assert silence.is_active(NOW)
    assert silence.is_active(NOW + HOUR - timedelta(seconds=1))
    assert not silence.is_active(NOW + HOUR)


def test_a_silence_that_was_ended_by_hand_lasts_no_longer_than_that():
    ended = make_silence(ended_at=NOW + HOUR / 2)

    assert ended.is_active(NOW)
    assert not ended.is_active(NOW + HOUR / 2)


def test_an_end_by_hand_after_its_time_does_not_lengthen_it():
    assert not make_silence(ended_at=NOW + 3 * HOUR).is_active(NOW + 2 * HOUR)


def test_every_label_that_it_names_has_to_fit():
    silence = make_silence(match=(("market", "india-*"), ("severity", "warning")))

    assert silence.matches({"market": "india-ndfeb", "severity": "warning", "rule": "x"})
    assert not silence.matches({"market": "india-ndfeb", "severity": "critical"})
    assert not silence.matches({"severity": "warning"})


def test_a_silence_without_labels_covers_nothing():
    assert not make_silence(match=()).matches({"rule": "x"})


def test_words_become_labels_in_their_order():
    words = ["market=india-ndfeb", "severity=warning", "subject=a=b", " team = magnets"]

    assert parse_matcher(words, KNOWN) == (
        ("market", "india-ndfeb"),
        ("severity", "warning"),
        ("subject", "a=b"),
        ("team", "magnets"),
    )


def test_everything_is_silenced_by_saying_so():
    assert make_silence(match=parse_matcher(["rule=*"], KNOWN)).matches({"rule": "anything"})


def test_a_value_with_a_star_has_to_fit_one_that_is_known():
    assert parse_matcher(["market=india-*"], KNOWN) == (("market", "india-*"),)
    with pytest.raises(MatcherError, match="no market fits 'japan-\\*'; known: india-ndfeb, "):
        parse_matcher(["market=japan-*"], KNOWN)


def test_labels_that_no_reading_has_together_are_refused():
    with pytest.raises(MatcherError, match="no reading of price_spike has this label") as caught:
        parse_matcher(["type=price_spike", "market=india-ndfeb"], KNOWN)
    assert caught.value.word == "market=india-ndfeb"


def test_without_known_values_any_value_is_taken():
    assert parse_matcher(["series=whatever"]) == (("series", "whatever"),)


@pytest.mark.parametrize(
    ("words", "word", "problem"),
    [
        pytest.param(
            [],
            "",
            "no label is given, and that would silence everything; write label=value, such as "
            "market=india-ndfeb, or rule=* if you mean everything",
            id="nothing",
        ),
        pytest.param(
            ["india-ndfeb"],
            "india-ndfeb",
            "is not label=value, such as market=india-ndfeb",
            id="no label",
        ),
        pytest.param(["=x"], "=x", "is not label=value", id="empty label"),
        pytest.param(
            ["market="], "market=", "market: a value is needed, or * for any", id="empty value"
        ),
        pytest.param(
            ["markt=india-ndfeb"],
            "markt=india-ndfeb",
            "unknown label 'markt' (did you mean 'market'?); labels: type, rule, subject, series, "
            "market, source, scenario, material, severity, team",
            id="misspelt label",
        ),
        pytest.param(
            ["market=indai-ndfeb"],
            "market=indai-ndfeb",
            "unknown market 'indai-ndfeb' (did you mean 'india-ndfeb'?)",
            id="misspelt value",
        ),
        pytest.param(
            ["team=sales"],
            "team=sales",
            "unknown team 'sales'; known: magnets, motors",
            id="a value no rule has",
        ),
        pytest.param(
            ["severity=Warning"],
            "severity=Warning",
            "unknown severity 'Warning' (did you mean 'warning'?); known: info, warning, critical",
            id="severity",
        ),
        pytest.param(
            ["market=india-ndfeb", "market=world-ndfeb"],
            "market=world-ndfeb",
            "'market' is given twice",
            id="label twice",
        ),
    ],
)
def test_every_mistake_names_the_word_and_what_is_allowed(words, word, problem):
    with pytest.raises(MatcherError) as caught:
        parse_matcher(words, KNOWN)

    assert caught.value.word == word
    assert problem in caught.value.problem
    assert repr(word) in str(caught.value) or not word
