"""What is told together, what explains what, and what a storm becomes, as sentences."""

from dataclasses import replace
from datetime import timedelta

import pytest

from alerts.grouping import STORM, TOGETHER, Company, Desk, besides, leaders, rank
from alerts.incident import Decision, Reason, State
from alerts.rules import Severity
from alerts.silences import Silence
from tests.builders import NOW, make_incident, make_reading

INFO, WARNING, CRITICAL = Severity.INFO, Severity.WARNING, Severity.CRITICAL
HOUR = timedelta(hours=1)
DESK = Desk(stale_series={"dy_oxide": "prices", "nd_oxide": "exchange"})

PRICE = make_reading(
    rule="dy-level", type="price_level", subject="dy_oxide", rests_on=("dy_oxide",)
)
DROP = make_reading(rule="drop", type="volume_drop", subject="exports", rests_on=("exports",))


def standing(key: str, reading, severity: Severity = WARNING, **changes):
    """An open incident that readers have been told of just now."""
    changes.setdefault("told_at", NOW)
    names = {"id": key, "rule": reading.rule, "type": reading.type, "subject": reading.subject}
    return make_incident(**names, reading=reading, severity=severity, **changes)


def stale(key: str = "stale", source: str = "prices", **changes):
    reading = make_reading(
        rule=f"{key}-rule", type="stale_source", subject=source, headline=f"{source} is late"
    )
    return standing(key, reading, **changes)


def shortfall(key: str = "short", severity: Severity = CRITICAL, **changes):
    reading = make_reading(
        rule="shortfall",
        type="shortfall",
        subject="world-ndfeb",
        rests_on=("exports", "mines"),
        headline="World: 12 % short",
        **{name: changes.pop(name) for name in ("route",) if name in changes},
    )
    return standing(key, reading, severity, **changes)


def held_by(reading, *around, desk: Desk = DESK, before=None, silences=()) -> str:
    company = Company(desk, silences, NOW, around)
    return company.around(reading, before).held_by


# --- a late source ----------------------------------------------------------------


@pytest.mark.parametrize("type", ["price_spike", "price_level", "premium"])
def test_a_late_source_explains_every_alert_on_its_prices(type):
    around = Company(DESK, (), NOW, [stale()]).around(replace(PRICE, type=type), None)
    assert around.held_by == "stale"
    assert around.held == "told as part of: prices is late"


@pytest.mark.parametrize(
    ("reading", "source"),
    [
        pytest.param(PRICE, stale(source="exchange"), id="another publisher is late"),
        pytest.param(replace(PRICE, rests_on=("unknown",)), stale(), id="nobody knows whose it is"),
        pytest.param(replace(PRICE, type="volume_drop"), stale(), id="it is no price"),
        pytest.param(PRICE, stale(state=State.RESOLVED), id="it is late no more"),
        pytest.param(PRICE, stale(state=State.PENDING, told_state=None), id="it is not yet late"),
        pytest.param(
            PRICE, stale(held="silenced", told_state=None), id="nobody reads that it is late"
        ),
    ],
)
def test_a_price_alert_is_told_when(reading, source):
    assert held_by(reading, source) == ""


def test_a_price_of_two_publishers_is_explained_by_either():
    both = replace(PRICE, type="premium", rests_on=("nd_oxide", "dy_oxide"))
    assert held_by(both, stale()) == "stale"
    assert held_by(both, stale("other", "exchange")) == "other"


def test_two_rules_on_one_late_source_explain_until_both_have_ended():
    company = Company(DESK, (), NOW, [stale("first"), stale("second")])
    company.note(stale("second", state=State.RESOLVED))
    assert company.around(PRICE, None).held_by == "first"
    company.note(stale("first", state=State.RESOLVED))
    assert company.around(PRICE, None).held_by == ""


# --- a shortfall and its parts ------------------------------------------------------


def test_a_shortfall_explains_a_drop_of_what_it_counts():
    assert held_by(DROP, shortfall()) == "short"


