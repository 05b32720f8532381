"""The weekly backtest: step, scorecards as the rules see them, pages, and the flow without a server."""

import base64
import html
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from alerts.lifecycle import State
from flows import artifacts, pipeline, steps
from flows.errors import UsageError
from flows.known import model_verdicts, situation, stored_scorecards
from flows.report import render
from flows.sentences import ModelVerdict
from flows.settings import load_settings
from flows.telling import chart_of
from flows.wiring import build
from forecasting import batch
from forecasting.results import CutoffCheck, Score, Scorecard
from tests.builders import make_scorecard

QUICK = {
    "LODESTONE_MODELS": "random_walk,drift",
    "LODESTONE_PATHS": "200",
    "LODESTONE_MARKET_PATHS": "200",
}
JUNE = date(2025, 6, 21)
FINE = ModelVerdict("holds up", "fine")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[steps.Service]:
    opened = build(
        load_settings({**QUICK, "LODESTONE_HOME": str(tmp_path)}, tmp_path / "none.toml")
    )
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def tested(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[steps.Service, steps.Moment, steps.BacktestReport]]:
    """A service on the bundled figures, as known in June 2025, with a backtest of every series."""
    home = tmp_path_factory.mktemp("backtest")
    opened = build(load_settings({**QUICK, "LODESTONE_HOME": str(home)}, home / "none.toml"))
    at = steps.moment(opened, JUNE, live=False)
    steps.ingest(opened, at)
    yield opened, at, steps.backtest(opened, at, run_id="run-1")
    opened.close()


def degraded_card(at: steps.Moment, **changes: Any) -> Scorecard:
    return make_scorecard((1.3,) * 8, 0.4, vintage=at.known_at - timedelta(days=1), **changes)


# --- the step ----------------------------------------------------------------------


def test_every_series_is_tested_in_the_order_of_the_catalogue_or_says_why_not(tested):
    service, _, report = tested
    names = [card.series for card in report.cards]

    assert sorted([*names, *report.refused]) == sorted(service.catalog.forecast_series)
    assert names == [name for name in service.catalog.forecast_series if name in names]
    assert {"dy_oxide", "mine_output_world"} <= set(names)
    assert report.counts == {"scorecards": len(names), "refused": len(report.refused)}
    assert len(report.lines()) == len(service.catalog.forecast_series)


def test_a_card_is_kept_and_is_what_the_rules_see_from_then_on(tested):
    service, at, report = tested
    cards = {card.series: card for card in stored_scorecards(service, at)}

    assert cards == dict(situation(service, at).scorecards)
    assert set(cards) == {card.series for card in report.cards}
    assert cards["dy_oxide"].checks == report.cards[0].checks
    day_before = steps.moment(service, JUNE - timedelta(days=1), live=False)
    assert stored_scorecards(service, day_before) == ()


def test_no_check_saw_a_figure_that_was_not_known_yet(tested):
    _, _, report = tested
    (card,) = [card for card in report.cards if card.series == "dy_oxide"]

    assert card.vintage <= datetime(2025, 6, 21, 23, 59, 59, tzinfo=UTC)
    # Six months ahead have to have come by May 2025, the newest month known on the day.
    assert card.checks[-1].cutoff <= date(2024, 11, 1)
    assert [check.cutoff for check in card.checks] == sorted(check.cutoff for check in card.checks)


def test_a_series_that_cannot_be_tested_is_named_and_the_others_go_on(service):
    at = steps.moment(service, JUNE, live=False)
    report = steps.backtest(service, at, run_id="run-1")  # nothing was ingested

    assert report.cards == ()
    assert set(report.refused) == set(service.catalog.forecast_series)
    assert all("no backtest: " in line for line in report.lines())


def test_an_unforeseen_failure_of_one_series_stops_no_other(tested, monkeypatch, caplog):
    service, at, _ = tested
    real = batch.scorecard

    def broken(observed: Any, **options: Any) -> Scorecard:
        if observed.series == "tb_oxide":
            message = "the fan came off"
            raise RuntimeError(message)
        return real(observed, **options)

    monkeypatch.setattr(batch, "scorecard", broken)
    report = steps.backtest(service, at, ("dy_oxide", "tb_oxide"), run_id="run-2")

    assert [card.series for card in report.cards] == ["dy_oxide"]
    assert "failed inside Lodestone (RuntimeError)" in report.refused["tb_oxide"]
    assert "the fan came off" in caplog.text


