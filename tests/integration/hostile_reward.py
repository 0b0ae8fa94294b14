"""A reward function that does everything it should not, each thing for some of the responses."""

import math
import os
import signal
import subprocess
import sys
import time
import zlib

KINDS = {
    "good": 0.25,
    "dict": 0.5,
    "sleeps": None,
    "forks": 0.75,
    "leaves a daemon": 0.25,
    "prints": 0.5,
    "dies by a signal": None,
    "exits": None,
    "is not a number": None,
    "is infinite": None,
    "is a text": None,
    "is nothing": None,
    "raises": None,
    "fills the memory": None,
    "closes every file": None,
    "says too much": None,
}
"""What it does, and the score that counts; None where a response is undecided."""


def kind_of(response: str) -> str:
    """Returns what happens to a response, which the text alone decides."""
    return list(KINDS)[zlib.crc32(response.encode()) % len(KINDS)]


def score(response: str, num_tokens: int, golds: list[str]) -> object:  # noqa: PLR0912
    """Misbehaves."""
    assert num_tokens > 0
    assert golds
    kind = kind_of(response)
    if kind == "dict":
        return {"score": 0.5, "brevity": 1 / num_tokens}
    if kind == "sleeps":
        time.sleep(1000)
    if kind == "forks":
        os.fork()  # both return
        return 0.75
    if kind == "leaves a daemon":
        subprocess.Popen(["sleep", "4711"], start_new_session=True)
    if kind == "prints":
        print("\n" * 100_000, file=sys.stderr)
        print('{"score": 99}' * 1000)
        return 0.5
    if kind == "dies by a signal":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "exits":
        sys.exit(0)
    if kind == "is not a number":
        return math.nan
    if kind == "is infinite":
        return math.inf
    if kind == "is a text":
        return "0.5"
    if kind == "is nothing":
        return None
    if kind == "raises":
        raise RuntimeError("no reward today")
    if kind == "fills the memory":
        return len(bytearray(1 << 40))
    if kind == "closes every file":
        os.closerange(3, 1024)
    if kind == "says too much":
        return {"score": 1.0, **{f"number_{n}": 1.0 for n in range(100_000)}}
    return 0.25
