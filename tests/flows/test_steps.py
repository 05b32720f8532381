"""The whole service without Prefect: real database, real snapshot, real slack_sdk against a stand-in."""

import csv
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from alerts.errors import RuleFileError
from alerts.lifecycle import Reason, State
from flows import steps
from flows.catalog import REFERENCE
from flows.errors import LodestoneError, SettingsError, SourceError
from flows.known import situation, source_states
from flows.report import render
from flows.settings import load_settings
from flows.sources import Citation, FetchResult
from flows.validation import RawRow
from flows.wiring import build
from forecasting.results import quantile
from tests.slack_standin import StandIn

# Two cheap models: what is tested here is the way of the data, not who wins.
QUICK = {
    "LODESTONE_MODELS": "random_walk,drift",
    "LODESTONE_PATHS": "400",
    "LODESTONE_MARKET_PATHS": "400",
}
MARCH, JUNE = date(2025, 3, 15), date(2025, 6, 21)


Lend = Callable[[], AbstractContextManager[str]]
Open = Callable[..., steps.Service]


def quick_service(home: Path, **variables: str) -> steps.Service:
    return build(
        load_settings({**QUICK, "LODESTONE_HOME": str(home), **variables}, home / "none.toml")
    )


@contextmanager
def opener(lend: Lend) -> Iterator[Open]:
    """Opens services; those of one home share one database, which ends with the last of them."""
    with ExitStack() as databases, ExitStack() as services:
        urls: dict[Path, str] = {}

        def open_service(home: Path, **variables: str) -> steps.Service:
            if home not in urls:
                urls[home] = databases.enter_context(lend())
            given = {"LODESTONE_DATABASE_URL": urls[home], **variables}
            service = quick_service(home, **given)
            services.callback(service.close)
            return service

        yield open_service


@pytest.fixture
def open_service(lend_service_database: Lend) -> Iterator[Open]:
    with opener(lend_service_database) as opened:
        yield opened


def with_rules(open_service: Open, home: Path, text: str) -> steps.Service:
    """The service of a home, with a rule file of the user's."""
    config = home / "config"
    config.mkdir()
    (config / "rules.toml").write_text(text)
    return open_service(home, LODESTONE_CONFIG_DIR=str(config))


def run_all(service: steps.Service, at: steps.Moment) -> steps.AlertsReport:
    run_id = f"run-{uuid4()}"
    steps.forecast(service, at, run_id=run_id)
    steps.project(service, at, run_id=run_id)
    return steps.raise_alerts(service, at, run_id=run_id)


@pytest.fixture
def service(open_service: Open, tmp_path: Path) -> steps.Service:
    return open_service(tmp_path)