def test_a_series_nobody_knows_is_refused_before_anything_is_tested(service):
    at = steps.moment(service, JUNE, live=False)
    with pytest.raises(UsageError, match="dy_oxid"):
        steps.backtest(service, at, ("dy_oxid",), run_id="run-1")


# --- from scorecard to operators ----------------------------------------------------


def test_the_bundled_figures_raise_no_alarm_about_a_model(tested):
    service, at, report = tested

    assert not [line for line in report.lines() if ": degraded" in line]
    steps.forecast(service, at, run_id="run-3")
    opened = steps.raise_alerts(service, at, run_id="run-3").incidents
    assert "model_degraded" not in {incident.type for incident in opened}


def test_a_degraded_model_opens_one_incident_for_operators_and_a_good_backtest_ends_it(service):
    at = steps.moment(service, JUNE, live=False)
    service.forecasts.save(degraded_card(at), at.known_at, "run-1")

    for _ in range(2):
        found = steps.raise_alerts(service, at, run_id="run-1")
        (incident,) = [one for one in found.incidents if one.type == "model_degraded"]
        assert (incident.subject, incident.state) == ("dy_oxide", State.FIRING)
        told = service.ledger.entries(at.book, incident_id=incident.id)
        assert {entry.route for entry in told} == {"operators"}
    told = service.ledger.entries(at.book, incident_id=incident.id)
    assert {entry.channel for entry in told} == {"#lodestone-operators"}

    mended = replace(make_scorecard(), vintage=at.known_at)
    service.forecasts.save(mended, at.known_at, "run-2")
    after = steps.raise_alerts(service, at, run_id="run-2")
    assert "model_degraded" not in {one.type for one in after.incidents}


def test_the_picture_of_the_alert_is_that_of_the_scorecard(service):
    at = steps.moment(service, JUNE, live=False)
    service.forecasts.save(degraded_card(at), at.known_at, "run-1")
    steps.raise_alerts(service, at, run_id="run-1")
    (incident,) = [
        one for one in service.ledger.open_incidents(at.book) if one.type == "model_degraded"
    ]

    picture = chart_of(situation(service, at), incident.reading)
    assert picture is not None
    assert picture.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("card", "verdict"),
    [
        (
            make_scorecard([0.95] * 8),
            ModelVerdict("holds up", '0.95 times the error of "as today", with 80 % held'),
        ),
        (
            make_scorecard([1.1] * 8),
            ModelVerdict("borderline", '1.10 times the error of "as today", with 80 % held'),
        ),
        (
            make_scorecard([1.3] * 8, 0.5),
            ModelVerdict("degraded", '1.30 times the error of "as today", with 50 % held'),
        ),
        (make_scorecard([1.3] * 3), ModelVerdict("not judged", "3 past cutoffs tested, 8 needed")),
    ],
)
def test_the_verdict_is_that_of_the_rule(service, card, verdict):
    at = steps.moment(service, JUNE, live=False)

    assert model_verdicts(service, at, [card]) == {"dy_oxide": verdict}
    # Also for a series that no alert watches.
    other = replace(card, series="mine_output_world")
    assert model_verdicts(service, at, [other]) == {"mine_output_world": verdict}


def test_a_backtest_that_missed_new_figures_has_no_verdict_on_the_outlook_either(tested):
    service, at, report = tested
    steps.forecast(service, at, run_id="run-4")
    (card,) = [card for card in report.cards if card.series == "dy_oxide"]
    old = replace(card, vintage=card.vintage - timedelta(days=90))
    verdict = model_verdicts(service, at, [old])["dy_oxide"]

    assert verdict.word == "not judged"
    assert verdict.why.startswith("the last backtest has not seen the figures since ")
    assert model_verdicts(service, at, [card])["dy_oxide"].word != "not judged"


def test_the_outlook_says_how_the_choice_held_up_lately(tested):
    service, at, report = tested
    page = render(steps.outlook(service, at))

    assert "Dysprosium oxide, FOB China, newest cutoffs of the last backtest:" in page
    # The page writes an apostrophe as HTML does.
    assert str(report.verdicts["dy_oxide"]) in html.unescape(page)
    assert "Rare earths mined worldwide, newest cutoffs" not in page  # prices only


