"""flows/pipeline.py, flows/artifacts.py and prefect.yaml: what Prefect is told, without a server."""

import base64
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from prefect.flows import load_flow_from_entrypoint
from prefect.states import Failed
from prefect.utilities.callables import parameter_schema

from alerts.errors import RuleFileError
from alerts.incident import DataState, Reason, State
from alerts.ledger import NewEntry, OutboxEntry
from alerts.rules import DEFAULT_OPTIONS, Severity
from alerts.scoring import Quality
from alerts.silences import Silence
from flows import artifacts, pipeline, steps
from flows.errors import SourceError, UsageError
from flows.launcher import POOL, PULSE, read_deployments
from flows.replay.result import ReplayResult, TimelineRow
from flows.settings import Settings, load_settings
from flows.storage.ledger import SqlLedger, Transition
from flows.validation import RejectedRow
from flows.wiring import build
from forecasting.market.explain import waterfall
from forecasting.results import Indicator, Score, SeriesForecast
from tests.builders import make_incident, make_projection, make_reading
from tests.slack_standin import StandIn

DEPLOYMENTS = read_deployments(Path(__file__).resolve().parents[2] / "prefect.yaml")
DAY = date(2025, 6, 21)
ORDER = [
    "ingest-prices",
    "ingest-trade",
    "ingest-reference",
    "forecast",
    "project-market",
    "raise-alerts",
    "deliver-alerts",
    "write-outlook",
]


# --- prefect.yaml ------------------------------------------------------------------


def test_every_flow_has_a_deployment_of_its_name():
    assert sorted(entry["name"] for entry in DEPLOYMENTS) == sorted(
        [*ORDER, "backtest", "pulse", "replay"]
    )
    names = [load_flow_from_entrypoint(entry["entrypoint"]).name for entry in DEPLOYMENTS]
    assert names == [entry["name"] for entry in DEPLOYMENTS]
    assert PULSE in {f"{name}/{name}" for name in names}


@pytest.mark.parametrize("entry", DEPLOYMENTS, ids=lambda entry: entry["name"])
def test_a_deployment_asks_only_for_what_its_flow_knows(entry):
    # Prefect takes any name here, and the run then crashes.
    flow = load_flow_from_entrypoint(entry["entrypoint"])
    schema = parameter_schema(flow).model_dump()["properties"]
    assert set(entry.get("parameters") or {}) <= set(schema)
    assert entry["work_pool"]["name"] == POOL
    # What else stood here, `lodestone run` would not pass on.
    assert set(entry) <= {
        "name",
        "entrypoint",
        "description",
        "tags",
        "parameters",
        "work_pool",
        "concurrency_limit",
        "schedules",
    }
    assert entry["description"].endswith(".")
    assert "lodestone" in entry["tags"]
    assert entry["concurrency_limit"]["collision_strategy"] in {"ENQUEUE", "CANCEL_NEW"}


@pytest.mark.parametrize("entry", DEPLOYMENTS, ids=lambda entry: entry["name"])
def test_every_parameter_in_the_form_is_explained_and_has_a_default(entry):
    schema = parameter_schema(load_flow_from_entrypoint(entry["entrypoint"])).model_dump()
    assert not schema["required"]
    for name, form in schema["properties"].items():
        assert form["description"].endswith("."), name
        assert "default" in form, name


@pytest.mark.parametrize("entry", DEPLOYMENTS, ids=lambda entry: entry["name"])
def test_every_schedule_names_its_time_zone(entry):
    for schedule in entry.get("schedules", []):
        assert ZoneInfo(schedule["timezone"]).key == schedule["timezone"]
        assert len(schedule["cron"].split()) == 5


def test_the_fixed_hours_are_those_that_people_were_told():
    told = {
        entry["name"]: [(one["cron"], one["timezone"]) for one in entry["schedules"]]
        for entry in DEPLOYMENTS
        if "schedules" in entry
    }
    assert told["ingest-prices"] == [("30 18 * * 1-5", "Asia/Shanghai")]
    assert told["pulse"] == [("0 8 * * *", "Asia/Kolkata")]
    assert told["backtest"] == [("0 3 * * 0", "Asia/Kolkata")]
    assert told["deliver-alerts"] == [("*/5 * * * *", "Asia/Kolkata")]
    assert {"forecast", "project-market", "raise-alerts", "write-outlook", "replay"}.isdisjoint(
        told
    )


