"""Runs the template process: imports sympy once, then forks a worker for every socket that it receives.

Run as `python -m deepscaler.rewards.workers.worker` with a Unix socket as standard input. The template has a single
thread, so it can fork safely, unlike the trainer or server that grades. A fork is ready in milliseconds; an import
takes a second. A worker answers JSON Lines: `{"mode", "answer", "gold", "limit"}` -> `{"equal": true}`.
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
"""Most bytes of a worker's address space, so `10**10**10` exhausts this limit instead of the machine."""

_WARM_UP = (
    (r"\frac{2\pi c^{2}R^{2}}{d^{2}\lambda^{5}\left(e^{\frac{hc}{\lambda kT}}-1\right)}", "35"),
    (r"\frac{-1+i\sqrt{3}}{2}x_{1}", r"2\sqrt[3]{3}+\ln(2)"),
    (r"\left|x-\frac{1}{2}\right| \le 3", r"x>2"),
    (r"\log_{2}(3)+\sin^2(\theta)-\cos(30^\circ)", r"\arctan 2 + \tan x"),
    (r"\binom{n}{2}\cdot n!", r"\lfloor x \rfloor + \infty"),
    (r"3^{n}y=2x^2-1", r"f(x)=\sqrt{x+1}"),
    (r"\begin{pmatrix} 1 & x \\ 2 & 3 \end{pmatrix}", r"\begin{pmatrix} 1 & 2 \\ 2 & 3 \end{pmatrix}"),
)
"""Pairs to compare before the first fork. Every worker inherits the parser's tables, which take half a second to fill.
"""


def main() -> None:
    """Forks a worker for each socket received until the parent is gone."""
    from deepscaler.rewards.algebra import original, symbolic  # noqa: PLC0415  the import that must happen once

    comparisons: dict[str, Comparison] = {"kit": symbolic.is_equivalent, "deepscaler": original.decide}
    for compare in comparisons.values():
        for answer, gold in _WARM_UP:
            compare(answer, gold)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no code waits for workers, so let the kernel reap them
    requests = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    while connection := receive_socket(requests):
        if os.fork() == 0:
            requests.close()
            _serve(connection, comparisons)
            os._exit(0)
        connection.close()


def receive_socket(requests: socket.socket) -> socket.socket | None:
    """Returns the next connection passed over the parent's socket; None at its end."""
    # One byte goes with each descriptor: a message without data would read as the end.
    _, ancillary, _, _ = requests.recvmsg(1, socket.CMSG_SPACE(array.array("i").itemsize))
    for _, _, data in ancillary:
        descriptor = array.array("i")
        descriptor.frombytes(data)
        return socket.socket(fileno=descriptor[0])
    return None


def _serve(connection: socket.socket, comparisons: dict[str, Comparison]) -> None:
    """Answers one task after another until the connection closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C ends
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    sys.setrecursionlimit(3000)
    sys.set_int_max_str_digits(100_000)
    with connection, connection.makefile("rw", encoding="utf-8") as stream:
        print(json.dumps({"pid": os.getpid()}), file=stream, flush=True)
        for line in stream:
            task = json.loads(line)
            # SIGPROF has no handler, so it ends this process, even within one long multiplication in C.
            signal.setitimer(signal.ITIMER_PROF, task["limit"])
            try:
                equal = comparisons[task["mode"]](task["answer"], task["gold"])
            except Exception:  # sympy raises many types on odd input; then equality is not shown
                equal = False
            # Before the reply is written, or the time until the next task would count.
            signal.setitimer(signal.ITIMER_PROF, 0)
            print(json.dumps({"equal": bool(equal)}), file=stream, flush=True)


if __name__ == "__main__":
    main()
