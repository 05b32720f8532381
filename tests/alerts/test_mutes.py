from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.mutes import LOOK_AHEAD, Mute, leaves_no_time, muted_until
from alerts.rules import Severity

WARNING, CRITICAL, INFO = Severity.WARNING, Severity.CRITICAL, Severity.INFO
NIGHTS = Mute("nights", "Asia/Kolkata", begins=time(18), ends=time(8))
WEEKENDS = Mute("weekends", "Asia/Kolkata", days=frozenset({5, 6}))


def at(text: str, zone: str = "Asia/Kolkata") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


def local(instant: datetime | None, zone: str = "Asia/Kolkata") -> str | None:
    return instant and instant.astimezone(ZoneInfo(zone)).isoformat(timespec="minutes")


@pytest.mark.parametrize(
    ("moment", "until"),
    [
        pytest.param("2025-06-17T17:59", None, id="a minute before"),
        pytest.param("2025-06-17T18:00", "2025-06-18T08:00+05:30", id="the beginning is in"),
        pytest.param("2025-06-18T07:59", "2025-06-18T08:00+05:30", id="after midnight"),
        pytest.param("2025-06-18T08:00", None, id="the end is out"),
        pytest.param("2025-06-20T18:00", "2025-06-23T08:00+05:30", id="Friday evening to Monday"),
        pytest.param("2025-06-21T12:00", "2025-06-23T08:00+05:30", id="Saturday noon to Monday"),
    ],
)
def test_windows_that_touch_are_one(moment, until):
    assert local(muted_until([NIGHTS, WEEKENDS], WARNING, at(moment))) == until


def test_the_answer_is_in_utc_whatever_zone_was_asked_in():
    found = muted_until([NIGHTS], WARNING, at("2025-06-17T14:30", "Europe/Berlin"))

    assert found == datetime(2025, 6, 18, 2, 30, tzinfo=UTC)
    assert found.tzinfo is UTC


def test_a_window_belongs_to_the_day_on_which_it_begins():
    friday = Mute("friday", "UTC", days=frozenset({4}), begins=time(22), ends=time(6))

    assert friday.covered(at("2025-06-21T05:00", "UTC")) == datetime(2025, 6, 21, 6, tzinfo=UTC)
    assert friday.covered(at("2025-06-20T05:00", "UTC")) is None
    assert friday.covered(at("2025-06-21T22:30", "UTC")) is None


def test_a_window_may_end_at_midnight():
    evening = Mute("evening", "UTC", begins=time(18), ends=time(0))

    found = muted_until([evening], WARNING, at("2025-06-20T23:59", "UTC"))
    assert found == datetime(2025, 6, 21, tzinfo=UTC)


def test_a_holiday_is_muted_all_day_and_joins_the_nights_around_it():
    held = Mute(
        "nights",
        "Asia/Kolkata",
        days=frozenset({0, 1, 2, 3, 4}),
        begins=time(18),
        ends=time(8),
        holidays=frozenset({date(2026, 1, 26)}),  # a Monday
    )

    assert local(muted_until([held], WARNING, at("2026-01-26T12:00"))) == "2026-01-27T08:00+05:30"
    assert muted_until([held], WARNING, at("2026-01-19T12:00")) is None


def test_a_critical_is_not_muted_unless_it_is_named():
    night = at("2025-06-17T23:00")
    both = Mute("x", "Asia/Kolkata", begins=time(18), ends=time(8), severities=frozenset(Severity))

    assert muted_until([NIGHTS], CRITICAL, night) is None
    assert muted_until([NIGHTS], INFO, night) is not None
    assert muted_until([both], CRITICAL, night) is not None


def test_a_window_of_another_severity_does_not_lengthen_it():
    critical = Mute("x", "Asia/Kolkata", days=frozenset({2}), severities=frozenset({CRITICAL}))

    found = muted_until([NIGHTS, critical], WARNING, at("2025-06-17T23:00"))
    assert local(found) == "2025-06-18T08:00+05:30"


@pytest.mark.parametrize(
    ("moment", "until"),
    [
        # 26 October 2025 in Berlin: 03:00 summer time is 02:00 winter time, 02:30 comes twice.
        pytest.param("2025-10-25T20:00:00+00:00", "2025-10-26T01:30:00+00:00", id="the later one"),
        pytest.param(
            "2025-10-26T00:45:00+00:00", "2025-10-26T01:30:00+00:00", id="between the two"
        ),
        # 30 March 2025: 02:00 winter time is 03:00 summer time, 02:30 never comes.
        pytest.param("2025-03-29T21:00:00+00:00", "2025-03-30T01:00:00+00:00", id="at the jump"),
    ],
)
def test_an_end_that_comes_twice_or_never_is_where_the_clock_passes_it(moment, until):
    berlin = Mute("x", "Europe/Berlin", begins=time(22), ends=time(2, 30))

    found = muted_until([berlin], WARNING, datetime.fromisoformat(moment))
    assert found == datetime.fromisoformat(until)