# --- the pulse ---------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Steps that only note that they were called, on a real database in a home of its own."""
    monkeypatch.setenv("LODESTONE_HOME", str(tmp_path))
    noted: list[str] = []

    def ingest(_service: Any, _moment: Any, kind: str, sources: tuple[str, ...]) -> Any:
        noted.append(f"ingest {kind} {sources[0]}")
        return steps.IngestReport((steps.SourceReport(sources[0], read=3, new=3),))

    def forecast(_service: Any, _moment: Any, _series: Any, run_id: str, **_engine: Any) -> Any:
        noted.append(f"forecast {run_id}")
        return steps.ForecastReport(())

    def project(_service: Any, _moment: Any, _markets: Any, run_id: str) -> Any:
        noted.append(f"project {run_id}")
        return steps.MarketReport(())

    def raise_alerts(_service: Any, _moment: Any, run_id: str) -> Any:
        noted.append(f"raise {run_id}")
        return steps.AlertsReport((), ())

    def deliver(service: Any, moment: Any, **how: float) -> Any:
        noted.append("deliver")
        return REAL_DELIVER(service, moment, **how)

    def report(_service: Any, _moment: Any) -> Any:
        noted.append("report")
        return steps.OutlookReport(tmp_path / "outlook.html")

    for fake in (ingest, forecast, project, raise_alerts, deliver, report):
        monkeypatch.setattr(steps, fake.__name__, fake)
    return noted


REAL_DELIVER = steps.deliver


def last_run(home: Path) -> Any:
    service = build(Settings(home=home))
    try:
        (run,) = service.runs.latest()
        return run
    finally:
        service.close()


def test_a_pulse_runs_every_step_in_order_and_records_it(calls, tmp_path):
    pipeline.pulse.fn(as_of=DAY)
    assert [call.split()[0] for call in dict.fromkeys(calls)][-5:] == [
        "forecast",
        "project",
        "raise",
        "deliver",
        "report",
    ]
    kinds = [call.split()[1] for call in calls if call.startswith("ingest")]
    assert kinds == sorted(kinds, key=["price", "trade", "reference"].index)
    assert set(kinds) == {"price", "trade", "reference"}
    run = last_run(tmp_path)
    assert [step.name for step in run.steps] == ORDER
    assert run.book == "as-of 2025-06-21"
    assert run.as_of == datetime(2025, 6, 21, 23, 59, 59, tzinfo=UTC)
    assert run.finished_at is not None
    assert run.steps[0].counts["new"] == 3 * kinds.count("price")


def test_every_step_gets_the_id_of_the_pulse_and_a_run_by_hand_its_own(calls, tmp_path):
    pipeline.pulse.fn(as_of=DAY)
    told = dict(call.split() for call in calls if call.startswith(("forecast", "project", "raise")))
    run_id = last_run(tmp_path).run_id
    assert told == {"forecast": run_id, "project": run_id, "raise": run_id}
    pipeline.raise_alerts.fn(as_of=DAY)
    assert calls[-1].split()[0] == "raise"
    assert calls[-1].split()[1] != run_id


def test_a_step_that_fails_fails_the_pulse_by_name_but_alerts_are_still_delivered(
    calls, tmp_path, monkeypatch
):
    def broken(*_: Any, **__: Any) -> Any:
        message = "the fan came off"
        raise RuntimeError(message)

    monkeypatch.setattr(steps, "forecast", broken)
    with pytest.raises(pipeline.StepsFailedError, match=r"^forecast: the fan came off$"):
        pipeline.pulse.fn(as_of=DAY)
    assert [call.split()[0] for call in calls[-4:]] == ["project", "raise", "deliver", "report"]
    by_name = {step.name: step for step in last_run(tmp_path).steps}
    assert by_name["forecast"].error == "the fan came off"
    assert by_name["deliver-alerts"].error == ""


def test_a_source_that_fails_stops_neither_the_other_sources_nor_the_pulse(calls, monkeypatch):
    def half(_service: Any, _moment: Any, kind: str, sources: tuple[str, ...]) -> Any:
        calls.append(f"ingest {kind} {sources[0]}")
        error = "no answer" if sources[0] == "first" else ""
        return steps.IngestReport((steps.SourceReport(sources[0], error=error),))

    monkeypatch.setattr(steps, "ingest", half)
    monkeypatch.setattr(steps, "chosen_sources", lambda *_, **__: ("first", "second"))
    with pytest.raises(pipeline.StepsFailedError, match="ingest-prices: first: no answer"):
        pipeline.pulse.fn(as_of=DAY)
    assert calls[:2] == ["ingest price first", "ingest price second"]
    assert calls[-2:] == ["deliver", "report"]


