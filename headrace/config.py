"""Where things run: typed, frozen settings and the only reader of the environment.

Precedence, strongest first:

1. environment, ``HEADRACE_<SECTION>_<FIELD>`` (``HEADRACE_KAFKA_BOOTSTRAP=broker:9092``),
2. ``headrace.toml`` in the working directory (or the file named by ``HEADRACE_CONFIG``),
3. the embedded stack of this home, when ``headrace up`` has written ``<home>/stack.json``,
4. the defaults below.

Definitions (streams, views, models) never stand here; see :mod:`headrace.spec`.
"""

import json
import os
import tomllib
import types
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from headrace.errors import ConfigError

__all__ = [
    "KafkaSettings",
    "MlflowSettings",
    "OfflineSettings",
    "PagerSettings",
    "RedisSettings",
    "SchemaRegistrySettings",
    "ServeSettings",
    "Settings",
    "StreamSettings",
    "TemporalSettings",
    "TrainSettings",
    "load_settings",
]

STACK_FILE = "stack.json"


def _within(default: int, least: int, most: int) -> int:
    """A number that is refused outside of these bounds when it is loaded."""
    made: int = field(default=default, metadata={"within": (least, most)})
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    bootstrap: str = "127.0.0.1:9092"
    """Comma-separated ``host:port`` list."""
    partitions: int = 4
    """Partitions of the topics headrace creates itself."""
    client_config: str = ""
    """Path of a file of ``key=value`` librdkafka settings (TLS, SASL …), read by every client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSettings:
    url: str = field(default="redis://127.0.0.1:6379/0", repr=False)
    """May hold credentials, therefore never printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaRegistrySettings:
    url: str = ""
    """Address of a Confluent-compatible registry; empty: schemas are kept in ``<home>/data/schemas``."""
    credentials_file: str = ""
    """Path of a file with ``user:password`` (or ``key:secret``) on one line."""
    ca_file: str = ""
    """Path of certificates to trust besides the usual ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporalSettings:
    address: str = "127.0.0.1:7233"
    namespace: str = "default"
    ui_url: str = "http://127.0.0.1:8233"


@dataclass(frozen=True, slots=True, kw_only=True)
class MlflowSettings:
    tracking_uri: str = ""
    """Empty: SQLite file ``<home>/data/mlflow/mlflow.db``."""
    ui_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    batch_rows: int = 40_000
    """Most rows of one micro-batch."""
    batch_wait_ms: int = 20
    """Longest wait for a micro-batch to fill before it is processed."""
    snapshot_every_s: float = 10.0
    """Wall-clock seconds between two state snapshots."""
    flush_rows: int = 100_000
    """Rows of one offline Parquet file, unless a snapshot closes it earlier."""
    workers: int = 1
    """Processes of ``headrace run stream``, each with its share of the partitions."""
    session_timeout_s: float = 10.0
    """A worker that is not heard of for so long has its partitions given to the others."""
    metrics_host: str = "127.0.0.1"
    """Address on which each worker serves ``/metrics`` to Prometheus."""
    metrics_port: int = 0
    """Port of the first worker of a home, the next one's is one more; 0: any that is free, which ``headrace status``
    shows; -1: nothing is served."""
    state_url: str = ""
    """Where state snapshots lie: a path, or an address of fsspec such as ``s3://bucket/state``; empty:
    ``<home>/data/state``. Its credentials come from the environment, as its own library reads them."""
    max_message_bytes: int = _within(65_536, 64, 67_108_864)
    """Largest JSON or Avro message; one flat event is a few hundred bytes. A message beyond this or a bound below is
    refused as ``too_large`` by everything that reads its topic."""
    max_depth: int = _within(64, 1, 256)
    """How deep arrays and objects of JSON, or records, arrays and maps of Avro, may stand in each other."""
    max_arrow_bytes: int = _within(16_777_216, 1_024, 1_073_741_824)
    """Largest Arrow message. Brokers take one megabyte unless told otherwise."""
    max_arrow_rows: int = _within(65_536, 1, 16_777_216)
    """Most rows of one Arrow message."""
    max_arrow_parts: int = _within(1_024, 2, 65_536)
    """Most parts of one Arrow message: its schema, dictionaries and batches."""
    max_schema_lookups: int = _within(100, 1, 10_000)
    """Most ids of Avro schemas that the registry is asked for in one micro-batch; messages with others, rarer ones, are
    refused as ``unknown_schema``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineSettings:
    """How long the offline logs are kept, as durations of event time such as ``400d``; empty: for ever.

    Not part of a stream's definition: a view is a new one when its stream changes, and how long files lie does not
    change what they mean.
    """

    event_retention: str = ""
    label_retention: str = ""
    feature_retention: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    host: str = "127.0.0.1"
    port: int = 8650
    max_batch: int = _within(1000, 1, 1_000_000)
    """Most entities in one request."""
    max_body_bytes: int = _within(1_048_576, 1_024, 1_073_741_824)
    """Largest request body."""
    max_json_depth: int = _within(32, 3, 256)
    """How deep arrays and objects may stand in each other in a request body; what is asked for needs three."""
    token: str = field(default="", repr=False)
    """Bearer token asked for by endpoints that change anything; empty: loopback callers only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    device: str = "auto"
    """``auto``, ``cpu`` or ``cuda``."""
    price_per_device_hour: float = 0.0
    """Cost of one device hour, in the currency you report in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PagerSettings:
    pagerduty_url: str = ""
    """Events API v2 endpoint; with ``pagerduty_key`` switches the PagerDuty sink on."""
    pagerduty_key: str = field(default="", repr=False)
    alertmanager_url: str = ""
    """Base address of an Alertmanager (``/api/v2/alerts`` is appended)."""
    webhook_url: str = ""
    """Address that receives one JSON object per page."""
    fallback_url: str = ""
    """Webhook used when a sink above stays down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one process. Paths are absolute."""

    home: Path
    """Folder that holds state, data, logs and reports."""
    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    redis: RedisSettings = field(default_factory=RedisSettings)
    schema_registry: SchemaRegistrySettings = field(default_factory=SchemaRegistrySettings)
    temporal: TemporalSettings = field(default_factory=TemporalSettings)
    mlflow: MlflowSettings = field(default_factory=MlflowSettings)
    stream: StreamSettings = field(default_factory=StreamSettings)
    offline: OfflineSettings = field(default_factory=OfflineSettings)
    serve: ServeSettings = field(default_factory=ServeSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    pager: PagerSettings = field(default_factory=PagerSettings)

    @property
    def offline_dir(self) -> Path:
        """Root of the offline Parquet log."""
        return self.home / "data" / "offline"

    @property
    def state_dir(self) -> Path:
        """Root of the stream state snapshots."""
        return self.home / "data" / "state"

    @property
    def schemas_dir(self) -> Path:
        """Root of the embedded schema registry."""
        return self.home / "data" / "schemas"

    @property
    def registry_path(self) -> Path:
        """Feast's registry file."""
        return self.home / "data" / "feast" / "registry.db"

    @property
    def datasets_dir(self) -> Path:
        """Root of immutable training sets."""
        return self.home / "data" / "datasets"

    @property
    def runs_dir(self) -> Path:
        """Root of training runs: checkpoints, progress files, artifacts."""
        return self.home / "data" / "runs"

    @property
    def models_dir(self) -> Path:
        """Root of published model artifacts, one folder per model and version."""
        return self.home / "data" / "models"

    @property
    def incidents_dir(self) -> Path:
        """Root of incident evidence (reports)."""
        return self.home / "data" / "incidents"

    @property
    def logs_dir(self) -> Path:
        return self.home / "logs"

    @property
    def mlflow_uri(self) -> str:
        """Tracking address in effect."""
        return self.mlflow.tracking_uri or f"sqlite:///{self.home}/data/mlflow/mlflow.db"


def load_settings(home: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings in effect.

    Args:
        home: overrides ``HEADRACE_HOME``; the default is ``.headrace`` in the working directory.
        environ: the environment; the process's own when absent.

    Raises:
        ConfigError: a file cannot be read, or a value has the wrong type.
    """
    env = dict(os.environ if environ is None else environ)
    file = _read_toml(Path(env.get("HEADRACE_CONFIG", "headrace.toml")), named="HEADRACE_CONFIG" in env)
    chosen = home or Path(env.get("HEADRACE_HOME") or file.pop("home", None) or ".headrace")
    chosen = chosen.expanduser().absolute()
    stack = _read_stack(chosen / STACK_FILE)
    hints = get_type_hints(Settings)
    sections: dict[str, Any] = {}
    known_env = {"HEADRACE_HOME", "HEADRACE_CONFIG"}
    for section in fields(Settings):
        if section.name == "home":
            continue
        cls = hints[section.name]
        given = {**stack.get(section.name, {}), **_table(file.pop(section.name, {}), section.name)}
        for entry in fields(cls):
            name = f"HEADRACE_{section.name}_{entry.name}".upper()
            known_env.add(name)
            if name in env:
                given[entry.name] = env[name]
        sections[section.name] = _build(cls, section.name, given)
    for leftover in file:
        warnings.warn(f"headrace.toml: section [{leftover}] is unknown and ignored", stacklevel=2)
    for name in sorted(env):
        if name.startswith("HEADRACE_") and name not in known_env:
            warnings.warn(f"environment variable {name} is no setting and is ignored", stacklevel=2)
    return Settings(home=chosen, **sections)


def _read_toml(path: Path, *, named: bool) -> dict[str, Any]:
    if not path.exists():
        if named:
            raise ConfigError(f"settings file {path} does not exist", hint="correct HEADRACE_CONFIG or unset it")
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"settings file {path} is not valid TOML: {error}") from error


def _read_stack(path: Path) -> dict[str, dict[str, Any]]:
    try:
        stack = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ConfigError(
            f"{path} is not valid JSON: {error}",
            hint="run `headrace down`, delete the file, run `headrace up`",
        ) from error
    settings = stack.get("settings", {})
    return {name: dict(values) for name, values in settings.items()}


def _table(value: object, section: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"headrace.toml: {section} is {value!r}; write a table, [{section}]")
    return dict(value)


def _build(cls: type, section: str, given: dict[str, Any]) -> Any:
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    for name, raw in given.items():
        if name not in hints:
            warnings.warn(f"setting {section}.{name} is unknown and ignored", stacklevel=3)
            continue
        values[name] = _convert(f"{section}.{name}", raw, hints[name])
    for entry in fields(cls):
        least, most = entry.metadata.get("within", (None, None))
        if least is not None and entry.name in values and not least <= values[entry.name] <= most:
            raise ConfigError(f"setting {section}.{entry.name} is {values[entry.name]}; give {least} to {most}")
    return cls(**values)


def _convert(name: str, raw: object, kind: Any) -> object:
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(arm for arm in get_args(kind) if arm is not type(None))
    try:
        if kind is bool and isinstance(raw, str):
            return {"true": True, "1": True, "false": False, "0": False}[raw.lower()]
        if kind is bool or isinstance(raw, bool):
            return raw if kind is bool and isinstance(raw, bool) else _refuse(raw)
        return kind(raw)
    except (TypeError, ValueError, KeyError) as error:
        raise ConfigError(f"setting {name} is {raw!r}; give {_article(kind)}") from error


def _refuse(raw: object) -> object:
    raise ValueError(raw)


def _article(kind: Any) -> str:
    return {int: "an integer", float: "a number", bool: "true or false"}.get(kind, "a text")
