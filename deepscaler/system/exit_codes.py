"""Defines the exit codes of every command, and what a launcher does after each."""

import signal

DONE = 0
"""The command finished everything; the launcher starts the jobs that depend on it."""

FAILED = 1
"""Something broke, or a check found a fault; the launcher restarts the command a limited number of times."""

BAD_INPUT = 2
"""A restart would end the same way; a SLURM job ends with the last line of the log, a RayJob uses up its retries."""

GATE = 3
"""A stage of a chain made the model worse; the launcher stops the chain. This is a result, not a failure."""

# EX_TEMPFAIL of sysexits.h: no shell and no signal uses it.
AGAIN = 75
"""A node, Ray or the time limit ended a SLURM job; the batch script requeues the job."""

FENCED = 76
"""A newer attempt owns the run, so verl's process ends at once; the supervisor reports it and starts nothing."""

INTERRUPTED = 130
"""Ctrl-C ended a command other than a training; only the user restarts it, and the same command resumes."""

STOPPED = 143
"""SIGTERM, SIGUSR2 or, in a training, Ctrl-C stopped the command after it saved; a launcher reruns it to resume."""

KILLED = 128 + signal.SIGKILL
"""A process was killed, often for lack of memory; its supervisor restarts it a limited number of times."""


def exit_code(returncode: int) -> int:
    """Returns 128 + n for a child that signal n ended, as a shell does, and any other return code unchanged."""
    return returncode if returncode >= 0 else 128 - returncode
