"""The exit codes of every command, and what a launcher does after each."""

import signal

DONE = 0
"""Everything that was asked for is there: the launcher starts what waits for it."""

FAILED = 1
"""Something broke, or a check found something: the launcher starts the command again, a limited number of times."""

BAD_INPUT = 2
"""Another start would end the same way: the launcher gives up and shows the last line of the log."""

GATE = 3
"""A stage of a chain made the model worse: the launcher stops the chain, which is a result and no failure."""

AGAIN = 75
"""A node, Ray or the time limit ended a job of SLURM: the batch script puts the job back into the queue."""

FENCED = 76
"""A newer attempt owns the run, so verl's process ends at once: the supervisor reports it and starts nothing."""

INTERRUPTED = 130
"""Ctrl-C ended the command: nobody starts it again but the user, and the same command resumes."""

STOPPED = 143
"""SIGTERM or SIGUSR2 stopped the command after it had saved: the launcher starts the same command to resume."""

KILLED = 128 + signal.SIGKILL
"""A process was killed, often for lack of memory: its supervisor starts it again, a limited number of times."""


def exit_code(returncode: int) -> int:
    """Returns 128 + n for a child that signal n ended, as a shell does, and any other return code as it is."""
    return returncode if returncode >= 0 else 128 - returncode
