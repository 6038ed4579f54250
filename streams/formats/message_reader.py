"""Messages of one topic as rows of plain values, for parts that take one at a time."""

from collections.abc import Sequence

import numpy as np

from headrace.config import Settings
from headrace.contracts.messages import MessageRow, OpenReader
from headrace.spec.streams import EventStream, LabelStream
from streams.formats.decode import BatchDecoder
from streams.formats.decoders import stream_decoder
from streams.messages.payloads import Payloads
from streams.schemas.schema_registry_choice import open_registry

__all__ = ["FormatReader", "open_readers"]


class FormatReader:
    """Reads with the decoder the stream itself uses.

    Args:
        decoder: of the topic.
    """

    def __init__(self, decoder: BatchDecoder) -> None:
        self._decoder = decoder

    def read(self, values: Sequence[bytes], arrivals_us: Sequence[int]) -> tuple[list[MessageRow], int]:
        """Rows in their order, and how many were refused.

        Raises:
            UnavailableError: the schema registry is needed and does not answer.
        """
        places = [place for place, value in enumerate(values) if value]
        if not places:
            return [], 0
        arrived = np.array([arrivals_us[place] for place in places], dtype=np.int64)
        decoded = self._decoder.decode(Payloads.of([values[place] for place in places]), arrived)
        columns = []
        for name, column in decoded.columns.items():
            cells = column.tolist()
            for row in np.flatnonzero(decoded.nulls[name]).tolist() if name in decoded.nulls else ():
                cells[row] = None
            columns.append(cells)
        names = tuple(decoded.columns)
        rows = [
            MessageRow(places[row], dict(zip(names, cells, strict=True)))
            for row, *cells in zip(decoded.rows.tolist(), *columns, strict=True)
        ]
        return rows, sum(refusal.events for refusal in decoded.refused)


def open_readers(settings: Settings) -> OpenReader:
    """Makes readers; a schema registry is opened when a format needs one."""

    def open_reader(topic: EventStream | LabelStream) -> FormatReader:
        return FormatReader(stream_decoder(topic, lambda: open_registry(settings), settings.stream))

    return open_reader
