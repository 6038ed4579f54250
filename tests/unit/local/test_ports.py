"""Ports are chosen once and kept while they are free."""

import socket
from pathlib import Path

import pytest

from headrace.local.layout import Layout
from headrace.local.ports import HOST, PORT_NAMES, choose_ports, is_free, read_ports


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


def test_every_server_gets_a_free_port_of_its_own(layout: Layout) -> None:
    chosen = choose_ports(layout)

    assert set(chosen.ports) == set(PORT_NAMES)
    assert len(set(chosen.ports.values())) == len(PORT_NAMES)
    assert all(is_free(port) for port in chosen.ports.values())
    assert chosen.replaced == {}


def test_ports_are_remembered(layout: Layout) -> None:
    first = choose_ports(layout)

    assert choose_ports(layout) == first
    assert read_ports(layout) == first.ports


def test_only_a_taken_port_is_chosen_again(layout: Layout) -> None:
    first = choose_ports(layout).ports
    with socket.create_server((HOST, first["redis"])):
        second = choose_ports(layout)

    assert set(second.replaced) == {"redis"}
    assert second.replaced["redis"] == (first["redis"], second.ports["redis"])
    assert {**second.ports, "redis": first["redis"]} == first


def test_ports_lie_below_those_given_to_outgoing_connections(layout: Layout) -> None:
    first_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])

    assert max(choose_ports(layout).ports.values()) < first_ephemeral


def test_nothing_is_remembered_before_the_first_start(layout: Layout) -> None:
    assert read_ports(layout) == {}
