"""Turns a chain of stages into jobs: each stage at its own size, then a small one that merges and evaluates.

start ─> train-8k (1 x 8) ─> after-8k (1 x 8) ─> train-16k (4 x 8) ─> after-16k (1 x 8) ─> ...

Each waits for the success of the one before; where that fails, the rest is not started. Submitted again, the chain
leaves out what is done.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from deepscaler.data.names import label
from deepscaler.job import Job, train_job
from deepscaler.launch.launcher import PlannedJob
from deepscaler.recipes.recipe import Device
from deepscaler.runs.chain import Chain, StagePlan, Step, check_state, is_done
from deepscaler.system.errors import UserError
from evaluation.results import read_results

Outcome = Literal["left", "done", "stopped"]
"""State of a job's steps: some are left, all are done, or all are done and the gate stops the chain."""


def plan_chain(chain: Chain, command: Sequence[str], device: Device, reads: tuple[str, ...] = ()) -> list[PlannedJob]:
    """Returns the jobs that are left. Raises UserError if none is, a gate stopped it, or it is another chain."""
    check_state(chain)
    jobs: list[tuple[Job, Path]] = []
    for stage in chain.stages:
        for steps in _groups(chain.steps_of(stage)):
            outcome, told = outcome_of(chain, steps)
            if outcome == "stopped":
                raise UserError(f"the gate has stopped the chain in {chain.root}: {told}; leave out --gate to continue")
            if outcome == "left":
                names = [step.name for step in steps]
                # The command of the whole chain, whose options bind its folder; --only picks the steps.
                job = _job(stage, [*command, "--only", *names], steps, chain, device)
                jobs.append((replace(job, reads=reads), stage.folder))
    if not jobs:
        raise UserError(f"the chain in {chain.root} is done; train longer with --set num_steps=...")
    return [
        PlannedJob(jobs=(job,), outputs=(output,), after=number - 1 if number else None)
        for number, (job, output) in enumerate(jobs)
    ]


def outcome_of(chain: Chain, steps: Sequence[Step]) -> tuple[Outcome, str]:
    """Returns how far the steps of a job are by the chain's files, and what a gate says that stops the chain."""
    if _is_left(chain, steps):
        return "left", ""
    for step in steps:
        if step.kind == "evaluate":
            stops, told = gate_of(chain, step.stage)
            if stops:
                return "stopped", told
    return "done", ""


def gate_of(chain: Chain, stage: StagePlan) -> tuple[bool, str]:
    """Returns whether the gate stops the chain after a stage that was evaluated, and its judgement; no gate says "".

    Raises UserError for a report that cannot be read.
    """
    if not chain.options.gate or not stage.number:
        return False, ""
    from evaluation.compare.gate import judge  # noqa: PLC0415  scipy, which --help does not need

    judgement, told = judge(chain.stages[stage.number - 1].evaluation, stage.evaluation)
    is_end = judgement == "worse" or (judgement == "in doubt" and chain.options.gate_on_doubt == "stop")
    return is_end, f"{stage.name} is {judgement}: {told}"


def _groups(steps: list[Step]) -> list[list[Step]]:
    """Returns the training by itself, on all its machines, and what follows it together, on one."""
    training = [step for step in steps if step.kind == "train"]
    rest = [step for step in steps if step.kind != "train"]
    return [group for group in (training, rest) if group]


def _job(stage: StagePlan, command: Sequence[str], steps: list[Step], chain: Chain, device: Device) -> Job:
    # stages[0] is the start model, which trains nothing; a chain has at least one stage behind it.
    first = chain.stages[1].recipe
    recipe = stage.recipe or first
    assert recipe is not None, "every stage but the start model has a recipe"
    if steps[0].kind == "train":
        # A later stage starts from what the job before it makes: there is nothing to look for when the chain is
        # submitted.
        return replace(train_job(recipe, command, device), model=stage.model if stage.number == 1 else "")
    return Job(
        name=f"after-{stage.name}" if stage.number else "start",
        arguments=tuple(command),
        gpus_per_node=recipe.gpus_per_node,
        # It merges verl's checkpoints before it evaluates, so the smaller image for evaluations does not do.
        image="train" if device == "cuda" else "cpu",
        model="" if stage.number else stage.model,
        datasets=chain.options.datasets,
    )


def _is_left(chain: Chain, steps: Sequence[Step]) -> bool:
    return not all(is_done(step) or _is_evaluated(chain, step) for step in steps)


def _is_evaluated(chain: Chain, step: Step) -> bool:
    """Returns whether an evaluation has a report on all its benchmarks, which is written after the last sample."""
    report = step.stage.evaluation / "report.json"
    if step.kind != "evaluate" or not report.is_file():
        return False
    # A superset: whoever evaluated more benchmarks by hand need not do it again.
    return set(read_results(report).benchmarks) >= set(map(label, chain.options.datasets))