@pytest.fixture(scope="module")
def past(
    lend_service_database: Lend, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[steps.Service]:
    """A service that has looked at March and June 2025."""
    with opener(lend_service_database) as open_service:
        opened = open_service(tmp_path_factory.mktemp("past"))
        for day in (MARCH, JUNE):
            at = steps.moment(opened, day, live=False)
            steps.ingest(opened, at)
            run_all(opened, at)
        yield opened


def open_types(service: steps.Service, day: date) -> dict[tuple[str, str], State]:
    at = steps.moment(service, day, live=False)
    return {(i.type, i.subject): i.state for i in service.ledger.open_incidents(at.book)}


# --- what the service would have said -----------------------------------------------


def test_on_21_june_2025_the_export_collapse_is_firing_and_neodymium_is_quiet(past):
    found = open_types(past, JUNE)
    assert found["volume_drop", "cn_magnet_exports"] is State.FIRING
    assert ("price_spike", "nd_oxide") not in found


def test_on_15_march_2025_neither_is_there(past):
    found = open_types(past, MARCH)
    assert ("volume_drop", "cn_magnet_exports") not in found
    assert ("price_spike", "nd_oxide") not in found


def test_the_shortfall_of_india_rose_between_march_and_june_2025(past):
    def median_share(day: date) -> float:
        at = steps.moment(past, day, live=False)
        projection = past.forecasts.latest_projection("india-ndfeb", "base", at.known_at)
        assert projection is not None
        return quantile(projection.shortfall_shares(6), 0.5)

    assert median_share(JUNE) > median_share(MARCH) + 0.1


def test_a_licence_freeze_never_helps_in_any_month(past):
    at = steps.moment(past, JUNE, live=False)
    base = past.forecasts.latest_projection("india-ndfeb", "base", at.known_at)
    freeze = past.forecasts.latest_projection("india-ndfeb", "licence-freeze", at.known_at)
    assert base is not None
    assert freeze is not None
    pairs = list(zip(base.months, freeze.months, strict=True))
    assert all(f.shortfall_share.p50 >= b.shortfall_share.p50 for b, f in pairs)
    # What left before the freeze arrives in the first month; a year on, even odds are of no shortfall.
    assert all(f.shortfall_share.p50 > b.shortfall_share.p50 for b, f in pairs[1:12])
    assert all(f.expected_shortfall_t > b.expected_shortfall_t for b, f in pairs[1:])


def test_each_rule_and_subject_is_judged_once_however_often_a_run_is_repeated(past):
    at = steps.moment(past, JUNE, live=False)
    before = past.ledger.entries(at.book)
    again = run_all(past, at)
    assert {d.reason for d in again.decisions} <= {Reason.ALREADY_EVALUATED, Reason.KEPT_LAST}
    assert past.ledger.entries(at.book) == before


def test_a_look_into_the_past_leaves_the_live_book_empty(past):
    assert past.ledger.incidents(steps.LIVE_BOOK) == ()


def test_what_became_known_later_changes_nothing_in_the_past(past):
    at = steps.moment(past, MARCH, live=False)
    before = {one.series: one.forecast_id for one in steps.stored_forecasts(past, at).forecasts}
    poison = [
        replace(row, value=row.value * 50)
        for row in _observations(past)
        if row.known_at > at.known_at and row.series.endswith(("month_end", "month_mean"))
    ]
    assert poison
    past.observations.keep("poison", poison, (), fetched_at=datetime(2026, 1, 1, tzinfo=UTC))
    after = steps.forecast(past, at, run_id="again")
    assert {one.series: one.forecast_id for one in after.forecasts} == before


def _observations(service: steps.Service):
    from flows.validation import validate

    (source,) = [s for s in service.open_sources(False) if s.name == "komis"]
    fetched = source.fetch(now=service.clock())
    return validate(
        source.name,
        fetched.rows,
        series=service.catalog.stored_series,
        source_ids=set(fetched.citations),
        now=service.clock(),
    ).observations


# --- ingest ---------------------------------------------------------------------------


def test_reading_the_same_figures_again_writes_nothing(service):
    at = steps.moment(service, None, live=False)
    first, second = steps.ingest(service, at), steps.ingest(service, at)
    assert first.counts["new"] > 500
    assert (second.counts["new"], second.counts["revised"]) == (0, 0)
    for report in (*first.sources, *second.sources):
        assert report.read == report.new + report.revised + report.unchanged + report.quarantined
        assert report.error == ""


def test_the_whole_way_from_figure_to_message_is_gone_on_every_database(database_url, tmp_path):
    with StandIn() as slack:
        service = quick_service(
            tmp_path,
            LODESTONE_DATABASE_URL=database_url,
            LODESTONE_SLACK_TOKEN="xoxb-test",
            LODESTONE_SLACK_BASE_URL=slack.api_url,
            LODESTONE_SLACK_MIN_INTERVAL_SECONDS="0",
        )
        at = steps.moment(service, JUNE, live=False)
        first, second = steps.ingest(service, at), steps.ingest(service, at)
        reasons = [{d.reason for d in run_all(service, at).decisions} for _ in range(2)]
        found = open_types(service, JUNE)
        sent = [steps.deliver(service, at).sent for _ in range(2)]
        service.close()
    assert first.counts["new"] > 500
    assert (second.counts["new"], second.counts["revised"]) == (0, 0)
    assert Reason.OPENED in reasons[0]
    assert reasons[1] <= {Reason.ALREADY_EVALUATED, Reason.KEPT_LAST}
    assert found["volume_drop", "cn_magnet_exports"] is State.FIRING
    # China's exports are a part of India's shortfall: named inside its message, not posted beside it.
    assert len(slack.calls("chat.postMessage")) == len(found) - 1
    assert (sent[0] >= len(found), sent[1]) == (True, 0)


def test_a_row_without_a_source_is_turned_away_by_name_and_the_rest_lands(open_service, tmp_path):
    folder = tmp_path / "snapshot"
    shutil.copytree(Path(str(REFERENCE)) / "snapshot", folder)
    prices = folder / "prices_monthly.csv"
    with prices.open(newline="") as file:
        rows = list(csv.reader(file))
    rows[5][rows[0].index("source_id")] = ""
    with prices.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    service = open_service(tmp_path / "home", LODESTONE_SNAPSHOT_DIR=str(folder))
    report = steps.ingest(service, steps.moment(service, None, live=False), "price")
    assert report.counts["quarantined"] == 1
    assert report.counts["new"] > 300
    assert any(
        "prices_monthly.csv row 6" in line and "source_id" in line for line in report.lines()
    )


def test_one_source_that_fails_never_stops_the_others(service):
    class Dead:
        name, title, kind = "dead", "A dead publisher", "price"

        def fetch(self, *, now):
            raise SourceError("dead", "answered 503 three times")

    sources = (Dead(), *service.open_sources(False))
    broken = replace(service, open_sources=lambda live: sources)
    report = steps.ingest(broken, steps.moment(service, None, live=False))
    assert report.sources[0].error == "answered 503 three times"
    assert sum(one.new for one in report.sources) > 500


@dataclass(frozen=True)
class Publisher:
    """A publisher on the network, with rows of its own or nothing at all."""

    name: str
    rows: tuple[RawRow, ...] = ()
    error: str = ""
    title: str = "A publisher"
    kind: str = "price"
    is_live: bool = True

    def fetch(self, *, now: datetime) -> FetchResult:
        if self.error:
            raise SourceError(self.name, self.error)
        return FetchResult(
            self.rows, {"LIVE": Citation("LIVE", "Live", "https://x.example", "", "")}
        )


def make_raw(**changes: object) -> RawRow:
    row = RawRow(
        file="reply",
        row=1,
        raw="{}",
        series="dy_oxide_daily",
        period="2026-10-01",
        value="230",
        unit="USD/kg",
        source_id="LIVE",
        confidence="medium",
    )
    return replace(row, **changes)


def test_a_publisher_is_accounted_for_once_with_its_bundled_figures_and_its_own(service):
    own = Publisher("komis", (make_raw(), make_raw(row=2, period="2026-10-02", value="x")))
    opened = replace(service, open_sources=lambda live: (*service.open_sources(False), own))
    at = steps.moment(service, None, live=True)
    (bundled,) = steps.ingest(service, at, sources=["komis"]).sources
    (both,) = steps.ingest(opened, at, sources=["komis"]).sources
    assert (both.read, both.new, both.quarantined) == (bundled.read + 2, 1, 1)
    assert both.unchanged == bundled.read
    assert both.newest_period == date(2026, 10, 1)
    assert [row.reason for row in both.samples] == ["value: 'x' is not a number"]


def test_a_publisher_that_is_silent_leaves_its_bundled_figures_and_is_worth_another_visit(service):
    own = Publisher("komis", error="answers HTTP 503")
    opened = replace(service, open_sources=lambda live: (*service.open_sources(False), own))
    (both,) = steps.ingest(
        opened, steps.moment(service, None, live=True), sources=["komis"]
    ).sources
    assert both.read > 300
    assert both.is_unread
    assert both.error == "answers HTTP 503"


def test_a_price_in_yuan_is_converted_at_the_rate_of_its_day_that_was_read_before(service):
    per_eur = {"usd": "1.08", "cny": "7.56"}
    rates = Publisher(
        "ecb_fx",
        tuple(
            make_raw(row=at, series=f"{code}_per_eur", unit=f"{code.upper()}/EUR", value=value)
            for at, (code, value) in enumerate(per_eur.items(), 1)
        ),
    )
    yuan = make_raw(value="1640000", unit="CNY/t incl. VAT", period="2026-10-05")
    late = make_raw(row=2, value="1650000", unit="CNY/t incl. VAT", period="2026-10-20")
    opened = replace(
        service, open_sources=lambda live: (rates, Publisher("csv_drop.smm", (yuan, late)))
    )
    report = steps.ingest(opened, steps.moment(service, None, live=True))
    (row,) = steps.history_rows(service, "dy_oxide_daily", steps.moment(service, None, live=False))
    assert row.value == pytest.approx(1640 / 7.0)
    assert (row.raw_value, row.raw_unit, row.was_converted) == ("1640000", "CNY/t incl. VAT", True)
    assert "2026-10-01" in row.note
    # Nineteen days after the last rate, and no yearly one was read.
    (refused,) = report.sources[1].samples
    assert "no CNY/USD rate is known within 7 days before 2026-10-20" in refused.reason
    assert "lodestone ingest ecb_fx --live" in refused.reason


def test_a_price_without_daily_rates_sees_the_last_yearly_mean_that_was_known_then(service):
    """The mean of 2024 came out in January 2025: a price of October 2024 could not know it."""
    at = steps.moment(service, None, live=False)
    steps.ingest(service, at, sources=["ecb_fx"])
    yuan = make_raw(
        series="dy_oxide_daily", value="1640000", unit="CNY/t incl. VAT", period="2024-10-07"
    )
    opened = replace(service, open_sources=lambda live: (Publisher("csv_drop.smm", (yuan,)),))
    steps.ingest(opened, at)
    (row,) = steps.history_rows(service, "dy_oxide_daily", at)
    assert row.value == pytest.approx(1640 / 7.084)
    assert row.confidence == "background"


def test_a_months_mean_is_converted_at_the_mean_rate_of_its_days_known_then(service):
    days = {"2026-09-01": (1.0, 7.0), "2026-09-15": (1.0, 7.2), "2026-10-01": (1.0, 9.0)}
    rates = [
        make_raw(
            row=at,
            series=f"{code}_per_eur",
            unit=f"{code.upper()}/EUR",
            value=str(value),
            period=day,
        )
        for at, (day, pair) in enumerate(days.items(), 1)
        for code, value in zip(("usd", "cny"), pair, strict=True)
    ]
    mean = make_raw(
        series="dy_oxide_month_end", value="1420000", unit="CNY/t incl. VAT", period="2026-09"
    )
    opened = replace(
        service,
        open_sources=lambda live: (
            Publisher("ecb_fx", tuple(rates)),
            Publisher("csv_drop.smm", (mean,)),
        ),
    )
    at = steps.moment(service, None, live=True)
    steps.ingest(opened, at)
    (row,) = steps.history_rows(service, "dy_oxide_month_end", at)
    assert row.value == pytest.approx(1420 / 7.1)


def test_a_rate_revised_later_leaves_the_figures_that_were_converted_with_the_first_one(service):
    def rate(value: str, published_on: str) -> RawRow:
        return make_raw(
            series="cny_per_usd_year",
            unit="CNY/USD",
            period="2023",
            value=value,
            published_on=published_on,
        )

    yuan = make_raw(value="1640000", unit="CNY/t incl. VAT", period="2024-03-05")
    sources = [
        Publisher("ecb_fx", (rate("7.08", "2024-01-31"),)),
        Publisher("csv_drop.smm", (yuan,)),
    ]
    opened = replace(service, open_sources=lambda live: tuple(sources))
    at = steps.moment(service, None, live=True)
    steps.ingest(opened, at)
    sources[0] = Publisher("ecb_fx", (rate("7.20", "2026-01-31"),))
    again = steps.ingest(opened, at).sources[1]
    assert (again.unchanged, again.quarantined) == (1, 0)


def test_a_mistake_of_ours_in_one_source_stops_no_other(service, caplog):
    @dataclass(frozen=True)
    class Broken(Publisher):
        def fetch(self, *, now: datetime) -> FetchResult:
            message = "key=s3cret"
            raise ZeroDivisionError(message)

    opened = replace(
        service, open_sources=lambda live: (Broken("broken"), Publisher("komis", (make_raw(),)))
    )
    broken, fine = steps.ingest(opened, steps.moment(service, None, live=True)).sources
    assert broken.error.startswith("failed inside Lodestone (ZeroDivisionError)")
    assert "s3cret" not in broken.error
    assert (fine.new, fine.error) == (1, "")
    assert "broken: failed inside Lodestone: ZeroDivisionError" in caplog.text
    assert "in fetch" in caplog.text  # where it happened
    assert "s3cret" not in caplog.text
    visits = {it.source: it.error for it in service.observations.last_visits()}
    assert visits["broken"] == broken.error


def test_a_daily_series_lacks_no_working_day_then_or_now_and_a_sunday_fills_none(service):
    days = ("2026-10-01", "2026-10-02", "2026-10-04", "2026-10-06")  # Thursday to Tuesday
    rows = tuple(make_raw(row=at, period=day) for at, day in enumerate(days, 1))
    opened = replace(service, open_sources=lambda live: (Publisher("komis", rows),))
    steps.ingest(opened, steps.moment(service, None, live=True))

    def missing(day: date | None) -> int:
        (one,) = steps.data_status(service, steps.moment(service, day, live=False)).series
        return one.missing

    assert missing(None) == 1  # the Monday
    assert missing(date(2026, 10, 2)) == 0


def test_the_name_before_the_dot_stands_for_every_source_of_that_door(service):
    drops = [Publisher(f"csv_drop.{name}", (make_raw(),)) for name in ("one", "two")]
    opened = replace(service, open_sources=lambda live: (*service.open_sources(False), *drops))
    at = steps.moment(service, None, live=True)
    assert [it.source for it in steps.ingest(opened, at, sources=["csv_drop"]).sources] == [
        "csv_drop.one",
        "csv_drop.two",
    ]


def test_a_group_that_only_the_network_fills_is_watched_from_its_first_figure_on(service):
    now = steps.moment(service, None, live=True)
    assert "comtrade" not in source_states(service, now)
    volume = make_raw(
        series="china_exports_hs850511_world_t", period="2026-03", unit="kg", value="5200000"
    )
    opened = replace(
        service, open_sources=lambda live: (Publisher("comtrade", (volume,), kind="trade"),)
    )
    steps.ingest(opened, now)
    state = source_states(service, now)["comtrade"]
    assert state.newest_period == date(2026, 3, 1)
    # March and 75 days: known from 14 June on, and stale 150 days later.
    assert state.newest_known_at == datetime(2026, 6, 14, 12, tzinfo=UTC)
    assert not state.is_stale(datetime(2026, 11, 11, tzinfo=UTC))
    assert state.is_stale(datetime(2026, 11, 13, tzinfo=UTC))


def test_the_status_says_age_gaps_and_what_is_next(service):
    at = steps.moment(service, None, live=False)
    empty = steps.data_status(service, at)
    assert empty.series == ()
    assert all(group.is_stale for group in empty.groups)
    steps.ingest(service, at)
    found = steps.data_status(service, at)
    by_name = {one.series: one for one in found.series}
    exports = by_name["cn_magnet_exports"]
    assert (exports.newest_period, exports.next_expected) == (date(2025, 10, 1), date(2025, 12, 20))
    assert exports.missing > 0
    assert by_name["dy_oxide_month_end"].missing == 0
    assert {visit.source for visit in found.visits} == set(steps.source_names(service, False))
    then = steps.data_status(service, steps.moment(service, JUNE, live=False))
    in_june = {one.series: one for one in then.series}
    assert in_june["cn_magnet_exports"].newest_period == date(2025, 5, 1)
    assert in_june["cn_magnet_exports"].vintages < exports.vintages


@pytest.mark.parametrize(
    ("call", "says"),
    [
        pytest.param(
            lambda s, at: steps.ingest(s, at, sources=["kommis"]), "no source 'kommis'", id="source"
        ),
        pytest.param(
            lambda s, at: steps.ingest(s, at, sources=["comtrade"]), "add --live", id="a live one"
        ),
        pytest.param(
            lambda s, at: steps.forecast(s, at, ["dy"], run_id="r"), "no series 'dy'", id="series"
        ),
        pytest.param(
            lambda s, at: steps.project(s, at, ["mars"], run_id="r"),
            "no market 'mars'",
            id="market",
        ),
    ],
)
def test_a_name_that_nobody_knows_is_answered_with_those_that_exist(service, call, says):
    with pytest.raises(LodestoneError, match=says):
        call(service, steps.moment(service, None, live=False))


def test_a_day_that_has_not_come_is_refused(service):
    with pytest.raises(LodestoneError, match="has not come yet"):
        steps.moment(service, date(2999, 1, 1), live=False)


def test_a_series_without_figures_says_how_many_it_needs(service):
    report = steps.forecast(
        service, steps.moment(service, None, live=False), ["dy_oxide"], run_id="r"
    )
    assert report.refused == {"dy_oxide": "0 observations, 12 needed"}


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        pytest.param("LODESTONE_CONFIG_DIR", "nowhere", "there is no such folder", id="config"),
        pytest.param("LODESTONE_SNAPSHOT_DIR", "nowhere", "there is no such folder", id="snapshot"),
        pytest.param("LODESTONE_MODELS", "profet", "unknown model profet; known: ", id="model"),
    ],
)
def test_a_setting_that_leads_nowhere_is_refused_at_start_by_name(
    open_service, tmp_path, variable, value, says
):
    with pytest.raises(SettingsError, match=says) as caught:
        open_service(tmp_path, **{variable: value})
    assert variable in str(caught.value)


