from pathlib import Path

import pytest

from flows.errors import SourceError
from flows.sources import LIVE, Reach, load_declared, open_sources
from flows.sources.http import HttpPolicy

NO_REACH = Reach(pause=lambda _: None)
DECLARED = """
[csv_drop.desk]
path = "drops"
kind = "price"
title = "Price desk"
confidence = "medium"
period = "Date"
[[csv_drop.desk.column]]
column = "Nd"
series = "nd_oxide_daily"
unit = "USD/kg"

[csv_drop.portal]
path = "https://portal.example/export.csv"
kind = "trade"
title = "Portal"
confidence = "medium"
period = "Month"
[[csv_drop.portal.column]]
column = "t"
series = "cn_magnet_exports"
unit = "t"

[http_json.vendor]
url = "https://api.vendor.example/v1/prices"
kind = "price"
title = "Vendor"
confidence = "medium"
key = { header = "X-Api-Key" }
records = "data"
period = "date"
[[http_json.vendor.column]]
column = "nd"
series = "nd_oxide_daily"
unit = "USD/kg"
"""


@pytest.fixture
def declaring(tmp_path: Path) -> Reach:
    file = tmp_path / "sources.toml"
    file.write_text(DECLARED, encoding="utf-8")
    return Reach(
        pause=lambda _: None, declared=load_declared(file), keys={"vendor": "s3cret-of-the-vendor"}
    )


def test_without_live_nothing_is_opened_that_asks_the_network() -> None:
    opened = open_sources(NO_REACH)
    assert [it.name for it in opened] == [
        *("ecb_fx", "komis", "customs", "dgcis"),
        *("usgs", "quotas", "iea_ev", "wind"),
    ]
    assert not any(it.is_live for it in opened)


def test_live_adds_each_publisher_after_its_bundled_figures_and_rates_come_first() -> None:
    opened = open_sources(NO_REACH, live=True)
    assert {it.name for it in opened if it.is_live} == set(LIVE)
    assert [it.name for it in opened][:3] == ["ecb_fx", "ecb_fx", "komis"]
    komis = [it.is_live for it in opened if it.name == "komis"]
    assert komis == [False, True]


def test_every_source_says_its_kind_and_title() -> None:
    for it in open_sources(NO_REACH, live=True):
        assert LIVE.get(it.name, it.kind) == it.kind
        assert it.title


def test_a_folder_of_files_is_read_without_live_and_an_address_is_not(declaring: Reach) -> None:
    offline = {it.name for it in open_sources(declaring)}
    online = {it.name for it in open_sources(declaring, live=True)}
    assert "csv_drop.desk" in offline
    assert online - offline >= {"csv_drop.portal", "http_json.vendor"}


def test_no_key_is_shown_when_what_holds_it_is(declaring: Reach) -> None:
    shown = repr(declaring) + "".join(repr(it) for it in open_sources(declaring, live=True))
    assert "s3cret" not in shown


def test_a_client_speaks_for_its_source_and_keeps_the_policy() -> None:
    reach = Reach(pause=lambda _: None, policy=HttpPolicy(tries=1, connect_seconds=0.2))
    with reach.client("komis") as client, pytest.raises(SourceError, match=r"^komis: "):
        client.get_bytes("http://127.0.0.1:9/")
