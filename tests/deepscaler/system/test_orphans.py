"""What an evaluation has started ends with it, also where it is killed."""

import subprocess
import sys
import time

from tests.deepscaler.system.test_processes import is_running, wait_until_gone

PARENT = """
import subprocess, sys, time
from deepscaler.system.orphans import watch

watch()
engine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print(engine.pid, flush=True)
time.sleep(60)
"""


def test_an_engine_ends_with_a_killed_evaluation() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as evaluation:
        assert evaluation.stdout
        engine = int(evaluation.stdout.readline())
        time.sleep(3)  # it is looked for once a second
        assert is_running(engine)
        evaluation.kill()
    wait_until_gone([engine])
