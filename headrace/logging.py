"""Logs as events with fields, one line each, on stderr; data goes to stdout.

2026-01-01T00:00:00Z info  streams.worker  snapshot written  partition=3 offset=1200
"""

import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

__all__ = ["EventLogger", "get_logger", "set_up_logging"]


class EventLogger:
    """A logger whose messages are constant and whose values are fields."""

    def __init__(self, logger: logging.Logger, bound: Mapping[str, Any] | None = None) -> None:
        self._logger = logger
        self._bound = dict(bound or {})

    def bind(self, **fields: Any) -> "EventLogger":
        """The same logger with fields added to every line."""
        return EventLogger(self._logger, {**self._bound, **fields})

    def debug(self, event: str, **fields: Any) -> None:
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, *, error: BaseException | None = None, **fields: Any) -> None:
        """Log a failure; ``error`` adds its traceback."""
        self._log(logging.ERROR, event, fields, error)

    def _log(self, level: int, event: str, fields: Mapping[str, Any], error: BaseException | None = None) -> None:
        if self._logger.isEnabledFor(level):
            extra = {"fields": {**self._bound, **fields}}
            self._logger.log(level, event, extra=extra, exc_info=error)


class _LineFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds")
        fields = " ".join(f"{key}={value}" for key, value in getattr(record, "fields", {}).items())
        line = f"{moment.replace('+00:00', 'Z')} {record.levelname.lower():<7} {record.name}  {record.getMessage()}"
        line = f"{line}  {fields}" if fields else line
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def get_logger(name: str, **bound: Any) -> EventLogger:
    """The event logger of a module."""
    return EventLogger(logging.getLogger(name), bound)


def set_up_logging(level: str = "info") -> None:
    """Send logs to stderr; called once by a command, never at import."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LineFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("httpx", "httpcore", "aiokafka", "asyncio", "alembic", "mlflow", "matplotlib", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