def test_a_source_whose_task_runs_out_of_time_stops_no_other_and_is_in_the_table(
    calls, monkeypatch
):
    def slow(_service: Any, _moment: Any, _kind: str, sources: tuple[str, ...]) -> Any:
        if sources[0] == "first":
            raise TimeoutError
        return steps.IngestReport((steps.SourceReport(sources[0], read=1, new=1),))

    seen = []
    monkeypatch.setattr(steps, "ingest", slow)
    monkeypatch.setattr(steps, "chosen_sources", lambda *_, **__: ("first", "second"))
    monkeypatch.setattr(pipeline, "_publish", lambda found: seen.extend(found))
    with pytest.raises(pipeline.StepsFailedError, match="first: TimeoutError"):
        pipeline.ingest_prices.fn(as_of=DAY, live=True)
    assert [row["problem"] for row in seen[0].table] == ["TimeoutError", "none"]


def test_only_fetching_is_tried_again_and_with_jitter():
    assert pipeline.fetch_source.retries == 2
    assert pipeline.fetch_source.retry_jitter_factor
    for entry in DEPLOYMENTS:
        flow = load_flow_from_entrypoint(entry["entrypoint"])
        assert not flow.retries
        assert flow.timeout_seconds


def test_a_source_error_reaches_prefect_so_that_it_tries_again(calls, monkeypatch):
    failed = steps.IngestReport((steps.SourceReport("komis", error="no answer", is_unread=True),))
    monkeypatch.setattr(steps, "ingest", lambda *_: failed)
    with pytest.raises(SourceError, match="komis: no answer"):
        pipeline.fetch_source.fn("price", "komis", DAY, True)


@pytest.mark.parametrize(
    ("error", "is_retried"),
    [
        pytest.param(SourceError("komis", "no answer"), True, id="the publisher's"),
        pytest.param(UsageError("there is no source 'komi'"), False, id="the request's"),
        pytest.param(ValueError("not enough values"), False, id="ours"),
    ],
)
def test_only_a_publishers_failure_is_tried_again(error, is_retried):
    is_worth_it: Any = pipeline.fetch_source.retry_condition_fn
    assert is_worth_it(pipeline.fetch_source, None, Failed(data=error)) is is_retried


@pytest.mark.parametrize("name", ["komi", "customs"])
def test_a_mistyped_source_or_one_of_another_kind_is_named_before_any_is_asked(calls, name):
    with pytest.raises(UsageError, match=f"there is no price source '{name}'"):
        pipeline.ingest_prices.fn(as_of=DAY, sources=("komis", name))
    assert calls == []


def test_what_half_a_visit_brought_is_kept_and_its_problem_still_fails_the_step(calls, monkeypatch):
    half = steps.SourceReport("komis", read=5, new=5, error="Dy: no answer")
    monkeypatch.setattr(steps, "ingest", lambda *_: steps.IngestReport((half,)))
    monkeypatch.setattr(steps, "chosen_sources", lambda *_, **__: ("komis",))
    assert pipeline.fetch_source.fn("price", "komis", DAY, True) == half
    with pytest.raises(pipeline.StepsFailedError, match="komis: Dy: no answer"):
        pipeline.ingest_prices.fn(as_of=DAY)


def test_a_publisher_that_gave_nothing_leaves_the_account_of_its_bundled_figures(
    calls, monkeypatch
):
    bundled = steps.SourceReport("komis", read=5, unchanged=5, error="no answer", is_unread=True)
    monkeypatch.setattr(steps, "ingest", lambda *_: steps.IngestReport((bundled,)))
    monkeypatch.setattr(steps, "chosen_sources", lambda *_, **__: ("komis",))
    seen = []
    monkeypatch.setattr(pipeline, "_publish", lambda found: seen.extend(found))
    with pytest.raises(pipeline.StepsFailedError, match="komis: no answer"):
        pipeline.ingest_prices.fn(as_of=DAY, live=True)
    table, page = seen
    assert (table.table[0]["rows read"], table.table[0]["problem"]) == ("5", "no answer")
    assert page.key == "quarantine-price"


# --- artifacts ---------------------------------------------------------------------


def make_forecast(**changes: Any) -> SeriesForecast:
    values = {
        "forecast_id": "f-1",
        "series": "dy_oxide",
        "title": "Dysprosium oxide",
        "unit": "USD/kg",
        "frequency": "month",
        "cutoff": date(2025, 5, 1),
        "last_value": 250.0,
        "history": ((date(2025, 5, 1), 250.0),),
        "periods": (date(2025, 6, 1),),
        "quantiles": ((200.0, 210.0, 230.0, 251.4, 270.0, 290.0, 310.0),),
        "paths": ((250.0,),),
        "model": "random_walk",
        "reason": "Random walk speaks for dy_oxide by default.",
        "scores": (),
        "observations": 24,
        "vintage": datetime(2025, 6, 2, tzinfo=UTC),
    }
    return SeriesForecast(**values | changes)


