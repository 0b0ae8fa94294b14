"""Addresses and ports of a node: chosen, not guessed by Ray, which would ask the internet for its own address."""

import fcntl
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from deepscaler.system.errors import UserError

SIOCGIFADDR = 0x8915
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOWEST_PORT = 11_000  # below are defaults of Ray, which it refuses to see given to something else
BLOCK = 1000
"""Ports a job gets: services first, Ray's workers behind them."""

NUM_SERVICES = 50


def address_of(node: str, interface: str, *, alone: bool) -> str:
    """The IPv4 address of this node: of an interface, by its name, by its default route, or the only one there is.

    Raises UserError where none of these tells it and others (it is not `alone`) have to reach it.
    """
    if interface:
        return _interface_address(interface)
    for name in (node, socket.gethostname()):
        try:
            address = socket.gethostbyname(name)
        except OSError:
            continue
        if not address.startswith("127."):
            return address
    if address := _outgoing_address():
        return address
    addresses = _addresses()
    if len(addresses) == 1:
        return next(iter(addresses.values()))
    if alone:
        return "127.0.0.1"
    raise UserError(
        f"{node} has no address that others reach: its name and its default route tell none;"
        f" set network_interface in the site file, here are {', '.join(addresses) or 'none'}"
    )


def interface_of(address: str) -> str:
    """The name of the interface that has this address; empty for a loopback's."""
    return next((name for name, found in _addresses().items() if found == address), "")


class PortBlock:
    """Ports of one job on one node, below those that the kernel gives to outgoing connections.

    Two jobs that share a node have blocks of their own, by their numbers; a port that is taken is passed over.
    """

    def __init__(self, job_id: int, address: str) -> None:
        highest = int(EPHEMERAL.read_text(encoding="ascii").split()[0]) if EPHEMERAL.is_file() else 32_768
        num_blocks = max(1, (highest - LOWEST_PORT) // BLOCK)
        self._first = LOWEST_PORT + BLOCK * (job_id % num_blocks)
        self._address = address

    @property
    def workers(self) -> tuple[int, int]:
        """First and last port of Ray's workers."""
        return self._first + NUM_SERVICES, self._first + BLOCK - 1

    def free(self) -> Iterator[int]:
        """Ports that nobody listens on, from the first. Raises UserError where all are taken."""
        for port in range(self._first, self._first + NUM_SERVICES):
            if _is_free(self._address, port):
                yield port
        raise UserError(f"no free port from {self._first} to {self._first + NUM_SERVICES - 1} on {self._address}")


def answers(address: str, seconds: float) -> bool:
    """Whether something listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), seconds):
            return True
    except OSError:
        return False


def _interface_address(interface: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("256s", interface[:15].encode())
        try:
            return socket.inet_ntoa(fcntl.ioctl(probe.fileno(), SIOCGIFADDR, request)[20:24])
        except OSError as error:
            found = ", ".join(name for _, name in socket.if_nameindex())
            raise UserError(
                f"network_interface {interface!r} has no IPv4 address on {socket.gethostname()} ({error.strerror});"
                f" there are {found}"
            ) from error


def _addresses() -> dict[str, str]:
    """Of every interface that has one, but for the loopback."""
    found = {}
    for _, name in socket.if_nameindex():
        with suppress(UserError):
            found[name] = _interface_address(name)
    return {name: address for name, address in found.items() if not address.startswith("127.")}


def _outgoing_address() -> str:
    """Of the interface with the default route; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address for documentation, which nobody has
        except OSError:
            return ""
        return str(probe.getsockname()[0])


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
        except OSError:
            return False
        return True
