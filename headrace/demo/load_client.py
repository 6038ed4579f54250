"""A foreign service under steady load: asks for predictions over HTTP and counts what it gets.

It runs as a process of its own and knows nothing of headrace but the address. Commands come as JSON lines on
stdin, answers go as JSON lines to stdout:

    {"ask": [event, …]}    ask for each of these at once; answers {"asked": n, "failed": n, "answers": [...]}
    {"steady": [event, …]} from now on ask for these in turn, ``rate`` a second, until told otherwise
    {"report": true}       answers {"requests": n, "failed": n, "fallbacks": n, "p50_ms": …, "p99_ms": …}
"""

import argparse
import http.client
import itertools
import json
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

__all__ = ["main"]

TIMEOUT_S = 10.0
KEPT_ERRORS = 5


@dataclass(slots=True)
class _Counts:
    """What both threads have seen."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    requests: int = 0
    failed: int = 0
    fallbacks: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def add(self, answer: dict[str, Any] | None, error: str, latency_ms: float) -> None:
        with self.lock:
            self.requests += 1
            self.latencies_ms.append(latency_ms)
            if answer is None:
                self.failed += 1
                self.errors = [*self.errors, error][-KEPT_ERRORS:]
            elif answer.get("fallback"):
                self.fallbacks += 1

    def report(self) -> dict[str, Any]:
        with self.lock:
            ordered = sorted(self.latencies_ms)
            at = [ordered[int(share * (len(ordered) - 1))] if ordered else 0.0 for share in (0.5, 0.99)]
            return {
                "requests": self.requests,
                "failed": self.failed,
                "fallbacks": self.fallbacks,
                "p50_ms": round(at[0], 3),
                "p99_ms": round(at[1], 3),
                "errors": self.errors,
            }


class _Asker:
    """One connection, kept open; a broken one is opened anew for the next request."""

    def __init__(self, url: str, model: str, counts: _Counts) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self.path = f"/predict/{model}"
        self.counts = counts
        self.connection: http.client.HTTPConnection | None = None

    def ask(self, event: dict[str, Any]) -> dict[str, Any] | None:
        """The answer, or None when the request failed (counted)."""
        body = json.dumps({"event": event})
        started = time.perf_counter()
        answer, error = None, ""
        try:
            status, data = self._exchange(body)
            if status == http.client.OK:
                answer = json.loads(data)
            else:
                error = f"{status}: {data[:200]!r}"
        except (OSError, http.client.HTTPException, ValueError) as problem:
            error = repr(problem)
            self.connection = None
        self.counts.add(answer, error, (time.perf_counter() - started) * 1e3)
        return answer

    def _exchange(self, body: str) -> tuple[int, bytes]:
        if self.connection is not None:
            try:
                return self._once(self.connection, body)
            except (BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected):
                # The server closed the idle connection, as any may; the request never reached it.
                self.connection.close()
        self.connection = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT_S)
        return self._once(self.connection, body)

    def _once(self, connection: http.client.HTTPConnection, body: str) -> tuple[int, bytes]:
        connection.request("POST", self.path, body, {"content-type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rate", type=float, default=20.0, help="steady requests per second")
    args = parser.parse_args()
    counts = _Counts()
    steady: list[dict[str, Any]] = []
    stop = threading.Event()

    def keep_asking() -> None:
        asker = _Asker(args.url, args.model, counts)
        for number in itertools.count():
            if stop.wait(1 / args.rate):
                return
            events = steady
            if events:
                asker.ask(events[number % len(events)])

    thread = threading.Thread(target=keep_asking, daemon=True)
    thread.start()
    asker = _Asker(args.url, args.model, counts)
    for line in sys.stdin:
        command = json.loads(line)
        if "steady" in command:
            steady = command["steady"]
        if "ask" in command:
            answers = [asker.ask(event) for event in command["ask"]]
            done = [answer for answer in answers if answer is not None]
            _say({"asked": len(answers), "failed": len(answers) - len(done), "answers": done})
        if "report" in command:
            _say(counts.report())
    stop.set()
    thread.join(timeout=TIMEOUT_S)
    return 0


def _say(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