def test_a_forecast_page_holds_picture_reason_and_interval():
    page = artifacts.forecast_page(make_forecast(), lambda _: b"png")
    assert page.key == "forecast-dy-oxide"
    assert "Random walk speaks for dy_oxide by default." in page.markdown
    assert f"data:image/png;base64,{base64.b64encode(b'png').decode()}" in page.markdown
    assert "| Jun 2025 | 210 | 251 | 290 |" in page.markdown


def test_scores_name_the_yardstick_they_are_measured_against():
    page = artifacts.forecast_page(
        make_forecast(scores=(Score("theta", 24, 0.97, 0.98, 0.8, 0.95),)), lambda _: b"png"
    )
    lines = page.markdown.splitlines()
    assert (
        "| model | past cutoffs | CRPS against Gaussian walk | 50 % interval held | 80 % | 95 % |"
    ) in lines
    # What a stored score of an older version does not know is not made up.
    assert "| theta | 24 | 0.97 | – | 80 % | 95 % |" in lines


def test_a_picture_that_would_slow_the_ui_is_left_out_and_said_so():
    page = artifacts.forecast_page(make_forecast(), lambda _: b"x" * 100_001)
    assert artifacts.TOO_LARGE in page.markdown
    assert len(page.markdown) < 2_000


def test_a_market_page_holds_every_picture_what_changed_scenarios_indicators_and_lines():
    hhi = Indicator("hhi", "HHI | of origins", 9000.0, "0-10000", "high", "low", "DERA")
    base = make_projection((0.1,), indicators=(hhi,))
    freeze = make_projection((0.3,), scenario="licence-freeze", scenario_title="China stops")
    changes = {
        ("world-ndfeb", "base"): waterfall(
            make_projection((0.0,)), base, before_words="in March", after_words="in June"
        ),
        ("world-ndfeb", "licence-freeze"): waterfall(
            base, freeze, before_words="base case", after_words="if China stops"
        ),
    }
    pictures = [("supply by origin", b"one"), ("demand by use", b"two")]
    page = artifacts.market_page([base, freeze], changes, pictures)
    assert page.key == "market-world-ndfeb"
    for words, png in pictures:
        content = base64.b64encode(png).decode()
        assert f"![World NdFeB magnets: {words}](data:image/png;base64,{content})" in page.markdown
    assert "In June, against in March: expected shortfall over 12 months rises" in page.markdown
    lines = page.markdown.splitlines()
    # A tenth and three tenths of 1,000 t in each of twelve months.
    assert "| licence-freeze | 30 % (30 to 30 %) | Jul 2025 | +2,400 |" in lines
    assert "| base | 10 % (10 to 10 %) | Jul 2025 | – |" in lines
    assert r"- HHI \| of origins: **9,000 of 10,000**, high (low)" in lines
    assert any(line.startswith("| Mined in China | supply | 9,000 to 11,000 |") for line in lines)
    assert "- Grades are not told apart." in lines


def test_a_market_page_says_why_it_has_no_change():
    page = artifacts.market_page([make_projection()], {}, [])
    assert "Nothing earlier to compare this projection with." in page.markdown
    page = artifacts.market_page([make_projection()], {}, [], "an older version made it")
    assert "What changed can't be told: an older version made it" in page.markdown


def test_the_flow_draws_each_market_once_and_every_picture_fits_the_ui(monkeypatch, tmp_path):
    monkeypatch.setenv("LODESTONE_HOME", str(tmp_path))
    base = make_projection((0.1,))
    freeze = make_projection((0.3,), scenario="licence-freeze", scenario_title="China stops")
    other = replace(base, market="india-ndfeb")
    change = waterfall(make_projection((0.0,)), base, before_words="a", after_words="b")
    report = steps.MarketReport((base, freeze, other), changes={("world-ndfeb", "base"): change})
    seen: list[Any] = []
    monkeypatch.setattr(steps, "project", lambda *_, **__: report)
    monkeypatch.setattr(pipeline, "_publish", lambda found: seen.extend(found))
    assert pipeline.project_market.fn(as_of=DAY) == {"projections": 3, "refused": 0}
    assert [page.key for page in seen] == ["market-world-ndfeb", "market-india-ndfeb"]
    assert [page.markdown.count("data:image/png;base64,") for page in seen] == [4, 3]
    assert not any(artifacts.TOO_LARGE in page.markdown for page in seen)


