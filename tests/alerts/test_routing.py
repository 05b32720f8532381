from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.routing import (
    CARRIED,
    EVALUATION_ERROR,
    LABELS,
    Route,
    UnknownRouteError,
    combination_problem,
    fits,
    matcher_problem,
    route_of,
)
from alerts.ruleset import TYPES

BUYERS = Route("buyers", "#magnet-supply")
OPERATORS = Route("operators", "#lodestone-operators")
INDIA = Route("india", "#india", match=(("market", "india-*"), ("severity", "critical")))
LOUD = Route("loud", "#loud", match=(("severity", "critical"),), escalate_after=timedelta(hours=4))
ROUTES = {one.name: one for one in (BUYERS, OPERATORS, INDIA, LOUD)}


def test_an_unknown_route_names_the_nearest_one():
    with pytest.raises(UnknownRouteError, match=r"'buyer' is not defined \(did you mean 'buyers'"):
        route_of("buyer", "price_spike", {}, ROUTES)
    with pytest.raises(UnknownRouteError, match="defined: none"):
        route_of("buyer", "price_spike", {}, {})


@pytest.mark.parametrize(
    ("route", "kind", "labels", "expected"),
    [
        pytest.param("operators", "shortfall", {"severity": "critical"}, OPERATORS, id="named"),
        pytest.param("", "shortfall", {"severity": "warning"}, BUYERS, id="default for buyers"),
        pytest.param("", "stale_source", {"severity": "warning"}, OPERATORS, id="for operators"),
        pytest.param("", "evaluation_error", {}, OPERATORS, id="a rule that fails"),
        pytest.param(
            "",
            "shortfall",
            {"market": "india-ndfeb", "severity": "critical"},
            INDIA,
            id="the first in the file that fits",
        ),
        pytest.param(
            "",
            "shortfall",
            {"market": "world-ndfeb", "severity": "critical"},
            LOUD,
            id="the next that fits",
        ),
        pytest.param(
            "",
            "price_spike",
            {"series": "nd_oxide", "severity": "critical"},
            LOUD,
            id="a label it lacks doesn't fit",
        ),
        pytest.param(
            "", "bad_data", {"severity": "critical"}, LOUD, id="a match goes before the default"
        ),
    ],
)
def test_a_reading_goes_where_it_is_sent(route, kind, labels, expected):
    assert route_of(route, kind, labels, ROUTES) is expected


def test_a_named_route_that_is_gone_names_the_nearest_one():
    with pytest.raises(UnknownRouteError, match="did you mean 'india'"):
        route_of("indai", "shortfall", {}, ROUTES)


def test_a_default_route_that_is_not_defined_is_named():
    with pytest.raises(UnknownRouteError, match="'operators' is not defined"):
        route_of("", "silent_pipeline", {}, {"buyers": BUYERS})


@pytest.mark.parametrize(
    ("pattern", "value", "is_fit"),
    [
        ("india-*", "india-ndfeb", True),
        ("*-ndfeb", "india-ndfeb", True),
        ("*", "", True),
        ("india-*", "India-ndfeb", False),
        ("india", "india-ndfeb", False),
        ("nd?oxide", "nd_oxide", False),
        ("nd?oxide", "nd?oxide", True),
        ("[ab]", "a", False),
        ("[ab]", "[ab]", True),
    ],
)
def test_only_a_star_stands_for_other_characters(pattern, value, is_fit):
    assert fits((("subject", pattern),), {"subject": value}) is is_fit


@given(st.text(st.characters(exclude_characters="*")))
def test_a_value_without_a_star_fits_itself_only(value):
    assert fits((("subject", value),), {"subject": value})
    assert not fits((("subject", value),), {"subject": value + "x"})


def test_one_of_several_materials_is_enough():
    labels = {"material": "Tb,Dy", "subject": "Tb,Dy"}

    assert fits((("material", "Dy"),), labels)
    assert fits((("material", "Tb,Dy"),), labels)
    assert not fits((("material", "Nd"),), labels)
    assert not fits((("subject", "Dy"),), labels)


def test_a_star_does_not_fit_a_label_that_is_missing():
    assert not fits((("market", "*"),), {"series": "nd_oxide"})


def test_a_matcher_may_use_every_label_of_readings_and_those_of_rules():
    for label in LABELS:
        value = "critical" if label == "severity" else "anything"
        assert matcher_problem(label, value) is None
    assert matcher_problem("team", "x") is not None
    assert matcher_problem("team", "x", {"team": {"x"}}) is None


def test_every_type_of_rule_has_its_labels_listed():
    assert set(CARRIED) == {*TYPES, EVALUATION_ERROR}


@pytest.mark.parametrize(
    ("value", "is_fit"),
    [
        ("policy-*", True),
        ("pol*", True),
        ("policy-2025-04-04-c29c5584", True),
        ("*", True),
        ("nd_*", True),
        ("police-*", False),
        ("policy", False),
        ("dy_*", False),
    ],
)
def test_a_beginning_that_is_known_stands_for_all_that_begin_so(value, is_fit):
    problem = matcher_problem("subject", value, {"subject": {"policy-*", "nd_oxide"}})
    assert (problem is None) == is_fit


def test_labels_are_refused_only_when_no_type_has_them_together():
    assert combination_problem((("series", "nd_oxide"), ("material", "Nd"))) is None
    assert combination_problem((("team", "x"), ("market", "india-ndfeb"))) is None
    assert combination_problem((("type", "*"), ("severity", "critical"))) is None
    clash = combination_problem((("scenario", "base"), ("material", "Nd")))
    assert clash is not None
    assert clash[1].startswith("no reading has these labels together: scenario, material")