def test_a_slack_address_that_is_none_is_refused_without_showing_the_token(open_service, tmp_path):
    with pytest.raises(SettingsError, match="LODESTONE_SLACK_BASE_URL") as caught:
        open_service(
            tmp_path, LODESTONE_SLACK_TOKEN="xoxb-secret", LODESTONE_SLACK_BASE_URL="slack"
        )
    assert "xoxb-secret" not in str(caught.value)


# --- alerts and delivery ---------------------------------------------------------------


def test_an_incident_opens_is_edited_in_place_and_resolves_in_its_thread(open_service, tmp_path):
    with StandIn() as slack:
        service = open_service(
            tmp_path,
            LODESTONE_SLACK_TOKEN="xoxb-test",
            LODESTONE_SLACK_BASE_URL=slack.api_url,
            LODESTONE_SLACK_MIN_INTERVAL_SECONDS="0",
        )
        for day in (datetime(2025, 6, 21, tzinfo=UTC), datetime(2025, 9, 21, tzinfo=UTC)):
            at = steps.Moment(day, "live", live=False)
            steps.ingest(service, at)
            run_all(service, at)
            report = steps.deliver(service, at)
            assert report.counts["dead"] == report.counts["pending"] == 0
            told = [m.text for m in slack.workspace.messages if m.thread_ts is None]
            if day.month == 6:
                (root,) = [text for text in told if "India NdFeB magnets: about" in text]
                assert "Part of this:\n– China's exports of rare-earth magnets" in root
        ended = [i for i in service.ledger.incidents("live") if i.state.is_ended]
    assert {"volume_drop", "shortfall"} <= {i.type for i in ended}
    (root,) = [text for text in told if "India" in text and "of demand unmet" in text]
    assert "Resolved" in root
    # What was told only as a part of something else ends with it, without a message of its own.
    assert not [text for text in told if "China's exports of rare-earth magnets:" in text]