def test_a_failing_source_is_told_beside_the_others():
    table = artifacts.ingest_table(
        "price",
        [
            steps.SourceReport("one", read=5, new=2, unchanged=3, newest_period=date(2025, 5, 1)),
            steps.SourceReport("two", error="no answer"),
        ],
    ).table
    assert [row["problem"] for row in table] == ["none", "no answer"]
    assert table[0]["newest period"] == "2025-05-01"
    assert table[1]["age in days"] == "unknown"


def make_step(**changes: Any) -> Transition:
    values = {
        "at": datetime(2025, 6, 21, tzinfo=UTC),
        "reason": Reason.ESCALATED,
        "state_before": "FIRING",
        "state": State.FIRING,
        "severity": Severity.CRITICAL,
        "rule_version": "v1",
        "reading": make_reading(headline="Exports | 1,238 t"),
    }
    return Transition(**values | changes)


def test_no_open_incident_is_said_in_words():
    page = artifacts.alerts_page([], {}, [], [], [])
    assert page.key == "alerts"
    assert "No open incident: no limit is crossed in what could be judged." in page.markdown
    assert "None: every rule could judge all of its subjects." in page.markdown


def test_the_page_of_alerts_tells_what_is_open_what_changed_and_what_is_silenced():
    mild = make_incident(opened_at=datetime(2025, 1, 1, tzinfo=UTC), id="b" * 36)
    grave = make_incident(
        severity=Severity.CRITICAL,
        reading=make_reading(headline="Exports | 1,238 t"),
        acknowledged_by="Ravi",
        acknowledged_at=datetime(2025, 6, 20, tzinfo=UTC),
        data_state=DataState.STALE,
        data_why="the newest month is Oct 2025",
    )
    silence = Silence(
        "s-1",
        (("market", "india-*"), ("severity", "warning")),
        datetime(2025, 7, 1, 8, tzinfo=UTC),
        "fair, *not* news",
        "Asha",
        datetime(2025, 6, 1, tzinfo=UTC),
    )
    page = artifacts.alerts_page(
        [mild, grave],
        {grave.id: "told in #magnet-supply"},
        [(grave, make_step(note="by Ravi"))],
        [silence],
        ["a rule did not judge dy_oxide: no forecast"],
    )
    lines = page.markdown.splitlines()
    assert [line for line in lines if line.startswith("- **")] == [
        r"- **Critical: Exports \| 1,238 t**  ",
        f"- **Warning: {mild.reading.headline}**  ",
        "- **escalated** (by Ravi): firing, critical  ",
    ]
    below = lines[lines.index(r"- **Critical: Exports \| 1,238 t**  ") + 1]
    assert below.strip().split("; ")[1:4] == [
        "stale: the newest month is Oct 2025",
        "taken on by Ravi",
        r"told in \#magnet-supply",
    ]
    assert (
        r"- `market=india-* severity=warning` until 1 Jul 2025, 08:00 UTC, by Asha: fair, \*not\* news"
    ) in lines
    assert r"- a rule did not judge dy\_oxide: no forecast" in lines


def test_a_page_of_many_alerts_shows_the_worst_and_says_where_the_others_are():
    many = [make_incident(id=f"{number:036d}") for number in range(artifacts.ROWS_SHOWN + 7)]
    page = artifacts.alerts_page(many, {}, [], [], [])
    assert page.markdown.count("- **Warning") == artifacts.ROWS_SHOWN
    assert "7 more: `lodestone alerts list`" in page.markdown


QUALITY = Quality(
    events=4,
    hits=3,
    misses=1,
    episodes=5,
    hit_episodes=3,
    late_episodes=1,
    false_episodes=1,
    precision=0.75,
    precision_interval=(0.19, 0.99),
    recall=0.75,
    recall_interval=(0.19, 0.99),
    median_lead_days=24.0,
    false_per_month=0.03,
    posts=11,
)
FIRED = TimelineRow(
    datetime(2025, 6, 20, tzinfo=UTC), "i-1", "INACTIVE → FIRING", "OPENED", "Exports | 1,238 t"
)


def replay_page(**changes: Any) -> artifacts.Artifact:
    values: dict[str, Any] = {
        "first": date(2025, 1, 1),
        "last": date(2025, 12, 31),
        "rules": {"drop": QUALITY, "short": QUALITY},
        "without_truth": {"short": "none is published"},
        "left_out": {"bad": "known for real visits only"},
        "timeline": (FIRED,),
        "picture": b"png",
        "kept": 1,
        "folder": "/srv/replays/x",
    }
    return artifacts.replay_page(**values | changes)


