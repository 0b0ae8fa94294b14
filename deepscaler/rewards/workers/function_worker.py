"""Runs the template process of a user's reward function: imports the file once, then forks a worker for every socket.

Run as `python -m deepscaler.rewards.workers.function_worker FILE NAME MEMORY` with a Unix socket as standard input. A
worker answers JSON lines: `{"response", "golds", ...}` -> `{"score": 0.5, "more": {"brevity": 1.0}}`, or
`{"failure": "..."}`. The file is foreign code, so its effects must stay within its worker:

- A worker has its own session, a memory limit and no standard input, and it dies with the template.
- The worker kills the processes that a call leaves behind when it returns; the template kills those of a killed worker.
  Both are subreapers, so they find a daemon that left its parent and its session among their children.
- A template whose parent is gone ends with all its descendants.
"""

import asyncio
import importlib.util
import inspect
import json
import math
import os
import re
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from deepscaler.rewards.workers.function_check import ARGUMENTS, argument_error
from deepscaler.rewards.workers.worker import receive_socket
from deepscaler.system.processes import (
    LIBC,
    PR_SET_CHILD_SUBREAPER,
    PR_SET_PDEATHSIG,
    children,
    descendants,
    kill_descendants,
)

MAX_SCORE = 1e6
"""Largest absolute score; verl adds scores in 32 bits, and the sum must not become infinite."""

MAX_NAMES = 20
"""Most numbers beside the score that a reward may log."""

MAX_LOG = 4 << 20
"""Bytes of the log after which a reward's output is dropped."""

MAX_WRITTEN = 1 << 30
"""Most bytes of a file that a worker may write."""

_NAME = re.compile(r"[A-Za-z]\w{0,39}", re.ASCII)


class RefusedError(Exception):
    """Signals that the file cannot be used, or that a call returned no reward."""


def main() -> None:
    """Forks a worker for each socket received until the parent is gone."""
    file, name, memory = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    with suppress(OSError):
        os.setsid()  # a reward that signals its group must not reach the trainer
    # A copy, so that the file's code finds nothing at its standard input, and cannot close this by closing that.
    requests = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)
    error = ""
    function: Callable[..., Any] = print
    accepted: tuple[str, ...] = ()
    try:
        function = load(file, name)
        accepted = accepted_arguments(function, f"{file}: {name}")
    except RefusedError as refused:
        error = str(refused)
    known = set(descendants(os.getpid()))  # processes that the import itself has started may stay
    signal.signal(signal.SIGCHLD, lambda *_: _sweep(known))
    while connection := receive_socket(requests):
        with connection:
            if error:
                _say(connection, {"error": error})
            elif pid := _fork():
                known.add(pid)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            else:
                requests.close()
                # SystemExit included: whatever happens, a worker must not run on in the template's loop.
                with suppress(BaseException):
                    _serve(connection, function, accepted, memory)
                # Not sys.exit: exit handlers of the file would run once for each worker.
                os._exit(0)
    kill_descendants()