def test_every_open_incident_has_exactly_one_root_message_however_often_it_runs(
    open_service, tmp_path
):
    with StandIn() as slack:
        service = open_service(
            tmp_path,
            LODESTONE_SLACK_TOKEN="xoxb-test",
            LODESTONE_SLACK_BASE_URL=slack.api_url,
            LODESTONE_SLACK_MIN_INTERVAL_SECONDS="0",
        )
        at = steps.moment(service, JUNE, live=False)
        steps.ingest(service, at)
        for _ in range(2):
            alerts = run_all(service, at)
            steps.deliver(service, at)
        posts = slack.calls("chat.postMessage")
    assert len(alerts.incidents) >= 2
    assert len(posts) == len([one for one in alerts.incidents if not one.held])


def test_an_incident_is_found_by_the_first_characters_of_its_id_when_they_are_its_own(past):
    first, *_ = past.ledger.incidents(steps.moment(past, JUNE, live=False).book)
    assert past.ledger.incident(first.id) == first
    assert past.ledger.incident(first.id[:13]) == first
    assert past.ledger.incident("") is None
    assert past.ledger.incident("%") is None


def test_without_a_token_every_message_waits_and_that_is_said(past):
    at = steps.moment(past, JUNE, live=False)
    report = steps.deliver(past, at)
    assert report.sent == 0
    assert report.counts["pending"] == len(past.ledger.entries(at.book))
    assert any("LODESTONE_SLACK_TOKEN is not set" in line for line in report.lines())


