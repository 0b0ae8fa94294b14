"""Defines what submitit runs on every node of a job: the first is the head, the others are workers.

A task is a value of plain texts and numbers, so that a pickle of it means the same in a container with another Python.
Nothing is ever pickled again: a job that starts again reads where it stands from the disk.
"""

import os
import sys
from contextlib import suppress

from deepscaler.system import processes
from deepscaler.system.errors import UserError
from deepscaler.system.exit_codes import AGAIN, BAD_INPUT, FAILED, exit_code
from deepscaler.system.files import FULL, write_text
from slurm.node.node import Node, TaskOptions
from slurm.node.scratch import use_scratch
from slurm.node.worker import run_worker


class NodeTask(TaskOptions):
    """Called by submitit on each node."""

    __slots__ = ()

    def __call__(self) -> None:
        """Does this node's part. Exits with the command's code, or with 75 if another start may succeed."""
        node = Node.here(self)
        try:
            code = (run_everywhere if self.everywhere else run_worker if node.rank else _run_head)(node)
        except (UserError, OSError) as error:
            code = self._give_up(node, error)
        if code:
            sys.exit(code)

    def _give_up(self, node: Node, error: UserError | OSError) -> int:
        """Returns the code after an error of the kit's own; the head also records it."""
        # Bad input and a full disk are the same for another start; a file system that failed may be well by then.
        final = isinstance(error, UserError) or error.errno in FULL
        again = not final and self.again
        code = BAD_INPUT if final else AGAIN if again else FAILED
        node.say(f"{'another start may go better' if again else 'ending for good'}: {error}")
        if node.rank == 0:
            if not again:
                # Apart from and before `end`, which writes: on a full disk a removal still succeeds, and it
                # alone keeps the job from coming back.
                with suppress(OSError):
                    node.folder.ask_no_more(node.attempt)
            with suppress(OSError):
                node.folder.end(node.attempt, code, str(error), again=again)
        return code


def _run_head(node: Node) -> int:
    from slurm.node.head import run_head  # noqa: PLC0415  one node of many needs it

    return run_head(node)


def run_everywhere(node: Node) -> int:
    """Runs the command on this node as on all others, with its output in the node's log; returns 0.

    srun would end the other nodes at the first code that is not 0, so that the code goes into a file.
    """
    node.attempt.root.mkdir(parents=True, exist_ok=True)
    use_scratch(node)
    log = node.attempt.log_path(node.name)
    process = processes.start(node.resolved_command(), log=log, environment=dict(os.environ))
    process.wait()
    code = exit_code(process.returncode)
    if code:
        write_text(node.attempt.failed_path(node.name), f"{node.name}: code {code}")
    return 0
