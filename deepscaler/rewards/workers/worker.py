"""The template process: imports the mathematics once, then forks a worker for every socket it is sent.

Run as `python -m deepscaler.rewards.workers.worker` with a Unix socket as standard input. Being single-threaded it
can fork safely, which the trainer or server that grades cannot; and a fork is ready in milliseconds, where an import
takes a second. A worker answers JSON lines: `{"mode", "answer", "gold", "limit"}` -> `{"equal": true}`.
"""

import array
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable

Comparison = Callable[[str, str], bool]

MEMORY_LIMIT = 2 << 30
"""Bytes of address space a worker may add; `10**10**10` hits it instead of the machine."""

_WARM_UP = (
    (r"\frac{2\pi c^{2}R^{2}}{d^{2}\lambda^{5}\left(e^{\frac{hc}{\lambda kT}}-1\right)}", "35"),
    (r"\frac{-1+i\sqrt{3}}{2}x_{1}", r"2\sqrt[3]{3}+\ln(2)"),
    (r"\left|x-\frac{1}{2}\right| \le 3", r"x>2"),
    (r"\log_{2}(3)+\sin^2(\theta)-\cos(30^\circ)", r"\arctan 2 + \tan x"),
    (r"\binom{n}{2}\cdot n!", r"\lfloor x \rfloor + \infty"),
    (r"3^{n}y=2x^2-1", r"f(x)=\sqrt{x+1}"),
    (r"\begin{pmatrix} 1 & x \\ 2 & 3 \end{pmatrix}", r"\begin{pmatrix} 1 & 2 \\ 2 & 3 \end{pmatrix}"),
)
"""Compared before the first fork: every worker inherits the parser's tables, which cost half a second to fill."""


def main() -> None:
    """Fork a worker for each socket received until the parent is gone."""
    from deepscaler.rewards.algebra import original, symbolic  # noqa: PLC0415  the import that must happen once

    comparisons: dict[str, Comparison] = {"kit": symbolic.is_equivalent, "deepscaler": original.decide}
    for compare in comparisons.values():
        for answer, gold in _WARM_UP:
            compare(answer, gold)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for workers: let the kernel reap them
    requests = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    while connection := receive_socket(requests):
        if os.fork() == 0:
            requests.close()
            _serve(connection, comparisons)
            os._exit(0)
        connection.close()


def receive_socket(requests: socket.socket) -> socket.socket | None:
    """The next connection passed over the parent's socket; None at its end."""
    _, ancillary, _, _ = requests.recvmsg(1, socket.CMSG_SPACE(array.array("i").itemsize))
    for _, _, data in ancillary:
        descriptor = array.array("i")
        descriptor.frombytes(data)
        return socket.socket(fileno=descriptor[0])
    return None


def _serve(connection: socket.socket, comparisons: dict[str, Comparison]) -> None:
    """Answer one task after the other until the connection closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    sys.setrecursionlimit(3000)
    sys.set_int_max_str_digits(100_000)
    with connection, connection.makefile("rw", encoding="utf-8") as stream:
        print(json.dumps({"pid": os.getpid()}), file=stream, flush=True)
        for line in stream:
            task = json.loads(line)
            signal.setitimer(signal.ITIMER_PROF, task["limit"])  # ends this process, even inside a long multiplication
            try:
                equal = comparisons[task["mode"]](task["answer"], task["gold"])
            except Exception:  # sympy raises anything on odd input: then the two are not shown to be equal
                equal = False
            signal.setitimer(signal.ITIMER_PROF, 0)
            print(json.dumps({"equal": bool(equal)}), file=stream, flush=True)


if __name__ == "__main__":
    main()