def test_an_incident_whose_rule_is_gone_is_withdrawn(open_service, tmp_path):
    service = open_service(tmp_path)
    at = steps.moment(service, JUNE, live=False)
    steps.ingest(service, at)
    before = run_all(service, at)
    fewer = with_rules(open_service, tmp_path, "[rules.magnet-exports-drop]\nenabled = false\n")
    after = steps.raise_alerts(fewer, at, run_id="later")
    assert any(i.type == "volume_drop" for i in before.incidents)
    assert not any(i.type == "volume_drop" for i in after.incidents)
    assert Reason.WITHDRAWN in {d.reason for d in after.decisions}


def test_an_old_projection_is_not_judged_as_todays(open_service, tmp_path):
    service = open_service(tmp_path)
    june = steps.moment(service, JUNE, live=False)
    steps.ingest(service, june)
    run_all(service, june)
    later = steps.moment(service, date(2026, 2, 20), live=False)
    report = steps.raise_alerts(service, later, run_id="later")
    assert not any(i.type == "shortfall" for i in report.incidents)
    assert any("did not judge india-ndfeb" in line for line in report.unjudged)


def test_a_forecast_that_has_not_seen_the_newest_price_does_not_speak(open_service, tmp_path):
    service = open_service(tmp_path)
    june = steps.moment(service, JUNE, live=False)
    steps.ingest(service, june)
    steps.forecast(service, june, run_id="june")
    later = steps.stored_forecasts(service, steps.moment(service, date(2025, 9, 5), live=False))
    assert "dy_oxide" not in {one.series for one in later.forecasts}
    assert (
        later.refused["dy_oxide"] == "the last forecast saw data to 2025-05-01, known is 2025-08-01"
    )


