"""What an evaluation has started ends with it, also where it is killed."""

import subprocess
import sys
import time
from pathlib import Path

PARENT = """
import subprocess, sys, time
from evaluation.orphans import watch

watch()
engine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print(engine.pid, flush=True)
time.sleep(60)
"""


def test_an_engine_ends_with_a_killed_evaluation() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as evaluation:
        assert evaluation.stdout
        engine = Path("/proc") / evaluation.stdout.readline().strip() / "stat"
        time.sleep(3)  # it is looked for once a second
        evaluation.kill()
    deadline = time.monotonic() + 30
    while engine.exists() and engine.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline, "the engine outlives its evaluation"
        time.sleep(0.1)
