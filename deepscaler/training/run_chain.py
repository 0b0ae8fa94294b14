"""Runs a chain on this machine, step after step, from wherever its folder stands.

Every step is a command in a process of its own: GPUs are free between steps, and any launcher can run the same steps.
"""

import os
import shlex
import signal
import time
from collections.abc import Sequence

from rich.console import Console

from deepscaler.launch.chain import gate_of
from deepscaler.runs.chain import (
    Chain,
    Step,
    check_state,
    is_done,
    read_states,
    write_state,
)
from deepscaler.system import processes
from deepscaler.system.errors import unknown
from deepscaler.system.exit_codes import GATE, exit_code
from deepscaler.system.signals import stop_signals

POLL = 0.2
STATES = {"train": "training", "merge": "merging", "evaluate": "evaluating"}


def chosen_steps(chain: Chain, names: Sequence[str]) -> list[Step]:
    """Returns steps of the chain by name (`8k:train`), all without a name. Raises UserError that lists valid names."""
    by_name = {step.name: step for step in chain.steps()}
    for name in names:
        if name not in by_name:
            raise unknown("step of the chain", name, by_name)
    return [step for name, step in by_name.items() if not names or name in names]


def run_chain(chain: Chain, console: Console, only: Sequence[str] = ()) -> int:
    """Runs what is left (only some steps, if named), then reports.

    Returns the code of the first that fails; 3 where the gate stopped.
    """
    chain.root.mkdir(parents=True, exist_ok=True)
    check_state(chain)
    states, steps = read_states(chain), chosen_steps(chain, only)
    for step in steps:
        states[step.stage.name] = STATES[step.kind]
        write_state(chain, states)
        if not is_done(step):
            console.print(f"\n== {step.stage.name}: {step.kind}", style="bold")
            code = _run(step)
            if code:
                console.print(
                    f"Stopped in {step.stage.name}, {step.kind} (code {code}); rerun the same command to resume."
                )
                return code
        if step.kind == "evaluate":
            stops, told = gate_of(chain, step.stage)
            if told:
                console.print(f"Gate: {told}; {'stopping here' if stops else 'going on'}.", soft_wrap=True)
            if stops:
                states[step.stage.name] = "stopped by the gate"
                write_state(chain, states)
                return GATE
        # After the gate, so that a stage which made the model worse is never `done`.
        if step == chain.steps_of(step.stage)[-1]:
            states[step.stage.name] = "done"
            write_state(chain, states)
    if chain.steps()[-1] in steps:
        console.print(f"\nThe chain is done: {chain.stages[-1].result}", soft_wrap=True)
        # A chain's process lives for days, and most of it needs no figure.
        from deepscaler.training.report.write import write_training_report  # noqa: PLC0415  matplotlib: 1.5 s

        write_training_report(chain.root, console)
    return 0


def _run(step: Step) -> int:
    """Runs one command to its end, and passes a stop request on to it."""
    with stop_signals() as wishes:
        process = processes.start(processes.deepscaler_command(step.command), log=None, environment=dict(os.environ))
        passed_on = 0
        while process.poll() is None:
            # In the order in which they came: the second one stops at once, and must not come before the first.
            while passed_on < len(wishes):
                process.send_signal(signal.Signals[wishes[passed_on]])
                passed_on += 1
            time.sleep(POLL)
    return exit_code(process.returncode)


def describe_chain(chain: Chain, console: Console, only: Sequence[str] = ()) -> None:
    """Prints every command in order (`--dry-run`)."""
    check_state(chain)
    for step in chosen_steps(chain, only):
        done = "  # done" if is_done(step) else ""
        console.print(f"deepscaler {shlex.join(step.command)}{done}", soft_wrap=True)