@pytest.mark.parametrize("tonnes", [250, 0])
def test_a_collapse_is_kept_fires_and_is_drawn_against_the_mean_before_it(
    open_service, tmp_path, tonnes
):
    folder = tmp_path / "snapshot"
    shutil.copytree(Path(str(REFERENCE)) / "snapshot", folder)
    exports = folder / "exports_monthly.csv"
    text = exports.read_text()
    assert ",2025-04,2629,t," in text
    exports.write_text(text.replace(",2025-04,2629,t,", f",2025-04,{tonnes},t,"))
    service = open_service(tmp_path / "home", LODESTONE_SNAPSHOT_DIR=str(folder))
    at = steps.moment(service, date(2025, 5, 25), live=False)
    ingested = steps.ingest(service, at, "trade")
    report = steps.raise_alerts(service, at, run_id="r")
    assert ingested.counts["quarantined"] == 0
    (drop,) = [i for i in report.incidents if i.type == "volume_drop"]
    assert drop.reading.chart is not None
    assert 4500 < drop.reading.chart.level < 5500


def test_a_subject_taken_out_of_a_rule_does_not_stay_open(open_service, tmp_path):
    service = open_service(tmp_path)
    at = steps.moment(service, JUNE, live=False)
    steps.ingest(service, at)
    before = run_all(service, at)
    changed = with_rules(open_service, tmp_path, "[rules.magnet-shortfall]\nhorizon_months = 5\n")
    after = steps.raise_alerts(changed, at, run_id="changed")
    mine = [("shortfall", "india-ndfeb")]
    assert [(i.type, i.subject) for i in after.incidents if i.rule == "magnet-shortfall"] == mine
    assert [(i.type, i.subject) for i in before.incidents if i.rule == "magnet-shortfall"] == mine


def test_silence_says_whether_anybody_looked(open_service, tmp_path):
    service = open_service(tmp_path)
    at = steps.moment(service, None, live=False)
    assert "No rule has been judged yet" in render(steps.outlook(service, at))
    service.runs.start("run", at.book, at.known_at, at.known_at)
    service.runs.step("run", steps.RAISE_STEP, 0.1, {"evaluated": 9, "not_evaluated": 2})
    assert "2 of 9 subjects could not be judged" in render(steps.outlook(service, at))


def test_a_stale_group_names_its_oldest_series_and_counts_the_others(service):
    at = steps.moment(service, date(2026, 11, 1), live=False)
    steps.ingest(service, at)
    title = source_states(service, at)["reference"].title
    assert re.fullmatch(
        r"Yearly reference figures \(USGS, IEA, IRENA\): Wind power added, .* and \d+ more", title
    )


# --- markets -----------------------------------------------------------------------------


