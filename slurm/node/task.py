"""What submitit runs on every node of a job: the first is the head, the others are workers.

A task is a value of plain texts and numbers, so that a pickle of it means the same in a container with another Python.
Nothing is ever pickled again: a job that starts anew reads where it stands from the disk.
"""

import os
import sys
from contextlib import suppress

from deepscaler.system import processes
from deepscaler.system.errors import UserError
from deepscaler.system.exit_codes import BAD_INPUT, exit_code
from deepscaler.system.files import write_text
from slurm.node.head import run_head
from slurm.node.node import Node, TaskOptions
from slurm.node.worker import run_worker


class NodeTask(TaskOptions):
    """Called by submitit on each node."""

    __slots__ = ()

    def __call__(self) -> None:
        """Do this node's part. Exits with the command's code, or 75 where another start may go better."""
        node = Node.here(self)
        try:
            code = (run_everywhere if self.everywhere else run_worker if node.rank else run_head)(node)
        except (UserError, OSError) as error:  # bad input, a full disk: another start would find the same
            node.say(f"ending for good: {error}")
            code = BAD_INPUT
            if node.rank == 0:
                node.folder.again_path.unlink(missing_ok=True)
                with suppress(OSError):
                    node.folder.end(node.attempt, code, str(error), again=False)
        if code:
            sys.exit(code)


def run_everywhere(node: Node) -> int:
    """The command on this node as on all others, with its output in the node's log."""
    node.attempt.root.mkdir(parents=True, exist_ok=True)
    log = node.attempt.log_path(node.name)
    process = processes.start(node.resolved_command(), log=log, environment=dict(os.environ))
    process.wait()
    code = exit_code(process.returncode)
    if code:
        write_text(node.attempt.failed_path(node.name), f"{node.name}: code {code}")
    return code