def load(file: Path, name: str) -> Callable[..., Any]:
    """Imports a file and returns its function. Raises RefusedError that names the line."""
    spec = importlib.util.spec_from_file_location(f"reward_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Before it runs, as the import system does: dataclasses and pickle look the module up by its name.
    sys.modules[module.__name__] = module
    try:
        spec.loader.exec_module(module)
        function = getattr(module, name)
    except AttributeError as error:
        # An AttributeError may come from the file's own code as well, and is then that code's fault.
        if hasattr(module, name) or error.obj is not module:
            raise RefusedError(_raised(file, error, "importing it raises")) from error
        raise RefusedError(f"{file} has no {name}") from error
    except BaseException as error:  # SystemExit included: the file must not end the template
        raise RefusedError(_raised(file, error, "importing it raises")) from error
    if not callable(function):
        raise RefusedError(f"{file}: {name} is {type(function).__name__}, not a function")
    return function  # type: ignore[no-any-return]


def accepted_arguments(function: Callable[..., Any], label: str) -> tuple[str, ...]:
    """Returns those of ARGUMENTS that a function accepts. Raises RefusedError if it requires others."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):
        return ARGUMENTS
    # As function_check has it for the text; a decorator may have made another signature.
    if any(one.kind is one.POSITIONAL_ONLY for one in parameters):
        raise RefusedError(f"{label} accepts an argument by position only, but a reward gets its arguments by name")
    named = [one for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    if problem := argument_error(one.name for one in named if one.default is one.empty):
        raise RefusedError(f"{label} {problem}")
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return ARGUMENTS
    return tuple(one.name for one in named if one.name in ARGUMENTS)


def checked(value: Any) -> dict[str, Any]:
    """Returns the score and the other numbers of a reward. Raises RefusedError for anything but numbers."""
    if not isinstance(value, dict):
        return {"score": _number(value, "the reward"), "more": {}}
    if "score" not in value:
        raise RefusedError(f"a reward's dict needs the key 'score'; it has {str(list(value)[:5])[:80]}")
    if len(value) > MAX_NAMES + 1:
        raise RefusedError(f"a reward's dict has {len(value):,} keys; at most {MAX_NAMES} beside score are logged")
    for name in value:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise RefusedError(f"invalid metric name {str(name)[:40]!r}: expected at most 40 letters, digits and _")
    more = {name: _number(item, f"{name} of the reward") for name, item in value.items() if name != "score"}
    return {"score": _number(value["score"], "score of the reward"), "more": more}


def _number(value: Any, what: str) -> float:
    try:
        # float("1.0") is a number to Python, and a reward that returns texts is a mistake to be shown.
        number = math.nan if isinstance(value, str | bytes | None) else float(value)
    except Exception as error:
        raise RefusedError(f"{what} is {type(value).__name__}, not a number") from error
    if not math.isfinite(number) or abs(number) > MAX_SCORE:
        told = type(value).__name__ if isinstance(value, str | bytes | None) else str(number)
        raise RefusedError(f"{what} is {told}, not a number of at most {MAX_SCORE:,.0f}")
    return number


def _fork() -> int:
    """Forks, with SIGCHLD blocked until the parent has recorded the worker; otherwise `_sweep` would kill it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    # Before the fork: what is buffered would be written by the template and by every worker.
    sys.stdout.flush()
    return os.fork()


def _sweep(known: set[int]) -> None:
    """Reaps dead children and kills the orphans of dead workers, which are the children that were not recorded."""
    with suppress(ChildProcessError):
        while pid := os.waitpid(-1, os.WNOHANG)[0]:
            known.discard(pid)
    for orphan in set(children(os.getpid())) - known:
        for pid in (orphan, *descendants(orphan)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _serve(connection: socket.socket, function: Callable[..., Any], accepted: tuple[str, ...], memory: int) -> None:
    """Answers one task after the other until the connection closes."""
    own = os.getpid()
    os.setsid()
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)
    # Not inherited over fork (prctl(2)), so each worker asks for it.
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # the template's handler would reap the function's own children
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    # RLIMIT_AS counts what the template's imports have mapped already, so the user's memory comes on top of that.
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    for limit, value in (
        # A killed worker's core would be as large as its memory, on a shared disk.
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, used + memory),
        (resource.RLIMIT_FSIZE, MAX_WRITTEN),
    ):
        resource.setrlimit(limit, (value, value))
    _say(connection, {"pid": own})
    with asyncio.Runner() as runner, connection.makefile("r", encoding="utf-8") as tasks:
        for line in tasks:
            # Looked at before each call, so one call alone can exceed the bound, by at most MAX_WRITTEN.
            if os.fstat(1).st_size > MAX_LOG:
                for output in (1, 2):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), output)
            task = json.loads(line)
            reply = _call(function, {name: task[name] for name in accepted}, runner)
            if os.getpid() != own:  # the function forked, and the child returned from it, too
                os._exit(0)
            _end_children()
            _say(connection, reply)


def _call(function: Callable[..., Any], arguments: dict[str, Any], runner: asyncio.Runner) -> dict[str, Any]:
    """Returns a call's reward, or the reason why it has none."""
    try:
        value = function(**arguments)
        if inspect.isawaitable(value):
            # One loop for all calls, because clients such as httpx's keep their connections in it.
            value = runner.run(_awaited(value))
        return checked(value)
    except RefusedError as refused:
        return {"failure": str(refused)}
    except BaseException as error:  # SystemExit included
        with suppress(Exception):
            traceback.print_exc(limit=10)
            sys.stdout.flush()
        file = Path(sys.argv[1])
        return {"failure": _raised(file, error, "raised")}


async def _awaited(value: Any) -> Any:
    return await value


def _raised(file: Path, error: BaseException, what: str) -> str:
    """Returns an exception in one line, with the last line of the file in its traceback."""
    line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else None
    # The last frame of the user's file: deeper ones are in libraries, where the user can mend nothing.
    for frame in traceback.extract_tb(error.__traceback__):
        line = frame.lineno if frame.filename == str(file) else line
    try:
        # str() of an exception runs the user's code, which may raise again.
        told = " ".join(str(error).split())[:200]
    except Exception:
        told = ""
    where = f"{file}, line {line}" if line else str(file)
    return f"{where}: {what} {type(error).__name__}{': ' * bool(told)}{told}"


def _end_children() -> None:
    """Kills the processes that a call has started and left; without any, the check takes microseconds."""
    with suppress(ChildProcessError):
        while True:
            if not os.waitpid(-1, os.WNOHANG)[0]:
                kill_descendants()


def _say(connection: socket.socket, message: dict[str, Any]) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
