"""Lets the nodes of a job find each other in a folder that all see, and tries whether each reaches every other.

meeting = Meeting(Path("/runs/doctor/meet"), num_nodes=3, name="node1", address="10.0.0.1")
meeting/node1.card.json    {"address": "10.0.0.1", "ports": [40213, 23071], "store": 41877}
meeting/node1.reach.json   {"node2": {"error": "", "skew": 0.01}, "node3": {"error": "10.0.0.3:40213: timed out", ...}}
"""

import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepscaler.system.errors import UserError
from deepscaler.system.files import read_json, write_json

CONNECT = 3.0
"""Seconds to be connected; within a site it takes less than a millisecond."""

OLD = 1800.0
"""Seconds after which a card counts as one of an earlier meeting; a node's own checks take minutes at most."""

POLL = 0.2
RAYS_PORTS = range(20_000, 30_000)
"""Ports to which the launchers give Ray's services: firewalls between nodes often let other ports pass than these."""

QUESTION = b"time\n"


def node_name() -> str:
    """Returns this node's name: the launcher's or SLURM's, else its own."""
    return os.environ.get("DEEPSCALER_NODE") or os.environ.get("SLURMD_NODENAME") or socket.gethostname()


@dataclass(slots=True)
class Meeting:
    """The nodes of one examination, as one of them sees it."""

    folder: Path
    num_nodes: int
    name: str
    address: str
    _listeners: list[socket.socket] = field(default_factory=list, init=False)

    def join(self) -> None:
        """Listens on a port of the kernel's choice and on one where Ray's are, and says so in the folder.

        Raises UserError for a folder in which an earlier meeting left files.
        """
        self._check_new()
        # At random, since others may examine the same node at the same time.
        self._listeners = [self._listen([0]), self._listen(random.sample(RAYS_PORTS, 50))]
        for listener in self._listeners:
            threading.Thread(target=_answer, args=(listener,), daemon=True).start()
        with self._listen([0]) as free:
            # Closed again at once: torch's store binds the port itself when the traffic begins.
            store = free.getsockname()[1]
        ports = [listener.getsockname()[1] for listener in self._listeners]
        self.put("card", {"address": self.address, "ports": ports, "store": store})

    def leave(self) -> None:
        """Stops listening."""
        for listener in self._listeners:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # closing alone leaves a thread in accept()
            listener.close()

    def put(self, kind: str, value: Any) -> None:
        """Writes what the others are to read of this node."""
        write_json(self.folder / f"{self.name}.{kind}.json", value)

    def cards(self, seconds: float, say: Callable[[str], object]) -> dict[str, dict[str, Any]]:
        """Returns the cards of all nodes, or after some seconds of those that came; prints how many are missing."""
        deadline, shown = time.monotonic() + seconds, [""]
        while True:
            names = sorted(path.name.removesuffix(".card.json") for path in self.folder.glob("*.card.json"))
            left = deadline - time.monotonic()
            if len(names) >= self.num_nodes or left < 0:
                return self.gather("card", names, 0.0)
            if names != shown:
                missing = f"{self.num_nodes - len(names)} of {self.num_nodes} nodes"
                say(f"Waiting up to {left:.0f} s for {missing} in {self.folder}; here: {', '.join(names)}.")
                shown = names
            time.sleep(POLL)

    def gather(self, kind: str, names: Iterable[str], seconds: float) -> dict[str, dict[str, Any]]:
        """Returns what nodes have put, by their names; after some seconds without those that have not."""
        deadline, missing, found = time.monotonic() + seconds, list(names), {}
        while True:
            for name in missing:
                with suppress(OSError, ValueError):  # not there yet, or half seen by a file server's cache
                    found[name] = read_json(self.folder / f"{name}.{kind}.json")
            missing = [name for name in missing if name not in found]
            if not missing or time.monotonic() > deadline:
                return found
            time.sleep(POLL)

    def reach(self, cards: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Returns why each other node is not reached (empty if it is), and how many seconds its clock is ahead."""
        others = [name for name in cards if name != self.name]
        with ThreadPoolExecutor(max(1, len(others))) as pool:
            return dict(zip(others, pool.map(lambda name: _try(cards[name]), others), strict=True))

    def _check_new(self) -> None:
        """Raises UserError if a card would be taken for that of a node that does not answer."""
        own = f"{self.name}.card.json"
        cards = self.folder.glob("*.card.json")
        # The cards of nodes whose meeting was killed.
        left = [path for path in cards if path.name == own or time.time() - path.stat().st_mtime > OLD]
        # Nodes report once all are there, or when those that are there no longer wait: this one is late then.
        left += self.folder.glob("*.report.json")
        if left:
            raise UserError(
                f"--meet {self.folder} holds files of an earlier meeting ({left[0].name}): start all nodes again, with"
                " a new folder"
            )

    def _listen(self, ports: Iterable[int]) -> socket.socket:
        """Returns a listener at the first free of some ports."""
        for port in ports:
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((self.address, port))
                # All other nodes connect in the same second.
                listener.listen(256)
            except OSError as error:
                listener.close()
                last = error
                continue
            return listener
        raise last


def cut_off(reach: dict[str, dict[str, dict[str, Any]]], names: Iterable[str]) -> list[str]:
    """Returns the fewest nodes without which all others reach each other, the worst first.

    `reach` is what each node said; one that said nothing reaches nobody.
    """
    left = sorted(names)
    out: list[str] = []
    while True:
        broken = {
            name: sum(not (_reaches(reach, name, other) and _reaches(reach, other, name)) for other in left)
            for name in left
        }
        worst = max(left, key=lambda name: broken[name], default="")
        if not worst or not broken[worst]:
            return out
        left.remove(worst)
        out.append(worst)


def _reaches(reach: dict[str, dict[str, dict[str, Any]]], name: str, other: str) -> bool:
    return name == other or reach.get(name, {}).get(other, {}).get("error") == ""


def _answer(listener: socket.socket) -> None:
    """Tells whoever asks what time it is, until the listener is closed."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, suppress(OSError):
            connection.settimeout(CONNECT)
            if connection.recv(len(QUESTION)) == QUESTION:
                connection.sendall(f"{time.time()}\n".encode())


def _try(card: dict[str, Any]) -> dict[str, Any]:
    skew = 0.0
    for port in card["ports"]:
        try:
            with socket.create_connection((card["address"], port), CONNECT) as connection:
                connection.settimeout(CONNECT)
                before = time.time()
                connection.sendall(QUESTION)
                # Against the middle of question and answer, as NTP does: so the way there and back cancels out.
                skew = float(connection.recv(64)) - (before + time.time()) / 2
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", "") or str(error)
            return {"error": f"{card['address']}:{port}: {why}", "skew": None}
    return {"error": "", "skew": round(skew, 3)}
