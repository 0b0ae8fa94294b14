import socket
from itertools import pairwise

import pytest

from deepscaler.errors import UserError
from slurm.network import PortBlock, address_of, answers


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
    assert address_of("anything", "lo") == "127.0.0.1"
    with pytest.raises(UserError, match=r"'ib7' has no IPv4 address.*there are .*lo"):
        address_of("anything", "ib7")
