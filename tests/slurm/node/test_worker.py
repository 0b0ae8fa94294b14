"""A worker stays as long as its head needs it, whatever the shared file system does for a moment."""

import subprocess
from pathlib import Path

from deepscaler.system.processes import python_command
from slurm.job_folder import JobFolder

WORKER = """
import errno, signal, sys
from pathlib import Path
from slurm.job_folder import JobFolder
from slurm.node.node import Node
from slurm.node.task import NodeTask
from slurm.node.worker import run_worker

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
signal.raise_signal(signal.SIGTERM)
exists, left = Path.exists, [3]
def fail(path):
    if path.name == "over" and left[0]:
        left[0] -= 1
        raise OSError(errno.ESTALE, "stale")
    return exists(path)
Path.exists = fail
folder = Path(sys.argv[1])
task = NodeTask(command=("true",), folder=str(folder), output=str(folder), num_gpus=0, ray=True)
code = run_worker(Node(task=task, name="n2", names=("n1", "n2"), rank=1, restart=0, folder=JobFolder(folder)))
print(left, signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, []))
sys.exit(code)
"""


def test_a_file_system_that_fails_for_a_moment_and_an_early_signal_leave_a_worker_alone(tmp_path: Path) -> None:
    JobFolder(tmp_path).begin(0, 0).over_path.touch()
    command = python_command("-c", WORKER, str(tmp_path))
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done
    assert done.stdout == "[0] False\n", "it waited, and holds no signal back from what it starts"
