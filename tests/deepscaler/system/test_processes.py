"""Nothing outlives a supervisor, or a command: not what ignores signals, not what left its session."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from deepscaler.system import processes

DEADLINE = 120

GRANDCHILD = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
inner = "import time; time.sleep(300)"
orphan = subprocess.Popen([sys.executable, "-c", inner], start_new_session=True)
open(sys.argv[1], "w").write(f"{os.getpid()} {orphan.pid} up")
if sys.argv[2] == "wait":
    time.sleep(300)
os._exit(7)
"""


def written(mark: Path) -> list[int]:
    deadline = time.monotonic() + DEADLINE
    while not (mark.is_file() and mark.read_text().endswith("up")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return [int(pid) for pid in mark.read_text().split()[:2]]


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + DEADLINE
    while left := [pid for pid in pids if is_running(pid)]:
        assert time.monotonic() < deadline, f"{left} outlived its parent"
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_everything_dies_with_a_killed_supervisor(tmp_path: Path) -> None:
    mark = tmp_path / "pids"
    command = [sys.executable, "-c", GRANDCHILD, str(mark), "wait"]
    code = (
        "import os, time; from deepscaler.system import processes\n"
        f"processes.start({command!r}, log=None, environment=os.environ); time.sleep(300)"
    )
    supervisor = subprocess.Popen([sys.executable, "-c", code])
    pids = written(mark)
    supervisor.kill()
    supervisor.wait()
    wait_until_gone(pids)


def started(folder: Path, then: str) -> tuple[subprocess.Popen[bytes], list[int]]:
    """The command under its guardian, and the processes that came of it."""
    command = [sys.executable, "-c", GRANDCHILD, str(folder / "pids"), then]
    process = processes.start(command, log=folder / "log", environment=os.environ)
    return process, written(folder / "pids")


def test_what_a_command_leaves_is_gone_when_it_ends(tmp_path: Path) -> None:
    process, pids = started(tmp_path, "exit")
    assert process.wait(DEADLINE) == 7
    wait_until_gone(pids)


def test_the_command_dies_with_a_killed_guardian(tmp_path: Path) -> None:
    process, (command, orphan) = started(tmp_path, "wait")
    process.kill()
    process.wait()
    wait_until_gone([command])
    os.kill(orphan, signal.SIGKILL)  # what the command itself started has nobody left to look after it


def test_what_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    process, pids = started(tmp_path, "wait")
    processes.end(process, patience=1)
    assert process.returncode == 128 + signal.SIGKILL
    wait_until_gone(pids)


def test_a_command_does_not_get_the_signals_it_ignores(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    code = f"import os, time; open({str(mark)!r}, 'w').write(f'{{os.getpid()}} {{os.getpid()}} up'); time.sleep(300)"
    process = processes.start(
        [sys.executable, "-c", code], log=tmp_path / "log", environment=os.environ, ignored_signals=[signal.SIGTERM]
    )
    pid = written(mark)[0]
    for told in (pid, process.pid):  # as `ray job stop` does: to every process below its own
        os.kill(told, signal.SIGTERM)
    time.sleep(0.5)
    assert is_running(pid)
    assert process.poll() is None
    processes.end(process, patience=0.5)
    wait_until_gone([pid])


def test_a_signal_that_comes_before_its_handlers_are_there_is_passed_on(tmp_path: Path) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # the guardian inherits it: the signal waits
    try:
        process = processes.start(["sleep", "300"], log=tmp_path / "log", environment=os.environ)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE) == 128 + signal.SIGTERM


def wait_until_it_has_looked(guardian: int) -> None:
    """Waits until a guardian that begins now has looked: it ignores SIGTERM first, then looks and naps in turn."""
    deadline, naps = time.monotonic() + DEADLINE, -1
    while True:
        assert time.monotonic() < deadline
        status = dict(line.split(":\t") for line in Path(f"/proc/{guardian}/status").read_text().splitlines())
        if int(status["SigIgn"], 16) & 1 << signal.SIGTERM - 1:
            now = int(status["voluntary_ctxt_switches"])
            naps = now if naps < 0 else naps
            if now > naps + 10:
                return
        time.sleep(0.05)


GUARDED = """
import subprocess, sys, time
from deepscaler.system.processes import guard

guard(look_every=0.05)
engine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print(engine.pid, flush=True)
time.sleep(60)
"""


def test_an_engine_ends_with_a_killed_evaluation() -> None:
    with subprocess.Popen([sys.executable, "-c", GUARDED], stdout=subprocess.PIPE, text=True) as evaluation:
        assert evaluation.stdout
        engine = int(evaluation.stdout.readline())
        [guardian] = [pid for pid in processes.children(evaluation.pid) if pid != engine]
        wait_until_it_has_looked(guardian)
        assert is_running(engine)
        evaluation.kill()
    wait_until_gone([engine])