@pytest.mark.parametrize(
    ("reading", "market", "desk"),
    [
        pytest.param(replace(DROP, rests_on=("oxides",)), shortfall(), DESK, id="it is no part"),
        pytest.param(replace(DROP, rests_on=()), shortfall(), DESK, id="it rests on nothing"),
        pytest.param(DROP, shortfall(route="board"), DESK, id="its readers are others"),
        pytest.param(
            replace(DROP, severity=CRITICAL), shortfall(severity=WARNING), DESK, id="it is louder"
        ),
        pytest.param(DROP, shortfall(state=State.EXPIRED), DESK, id="the shortfall is over"),
        pytest.param(
            DROP,
            shortfall(told_state=State.RESOLVED),
            DESK,
            id="the last post says that it is over",
        ),
        pytest.param(replace(DROP, type="price_level"), shortfall(), DESK, id="it is a price"),
        pytest.param(
            DROP,
            shortfall(),
            Desk(channel_of=lambda reading, severity: f"#{severity.name}"),
            id="a severity goes to another channel",
        ),
    ],
)
def test_a_drop_is_told_beside_a_shortfall_when(reading, market, desk):
    assert held_by(reading, market, desk=desk) == ""


def test_a_shortfall_that_was_told_long_ago_does_not_explain_a_drop_that_is_new():
    earlier = shortfall(told_at=NOW - TOGETHER)
    assert held_by(DROP, earlier) == ""
    assert held_by(DROP, replace(earlier, told_at=NOW - TOGETHER + HOUR)) == "short"


def test_what_was_named_in_a_shortfall_from_the_beginning_stays_in_it():
    earlier = shortfall(told_at=NOW - 30 * TOGETHER)
    inside = standing("drop", DROP, told_state=None, held="told as part of", held_by="short")
    assert held_by(DROP, earlier, before=inside) == "short"
    assert held_by(DROP, earlier, before=replace(inside, told_state=State.FIRING)) == ""
    assert held_by(DROP, earlier, before=replace(inside, held_by="another")) == ""


def test_without_knowing_which_figures_are_old_what_is_held_for_them_stays_held():
    blind = Desk(stale_series=None)
    held = standing("level", PRICE, told_state=None, held="told as part of", held_by="stale")
    assert held_by(PRICE, stale(), desk=blind, before=held) == "stale"
    assert held_by(PRICE, stale(state=State.RESOLVED), desk=blind, before=held) == ""
    assert held_by(PRICE, stale(), desk=blind) == ""


def test_what_has_a_message_of_its_own_goes_on_in_that():
    told = standing("drop", DROP)
    assert held_by(replace(DROP, severity=CRITICAL), shortfall(), before=told) == ""
    assert held_by(DROP, shortfall(), before=told) == ""


def test_how_loud_an_ended_incident_was_does_not_count_for_its_return():
    over = standing("drop", DROP, CRITICAL, state=State.RESOLVED)
    assert held_by(DROP, shortfall(severity=WARNING), before=over) == "short"


# --- the louder of two on one subject ------------------------------------------------


def test_a_louder_alert_of_another_rule_on_the_same_subject_explains_it():
    louder = standing("loud", replace(PRICE, rule="dy-crisis"), CRITICAL)
    assert held_by(PRICE, louder) == "loud"


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(standing("o", replace(PRICE, rule="dy-crisis"), WARNING), id="as loud"),
        pytest.param(standing("o", PRICE, CRITICAL), id="of the same rule"),
        pytest.param(
            standing("o", replace(PRICE, rule="b", subject="nd_oxide"), CRITICAL),
            id="on another subject",
        ),
        pytest.param(
            standing("o", replace(PRICE, rule="b", type="price_spike"), CRITICAL),
            id="of another kind",
        ),
        pytest.param(
            standing("o", replace(PRICE, rule="b", route="board"), CRITICAL), id="elsewhere"
        ),
        pytest.param(
            standing("o", replace(PRICE, rule="b"), CRITICAL, held="silenced"), id="itself held"
        ),
        pytest.param(
            standing("o", replace(PRICE, rule="b"), CRITICAL, told_state=State.RESOLVED),
            id="told as over",
        ),
        pytest.param(
            standing("o", replace(PRICE, rule="b"), CRITICAL, state=State.RESOLVED), id="over"
        ),
    ],
)
def test_a_warning_stands_beside_another_alert_that_is(other):
    assert held_by(PRICE, other) == ""


