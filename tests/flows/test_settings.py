import json
import re
from pathlib import Path

import pytest

from flows.errors import SettingsError
from flows.settings import load_settings


def test_the_defaults_need_nothing(tmp_path):
    settings = load_settings({}, tmp_path / "none.toml")
    assert settings.resolved_database_url.startswith("sqlite:////")
    assert settings.slack_token.get_secret_value() == ""


def test_a_misspelt_variable_is_an_error_that_names_the_nearest():
    with pytest.raises(
        SettingsError, match=r"LODESTONE_SLAK_TOKEN.*did you mean LODESTONE_SLACK_TOKEN"
    ):
        load_settings({"LODESTONE_SLAK_TOKEN": "x"})


def test_a_value_out_of_range_is_named_without_being_repeated():
    with pytest.raises(SettingsError) as caught:
        load_settings({"LODESTONE_PREFECT_PORT": "99999", "LODESTONE_SLACK_TOKEN": "xoxb-secret"})
    assert "LODESTONE_PREFECT_PORT" in str(caught.value)
    assert "xoxb-secret" not in str(caught.value)


def test_a_file_sets_what_the_environment_does_not(tmp_path):
    file = tmp_path / "lodestone.toml"
    file.write_text('seed = 7\npaths = 500\nmodels = ["random_walk"]\n')
    settings = load_settings({"LODESTONE_PATHS": "600"}, file)
    assert (settings.seed, settings.paths, settings.models) == (7, 600, ("random_walk",))


@pytest.mark.parametrize("months", ["5", "61", "0", "a year"])
def test_markets_are_projected_half_a_year_to_five_years_ahead_and_nothing_else(months):
    with pytest.raises(SettingsError, match=r"LODESTONE_MARKET_MONTHS.*market_months"):
        load_settings({"LODESTONE_MARKET_MONTHS": months})
    assert load_settings({}).market_months == 12
    assert [load_settings({"LODESTONE_MARKET_MONTHS": n}).market_months for n in ("6", "60")] == [
        6,
        60,
    ]


def test_models_can_be_listed_in_a_variable():
    assert load_settings({"LODESTONE_MODELS": "random_walk, theta"}).models == (
        "random_walk",
        "theta",
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("seed = \n", "not valid TOML", id="broken"),
        pytest.param("sed = 3\n", "did you mean seed", id="unknown"),
        pytest.param(
            'slack_token = "xoxb-secret"\n', "belongs in the environment", id="secret in a file"
        ),
        pytest.param(
            'comtrade_key = "xoxb-secret"\n', "LODESTONE_COMTRADE_KEY", id="key in a file"
        ),
    ],
)
def test_a_settings_file_is_refused_with_the_place(tmp_path, text, says):
    file = tmp_path / "lodestone.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=says) as caught:
        load_settings({}, file)
    assert str(file) in str(caught.value)
    assert "xoxb-secret" not in str(caught.value)


def test_the_token_does_not_show_in_a_printout():
    settings = load_settings({"LODESTONE_SLACK_TOKEN": "xoxb-secret"})
    assert "xoxb-secret" not in repr(settings) + str(settings)


def test_a_key_for_trade_figures_is_read_and_does_not_show_in_a_printout():
    settings = load_settings({"LODESTONE_COMTRADE_KEY": "0123456789abcdef"})
    assert settings.comtrade_key.get_secret_value() == "0123456789abcdef"
    assert "0123456789abcdef" not in repr(settings) + str(settings)


def test_a_variable_set_to_nothing_is_not_set(tmp_path):
    empty = {"LODESTONE_HOME": "", "LODESTONE_PREFECT_PORT": " ", "LODESTONE_CONFIG_DIR": ""}
    assert load_settings(empty, tmp_path / "none.toml") == load_settings({}, tmp_path / "none.toml")


def test_what_the_suite_is_told_is_no_setting_of_the_service():
    settings = load_settings({"LODESTONE_TEST_DATABASE": "postgresql", "LODESTONE_SEED": "7"})
    assert settings.seed == 7


ORIGINS = {
    "https://www.komis.or.kr": "http://127.0.0.1:8123",
    "https://data-api.ecb.europa.eu": "https://mirror.intern",
}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ORIGINS),
        ",".join(map("=".join, ORIGINS.items())),
        " https://WWW.komis.or.kr:443/ = http://127.0.0.1:8123 ,"
        "https://data-api.ecb.europa.eu=https://mirror.intern/,",
    ],
)
def test_origins_that_stand_in_can_be_listed_in_a_variable(text):
    assert load_settings({"LODESTONE_HTTP_INSTEAD": text}).http_instead == ORIGINS


def test_origins_that_stand_in_are_a_table_in_a_file(tmp_path):
    file = tmp_path / "lodestone.toml"
    file.write_text('[http_instead]\n"https://a.example" = "http://[::1]:8123"\n')
    assert load_settings({}, file).http_instead == {"https://a.example": "http://[::1]:8123"}