def test_a_replays_page_gives_counts_and_intervals_and_scores_no_rule_without_truth():
    lines = replay_page().markdown.splitlines()
    rows = [line for line in lines if line.startswith(("| drop", "| short"))]
    assert rows == [
        "| drop | 11 | 3, 4 | 75 % (19 to 99 %) | 3, 1, 1 | 75 % (19 to 99 %) | 24 | 0.03 |"
    ]
    assert "- short, posts: 11; not scored, none is published" in lines
    assert "- bad: left out, known for real visits only" in lines
    assert r"- 2025-06-20 **opened** (inactive → firing): Exports \| 1,238 t" in lines
    assert "data:image/png;base64," in replay_page().markdown
    assert "data:image/png;base64," not in replay_page(picture=None).markdown
    assert "No rule's record was kept" in replay_page(kept=0).markdown


def test_a_replay_as_a_flow_keeps_records_of_the_configured_rules_and_of_no_trial(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("LODESTONE_HOME", str(tmp_path))
    asked: list[dict[str, Any]] = []

    def replay_reference(_service: Any, **how: Any) -> ReplayResult:
        asked.append(how)
        return ReplayResult({"magnet-exports-drop": QUALITY}, (FIRED,))

    seen: list[Any] = []
    monkeypatch.setattr(pipeline, "replay_reference", replay_reference)
    monkeypatch.setattr(pipeline, "_publish", lambda found: seen.extend(found))
    first, last = date(2025, 1, 1), date(2025, 3, 31)
    counts = pipeline.replay.fn(first=first, last=last)
    assert counts == {"days": 90, "rules": 1, "transitions": 1, "records_kept": 1}
    own = tmp_path / "strict.toml"
    own.write_text("[rules.magnet-exports-drop]\nenabled = false\n")
    trial = pipeline.replay.fn(first=first, last=last, market="india-ndfeb", rules=str(own))
    assert trial["records_kept"] == 0
    names = [{rule.name for rule in how["ruleset"].rules} for how in asked]
    assert names[0] - names[1] == {"magnet-exports-drop"}
    assert [how["market"] for how in asked] == [None, "india-ndfeb"]
    assert asked[0]["out"] != asked[1]["out"]
    pipeline.replay.fn()
    assert (asked[2]["last"] - asked[2]["first"]).days == 364
    assert asked[2]["last"] == datetime.now(UTC).date() - timedelta(days=1)
    assert [page.key for page in seen] == ["replay"] * 3


def test_a_rule_file_that_is_not_there_fails_a_replay_by_name(monkeypatch, tmp_path):
    monkeypatch.setenv("LODESTONE_HOME", str(tmp_path))
    with pytest.raises(RuleFileError, match=r"absent\.toml: can't be read"):
        pipeline.replay.fn(first=DAY, last=DAY, rules=str(tmp_path / "absent.toml"))


def refused(**changes: Any) -> RejectedRow:
    values = {
        "source": "komis",
        "file": "Dy",
        "row": 7,
        "raw": '{"x": 1}',
        "reason": "value: is empty",
    }
    return RejectedRow(**(values | changes))


def test_refused_rows_are_shown_with_the_reason_and_their_text_stays_text():
    hostile = refused(file="a|b_c.csv", reason="value: '[x](http://x) <b>`'", raw="a|`b`\n<script>")
    source = steps.SourceReport("komis", read=30, quarantined=30, samples=(hostile,))
    page = artifacts.quarantine_page("price", [source], source.samples)
    at = page.markdown.index("- **komis")
    assert page.markdown[at:].splitlines()[:2] == [
        r"- **komis, a\|b\_c.csv row 7**: value: '\[x\](http://x) &lt;b>\`'  ",
        "  `a|'b' <script>`",
    ]
    assert "29 more: `lodestone data quarantine`" in page.markdown


def test_a_run_without_refused_rows_says_so_and_lists_gaps():
    source = steps.SourceReport(
        "komis", read=3, new=3, gaps=("nd: 2 of 3 periods; missing 2026-08",)
    )
    page = artifacts.quarantine_page("price", [source], ())
    assert "every row that was read is kept" in page.markdown
    assert "- komis: nd: 2 of 3 periods; missing 2026-08" in page.markdown
    assert page.key == "quarantine-price"


# --- delivery that fails visibly ---------------------------------------------------------

BEGAN = datetime(2026, 11, 30, 8, tzinfo=UTC)
BUYERS, OPERATORS = "#magnet-supply", "#lodestone-operators"


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandIn]:
    """A home whose service posts to the stand-in; nothing looks for a Prefect server."""
    monkeypatch.setenv("LODESTONE_HOME", str(tmp_path))
    monkeypatch.setenv("LODESTONE_SLACK_TOKEN", "xoxb-test")
    monkeypatch.setenv("LODESTONE_SLACK_MIN_INTERVAL_SECONDS", "0")
    monkeypatch.setenv("LODESTONE_SLACK_HEARTBEAT", "false")
    with StandIn() as running:
        monkeypatch.setenv("LODESTONE_SLACK_BASE_URL", running.api_url)
        yield running


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> list[artifacts.Artifact]:
    seen: list[artifacts.Artifact] = []
    monkeypatch.setattr(pipeline, "_publish", lambda found: seen.extend(found))
    return seen


