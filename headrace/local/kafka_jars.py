"""The jars of Apache Kafka: fetched once from Maven Central by ``jgo``, then found in its cache."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from headrace.errors import UnavailableError
from headrace.local.layout import Layout, write_atomically

__all__ = ["COORDINATE", "fetch_jars", "known_jars"]

# Pinned: 4.4.0 does not resolve (an artifact is missing in Maven Central), 4.3.1 needs 117 jars.
COORDINATE = "org.apache.kafka:kafka_2.13:4.1.2"
_JARS = 45


def known_jars(layout: Layout) -> list[Path]:
    """The jars this home used before, if all of them are still there; else an empty list."""
    try:
        jars = [Path(path) for path in json.loads(_memory(layout).read_bytes())]
    except FileNotFoundError:
        return []
    return jars if all(jar.exists() for jar in jars) else []


def fetch_jars(layout: Layout, progress: Callable[[str], None]) -> list[Path]:
    """Return the class path of the broker, downloading what is missing.

    Args:
        layout: remembers the answer, which saves half a second at the next start.
        progress: told in words how far the download is.

    Raises:
        UnavailableError: Maven Central or a mirror of it cannot be reached.
    """
    if jars := known_jars(layout):
        return jars
    # --class-path-only: otherwise two jars land on a module path and Scala is not found.
    command = [sys.executable, "-m", "jgo", "--class-path-only", "info", "jars", COORDINATE]
    lines: list[str] = []
    fetched = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as jgo:
        assert jgo.stdout is not None, "stdout is a pipe"
        for line in jgo.stdout:
            if line.startswith("Downloading") and not any(seen.startswith("Downloading") for seen in lines):
                progress("downloading Apache Kafka 4.1.2 from Maven Central (43 MB, only once)")
            if line.startswith("Downloading") and ".jar" in line:
                fetched += 1
                if fetched % 10 == 0:
                    progress(f"downloading, {fetched} of {_JARS} files")
            lines.append(line.strip())
    jars = [Path(line) for line in lines if line.endswith(".jar") and Path(line).is_absolute()]
    if jgo.returncode or not jars:
        raise UnavailableError(
            f"Apache Kafka could not be downloaded from Maven Central: {lines[-1] if lines else 'no answer'}",
            hint="connect to the network for the first start (a proxy is taken from HTTPS_PROXY, "
            "a mirror from jgo's configuration), then run `headrace up` again",
        )
    write_atomically(_memory(layout), json.dumps([str(jar) for jar in jars], indent=2).encode())
    return jars


def _memory(layout: Layout) -> Path:
    return layout.run_dir / "kafka-jars.json"
