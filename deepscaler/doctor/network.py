"""Checks the network of one machine: the interface that NCCL takes, its adapters, its name, its ports."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path

from deepscaler.doctor.finding import Finding
from deepscaler.doctor.subject import Subject
from deepscaler.fabric import SYSTEM
from deepscaler.system.addresses import addresses, ephemeral_ports
from deepscaler.system.files import text_of

NET = Path("/sys/class/net")
MIN_PORTS = 5000
"""Ports for outgoing connections: NCCL and gloo take some for each pair of ranks, Ray for each pair of workers."""


def check_interface(subject: Subject) -> Finding:
    """Names the interface that NCCL and gloo would take for their first contact."""
    name, there = "interface", addresses()
    chosen = chosen_interface(there, os.environ.get("NCCL_SOCKET_IFNAME", ""))
    several = bool(subject.recipe and subject.recipe.num_nodes > 1)
    if not there:
        alone = Finding(name, "pass", "none but the loopback, which is enough for one machine")
        return Finding(name, "fail", "none but the loopback", "start the network of this node") if several else alone
    if not chosen:
        wanted, listed = os.environ["NCCL_SOCKET_IFNAME"], ", ".join(there)
        return Finding(name, "fail", f"NCCL_SOCKET_IFNAME={wanted} names none of {listed}", "name one that is here")
    rate = link_rate(chosen)
    shown = f"{chosen} {there[chosen]}{f', {rate / 1e9:g} Gbit/s' if rate else ''}"
    others = [one for one in there if one != chosen]
    if several and others and not os.environ.get("NCCL_SOCKET_IFNAME"):
        fix = f"set network_interface (NCCL_SOCKET_IFNAME) if it is not the one; here are also {', '.join(others)}"
        return Finding(name, "warn", f"{shown}, by NCCL's own choice", fix)
    return Finding(name, "pass", shown)


def check_adapters(_: Subject) -> Finding:
    """Checks for ports of RDMA adapters that are down or slower than their neighbors: one slow rail slows all."""
    ports = adapter_ports()
    if not ports:
        return Finding("InfiniBand", "skip", "no RDMA adapter")
    down = [f"{port} {state}" for port, (state, _) in ports.items() if state != "ACTIVE"]
    rates = {port: rate for port, (state, rate) in ports.items() if state == "ACTIVE"}
    fastest = max(rates.values(), default=0.0)
    slow = [f"{port} {rate:g} Gbit/s" for port, rate in rates.items() if rate < fastest / 2]
    shown = f"{len(rates)} of {len(ports)} ports active, up to {fastest:g} Gbit/s"
    if not rates:
        return Finding("InfiniBand", "fail", "; ".join(down), "check cables and the subnet manager")
    wrong = "; ".join([*down, *slow])
    fix = "check cables and switches, or name the good ones in NCCL_IB_HCA; storage and spare ports are no fault"
    return Finding("InfiniBand", "warn" if wrong else "pass", f"{shown}{f': {wrong}' if wrong else ''}", fix)


def check_name(subject: Subject) -> Finding:
    """Resolves this machine's name: gloo and Ray go by it where no interface is set."""
    name, host = "host name", socket.gethostname()
    several = bool(subject.recipe and subject.recipe.num_nodes > 1 and not os.environ.get("GLOO_SOCKET_IFNAME"))
    fix = "put the node's name and address into DNS or /etc/hosts, or set network_interface in the site file"
    try:
        address = socket.gethostbyname(host)
    except OSError as error:
        return Finding(name, "fail" if several else "warn", f"{host} is not resolved ({error.strerror})", fix)
    if address.startswith("127."):
        shown = f"{host} is {address}, a loopback, for other nodes too"
        return Finding(name, "warn" if several else "pass", shown if several else f"{host} is {address}", fix)
    if address not in addresses().values():
        return Finding(name, "warn", f"{host} is {address}, which this machine has not", fix)
    return Finding(name, "pass", f"{host} is {address}")


def check_ports(_: Subject) -> Finding:
    """Counts the ports for outgoing connections, and those that are taken."""
    first, last = ephemeral_ports()
    taken = _ports_in_use(first, last)
    free = last - first + 1 - taken
    fix = "sysctl net.ipv4.ip_local_port_range='32768 60999', or end what holds so many"
    return Finding("local ports", "warn" if free < MIN_PORTS else "pass", f"{free} of {first} to {last} free", fix)


def chosen_interface(there: Mapping[str, str], wanted: str) -> str:
    """Returns the interface that NCCL's sockets take; empty if the variable names none that is here.

    NCCL 2.28 (socket.cc): what NCCL_SOCKET_IFNAME says (`=` exactly, `^` not these, else beginnings of names), else
    one that begins with ib, else one that is neither docker's nor the loopback, else docker's.
    """
    if wanted:
        exact, without = wanted.startswith(("=", "^=")), wanted.startswith("^")
        words = wanted.lstrip("^=").split(",")
        hits = [one for one in there if any(one == word if exact else one.startswith(word) for word in words)]
        kept = [one for one in there if (one in hits) != without]
        return next(iter(kept), "")
    # A text times False is the empty text, which stands for all other interfaces.
    order = ("ib", "", "docker")
    ranked = sorted(
        there, key=lambda one: order.index("ib" if one[:2] == "ib" else "docker" * one.startswith("docker"))
    )
    return next(iter(ranked), "")


def link_rate(interface: str) -> float:
    """Returns the bits a second that an interface is rated at; 0 if it does not tell."""
    try:
        speed = int((NET / interface / "speed").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0.0
    # The kernel has Mbit/s, and -1 for an interface without a link.
    return max(0, speed) * 1e6


def adapter_ports(system: Path = SYSTEM) -> dict[str, tuple[str, float]]:
    """Returns state and rate in Gbit/s of each port of each RDMA adapter: `{"mlx5_0/1": ("ACTIVE", 400.0)}`."""
    found = {}
    for port in sorted(system.glob("*/ports/*")):
        # The files hold "4: ACTIVE" and "400 Gb/sec (4X NDR)".
        state = text_of(port / "state").rpartition(":")[2].strip()
        rate = text_of(port / "rate").partition(" ")[0]
        found[f"{port.parts[-3]}/{port.name}"] = (state, float(rate) if rate else 0.0)
    return found


def _ports_in_use(first: int, last: int) -> int:
    ports = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in text_of(table).splitlines()[1:]:
            # Hexadecimal, as in 0100007F:1F90. A port in both tables is one port.
            port = int(line.split()[1].rpartition(":")[2], 16)
            if first <= port <= last:
                ports.add(port)
    return len(ports)
