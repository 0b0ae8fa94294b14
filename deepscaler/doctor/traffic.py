"""Measures the network between nodes by real traffic: each pair by itself, then all of them together.

python -P -m deepscaler.doctor.traffic   reads {"me", "members", "store": [HOST, PORT], "interface"} as JSON, and prints
    {"pair": "node2", "bits": 9.1e9}             what each direction carries, bits a second
    {"pair": "node3", "error": "..."}
    {"all_reduce": ["node1", "node2"], "bits": 8e9}   the bus bandwidth of an all-reduce among these

NCCL on GPUs, gloo without. Pairs meet in rounds, as in a tournament: in each one a node has one partner, so that no two
pairs share a node. Each pair has a deadline, and a node that misses one is left out of what follows.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from deepscaler.doctor.pairs import rounds, slow_nodes
from deepscaler.system.processes import python_command

PAIR = 20.0
"""Seconds for one pair, in which it connects and measures."""

TOGETHER = 40.0
"""Seconds for an all-reduce among all."""

IMPORTS = 120.0
"""Seconds until torch is imported on every node, from a cold file system."""

ENOUGH = 0.2
"""Seconds that a measurement takes at least, if the largest message allows it."""

REPEATS = 3
"""Measurements of which the best counts: a busy processor can make a network look slow, but never fast."""

SMALLEST, LARGEST = 1 << 18, 1 << 27
"""Bytes of a message."""


def traffic(me: str, members: Sequence[str], store: tuple[str, int], interface: str) -> list[dict[str, Any]]:
    """Returns what this node measured with the others; if its process hung, everything until then."""
    spec = {"me": me, "members": list(members), "store": store}
    variables = {"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": interface} if interface else {}
    seconds = IMPORTS + (len(members) + 1) * PAIR + 3 * TOGETHER
    process = subprocess.Popen(
        python_command("-m", "deepscaler.doctor.traffic"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What the user has set wins.
        env={**variables, **os.environ},
    )
    try:
        told, errors = process.communicate(json.dumps(spec), timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        # What was printed before the end is still in the pipe.
        told, errors = process.communicate()
    # NCCL_DEBUG=INFO writes to stdout as well.
    lines = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    if process.returncode:
        last = " ".join(errors.strip().splitlines()[-1:])[:200]
        lines.append({"error": last or f"its process ended with {process.returncode}"})
    return lines


def main() -> None:
    """Takes part in every round, and prints each result at once."""
    spec = json.load(sys.stdin)
    Tournament(spec["me"], spec["members"], (spec["store"][0], spec["store"][1])).play()


class Tournament:
    """One node's part in it."""

    def __init__(self, me: str, members: list[str], store: tuple[str, int]) -> None:
        import torch  # noqa: PLC0415  the process that started this one does without
        from torch import distributed  # noqa: PLC0415

        self._torch, self._distributed = torch, distributed
        self._me, self._alive = me, list(members)
        self._backend = "nccl" if torch.cuda.is_available() else "gloo"
        self._device = "cuda:0" if torch.cuda.is_available() else "cpu"
        host, port = store
        # Without waiting for workers: by default a node that is dead would hold up all others.
        self._store = distributed.TCPStore(
            host, port, is_master=me == members[0], wait_for_workers=False, timeout=timedelta(seconds=IMPORTS)
        )
        self._met = time.monotonic()
        self._meet("begin", IMPORTS)

    def play(self) -> None:
        """Measures every pair of this node, then all nodes that are left together, then without the slow ones."""
        members = list(self._alive)
        self._rounds(members, "first", set(members))
        if suspected := slow_nodes(self._rates(members)):  # a machine that was busy for a second looks slow once
            self._rounds(members, "second", set(suspected))
        self._all_reduce(self._alive, "all")
        self._meet("all", TOGETHER + 5.0)
        if slow := slow_nodes(self._rates(members)):
            rest = [name for name in self._alive if name not in slow]
            if self._me in rest and len(rest) > 1:
                self._all_reduce(rest, "rest")
        self._meet("end", TOGETHER)  # the first node holds the store

    def _rounds(self, members: Sequence[str], look: str, of: set[str]) -> None:
        """Measures the pairs that some nodes are part of, in rounds that all nodes keep."""
        for number, pairs in enumerate(rounds(members)):
            chosen = [pair for pair in pairs if of & set(pair)]
            for pair in chosen:
                if self._me in pair and set(pair) <= set(self._alive):
                    self._measure_pair(pair, f"{look}-{number}")
            if chosen:
                self._meet(f"{look}-{number}", PAIR + 5.0)

    def _measure_pair(self, pair: tuple[str, str], name: str) -> None:
        other = next(one for one in pair if one != self._me)
        rank = pair.index(self._me)

        def exchange(message: Any) -> None:
            # In one order on both sides: two that receive first would wait for each other.
            for sender in (0, 1):
                if rank == sender:
                    self._distributed.send(message, 1 - rank)
                else:
                    self._distributed.recv(message, 1 - rank)

        found = self._measured(f"{name}-{pair[0]}", rank, 2, PAIR, exchange)
        if "seconds" in found:
            found = {"bits": 2 * 8 * found["size"] / found["seconds"]}
        if "bits" in found:
            best = max(found["bits"], self._rates(pair)[pair])  # both sides write the same
            self._store.set(f"rate-{pair[0]}-{pair[1]}", str(best))
        _say({"pair": other, **found})

    def _all_reduce(self, members: list[str], name: str) -> None:
        rank = members.index(self._me)
        found = self._measured(name, rank, len(members), TOGETHER, self._distributed.all_reduce)
        if "seconds" in found:  # each node sends and receives 2 (n - 1) / n of a message, as NCCL's tests count it
            share = 2 * (len(members) - 1) / len(members)
            found = {"bits": share * 8 * found["size"] / found["seconds"]}
        _say({"all_reduce": members, **found})

    def _measured(
        self, name: str, rank: int, size: int, seconds: float, act: Callable[[Any], object]
    ) -> dict[str, Any]:
        """Returns bytes and seconds of the largest message; or the error that a group of its own ended with."""
        store = self._distributed.PrefixStore(name, self._store)
        limit = timedelta(seconds=seconds)
        try:
            self._distributed.init_process_group(self._backend, store=store, rank=rank, world_size=size, timeout=limit)
            return self._grow(act, seconds)
        except Exception as error:  # a peer that is gone, a reset connection, a time that is over
            return {"error": " ".join(str(error).split())[:200] or type(error).__name__}
        finally:
            with suppress(Exception):
                self._distributed.destroy_process_group()
            # a group that failed to begin still counts, and the count is part of the next one's keys in the store
            self._distributed.distributed_c10d._world.group_count = 0

    def _grow(self, act: Callable[[Any], object], seconds: float) -> dict[str, Any]:
        """Doubles a message until it takes long enough; all ranks agree on that by the slowest one's times."""
        size, begun, best = SMALLEST, time.perf_counter(), {"size": 0, "seconds": 1.0}
        act(self._torch.zeros(1, device=self._device))  # connects
        repeats = 0
        while True:
            message = self._torch.zeros(size, dtype=self._torch.uint8, device=self._device)
            started = time.perf_counter()
            act(message)
            if self._device != "cpu":
                self._torch.cuda.synchronize()
            now = time.perf_counter()
            taken = self._torch.tensor([now - started, now - begun], device=self._device)
            # Each rank has times of its own, and one that stopped earlier than its peer would leave that
            # waiting.
            self._distributed.all_reduce(taken, op=self._distributed.ReduceOp.MAX)
            longest, spent = map(float, taken.tolist())
            if best["size"] / best["seconds"] < size / longest:
                best = {"size": size, "seconds": longest}
            repeats += longest > ENOUGH or size >= LARGEST
            # The next message takes at most twice as long, and then there are the times to agree on.
            if repeats >= REPEATS or 4 * longest > seconds - spent:
                return best
            if not repeats:
                size *= 2 if longest > ENOUGH / 8 else 8

    def _meet(self, moment: str, seconds: float) -> None:
        """Waits for all remaining nodes, until a deadline; later rounds leave out those that miss it."""
        self._store.set(f"{moment}-{self._me}", "")
        # the first node decides who is left out and when all continue: each with a clock of its own, they would
        # drift apart
        if self._me == self._alive[0]:
            here = [name for name in self._alive if self._comes(f"{moment}-{name}", self._met + seconds)]
            self._store.set(f"{moment}-go", json.dumps(here))
        self._store.wait([f"{moment}-go"], timedelta(seconds=seconds + PAIR))
        here = json.loads(self._store.get(f"{moment}-go"))
        for name in self._alive:
            if name not in here:
                _say({"pair": name, "error": f"it did not come to the {moment} round within {seconds:.0f} s"})
        self._alive, self._met = here, time.monotonic()

    def _comes(self, key: str, deadline: float) -> bool:
        """Returns whether a key is set until a moment."""
        try:
            self._store.wait([key], timedelta(seconds=max(0.1, deadline - time.monotonic())))
        except Exception:  # torch raises its own error for a time that is over
            return False
        return True

    def _rates(self, members: Sequence[str]) -> dict[tuple[str, str], float]:
        """Returns what every pair measured; 0 for one that did not."""
        found = {}
        for pair in ((a, b) for i, a in enumerate(sorted(members)) for b in sorted(members)[i + 1 :]):
            key = f"rate-{pair[0]}-{pair[1]}"
            # `get` would wait for a key that nobody has set.
            found[pair] = float(self._store.get(key)) if self._store.check([key]) else 0.0
        return found


def _say(result: dict[str, Any]) -> None:
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