def test_a_louder_one_that_is_lowered_explains_no_longer():
    loud = standing("loud", replace(PRICE, rule="dy-crisis"), CRITICAL)
    company = Company(DESK, (), NOW, [loud])
    company.note(replace(loud, severity=WARNING))
    assert company.around(PRICE, None).held_by == ""


# --- silences and calls --------------------------------------------------------------


def silence(*match: tuple[str, str], **changes) -> Silence:
    one = Silence("s1", match, NOW + 48 * HOUR, "plant is being moved", "ana", NOW - HOUR)
    return replace(one, **changes)


def silenced(reading, one: Silence, before=None) -> str:
    return Company(DESK, (one,), NOW, [stale()]).around(reading, before).held


def test_a_silence_says_who_until_when_and_why():
    assert silenced(PRICE, silence(("rule", "dy-*"))) == (
        "silenced by ana until 23 Jun 2025: plant is being moved"
    )
    nobody = silence(("rule", "dy-*"), author="")
    assert silenced(PRICE, nobody).startswith("silenced until 23 Jun 2025")


def test_a_silence_counts_before_what_explains():
    company = Company(DESK, (silence(("rule", "dy-level")),), NOW, [stale()])
    assert company.around(PRICE, None).held_by == ""


@pytest.mark.parametrize(
    ("one", "covers"),
    [
        (silence(("severity", "warning")), True),
        (silence(("severity", "critical")), False),
        (silence(("type", "price_*"), ("subject", "dy_oxide")), True),
        (silence(("type", "price_*"), ("subject", "nd_oxide")), False),
        (silence(("rule", "*"), made_at=NOW + HOUR), False),
        (silence(("rule", "*"), until=NOW), False),
        (silence(("rule", "*"), ended_at=NOW), False),
        (silence(), False),
    ],
    ids=[
        "its severity",
        "another severity",
        "all that is named",
        "one that is named differs",
        "not yet made",
        "run out",
        "ended by hand",
        "nothing named",
    ],
)
def test_what_a_silence_covers(one, covers):
    drop = replace(PRICE, rests_on=())
    assert silenced(drop, one).startswith("silenced") == covers


def test_a_silence_of_criticals_does_not_cover_the_milder_return_of_one():
    one = silence(("severity", "critical"))
    plain = replace(PRICE, rests_on=())
    assert silenced(plain, one, before=standing("p", plain, CRITICAL))
    over = standing("p", plain, CRITICAL, state=State.RESOLVED)
    assert silenced(plain, one, before=over) == ""


def test_the_time_until_a_call_is_asked_for_the_severity_that_stands():
    desk = Desk(call_after=lambda reading, severity: 4 * HOUR if severity is CRITICAL else None)
    company = Company(desk, (), NOW, ())
    assert company.around(DROP, None).call_after is None
    assert company.around(DROP, standing("d", DROP, CRITICAL)).call_after == 4 * HOUR


def test_what_may_explain_others_is_judged_before_them():
    kinds = ["price_level", "volume_drop", "shortfall", "premium", "stale_source"]
    assert sorted(kinds, key=rank)[:2] == ["stale_source", "shortfall"]


# --- several at once -------------------------------------------------------------------


def first(key: str, severity: Severity = WARNING, *, market: str = "", **changes) -> Decision:
    """A first telling."""
    labels = (("market", market),) if market else ()
    reading = make_reading(
        rule=changes.pop("rule", f"rule-of-{key}"),
        labels=labels,
        route=changes.pop("route", "buyers"),
    )
    return Decision(Reason.OPENED, standing(key, reading, severity, **changes), says=True)


def test_alerts_on_one_market_at_one_evaluation_share_the_message_of_the_most_severe():
    made = [
        first("a", market="world"),
        first("b", CRITICAL, market="world"),
        first("c", INFO, market="world"),
        first("d", market="europe"),
    ]
    assert leaders(made, DESK) == {"a": "b", "c": "b"}


def test_alerts_of_one_rule_share_a_message_and_the_first_of_equals_leads():
    made = [first("a", rule="spike"), first("b", rule="spike"), first("c", rule="level")]
    assert leaders(made, DESK) == {"b": "a"}


def test_readers_of_two_channels_get_a_message_each():
    made = [first("a", market="world"), first("b", market="world", route="board")]
    assert leaders(made, DESK) == {}