def test_the_example_of_the_page_can_be_used(tmp_path):
    page = Path(__file__).parents[2] / "docs" / "sources" / "http.md"
    (example,) = re.findall(r"```toml\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    file = tmp_path / "lodestone.toml"
    file.write_text(example)
    assert load_settings({}, file).http_instead == ORIGINS


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("https://a.example", "is written origin=origin", id="no pair"),
        pytest.param('{"https://a.example": 1}', "is written origin=origin", id="a number"),
        pytest.param('{"https://a.example"', "is no JSON object", id="broken JSON"),
        pytest.param(
            "https://a.example=https://b,https://a.example=https://c", "stands twice", id="twice"
        ),
        pytest.param(
            "https://a.example=https://b,https://A.example:443=https://c",
            "entry 2: https://a.example has another origin already",
            id="twice, spelt otherwise",
        ),
        *(
            pytest.param(f"https://a.example={other}", "entry 1: the other address", id=other)
            for other in (
                *("https://b/path", "https://b?hunter2=1", "https://b#hunter2", "ftp://b", "b"),
                *("https://hunter2@b", "https://u:hunter2@b", "https://b:hunter2", "https://"),
                *("https://[b", "https://b c", ""),
            )
        ),
        pytest.param(
            "https://u:hunter2@a.example=https://b", "entry 1: the publisher's address", id="user"
        ),
        *(
            pytest.param(f"https://a.example=http://{host}", "http is for this machine", id=host)
            for host in ("b.example", "10.0.0.1", "127.0.0.1.example", "localhost.example")
        ),
    ],
)
def test_an_address_that_is_no_origin_is_refused_without_being_repeated(text, says):
    with pytest.raises(SettingsError, match=says) as caught:
        load_settings({"LODESTONE_HTTP_INSTEAD": text})
    assert "LODESTONE_HTTP_INSTEAD" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_keys_of_declared_sources_come_from_the_environment_by_name():
    settings = load_settings({"LODESTONE_KEY_VENDOR": " hunter2 ", "LODESTONE_KEY_Smm": "x"})
    assert {name: key.get_secret_value() for name, key in settings.keys.items()} == {
        "vendor": "hunter2",
        "smm": "x",
    }
    assert "hunter2" not in repr(settings) + str(settings)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        pytest.param(
            {"LODESTONE_KEYS": "hunter2"}, r"LODESTONE_KEYS.*LODESTONE_KEY_<NAME>", id="all in one"
        ),
        pytest.param(
            {"LODESTONE_KEY_": "hunter2"}, "the name of a source must follow", id="no name"
        ),
        pytest.param(
            {"LODESTONE_KEY_SMM": "hunter2", "LODESTONE_KEY_smm": "other"},
            "is set twice",
            id="twice",
        ),
    ],
)
def test_a_key_that_has_no_name_of_its_own_is_refused_without_being_repeated(environ, says):
    with pytest.raises(SettingsError, match=says) as caught:
        load_settings(environ)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ['key_vendor = "hunter2"\n', '[keys]\nvendor = "hunter2"\n'])
def test_a_key_in_a_settings_file_is_refused_without_being_repeated(tmp_path, text):
    file = tmp_path / "lodestone.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match="belongs in the environment") as caught:
        load_settings({}, file)
    assert "hunter2" not in str(caught.value)


# --- engines ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("engine", "scheduler"),
    [
        ("local", ""),
        ("dask", ""),
        ("DASK", ""),
        ("dask://scheduler:8786", "scheduler:8786"),
        ("dask://10.0.0.7:8786/", "10.0.0.7:8786"),
        ("dask://[::1]:8786", "[::1]:8786"),
    ],
)
def test_an_engine_is_this_machine_a_local_cluster_or_a_scheduler(engine, scheduler):
    settings = load_settings({"LODESTONE_ENGINE": engine})
    assert settings.engine == engine.lower()
    assert settings.dask_scheduler == scheduler


@pytest.mark.parametrize(
    "engine",
    [
        "spark",
        "dask://",
        "dask://scheduler",
        "dask://:8786",
        "dask://scheduler:port",
        "dask://scheduler:0",
        "dask://scheduler:99999",
        "dask://user:secret@scheduler:8786",
        "dask://scheduler:8786/path",
        "tcp://scheduler:8786",
        "dask://sched uler:8786",
        "dask://[::1:8786",
    ],
)
def test_any_other_engine_is_refused_with_what_is_allowed(engine):
    with pytest.raises(SettingsError, match=r"LODESTONE_ENGINE.*dask://host:port") as caught:
        load_settings({"LODESTONE_ENGINE": engine})
    assert "secret" not in str(caught.value)


def test_lanes_are_the_workers_asked_for_or_one_a_core():
    assert load_settings({"LODESTONE_WORKERS": "3"}).lanes == 3
    assert load_settings({}).lanes >= 1


@pytest.mark.parametrize("workers", ["-1", "257", "two"])
def test_a_number_of_workers_that_can_not_be_is_refused_by_name(workers):
    with pytest.raises(SettingsError, match="LODESTONE_WORKERS"):
        load_settings({"LODESTONE_WORKERS": workers})


@pytest.mark.parametrize("given", ["inf", "nan", "1e12", "-1"])
def test_a_window_that_no_clock_can_hold_is_refused_by_name(given):
    with pytest.raises(SettingsError, match="LODESTONE_SLACK_RECONCILE_SECONDS"):
        load_settings({"LODESTONE_SLACK_RECONCILE_SECONDS": given})
