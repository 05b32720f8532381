"""Settings from LODESTONE_… variables and lodestone.toml: the only reader of the environment."""

import difflib
import ipaddress
import json
import os
import pwd
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from flows.errors import SettingsError

PREFIX = "LODESTONE_"
KEY_PREFIX = f"{PREFIX}KEY_"
FILE = Path("lodestone.toml")
_SECRETS = {
    "slack_token": "token",
    "slack_app_token": "token",
    "slack_signing_secret": "secret",
    "comtrade_key": "key",
}
MOST_MARKET_MONTHS = 60
"""How far a market can be projected at the most."""


class Settings(BaseSettings):
    """Every knob, with a default that works on a laptop without network or account."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    home: Path = Field(
        Path(".lodestone"),
        description="Folder for the database, Prefect's state, logs and the outlook.",
    )
    database_url: str = Field(
        "", description="SQLAlchemy URL; empty means SQLite in the home folder."
    )
    config_dir: Path | None = Field(
        None, description="Folder with your rules.toml and markets.toml, added to the shipped ones."
    )
    snapshot_dir: Path | None = Field(
        None, description="Folder of CSV files to read instead of the bundled snapshot."
    )

    slack_token: SecretStr = Field(
        SecretStr(""),
        description="Bot token (xoxb-…); empty: alerts are shown in the terminal and the outlook only.",
    )
    slack_base_url: str = Field(
        "", description="Another address for Slack's Web API, such as a stand-in."
    )
    slack_channel: str = Field(
        "", description="One channel for every route, instead of the routes' own channels."
    )
    slack_reconcile_seconds: float = Field(
        60.0,
        ge=0,
        le=3600,
        allow_inf_nan=False,
        description="How long an unclear answer may still turn up in the channel.",
    )

    slack_min_interval_seconds: float = Field(
        1.0,
        ge=0,
        le=60,
        description="Least time between two posts in one channel; Slack allows about one a second.",
    )
    slack_app_token: SecretStr = Field(
        SecretStr(""),
        description="App-level token (xapp-…) of Socket Mode, for the buttons: `lodestone slack listen`.",
    )
    slack_signing_secret: SecretStr = Field(
        SecretStr(""),
        description="Signing secret of the app, where buttons come by HTTP instead of Socket Mode.",
    )
    slack_buttons: bool = Field(
        True,
        description="Whether messages have buttons; without `lodestone slack listen` nobody answers them.",
    )
    slack_heartbeat: bool = Field(
        True,
        description="Whether one message for operators says every day that the service is alive.",
    )

    comtrade_key: SecretStr = Field(
        SecretStr(""),
        description="Subscription key of UN Comtrade; empty: its preview is asked, one period a call.",
    )
    komis_mirror_url: str = Field(
        "", description="JSON copy of KOMIS' quotes to read where KOMIS itself can't be reached."
    )

    http_instead: dict[str, str] = Field(
        {},
        description="Origins that publishers are asked at instead of their own, each by the other.",
    )

    prefect_api_url: str = Field(
        "", description="Use this Prefect server instead of an embedded one."
    )
    prefect_port: int = Field(
        4200, ge=1, le=65535, description="Port of the embedded Prefect server on loopback."
    )
    ui_url: str = Field(
        "", description="Address of the Prefect UI as readers reach it, for links in messages."
    )

    outlook_url: str = Field(
        "", description="Address where readers find the outlook page, for links in messages."
    )

    keys: dict[str, SecretStr] = Field(
        {},
        description="Keys of the sources in sources.toml by name, each from LODESTONE_KEY_<NAME>.",
    )

    models: tuple[str, ...] = Field(
        ("momentum", "drift", "prophet", "blend"),
        description="Models that compete with the random walk for each series.",
    )
    paths: int = Field(1000, ge=100, le=20_000, description="Sample paths kept per forecast.")
    market_paths: int = Field(2000, ge=200, le=50_000, description="Draws of a market's balance.")
    seed: int = Field(20250404, description="Every draw follows from it.")
    horizon_months: int = Field(12, ge=6, le=36, description="How far prices are forecast.")
    market_months: int = Field(
        12, ge=6, le=MOST_MARKET_MONTHS, description="How far markets are projected."
    )

    engine: str = Field(
        "local",
        description="Where flows compute many series: local (processes here), dask (a Dask cluster "
        "here, each chunk a Prefect task), or dask://host:port (a scheduler that you run). Commands "
        "such as `lodestone forecast`, which know no Prefect, always compute locally.",
    )
    workers: int = Field(
        0, ge=0, le=256, description="Processes that compute at once; 0: one a core."
    )

    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # `load_settings` reads file and environment itself: it must refuse names that nobody knows.
        return (init_settings,)

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
            message = "must be DEBUG, INFO, WARNING or ERROR"
            raise ValueError(message)
        return value.upper()

    @field_validator("engine")
    @classmethod
    def _known_engine(cls, value: str) -> str:
        engine = value.strip().lower()
        if engine in ("local", "dask") or _scheduler(engine):
            return engine
        message = "must be local, dask, or dask://host:port with the address of a Dask scheduler"
        raise ValueError(message)

    @field_validator("http_instead")
    @classmethod
    def _origins(cls, value: dict[str, str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for number, (publisher, other) in enumerate(value.items(), start=1):
            origin = _origin(publisher)
            if not origin or not (there := _origin(other)):
                what = "other" if origin else "publisher's"
                message = (
                    f"entry {number}: the {what} address is no origin such as https://host or "
                    "http://127.0.0.1:8123, without path, query and user"
                )
                raise ValueError(message)
            if there.startswith("http:") and not _is_this_machine(there):
                message = f"entry {number}: http is for this machine only; ask {there[7:]} by https"
                raise ValueError(message)
            if origin in found:
                message = f"entry {number}: {origin} has another origin already"
                raise ValueError(message)
            found[origin] = there
        return found

    @property
    def dask_scheduler(self) -> str:
        """Address host:port of the Dask scheduler to use; empty when the engine names none."""
        return _scheduler(self.engine)

    @property
    def lanes(self) -> int:
        """Processes that compute side by side: `workers`, or one for each core this process may use."""
        return self.workers or _cores()

    @property
    def resolved_database_url(self) -> str:
        """`database_url`, or SQLite in the home folder."""
        return self.database_url or f"sqlite:///{(self.home / 'lodestone.db').resolve()}"


def load_settings(
    environ: Mapping[str, str] | None = None, file: Path | None = None, **overrides: Any
) -> Settings:
    """Settings from `lodestone.toml` in the working folder, then the environment, then `overrides`.

    Raises SettingsError naming the setting, the nearest valid name, and what is allowed.
    """
    environ = os.environ if environ is None else environ
    explicit = environ.get(f"{PREFIX}CONFIG_FILE")
    path = file or (Path(explicit) if explicit else FILE)
    values = _from_file(path, required=bool(explicit))
    for name, value in environ.items():
        # A variable that is set to nothing is not set: `LODESTONE_HOME=` must not mean "here".
        if not name.startswith(PREFIX) or name == f"{PREFIX}CONFIG_FILE" or not value.strip():
            continue
        if name.startswith(f"{PREFIX}TEST_"):  # which database the suite runs on
            continue
        if name.startswith(KEY_PREFIX):
            continue
        key = name.removeprefix(PREFIX).lower()
        if key == "keys":
            message = f"{name}: a key has a variable of its own, {KEY_PREFIX}<NAME>"
            raise SettingsError(message)
        _require_known(key, shown=name, prefix=PREFIX)
        values[key] = value
    values["keys"] = _keys(environ)
    values.update(overrides)
    if isinstance(values.get("models"), str):
        values["models"] = tuple(
            part.strip() for part in values["models"].split(",") if part.strip()
        )
    if isinstance(values.get("http_instead"), str):
        values["http_instead"] = _pairs(f"{PREFIX}HTTP_INSTEAD", values["http_instead"])
    try:
        return Settings(**values)
    except ValidationError as error:
        raise SettingsError(_describe(error)) from None


def login_name(environ: Mapping[str, str] | None = None) -> str:
    """Who is logged in, for "by whom" where nobody says it; empty where the system has no name for them."""
    environ = os.environ if environ is None else environ
    named = environ.get("USER") or environ.get("LOGNAME") or ""
    if named:
        return named
    try:
        return pwd.getpwuid(os.getuid()).pw_name  # a service or a container sets neither variable
    except KeyError:
        return ""


def _pairs(variable: str, text: str) -> dict[str, str]:
    """What a variable says as {"a": "b"} or as a=b,c=d."""
    if text.lstrip().startswith("{"):
        try:
            # A name that stands twice is none of the two.
            pairs = json.loads(text, object_pairs_hook=list)
        except (ValueError, RecursionError):
            message = f"{variable}: is no JSON object"
            raise SettingsError(message) from None
    else:
        pairs = [part.split("=", 1) for part in text.split(",") if part.strip()]
    found: dict[str, str] = {}
    for pair in pairs:
        if len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            message = (
                f'{variable}: is written origin=origin,origin=origin or {{"origin": "origin"}}'
            )
            raise SettingsError(message)
        name, value = (part.strip() for part in pair)
        if name in found:
            message = f"{variable}: an origin stands twice"
            raise SettingsError(message)
        found[name] = value
    return found


def _origin(text: str) -> str:
    """Scheme, host and port in one spelling; empty for what is more or less than an origin."""
    try:
        parts = urlsplit(text.strip())
        scheme, host, port = parts.scheme.lower(), parts.hostname or "", parts.port
    except ValueError:
        return ""
    more = parts.path.rstrip("/") + parts.query + parts.fragment
    if scheme not in ("http", "https") or not host or more or "@" in parts.netloc:
        return ""
    if not host.isprintable() or any(map(str.isspace, host)):
        return ""
    host = f"[{host}]" if ":" in host else host
    is_usual = port in (None, {"http": 80, "https": 443}[scheme])
    return f"{scheme}://{host}" if is_usual else f"{scheme}://{host}:{port}"


def _cores() -> int:
    # A container or `taskset` may leave a process fewer cores than the machine has.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _scheduler(engine: str) -> str:
    """host:port of dask://host:port; empty for anything else."""
    try:
        parts = urlsplit(engine)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ""
    more = parts.path.rstrip("/") + parts.query + parts.fragment
    if parts.scheme != "dask" or not host or not port or more or "@" in parts.netloc:
        return ""
    if not host.isprintable() or any(map(str.isspace, host)):
        return ""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_this_machine(origin: str) -> bool:
    host = urlsplit(origin).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _keys(environ: Mapping[str, str]) -> dict[str, str]:
    """The keys of declared sources by the source's name, in lower case."""
    keys: dict[str, str] = {}
    for variable, value in environ.items():
        if not variable.startswith(KEY_PREFIX) or not value.strip():
            continue
        name = variable.removeprefix(KEY_PREFIX).lower()
        if not name:
            message = f"{variable}: the name of a source must follow, as in {KEY_PREFIX}VENDOR"
            raise SettingsError(message)
        if name in keys:
            message = f"{variable}: is set twice, in capitals and small letters; unset one of them"
            raise SettingsError(message)
        keys[name] = value.strip()
    return keys