def test_one_that_may_be_posted_now_does_not_join_one_that_is_muted():
    morning = NOW + timedelta(hours=9)
    night = replace(DESK, quiet_until=lambda _, severity: morning if severity < CRITICAL else None)
    made = [first("a", rule="spike"), first("b", CRITICAL, rule="spike"), first("c", rule="spike")]
    assert leaders(made, night) == {"c": "a"}


def test_what_nobody_can_read_explains_nothing():
    loud = standing("loud", replace(PRICE, rule="crisis"), CRITICAL)
    for around, reading in ((stale(), PRICE), (shortfall(), DROP), (loud, PRICE)):
        seen = Company(DESK, (), NOW, [around], is_readable=lambda _: True)
        assert seen.around(reading, None).held_by == around.id
        unseen = Company(DESK, (), NOW, [around], is_readable=lambda _: False)
        assert unseen.around(reading, None).held_by == ""


def test_what_is_held_by_a_message_that_nobody_can_read_is_let_go_without_knowing_the_figures():
    desk = replace(DESK, stale_series=None)
    before = standing("level", PRICE, told_state=None, held="told as part of", held_by="stale")
    company = Company(desk, (), NOW, [stale(), before], is_readable=lambda one: one is before)
    assert company.around(PRICE, before).held_by == ""


@pytest.mark.parametrize(
    "later",
    [
        pytest.param(
            Decision(Reason.UPDATED, standing("b", DROP, revision=2), says=True),
            id="one that is only edited",
        ),
        pytest.param(
            Decision(Reason.OPENED, standing("b", DROP, revision=0, told_state=None)),
            id="one that is held",
        ),
        pytest.param(
            Decision(Reason.RESOLVED, standing("b", DROP, revision=2), says=True, replies=True),
            id="one that ends",
        ),
        pytest.param(Decision(Reason.STILL_QUIET, None), id="one that is quiet"),
    ],
)
def test_nothing_joins_a_message_but_what_is_told_for_the_first_time(later):
    assert leaders([first("a", rule="drop"), later], DESK) == {}


def test_a_later_alert_never_joins_a_message_that_stands():
    leader = first("a", rule="spike")
    assert leaders([replace(leader, says=False), first("b", rule="spike")], DESK) == {}


def test_one_more_than_a_storm_is_one_message_led_by_the_most_severe():
    calm = [first(f"id-{number}") for number in range(STORM)]
    assert leaders(calm, DESK) == {}
    found = leaders([*calm, first("worst", CRITICAL)], DESK)
    assert found == {f"id-{number}": "worst" for number in range(STORM)}


def test_a_storm_in_one_channel_is_no_storm_in_another():
    storm = [first(f"id-{number}") for number in range(STORM + 1)]
    found = leaders([*storm, first("alone", route="board")], DESK)
    assert len(found) == STORM
    assert "alone" not in {*found, *found.values()}


# --- what is named inside ---------------------------------------------------------------


def line(key: str, **changes):
    return standing(key, replace(DROP, headline=f"headline of {key}"), **changes)


def test_a_message_names_what_it_explains_and_what_its_thread_holds():
    told = besides(
        [
            line("lead"),
            line("held", told_state=None, held="told as part of", held_by="lead"),
            line("member", leader="lead"),
            line("alone"),
        ]
    )
    assert told == {"lead": ("headline of held", "headline of member")}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"leader": "lead", "state": State.RESOLVED}, id="over"),
        pytest.param({"held": "told as part of", "held_by": "lead"}, id="told in its own message"),
        pytest.param({"told_state": None, "held": "silenced"}, id="silenced"),
        pytest.param(
            {"told_state": None, "held": "told as part of", "held_by": "gone"},
            id="held by one that has ended",
        ),
    ],
)
def test_a_message_does_not_name_what_is(changes):
    assert besides([line("lead"), line("other", **changes)]) == {}


def test_a_leader_that_ended_names_what_is_open_in_its_thread():
    assert besides([line("member", leader="gone")]) == {"gone": ("headline of member",)}


def test_the_order_of_what_is_named_does_not_hang_on_the_order_of_the_database():
    members = [line(key, leader="lead") for key in "abc"]
    later = line("0", leader="lead", opened_at=NOW)
    named = besides([*members, later])
    assert named == besides([later, *reversed(members)])
    assert named["lead"][-1] == "headline of 0"  # the newest last