def write(
    channel: str = BUYERS, *, book: str = "live", not_before: datetime | None = None
) -> Callable[[SqlLedger], None]:
    """Something to say to a channel, in the outbox of the home."""

    def written(ledger: SqlLedger) -> None:
        message = {"kind": "root", "headline": f"for {channel}"}
        entry = NewEntry("root", "buyers", channel, message, not_before=not_before)
        reading = make_reading(Severity.WARNING, fingerprint=f"{channel} {not_before}")
        ledger.record(book, reading, DEFAULT_OPTIONS, now=BEGAN, compose=lambda _: (entry,))

    return written


def in_ledger(*works: Callable[[SqlLedger], object]) -> None:
    service = build(load_settings())
    try:
        for work in works:
            work(service.ledger)
    finally:
        service.close()


def given_back(
    settle: Callable[[SqlLedger, OutboxEntry, datetime], None], ago: timedelta
) -> Callable[[SqlLedger], None]:
    """What a delivery that long ago has left of the next entry."""

    def work(ledger: SqlLedger) -> None:
        at = datetime.now(UTC) - ago
        entry = ledger.claim("live", at, timedelta(minutes=1))
        assert entry is not None
        settle(ledger, entry, at)

    return work


def asked_to_wait(ledger: SqlLedger, entry: OutboxEntry, at: datetime) -> None:
    ledger.release(
        entry, not_before=at + timedelta(days=1), error="ratelimited: Slack asks to wait"
    )


def left_unclear(ledger: SqlLedger, entry: OutboxEntry, at: datetime) -> None:
    ledger.mark_unknown(entry, "timeout: no answer", now=at, look_at=at + timedelta(days=1))


def test_a_channel_that_refuses_a_message_fails_the_delivery_after_all_else_and_the_notice_went(
    slack, pages
):
    slack.workspace.closed_channels = {BUYERS.strip("#"): "is_archived"}
    in_ledger(write(BUYERS), write(OPERATORS))
    with pytest.raises(pipeline.UndeliveredError) as caught:
        pipeline.deliver_alerts.fn()
    (problem,) = caught.value.problems
    assert problem.startswith(f"{BUYERS}: 1 message given up, since ")
    assert "is_archived" in problem
    assert problem.endswith("mend it, then `lodestone alerts redrive`")
    first, notice = (one.text for one in slack.workspace.roots())
    assert first == f"for {OPERATORS}"
    assert notice.startswith(f"🟠 Warning: {BUYERS}: 1 message given up, since ")
    (page,) = pages
    assert page.key == "outbox"
    head = "| sent | waiting | unclear | given up | drills left | oldest unsent |"
    assert head in page.markdown
    assert "| 2 | 0 | 0 | 1 | 0 | none |" in page.markdown
    assert "is\\_archived" in page.markdown

    slack.workspace.closed_channels = {}
    in_ledger(lambda ledger: ledger.redrive())
    assert pipeline.deliver_alerts.fn()["sent"] >= 1
    assert f"for {BUYERS}" in [one.text for one in slack.workspace.roots()]
    assert "Nothing: whatever waits goes by itself." in pages[-1].markdown


@pytest.mark.parametrize(
    ("settle", "minutes", "says"),
    [
        pytest.param(
            asked_to_wait, 16, f"{BUYERS}: 1 message waits since .*: ratelimited", id="waits long"
        ),
        pytest.param(asked_to_wait, 14, "", id="waits a little"),
        pytest.param(
            left_unclear, 16, f"{BUYERS}: unclear whether 1 message arrived", id="unclear for long"
        ),
        pytest.param(left_unclear, 14, "", id="unclear, and looked for"),
    ],
)
def test_a_message_in_trouble_fails_the_delivery_and_a_fresh_wait_does_not(
    slack, settle, minutes, says
):
    in_ledger(write(), given_back(settle, timedelta(minutes=minutes)))
    if not says:
        left = pipeline.deliver_alerts.fn(patience_seconds=0)
        assert left["pending"] + left["unknown"] == 1
        return
    with pytest.raises(pipeline.UndeliveredError, match=says):
        pipeline.deliver_alerts.fn(patience_seconds=0)