def test_a_whole_day_lasts_23_or_25_hours_where_the_clock_changes():
    sundays = Mute("x", "Europe/Berlin", days=frozenset({6}))

    for day, hours in (("2025-03-30", 23), ("2025-10-26", 25), ("2025-06-22", 24)):
        begins = at(f"{day}T00:00", "Europe/Berlin").astimezone(UTC)
        assert muted_until([sundays], WARNING, begins - timedelta(seconds=1)) is None
        assert muted_until([sundays], WARNING, begins) == begins + timedelta(hours=hours)


def test_a_day_whose_midnight_never_comes_begins_at_the_jump():
    # Beirut's clock jumps from 00:00 to 01:00 on 31 March 2024, a Sunday.
    sunday = Mute("x", "Asia/Beirut", days=frozenset({6}))
    jump = datetime(2024, 3, 30, 22, tzinfo=UTC)

    assert muted_until([sunday], WARNING, jump - timedelta(seconds=1)) is None
    assert muted_until([sunday], WARNING, jump) == jump + timedelta(hours=23)


def test_windows_without_a_gap_are_found_out_and_followed_no_further_than_a_year():
    days = Mute("days", "Asia/Kolkata", begins=time(8), ends=time(18))
    now = at("2025-06-17T12:00")

    found = muted_until([NIGHTS, days], WARNING, now)
    assert found is not None
    assert LOOK_AHEAD <= found - now < LOOK_AHEAD + timedelta(days=2)
    assert leaves_no_time([NIGHTS, days], WARNING, now)
    assert not leaves_no_time([NIGHTS, days], CRITICAL, now)
    assert not leaves_no_time([NIGHTS, WEEKENDS], WARNING, now)


def wall_clock_says(mute: Mute, severity: Severity, instant: datetime) -> bool:
    """The obvious way: is the time on the wall in a window of today or yesterday? Right but for clock changes."""
    wall = instant.astimezone(ZoneInfo(mute.timezone)).replace(tzinfo=None)
    yesterday = wall.date() - timedelta(days=1)
    if severity not in mute.severities:
        return False
    if wall.date() in mute.holidays:
        return True
    if mute.begins == mute.ends:
        return wall.weekday() in mute.days
    if mute.begins < mute.ends:
        return wall.weekday() in mute.days and mute.begins <= wall.time() < mute.ends
    tonight = wall.weekday() in mute.days and wall.time() >= mute.begins
    return tonight or (yesterday.weekday() in mute.days and wall.time() < mute.ends)


CLOCKS = st.times().map(lambda it: it.replace(second=0, microsecond=0))
ZONES = st.sampled_from(
    ["UTC", "Asia/Kolkata", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]
)


def mutes(zones: st.SearchStrategy[str] = ZONES) -> st.SearchStrategy[Mute]:
    return st.builds(
        Mute,
        name=st.just("x"),
        timezone=zones,
        days=st.frozensets(st.integers(0, 6), max_size=6),
        begins=CLOCKS,
        ends=CLOCKS,
        holidays=st.frozensets(st.dates(date(2025, 1, 1), date(2025, 12, 31)), max_size=3),
        severities=st.frozensets(st.sampled_from(Severity)),
    )


def instants(first: date, last: date) -> st.SearchStrategy[datetime]:
    """Any microsecond from the first day up to the last, in UTC."""
    begin = datetime.combine(first, time.min, UTC)
    return st.timedeltas(timedelta(0), last - first).map(lambda after: begin + after)


INSTANTS = instants(date(2025, 1, 2), date(2025, 12, 30))


@given(st.lists(mutes(), max_size=3), st.sampled_from(Severity), INSTANTS)
def test_the_answer_is_never_inside_a_window_and_never_past(held, severity, instant):
    until = muted_until(held, severity, instant)

    if until is not None:
        assert until > instant
        if until - instant < LOOK_AHEAD:
            assert muted_until(held, severity, until) is None


@given(st.lists(mutes(), max_size=3), st.sampled_from(Severity), INSTANTS, st.floats(0, 1))
def test_every_instant_before_the_answer_gives_the_same_answer(held, severity, instant, part):
    until = muted_until(held, severity, instant)

    if until is not None and until - instant < LOOK_AHEAD / 2:
        between = instant + (until - instant) * part * 0.999
        assert muted_until(held, severity, between) == until


@settings(max_examples=300)
@given(
    mutes(st.sampled_from(["UTC", "Asia/Kolkata"])),
    st.sampled_from(Severity),
    instants(date(2025, 7, 1), date(2025, 7, 28)),
)
def test_without_clock_changes_a_window_is_what_the_wall_clock_says(mute, severity, instant):
    is_muted = muted_until([mute], severity, instant) is not None

    assert is_muted == wall_clock_says(mute, severity, instant)