def test_every_market_is_projected_under_every_scenario_and_says_what_changed(past):
    at = steps.moment(past, JUNE, live=False)
    report = steps.project(past, at, run_id="again")
    pairs = [(m, s) for m in past.catalog.markets for s in past.catalog.scenarios]
    assert [(one.market, one.scenario) for one in report.projections] == pairs
    assert set(report.changes) == set(pairs)
    assert (report.refused, report.unexplained) == ({}, {})
    for (_, scenario), change in report.changes.items():
        sum_of_bars = sum(bar.tonnes for bar in change.bars)
        assert change.before_t + sum_of_bars == pytest.approx(change.after_t, abs=1e-6)
        before, after = (
            ("as known on 15 March 2025", "as known on 21 June 2025")
            if scenario == "base"
            else ("base case", change.after)
        )
        assert (change.before, change.after) == (before, after)
    assert any("against as known on 15 March 2025" in line for line in report.lines())


def test_the_first_projection_of_a_market_has_nothing_to_be_compared_with(past):
    at = steps.moment(past, MARCH, live=False)
    report = steps.project(past, at, ["india-ndfeb"], run_id="first", scenarios=["base"])
    assert report.changes == {}
    assert report.unexplained == {}


def test_what_an_older_version_said_is_not_compared_and_that_is_told(open_service, tmp_path):
    service = open_service(tmp_path)
    march, june = (steps.moment(service, day, live=False) for day in (MARCH, JUNE))
    steps.ingest(service, march)
    steps.forecast(service, march, run_id="march")
    (old,) = steps.project(
        service, march, ["eu-ndfeb"], run_id="x", scenarios=["base"], months=11
    ).projections
    bare = replace(old, components=tuple(replace(one, monthly_t=()) for one in old.components))
    service.forecasts.save(bare, march.known_at, "old")
    steps.forecast(service, june, run_id="june")
    report = steps.project(service, june, ["eu-ndfeb"], run_id="june")
    assert ("eu-ndfeb", "base") not in report.changes
    assert "an older version made this projection" in report.unexplained["eu-ndfeb", "base"]
    assert ("eu-ndfeb", "licence-freeze") in report.changes


def test_scenarios_can_be_laid_over_each_other_and_are_worse_together(past):
    at = steps.moment(past, JUNE, live=False)
    names = ("base", "licence-freeze", "licence-freeze + demand-surge")
    report = steps.project(past, at, ["us-ndfeb"], run_id="both", scenarios=names)
    base, freeze, both = (
        sum(month.expected_shortfall_t for month in one.months) for one in report.projections
    )
    assert base < freeze < both
    assert report.projections[2].scenario == "licence-freeze+demand-surge"
    kept = past.forecasts.latest_projection("us-ndfeb", "licence-freeze+demand-surge", at.known_at)
    assert kept is None


def test_another_horizon_is_told_and_not_kept(past):
    at = steps.moment(past, JUNE, live=False)
    before = past.forecasts.latest_projection("us-ndfeb", "base", at.known_at)
    report = steps.project(past, at, ["us-ndfeb"], run_id="short", months=6)
    assert {len(one.months) for one in report.projections} == {6}
    assert past.forecasts.latest_projection("us-ndfeb", "base", at.known_at) == before
    assert before is not None
    assert len(before.months) == 12


@pytest.mark.parametrize(
    ("given", "says"),
    [
        pytest.param({"scenarios": ["winter"]}, "known: base, licence-freeze, ", id="unknown"),
        pytest.param({"scenarios": ["quota-cut+"]}, "no scenario ''", id="nothing after the plus"),
        pytest.param({"months": 0}, "1 to 60 can be projected", id="no month"),
        pytest.param({"months": 61}, "61 months of a market asked", id="too far"),
    ],
)
def test_a_projection_that_cannot_be_asked_for_is_refused_with_what_can(past, given, says):
    at = steps.moment(past, JUNE, live=False)
    with pytest.raises(LodestoneError, match=re.escape(says)):
        steps.project(past, at, run_id="r", **given)


def test_a_market_without_data_is_refused_with_series_and_component_and_the_others_too(service):
    report = steps.project(service, steps.moment(service, JUNE, live=False), run_id="r")
    assert set(report.refused) == set(service.catalog.markets)
    why = report.refused["world-ndfeb"]
    assert why.startswith("world-ndfeb: mine_output_world can't be used: 0 observations")
    assert "supply 'Mined in China'" in why
    assert any(line.startswith("india-ndfeb: no projection: ") for line in report.lines())


def test_a_monthly_series_of_a_market_is_forecast_as_far_as_the_market_looks(
    open_service, tmp_path
):
    config = tmp_path / "config"
    config.mkdir()
    (config / "catalog.toml").write_text(
        '[series.cars_monthly]\ntitle = "Cars"\nunit = "vehicles"\nfrequency = "month"\n'
        'kind = "reference"\nsource = "reference"\n'
    )
    (config / "markets.toml").write_text(
        '[monthly]\ntitle = "Monthly"\nproduct = "magnets"\n'
        '[[monthly.supply]]\nname = "Imports"\nbalance = true\norigin = "China"\n'
        '[[monthly.demand]]\nname = "Cars"\nseries = "cars_monthly"\nfactors = ["kg_per_bev_car"]\n'
    )
    service = open_service(tmp_path, LODESTONE_CONFIG_DIR=str(config), LODESTONE_MARKET_MONTHS="24")
    at = steps.moment(service, JUNE, live=False)
    horizons = {
        name: steps._forecast_task(service, name, at).horizon
        for name in ("cars_monthly", "nd_oxide", "mine_output_world")
    }
    # Two years, and the months by which its newest figure may be late.
    assert horizons == {"cars_monthly": 30, "nd_oxide": 12, "mine_output_world": 8}


