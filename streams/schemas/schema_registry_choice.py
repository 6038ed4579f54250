"""The schema registry of the settings, and patience with it."""

import threading
from pathlib import Path
from urllib.parse import urlsplit

from headrace.config import Settings
from headrace.errors import ConfigError, UnavailableError
from headrace.logging import get_logger
from streams.schemas.schema_registry import SchemaRegistry, WriterSchema
from streams.schemas.schema_registry_file import FileSchemaRegistry
from streams.stopped_waiting import StoppedWaitingError

__all__ = ["PatientRegistry", "open_registry"]

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 5.0
_LOG = get_logger(__name__)


def open_registry(settings: Settings) -> SchemaRegistry:
    """The server of ``[schema_registry]``, or the files of this home when none is named.

    Raises:
        ConfigError: a file of the section cannot be read, or the address holds credentials.
    """
    given = settings.schema_registry
    if not given.url:
        return FileSchemaRegistry(settings.schemas_dir)
    from streams.schemas.schema_registry_http import HttpSchemaRegistry  # loads httpx, which few need here

    if "@" in urlsplit(given.url).netloc:
        raise ConfigError(
            "schema_registry.url holds credentials", hint="put user:password into a file, named by credentials_file"
        )
    credentials = _credentials(given.credentials_file) if given.credentials_file else None
    try:
        return HttpSchemaRegistry(given.url, credentials=credentials, ca_file=given.ca_file)
    except OSError as error:
        raise ConfigError(f"schema_registry.ca_file {given.ca_file} cannot be read: {error}") from error


class PatientRegistry:
    """Waits for a registry that is away: messages whose schema is not known yet are good until it says otherwise.

    Args:
        registry: is asked again and again.
        stop: set when nobody wants to wait any longer.
    """

    def __init__(self, registry: SchemaRegistry, stop: threading.Event) -> None:
        self._registry = registry
        self._stop = stop

    def schema(self, schema_id: int) -> WriterSchema | None:
        """The schema under an id; None when there is none.

        Raises:
            StoppedWaitingError: told to stop while the registry was away.
        """
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                found = self._registry.schema(schema_id)
            except UnavailableError as error:
                if wait_s == _FIRST_WAIT_S:
                    _LOG.warning("the schema registry is away; messages wait", schema=schema_id, error=str(error))
                if self._stop.wait(wait_s):
                    raise StoppedWaitingError from error
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
                continue
            if wait_s != _FIRST_WAIT_S:
                _LOG.info("the schema registry is back", schema=schema_id)
            return found

    def register(self, subject: str, text: str) -> int:
        """Id of an Avro schema under a subject; does not wait: a person does."""
        return self._registry.register(subject, text)


def _credentials(path: str) -> tuple[str, str]:
    try:
        user, colon, password = Path(path).read_text(encoding="utf-8").strip().partition(":")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"schema_registry.credentials_file {path} cannot be read: {error}") from error
    if not colon:
        raise ConfigError(
            f"schema_registry.credentials_file {path} holds no colon", hint="write user:password on one line"
        )
    return user, password
