"""The jars of Apache Kafka: fetched once from Maven Central by ``jgo``, then found in its cache.

They are locked as the Python packages are: ``kafka-4.1.2.sha256`` lists every file with its digest.
After a change of version: ``sha256sum`` of the files that ``jgo`` prints.
"""

import contextlib
import fcntl
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

from headrace.durable_files import write_file
from headrace.errors import IntegrityError, UnavailableError
from headrace.local.layout import Layout

__all__ = ["COORDINATE", "check_jars", "fetch_jars", "known_jars", "read_digests", "verify"]

# Pinned: 4.4.0 does not resolve (an artifact is missing in Maven Central), 4.3.1 needs 117 jars.
# slf4j-simple: without a binding Kafka logs nothing. Not log4j-slf4j-impl: its dependency management
# would silently swap in the clients of Kafka 3.9 and older codecs.
COORDINATE = "org.apache.kafka:kafka_2.13:4.1.2+org.slf4j:slf4j-simple:1.7.36"
_DIGESTS = "kafka-4.1.2.sha256"
_NETWORK_HINT = (
    "connect to the network for the first start (a proxy is taken from HTTPS_PROXY, a mirror from jgo's "
    "configuration), then run `headrace up` again"
)
_PATIENCE_S = 10.0


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
        IntegrityError: a file is not the one we locked.
    """
    if jars := known_jars(layout):
        return jars
    with _alone(progress):
        return known_jars(layout) or _ask_jgo(layout, progress)


@contextlib.contextmanager
def _alone(progress: Callable[[str], None]) -> Iterator[None]:
    """Hold back a second first start of this user: jgo would take the half-filled cache for the whole."""
    lock = Path.home() / ".cache" / "headrace" / "kafka-jars.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another start that downloads Apache Kafka")
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _ask_jgo(layout: Layout, progress: Callable[[str], None]) -> list[Path]:
    # --class-path-only: otherwise two jars land on a module path and Scala is not found.
    digests = read_digests()
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
                    progress(f"downloading, {fetched} of {len(digests)} files")
            lines.append(line.strip())
    jars = [Path(line) for line in lines if line.endswith(".jar") and Path(line).is_absolute()]
    if jgo.returncode or not jars:
        said = _brief(next((line for line in reversed(lines) if line), "no answer"))
        raise UnavailableError(f"Apache Kafka could not be downloaded from Maven Central: {said}", hint=_NETWORK_HINT)
    verify(jars, digests)
    write_file(_memory(layout), json.dumps([str(jar) for jar in jars], indent=2).encode())
    return jars


def check_jars(layout: Layout) -> str:
    """The jars are here, or can be fetched.

    Raises:
        UnavailableError: neither.
    """
    if jars := known_jars(layout):
        return f"Apache Kafka 4.1.2 is here ({len(jars)} jars)"
    import httpx
    from jgo import MAVEN_CENTRAL_URL

    try:
        httpx.head(MAVEN_CENTRAL_URL + "/", timeout=_PATIENCE_S, follow_redirects=True)
    except httpx.HTTPError as error:
        raise UnavailableError(
            f"Apache Kafka is not downloaded yet and {MAVEN_CENTRAL_URL} cannot be reached: {error}",
            hint=_NETWORK_HINT,
        ) from error
    return "Apache Kafka will be downloaded at the first start (43 MB); Maven Central answers"


def read_digests() -> dict[str, str]:
    """SHA-256 by file name, as locked."""
    lines = resources.files("headrace.local").joinpath(_DIGESTS).read_text(encoding="ascii").splitlines()
    pairs = (line.split() for line in lines)
    return {name: digest for digest, name in pairs}


def verify(jars: list[Path], digests: dict[str, str]) -> None:
    """Compare files with the locked digests.

    Raises:
        IntegrityError: one differs, is not listed, or is missing.
    """
    for jar in jars:
        digest = hashlib.sha256(jar.read_bytes()).hexdigest()
        if digests.get(jar.name) != digest:
            raise IntegrityError(
                f"{jar} has SHA-256 {digest}, which is not the locked {digests.get(jar.name, '(not listed)')}",
                hint="delete ~/.cache/jgo and ~/.m2/repository/org/apache/kafka and start again; "
                "if it happens twice, distrust the mirror",
            )
    if missing := digests.keys() - {jar.name for jar in jars}:
        raise IntegrityError(f"Apache Kafka came without {', '.join(sorted(missing))}")


def _brief(line: str) -> str:
    """The operating system's words out of a nested network error."""
    found = re.findall(r"\[Errno -?\d+\] [^()\[\]\"']+", line)
    return found[-1].strip() if found else line


def _memory(layout: Layout) -> Path:
    return layout.run_dir / "kafka-jars.json"