def _from_file(path: Path, *, required: bool) -> dict[str, Any]:
    if not path.exists():
        if required:
            message = f"{path}: there is no such settings file (LODESTONE_CONFIG_FILE names it)"
            raise SettingsError(message)
        return {}
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        message = f"{path}: not valid TOML: {error}"
        raise SettingsError(message) from None
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path}: can't be read: {error}"
        raise SettingsError(message) from None
    for key in values:
        if key == "keys" or key.startswith("key_"):
            message = f"{path}: {key}: a key belongs in the environment ({KEY_PREFIX}<NAME>), not in a file"
            raise SettingsError(message)
        _require_known(key, shown=f"{path}: {key}", prefix="")
    for secret, what in _SECRETS.items():
        if secret in values:
            message = f"{path}: {secret}: a {what} belongs in the environment ({PREFIX}{secret.upper()}), not in a file"
            raise SettingsError(message)
    return values


def _require_known(key: str, *, shown: str, prefix: str) -> None:
    if key in Settings.model_fields:
        return
    near = difflib.get_close_matches(key, Settings.model_fields, n=1, cutoff=0.5)
    name = near[0].upper() if near and prefix else near[0] if near else ""
    hint = (
        f"; did you mean {prefix}{name}?"
        if near
        else f"; known settings: {', '.join(sorted(Settings.model_fields))}"
    )
    message = f"{shown}: there is no such setting{hint}"
    raise SettingsError(message)


def _describe(error: ValidationError) -> str:
    # Only the name and the rule: the rejected value could be a secret.
    parts = []
    for problem in error.errors(include_input=False, include_url=False):
        name = ".".join(str(part) for part in problem["loc"])
        parts.append(f"{PREFIX}{name.upper()} ({name} in lodestone.toml): {problem['msg']}")
    return "; ".join(parts)
