import pytest

from alerts.routing import Route, UnknownRouteError, channel_for

ROUTES = {"buyers": Route("buyers", "#magnet-supply")}


def test_a_route_leads_to_its_channel():
    assert channel_for("buyers", ROUTES) == "#magnet-supply"


def test_an_unknown_route_names_the_nearest_one():
    with pytest.raises(UnknownRouteError, match=r"'buyer' is not defined \(did you mean 'buyers'"):
        channel_for("buyer", ROUTES)
    with pytest.raises(UnknownRouteError, match="defined: none"):
        channel_for("buyer", {})
