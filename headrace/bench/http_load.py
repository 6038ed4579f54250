"""Load on an HTTP server from one compiled loop over sockets: the client must not be what is measured.

Each connection has one request under way, as clients without pipelining do, and sends the next one once it is answered.
"""

import ctypes
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from headrace.errors import UnavailableError

__all__ = ["HttpLoad", "run_load"]

_MOST_ANSWERS = 4_000_000
_BUFFER_BYTES = 1 << 20
_CLOCK_MONOTONIC = 1
_POLL_MS = 1_000

_libc = ctypes.CDLL(None)
_send, _recv, _poll, _clock = _libc.send, _libc.recv, _libc.poll, _libc.clock_gettime
_send.argtypes = _recv.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_send.restype = _recv.restype = ctypes.c_ssize_t
_poll.argtypes, _poll.restype = (ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int), ctypes.c_int
_clock.argtypes, _clock.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_int

_I64 = NDArray[np.int64]
_Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLoad:
    """What clients saw."""

    seconds: float
    latencies_s: NDArray[np.float64]
    """Of each answer."""

    @property
    def per_second(self) -> float:
        return len(self.latencies_s) / self.seconds

    def percentile_ms(self, share: float) -> float:
        """A percentile of the time to an answer."""
        return float(np.quantile(self.latencies_s, share) * 1e3)


def run_load(port: int, requests: Sequence[bytes], *, connections: int, seconds: float) -> HttpLoad:
    """Ask a server on this machine, as fast as it answers.

    Args:
        port: where it listens.
        requests: complete requests, sent in turn.
        connections: clients at the same time.
        seconds: for so long; half a second before that does not count.

    Raises:
        UnavailableError: it closed a connection, did not answer, or answered with another status than 200.
    """
    data = np.frombuffer(b"".join(requests), np.uint8)
    ends = np.cumsum([len(request) for request in requests], dtype=np.int64)
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
    try:
        for client in clients:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        numbers = np.array([client.fileno() for client in clients], np.int32)
        buffers = np.empty((connections, _BUFFER_BYTES), np.uint8)
        spent = np.empty(_MOST_ANSWERS, np.int64)
        for duration_s in (0.5, seconds):
            count, took = _ask(numbers, data, ends, buffers, spent, int(duration_s * 1e9))
            if count < 0:
                raise UnavailableError(
                    "the measured server closed a connection, was silent, or answered with an error",
                    hint="see its own output",
                )
    finally:
        for client in clients:
            client.close()
    return HttpLoad(seconds=took / 1e9, latencies_s=spent[:count] / 1e9)


@njit(nogil=True)  # type: ignore[untyped-decorator]  # numba ships no types
def _now(clock: _I64) -> int:
    _clock(_CLOCK_MONOTONIC, clock.ctypes.data)
    return int(clock[0] * 1_000_000_000 + clock[1])


@njit(nogil=True)  # type: ignore[untyped-decorator]  # numba ships no types
def _whole(buffer: _Bytes, have: int) -> int:
    """Size of the answer that begins the buffer: 0 when its head is not complete, -1 for another status than 200."""
    for at in range(have - 3):
        if buffer[at] == 13 and buffer[at + 1] == 10 and buffer[at + 2] == 13 and buffer[at + 3] == 10:
            if buffer[9] != 50 or buffer[10] != 48 or buffer[11] != 48:
                return -1
            line = 0
            while line < at:
                # "content-length: ", whose name alone is 14 long and ends in "h:"
                if (buffer[line] | 32) == 99 and buffer[line + 14] == 58 and (buffer[line + 13] | 32) == 104:
                    size, place = 0, line + 15
                    while buffer[place] != 13:
                        if buffer[place] != 32:
                            size = size * 10 + buffer[place] - 48
                        place += 1
                    return at + 4 + size
                while buffer[line] != 10:
                    line += 1
                line += 1
            return -1
    return 0


@njit(nogil=True)  # type: ignore[untyped-decorator]  # numba ships no types
def _ask(numbers: _Bytes, data: _Bytes, ends: _I64, buffers: _Bytes, spent: _I64, duration: int) -> tuple[int, int]:
    """How many answers in how many nanoseconds; -1 answers when one went wrong. Ends with no request under way."""
    n = numbers.size
    have, since = np.zeros(n, np.int64), np.zeros(n, np.int64)
    polled, clock = np.zeros((n, 2), np.int32), np.zeros(2, np.int64)
    began = _now(clock)
    count, asked, open_requests = 0, 0, 0
    for i in range(n):
        polled[i, 0], polled[i, 1] = numbers[i], 1
        low, high = (0 if asked == 0 else ends[asked - 1]), ends[asked]
        since[i] = _now(clock)
        _send(numbers[i], data[low:high].ctypes.data, high - low, 0)
        asked, open_requests = (asked + 1) % ends.size, open_requests + 1
    while open_requests > 0:
        if _poll(polled.ctypes.data, n, _POLL_MS) <= 0:
            return -1, 0
        for i in range(n):
            if polled[i, 1] >> 16 == 0:
                continue
            got = _recv(numbers[i], buffers[i, have[i] :].ctypes.data, buffers.shape[1] - have[i], 0)
            if got <= 0:
                return -1, 0
            have[i] += got
            size = _whole(buffers[i], have[i])
            if size < 0 or have[i] > size > 0:
                return -1, 0
            if size == 0 or have[i] < size:
                continue
            now = _now(clock)
            if count < spent.size:
                spent[count] = now - since[i]
                count += 1
            have[i] = 0
            open_requests -= 1
            if now - began < duration:
                low, high = (0 if asked == 0 else ends[asked - 1]), ends[asked]
                since[i] = now
                _send(numbers[i], data[low:high].ctypes.data, high - low, 0)
                asked, open_requests = (asked + 1) % ends.size, open_requests + 1
    return count, _now(clock) - began