# --- pages -------------------------------------------------------------------------


def test_a_backtest_page_holds_reason_verdict_picture_scores_and_every_cutoff():
    card = make_scorecard([0.9] * 9)
    page = artifacts.backtest_page(card, FINE, lambda _: b"png")
    lines = page.markdown.splitlines()

    assert page.key == "backtest-dy-oxide"
    assert card.reason in lines
    assert "The service's own choice at the newest cutoffs: **holds up (fine)**." in lines
    assert f"data:image/png;base64,{base64.b64encode(b'png').decode()}" in page.markdown
    assert "| **theta** (speaks) | 16 | 0.92 | 0.95 | 1.90 | 49 % | 79 % | 94 % | -0.020 |" in lines
    assert "| gaussian_walk | 16 | 1.00 | 1.00 | 2.10 | 47 % | 74 % | 93 % | +0.010 |" in lines
    told = [line for line in lines if line.endswith("| theta | 0.090 | 0.100 | 80 % |")]
    assert len(told) == 9
    assert told[0].startswith("| Nov 2024 |")


def test_a_score_that_is_not_known_is_a_dash_and_not_a_nan():
    card = make_scorecard(scores=(Score("theta", 4, 0.9, 0.9, 0.8, 0.95),), checks=(), pit_share=())
    page = artifacts.backtest_page(card, ModelVerdict("not judged", "too few"), lambda _: b"png")
    (row,) = artifacts.backtest_table([card], {"dy_oxide": FINE}, {}, 8).table

    assert "| **theta** (speaks) | 4 | 0.90 | 0.90 | – | – | 80 % | 95 % | – |" in page.markdown
    assert "nan" not in f"{page.markdown} {row}"


def test_the_overview_has_a_row_for_each_series_also_for_those_without_a_backtest():
    card = make_scorecard((2.0,) * 8 + (0.9,) * 8)
    table = artifacts.backtest_table(
        [card], {"dy_oxide": FINE}, {"nd_oxide": "9 observations, 24 needed"}, 8
    )

    assert table.key == "backtests"
    assert table.table[0] == {
        "series": "dy_oxide",
        "verdict": "holds up",
        "model": "theta",
        "cutoffs": "16",
        "CRPS": "1.45",
        "CRPS, newest 8": "0.90",
        "80 % held, newest 8": "80 %",
        "why": "fine",
    }
    assert table.table[1]["verdict"] == "no backtest"
    assert table.table[1]["why"] == "9 observations, 24 needed"
    assert artifacts.backtest_table([], {}, {}, 8).table


# --- the flow ----------------------------------------------------------------------


def test_the_flow_publishes_the_overview_and_a_page_for_each_series(monkeypatch, tmp_path):
    monkeypatch.setenv("LODESTONE_HOME", str(tmp_path))
    asked, seen = [], []
    cards = (make_scorecard(), make_scorecard(series="tb_oxide"))

    def backtest(_service: Any, at: steps.Moment, series: Any, **options: Any) -> Any:
        asked.append((at.book, series, options["run_id"]))
        return steps.BacktestReport(cards, {card.series: FINE for card in cards})

    monkeypatch.setattr(steps, "backtest", backtest)
    monkeypatch.setattr(pipeline, "_publish", lambda found: seen.extend(found))
    counts = pipeline.backtest.fn(as_of=JUNE, series=("dy_oxide", "tb_oxide"))

    assert counts == {"scorecards": 2, "refused": 0}
    assert asked[0][:2] == ("as-of 2025-06-21", ("dy_oxide", "tb_oxide"))
    assert [page.key for page in seen] == ["backtests", "backtest-dy-oxide", "backtest-tb-oxide"]
    assert artifacts.TOO_LARGE not in "".join(page.markdown for page in seen)


def test_a_check_is_told_by_the_period_of_its_series():
    check = CutoffCheck(date(2020, 1, 1), "drift", 0.1, 0.2, 0.5)
    yearly = make_scorecard(frequency="year", horizon=1, checks=(check,))
    page = artifacts.backtest_page(yearly, ModelVerdict("not judged", ""), lambda _: b"png")

    assert "| 2020 | drift | 0.100 | 0.200 | 50 % |" in page.markdown
    assert "forecast 1 year ahead" in page.markdown
