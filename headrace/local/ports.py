"""Loopback ports: chosen once, remembered in the home, chosen again only when somebody took them.

They are taken from below the ephemeral range. A port inside it can be given to an outgoing connection
while the server restarts; worse, a client that keeps reconnecting to a closed ephemeral port on
loopback will sooner or later connect to itself and hold the port.
"""

import json
import random
import socket
from dataclasses import dataclass
from pathlib import Path

from headrace.durable_files import write_file
from headrace.errors import UnavailableError
from headrace.local.layout import Layout

__all__ = ["HOST", "PORT_NAMES", "ChosenPorts", "choose_ports", "is_free", "read_ports"]

HOST = "127.0.0.1"
PORT_NAMES = (
    "kafka",
    "kafka-controller",
    "redis",
    "temporal",
    "temporal-ui",
    "temporal-http",
    "temporal-metrics",
    "mlflow",
)
_LOWEST = 20_000
_TRIES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenPorts:
    """The ports of this start, by name."""

    ports: dict[str, int]
    replaced: dict[str, tuple[int, int]]
    """Remembered ports somebody else uses now: name -> (old, new)."""


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections that linger after a restart do not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def read_ports(layout: Layout) -> dict[str, int]:
    """The remembered ports; empty before the first start."""
    try:
        return {str(name): int(port) for name, port in json.loads(layout.ports_file.read_bytes()).items()}
    except FileNotFoundError:
        return {}


def choose_ports(layout: Layout) -> ChosenPorts:
    """Choose a free port for every name and remember it.

    Raises:
        UnavailableError: no free port was found.
    """
    remembered = read_ports(layout)
    ports: dict[str, int] = {}
    replaced: dict[str, tuple[int, int]] = {}
    for name in PORT_NAMES:
        old = remembered.get(name)
        if old is not None and is_free(old):
            ports[name] = old
            continue
        ports[name] = _find_free({*ports.values(), *remembered.values()})
        if old is not None:
            replaced[name] = (old, ports[name])
    write_file(layout.ports_file, json.dumps(ports, indent=2).encode())
    return ChosenPorts(ports=ports, replaced=replaced)


def _find_free(used: set[int]) -> int:
    highest = _first_ephemeral() - 1
    # Random, so that two stacks starting at the same moment do not reach for the same port.
    draw = random.SystemRandom()
    for _ in range(_TRIES):
        port = draw.randint(min(_LOWEST, highest - 1000), highest)
        if port not in used and is_free(port):
            return port
    raise UnavailableError(
        f"no free loopback port found in {_TRIES} tries up to {highest}",
        hint="see what listens with `ss -ltnp` and stop what is not needed",
    )


def _first_ephemeral() -> int:
    linux = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if not linux.exists():
        return 49_152  # IANA's range, which macOS uses
    return max(int(linux.read_text(encoding="ascii").split()[0]), 10_000)
