"""``headrace serve`` as people run it: a process, an address on stdout, a clean end."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headrace.config import Settings
from tests.eventually import eventually
from tests.integration.serving_house import Asker

_ROOT = Path(__file__).parents[2]


@contextmanager
def serve(stack: Settings, home: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The command with its lines on stdout, which are filled as they come."""
    environment = {
        **os.environ,
        "HEADRACE_HOME": str(home),
        "HEADRACE_REDIS_URL": stack.redis.url,
        "HEADRACE_KAFKA_BOOTSTRAP": stack.kafka.bootstrap,
    }
    command = [sys.executable, "-m", "headrace", "serve", "--project", str(_ROOT / "examples" / "fraud"), *arguments]
    process = subprocess.Popen(command, cwd=home, env=environment, stdout=subprocess.PIPE, text=True)
    lines: list[str] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lines.extend, args=(iter(process.stdout.readline, ""),))
    reader.start()
    try:
        yield process, lines
    finally:
        process.kill()
        process.wait()
        reader.join()


def test_it_says_where_it_answers_and_ends_on_sigterm(stack: Settings, tmp_path: Path) -> None:
    with serve(stack, tmp_path, "--port", "0") as (process, lines):
        said = eventually(lambda: lines and lines[0])
        port = int(said.rpartition(":")[2])
        status, answer = Asker(port)("GET", "/health")
        process.send_signal(signal.SIGTERM)

        assert (status, answer) == (200, {"status": "ok"})
        assert said == f"serving fraud at http://127.0.0.1:{port}\n"
        assert process.wait(30) == 0


def test_a_taken_port_is_said_in_one_sentence(stack: Settings, tmp_path: Path) -> None:
    with serve(stack, tmp_path, "--port", "0") as (_, lines):
        port = eventually(lambda: lines and lines[0]).strip().rpartition(":")[2]
        again = subprocess.run(
            [sys.executable, "-m", "headrace", "serve", "--project", str(_ROOT / "examples" / "fraud"), "--port", port],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )

    assert again.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in again.stderr
    assert "--port 0" in again.stderr


@pytest.mark.parametrize("arguments", [("--port", "x"), ("--project", "nowhere")])
def test_wrong_arguments_end_it_at_once(stack: Settings, tmp_path: Path, arguments: tuple[str, str]) -> None:
    with serve(stack, tmp_path, *arguments) as (process, lines):
        assert process.wait(30) in (1, 2)

    assert lines == []
