from pathlib import Path

from flows.sources import SOURCES, open_sources


def test_without_live_nothing_is_opened_that_asks_the_network() -> None:
    opened = open_sources(pause=lambda _: None)
    assert [it.name for it in opened] == [
        "snapshot-prices",
        "snapshot-trade",
        "snapshot-reference",
    ]


def test_live_adds_the_publishers(tmp_path: Path) -> None:
    opened = open_sources(pause=lambda _: None, folder=tmp_path, live=True)
    assert [it.name for it in opened] == list(SOURCES)
    assert {it.name for it in opened if SOURCES[it.name].is_live} == {"komis", "comtrade"}


def test_every_source_is_what_its_entry_says() -> None:
    for it in open_sources(pause=lambda _: None, live=True):
        assert SOURCES[it.name].kind == it.kind
        assert it.title