def test_the_longest_outlook_reaches_five_years(open_service, tmp_path):
    service = open_service(tmp_path, LODESTONE_MARKET_MONTHS="60")
    at = steps.moment(service, JUNE, live=False)
    steps.ingest(service, at)
    steps.forecast(service, at, run_id="r")
    report = steps.project(service, at, run_id="r", scenarios=["base"])
    assert report.refused == {}
    assert {one.months[-1].month for one in report.projections} == {date(2030, 6, 1)}


def test_rules_load_every_scenario_of_the_markets_that_they_name_and_no_other_market(
    past, open_service, tmp_path
):
    at = steps.moment(past, JUNE, live=False)
    every = set(past.catalog.scenarios)
    loaded = set(situation(past, at).projections)
    assert loaded == {(m, s) for m in ("world-ndfeb", "india-ndfeb") for s in every}
    bound = with_rules(open_service, tmp_path, freeze_rule("eu-ndfeb", "licence-freeze"))
    steps.ingest(bound, at)
    run_all(bound, at)
    assert set(situation(bound, at).projections) - loaded == {("eu-ndfeb", s) for s in every}


def freeze_rule(market: str, scenario: str) -> str:
    return (
        f"[rules.eu-{scenario}]\ntype = 'shortfall'\nmarket = '{market}'\nscenario = '{scenario}'\n"
        "warning = { enter = 0.05, exit = 0.04 }\nroute = 'buyers'\n"
    )


@pytest.mark.parametrize("scenario", ["licence-freeze", "demand-surge"])
def test_a_rule_can_be_bound_to_a_scenario_and_says_so(open_service, tmp_path, scenario):
    service = with_rules(open_service, tmp_path, freeze_rule("eu-ndfeb", scenario))
    at = steps.moment(service, JUNE, live=False)
    steps.ingest(service, at)
    report = run_all(service, at)
    (incident,) = [i for i in report.incidents if i.subject == "eu-ndfeb"]
    title = service.catalog.scenarios[scenario].title
    assert f"scenario: {title}"[:40] in incident.reading.headline
    assert ("Scenario", title) in [(fact.label, fact.value) for fact in incident.reading.facts]
    assert incident.reading.chart is not None
    assert incident.reading.chart.scenario == scenario


@pytest.mark.parametrize(
    ("market", "scenario", "says"),
    [
        pytest.param("eu-ndfeb", "licence-freze", "did you mean 'licence-freeze'", id="misspelt"),
        pytest.param("eu-ndfeb", "winter", "known: base, demand-surge, ", id="unknown scenario"),
        pytest.param("mars", "base", "known: eu-ndfeb, india-ndfeb, ", id="unknown market"),
    ],
)
def test_a_rule_on_what_nobody_declared_is_refused_at_start_with_what_there_is(
    open_service, tmp_path, market, scenario, says
):
    with pytest.raises(RuleFileError, match=re.escape(says)):
        with_rules(open_service, tmp_path, freeze_rule(market, scenario))


# --- the outlook -------------------------------------------------------------------------


def test_the_outlook_is_one_page_that_refers_to_nothing_else(past, tmp_path):
    at = steps.moment(past, JUNE, live=False)
    page = steps.report(past, at, tmp_path / "page.html").path.read_text()
    for needed in (
        "Replay",
        "1,238 t in May 2025",
        "data:image/png;base64,",
        "India NdFeB magnets",
        "As known on 21 June 2025, against as known on 15 March 2025: expected shortfall",
        "Concentration of supply by origin (HHI):",
        "China all but stops export licences for six months",
    ):
        assert needed in page
    assert page.count("against as known on 15 March 2025") == len(past.catalog.markets)
    assert len(page) < 1_000_000
    for forbidden in ("<script", "http://", "https://fonts", 'src="/', "url("):
        assert forbidden not in page


def test_the_outlook_shows_what_sources_say_as_text_and_never_as_markup(past, tmp_path):
    at = steps.moment(past, JUNE, live=False)
    shown = steps.outlook(past, at)
    incident = shown.incidents[0]
    evil = replace(incident.reading, headline="<script>alert(1)</script> & more")
    page = render(replace(shown, incidents=[replace(incident, reading=evil)]))
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page


def test_an_outlook_that_cannot_be_written_says_where(past, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LodestoneError, match=r"file.page\.html: the outlook can't be written"):
        steps.report(past, steps.moment(past, JUNE, live=False), tmp_path / "file" / "page.html")