def test_what_a_mute_window_keeps_fails_no_delivery(slack, pages):
    in_ledger(write(not_before=datetime.now(UTC) + timedelta(hours=9)))
    assert pipeline.deliver_alerts.fn(patience_seconds=0) == {
        "sent": 0,
        "pending": 1,
        "unknown": 0,
        "dead": 0,
    }
    assert pages == []


def test_a_refused_token_fails_the_delivery_at_once_and_without_the_token(slack):
    slack.workspace.tokens = {"xoxb-another"}
    in_ledger(write())
    with pytest.raises(pipeline.UndeliveredError, match=r"^nothing can be sent: ") as caught:
        pipeline.deliver_alerts.fn(patience_seconds=0)
    assert "LODESTONE_SLACK_TOKEN" in str(caught.value)
    assert "xoxb-test" not in str(caught.value)


def test_without_a_token_messages_wait_and_no_delivery_fails(slack, monkeypatch):
    monkeypatch.setenv("LODESTONE_SLACK_TOKEN", "")
    in_ledger(write())
    assert pipeline.deliver_alerts.fn()["pending"] == 1


def test_a_delivery_fails_for_the_messages_of_its_own_book_only(slack):
    slack.workspace.closed_channels = {BUYERS.strip("#"): "is_archived"}
    in_ledger(write(book="as-of 2025-06-21"))
    with pytest.raises(pipeline.UndeliveredError, match="1 message given up"):
        pipeline.deliver_alerts.fn(as_of=DAY)
    assert pipeline.deliver_alerts.fn(patience_seconds=0)["dead"] == 0


def test_the_form_of_the_delivery_says_when_it_fails_and_how_long_it_waits():
    assert "the run fails" in (pipeline.deliver_alerts.__doc__ or "")
    assert "half a minute longer than LODESTONE_SLACK_RECONCILE_SECONDS" in (
        pipeline.deliver_alerts.__doc__ or ""
    )
    (entry,) = [one for one in DEPLOYMENTS if one["name"] == "deliver-alerts"]
    assert "Fails, after all that can be sent" in entry["description"]


@pytest.mark.parametrize(
    ("window", "asked", "waits"), [("60", None, 90), ("300", None, 330), ("60", 0, 0)]
)
def test_a_delivery_waits_longer_than_an_answer_may_stay_unclear_unless_told_otherwise(
    slack, monkeypatch, window, asked, waits
):
    monkeypatch.setenv("LODESTONE_SLACK_RECONCILE_SECONDS", window)
    given: list[float] = []

    def deliver(service: Any, moment: Any, **how: float) -> Any:
        given.append(how["patience_seconds"])
        return REAL_DELIVER(service, moment, **how)

    monkeypatch.setattr(steps, "deliver", deliver)
    pipeline.deliver_alerts.fn(patience_seconds=asked)
    assert given == [waits]


@pytest.mark.parametrize("broken", ["watch", "watch_delivery"])
def test_a_look_that_fails_stops_no_delivery_and_fails_the_run(slack, monkeypatch, broken):
    def fails(*_: Any, **__: Any) -> Any:
        message = "the lamp went out"
        raise RuntimeError(message)

    in_ledger(write())
    monkeypatch.setattr(steps, broken, fails)
    with pytest.raises(RuntimeError, match="the lamp went out"):
        pipeline.deliver_alerts.fn()
    assert [one.text for one in slack.workspace.roots()] == [f"for {BUYERS}"]


def test_the_page_counts_drills_apart_from_messages_that_people_rely_on(slack, pages):
    slack.workspace.closed_channels = {BUYERS.strip("#"): "is_archived"}
    in_ledger(write(book="drill 2026-11-30T08:00:00.000000"), write(OPERATORS))
    assert pipeline.deliver_alerts.fn()["sent"] == 1
    (page,) = pages
    assert "| 1 | 0 | 0 | 0 | 1 | none |" in page.markdown
    assert "Nothing: whatever waits goes by itself." in page.markdown


def test_the_first_daily_word_is_of_the_delivery_that_it_ends_and_goes_with_it(slack, monkeypatch):
    monkeypatch.setenv("LODESTONE_SLACK_HEARTBEAT", "true")
    in_ledger(write())
    assert pipeline.deliver_alerts.fn()["sent"] == 2
    (word,) = slack.workspace.roots(OPERATORS)
    assert "• Waiting: 0" in word.text
    assert "Last message delivered: never" not in word.text
    assert pipeline.deliver_alerts.fn()["sent"] == 0
