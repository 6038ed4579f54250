"""Labels of a message, whatever the format of their topic."""

import threading
from typing import Any

from feature_store.ids import event_id64
from headrace.contracts.messages import MessageReader, OpenReader
from headrace.errors import UnavailableError
from headrace.logging import get_logger
from headrace.spec.formats import Json
from headrace.spec.streams import LabelStream
from monitors.messages import Label, read_label

__all__ = ["LabelReader"]

_RETRY_S = 1.0
_log = get_logger(__name__)


class LabelReader:
    """Reads one label topic.

    Args:
        labels: what its messages are.
        open_reader: makes what reads formats other than JSON.
        stop: set when nobody wants to wait for a schema registry any longer.
    """

    def __init__(self, labels: LabelStream, open_reader: OpenReader, stop: threading.Event) -> None:
        self._labels, self._stop = labels, stop
        self._reader: MessageReader | None = None if isinstance(labels.format, Json) else open_reader(labels)
        self.refused = 0
        """Labels that are none, in formats other than JSON."""

    def read(self, message: Any) -> list[Label]:
        """Labels of one message that is no tick.

        Raises:
            IntegrityError: JSON that is no label.
            UnavailableError: told to stop while the schema registry was away; the message was not taken.
        """
        value = message.value() or b""
        if self._reader is None:
            return [read_label(value, self._labels)]
        while True:
            try:
                rows, refused = self._reader.read([value], [message.timestamp()[1] * 1000])
            except UnavailableError as error:
                _log.warning("labels wait for the schema registry", topic=self._labels.name, reason=error.args[0])
                if self._stop.wait(_RETRY_S):
                    raise
                continue
            self.refused += refused
            ids, values = self._labels.of.id, self._labels.value
            return [Label(event_id64(str(row.fields[ids])), int(row.fields[values])) for row in rows]
