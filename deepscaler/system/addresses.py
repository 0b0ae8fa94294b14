"""Chooses addresses of this machine, because Ray would ask the internet for its own address."""

import fcntl
import socket
import struct
from contextlib import suppress
from pathlib import Path

from deepscaler.system.errors import UserError

# From linux/sockios.h, which Python does not export.
SIOCGIFADDR = 0x8915
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def address_of(node: str, interface: str, *, alone: bool) -> str:
    """Returns this node's IPv4 address: that of an interface, of its name, of its default route, or its only one.

    Raises UserError if none of these yields an address and other nodes must reach it (it is not `alone`).
    """
    if interface:
        return interface_address(interface)
    for name in (node, socket.gethostname()):
        try:
            address = socket.gethostbyname(name)
        except OSError:
            continue
        # Debian's installer maps the machine's own name to 127.0.1.1 in /etc/hosts, which no other machine can reach.
        if not address.startswith("127."):
            return address
    if address := outgoing_address():
        return address
    there = addresses()
    if len(there) == 1:
        return next(iter(there.values()))
    if alone:
        return "127.0.0.1"
    raise UserError(
        f"{node} has no address that others can reach: its name and its default route yield none;"
        f" set network_interface in the site file to one of: {', '.join(there) or 'none'}"
    )


def interface_of(address: str) -> str:
    """Returns the name of the interface that has this address; empty for a loopback address."""
    return next((name for name, found in addresses().items() if found == address), "")


def addresses() -> dict[str, str]:
    """Returns the IPv4 address of every interface that has one, except the loopback, by name."""
    found = {}
    for _, name in socket.if_nameindex():
        with suppress(UserError):
            found[name] = interface_address(name)
    return {name: address for name, address in found.items() if not address.startswith("127.")}


def interface_address(interface: str) -> str:
    """Returns the IPv4 address of an interface. Raises UserError if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # struct ifreq: 16 bytes of name, then a sockaddr_in of family (2), port (2) and address, at byte 20.
        request = struct.pack("256s", interface[:15].encode())
        try:
            return socket.inet_ntoa(fcntl.ioctl(probe.fileno(), SIOCGIFADDR, request)[20:24])
        except OSError as error:
            found = ", ".join(name for _, name in socket.if_nameindex())
            raise UserError(
                f"network_interface {interface!r} has no IPv4 address on {socket.gethostname()} ({error.strerror});"
                f" give one of {found}"
            ) from error


def ephemeral_ports() -> tuple[int, int]:
    """Returns the first and the last port that the kernel gives to outgoing connections."""
    if not EPHEMERAL.is_file():
        # The kernel's own default; some containers mask /proc/sys.
        return 32_768, 60_999
    first, last = EPHEMERAL.read_text(encoding="ascii").split()
    return int(first), int(last)


def outgoing_address() -> str:
    """Returns the address of the interface with the default route, empty without one. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # for documentation (RFC 5737); UDP's connect sends nothing
        except OSError:
            return ""
        return str(probe.getsockname()[0])
