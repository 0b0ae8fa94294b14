"""The kit's commands as a user types them, and waiting for what they bring about."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.integration.processes import deepscaler, run

MINUTE = 60.0

Found = TypeVar("Found")


def cli(*arguments: object, code: int = 0, seconds: float = 5 * MINUTE) -> str:
    """Returns what a command of the kit prints, after it has ended with a code."""
    done = run(deepscaler(*arguments), seconds)
    assert done.returncode == code, f"{arguments}: code {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def status(folder: Path, *flags: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(run(deepscaler("status", folder, "--json", *flags), 2 * MINUTE).stdout)
    return told


def wait_for(what: str, look: Callable[[], Found], seconds: float) -> Found:
    """Returns the first answer that is true."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(3)
    return found


@contextmanager
def followed(folder: Path, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Yields `deepscaler logs --follow`, which writes to a file, and ends it."""
    with log.open("wb") as file:
        command = deepscaler("logs", folder, "--follow")
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)
            print(log.read_text(errors="replace"))
