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


def test_a_variable_set_to_nothing_is_not_set(tmp_path):
    empty = {"LODESTONE_HOME": "", "LODESTONE_PREFECT_PORT": " ", "LODESTONE_CONFIG_DIR": ""}
    assert load_settings(empty, tmp_path / "none.toml") == load_settings({}, tmp_path / "none.toml")
