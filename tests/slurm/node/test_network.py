import socket
from itertools import pairwise

import pytest

from deepscaler.system.addresses import address_of, interface_of
from deepscaler.system.errors import UserError
from slurm.node.network import PortBlock, answers


def test_two_jobs_have_ports_of_their_own_below_the_ephemeral_ones() -> None:
    blocks = [PortBlock(number, "127.0.0.1").workers for number in range(5)]
    assert all(first < last < 32_768 for first, last in blocks)
    assert all(before[1] < after[0] for before, after in pairwise(blocks))


def test_a_port_that_is_taken_is_passed_over() -> None:
    first = next(PortBlock(3, "127.0.0.1").free())
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", first))
        listener.listen()
        assert answers(f"127.0.0.1:{first}", 1.0)
        assert next(PortBlock(3, "127.0.0.1").free()) > first
    assert not answers(f"127.0.0.1:{first}", 0.2)


def test_an_interface_that_is_not_there_is_told_with_those_that_are() -> None:
    assert address_of("anything", "lo", alone=True) == "127.0.0.1"
    with pytest.raises(UserError, match=r"'ib7' has no IPv4 address.*give one of .*lo"):
        address_of("anything", "ib7", alone=True)


@pytest.mark.parametrize(
    ("addresses", "alone", "address"),
    [
        ({"ib0": "10.0.0.7"}, False, "10.0.0.7"),
        ({}, True, "127.0.0.1"),
        ({"a": "10.0.0.7", "b": "10.1.0.7"}, True, "127.0.0.1"),
    ],
)
def test_without_name_and_route_the_only_address_is_taken(
    addresses: dict[str, str], alone: bool, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost(addresses, monkeypatch)
    assert address_of("nowhere", "", alone=alone) == address


def test_several_addresses_are_a_question_to_the_site_file(monkeypatch: pytest.MonkeyPatch) -> None:
    lost({"eno1": "10.0.0.7", "ib0": "10.1.0.7"}, monkeypatch)
    with pytest.raises(UserError, match="set network_interface in the site file to one of: eno1, ib0"):
        address_of("nowhere", "", alone=False)


def lost(addresses: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A node whose name does not resolve, without a default route."""

    def unknown(name: str) -> str:
        raise OSError(f"{name} is unknown")

    monkeypatch.setattr(socket, "gethostbyname", unknown)
    monkeypatch.setattr("deepscaler.system.addresses.outgoing_address", lambda: "")
    monkeypatch.setattr("deepscaler.system.addresses.addresses", lambda: addresses)


def test_the_interface_of_an_address_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepscaler.system.addresses.addresses", lambda: {"eth0": "10.0.0.3", "ib0": "10.1.0.3"})
    assert interface_of("10.1.0.3") == "ib0"
    assert interface_of("127.0.0.1") == ""
