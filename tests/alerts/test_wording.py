from datetime import date, datetime, timedelta, timezone

import pytest

from alerts import wording


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.1484, "0.148"),
        (1.5, "1.50"),
        (9.996, "10.0"),
        (62.34, "62.3"),
        (99.96, "100"),
        (1238, "1,238"),
        (-1238.4, "-1,238"),
    ],
)
def test_numbers_are_no_more_exact_than_a_reader_needs(value, text):
    assert wording.number(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (0.0004, "under 0.1 %"), (0.003, "0.3 %"), (0.254, "25 %"), (12.5, "1,250 %")],
)
def test_a_share_is_told_in_whole_per_cent_but_never_rounded_to_nothing(share, text):
    assert wording.percent(share) == text


@pytest.mark.parametrize(
    ("probability", "text"),
    [(0, "less than 1 %"), (0.5, "50 %"), (0.99, "99 %"), (1, "more than 99 %")],
)
def test_a_chance_is_never_certain(probability, text):
    assert wording.chance(probability) == text


def test_changes_have_a_sign():
    assert wording.change(0.36) == "+36 %"
    assert wording.change(-0.5) == "-50 %"
    assert wording.change(-0.001) == "0 %"


def test_dates_and_lists_read_as_people_write_them():
    assert wording.day(date(2025, 6, 21)) == "21 Jun 2025"
    assert wording.month(date(2025, 6, 1)) == "Jun 2025"
    assert wording.days(1) == "1 day"
    assert wording.listing(["a", "b", "c"]) == "a, b and c"
    assert wording.listing([]) == ""
    months = [date(2024, 12, 1), date(2025, 1, 1), date(2025, 3, 1)]
    assert wording.months_between(months) == "Dec 2024–Jan 2025, Mar 2025"


def test_text_is_cut_with_a_mark():
    assert wording.shortened("abcdef", 6) == "abcdef"
    assert wording.shortened("abcdef", 4) == "abc…"


def test_hidden_and_commanding_characters_do_not_reach_a_reader():
    assert wording.readable("a\x1b[31mred\x00\n b\u200b\u202ec\ud800") == "a [31mred bc\ufffd"


def test_an_instant_is_told_to_the_minute_in_utc_wherever_it_comes_from():
    india = timezone(timedelta(hours=5, minutes=30))
    assert wording.instant(datetime(2026, 12, 1, 4, 29, 59, tzinfo=india)) == (
        "30 Nov 2026, 22:59 UTC"
    )
