"""What an encoder's commands would leave in Redis, by key; for laws that need no server."""

from feature_store.online.online_encoder import RowEncoder
from feature_store.rows import RowBatch

__all__ = ["parse_command", "stored_rows"]


def parse_command(data: bytes) -> list[bytes]:
    """Words of one RESP command."""
    head, _, rest = data.partition(b"\r\n")
    words = []
    for _ in range(int(head[1:])):
        length, _, rest = rest.partition(b"\r\n")
        size = int(length[1:])
        words.append(rest[:size])
        assert rest[size : size + 2] == b"\r\n"
        rest = rest[size + 2 :]
    assert rest == b""
    return words


def stored_rows(encoder: RowEncoder, rows: RowBatch, *, version: int = 1, watermark_us: int) -> dict[int | str, bytes]:
    """Entity key -> both of our fields as one, as RowDecoder takes them."""
    found: dict[int | str, bytes] = {}
    width, done = len(encoder.fields), 0
    for chunk in encoder.chunks(rows, b"", [], version=version, watermark_us=watermark_us):
        fields = parse_command(bytes(chunk.data))[1 + chunk.rows + 1 + width :]
        for row, key in enumerate(rows.keys[done : done + chunk.rows].tolist()):
            own = fields[row * width : (row + 1) * width]
            found[key] = own[0] + own[-1]
        done += chunk.rows
    return found
