"""Plans the jobs in k8s/: all that Kubernetes must know about a job in addition to its command.

Plan(job=train_job(recipe, ("train", "8k", ...)), run_dir="/runs/8k", retries=6, deadline=14 * DAY)
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

from deepscaler.data.names import is_file
from deepscaler.job import Job, evaluate_job, train_job
from deepscaler.kubernetes import MAX_NAME
from deepscaler.kubernetes.render.pods import RUNS
from deepscaler.recipes.load import recipe_named
from deepscaler.recipes.recipe import Device, Recipe, with_settings
from deepscaler.system.errors import UserError
from evaluation.config import EvaluationConfig

HOUR = 3600
DAY = 24 * HOUR
GPUS_PER_NODE = 8
CHAIN = ("8k", "16k", "24k")
CHAIN_NODES = 4
EVALUATED = "agentica-org/DeepScaleR-1.5B-Preview"
EVALUATION_NODES = 2

NAME = re.compile(rf"[a-z]([-a-z0-9]{{0,{MAX_NAME - 2}}}[a-z0-9])?")
"""Names that KubeRay accepts; it adds 6 characters for the RayCluster, whose names have at most 53."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Describes a job and its life as a RayJob."""

    job: Job
    run_dir: str | None = None
    """Folder of the training or chain, which can be asked to save; None for a job that loses nothing if killed."""
    shared: bool = True
    """True if runs and cache are volumes that outlive the pods."""
    retries: int
    """Number of new Ray clusters after failures; each continues where the previous one stopped."""
    deadline: int
    """Most seconds of one Ray cluster, far more than the job takes, to end one that hangs."""
    start_deadline: int = DAY
    """Most seconds until the command runs, including scheduling, images and the model's download. Each time uses up a
    retry, so it is long: without a queue, pods wait for GPUs during this time."""
    inputs: Mapping[str, bytes] = field(default_factory=dict)
    """Files that accompany the job, by their names in the pods: the user's recipes, and the files that these name."""
    inputs_map: str = ""
    """ConfigMap that holds them if jobs share one; otherwise the job has its own."""
    keep: int = 0
    """Seconds that the pods stay after the end. Workers hold their GPUs until then; everything of interest is on the
    volumes and in the RayJob's status."""

    @property
    def folder(self) -> str:
        """Returns the folder that the command writes to, on the volume of the runs."""
        return _option(self.job.arguments, "--output-dir")

    @property
    def prepare(self) -> tuple[str, ...]:
        """Returns the command that fills the cache before Ray starts; a model with a path is in the pods already."""
        names = dict.fromkeys(name for name in self.job.datasets if not is_file(name))
        model = self.job.model
        fetch = (f"--model={model}",) if model and not model.startswith("/") else ()
        return ("deepscaler", "data", "prepare", "--missing", *names, *fetch) if names or fetch else ()

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.job.name):
            raise UserError(
                f"the name {self.job.name!r} is not valid for a RayJob: expected 1 to {MAX_NAME} lower case letters,"
                " digits and hyphens, a letter first and no hyphen last; give --name NAME"
            )
        folder = self.folder
        if not folder.startswith(f"{RUNS}/") or ".." in PurePath(folder).parts:
            raise UserError(
                f"--output-dir {folder} must be below {RUNS}, the volume that outlives the pods, such as"
                f" {RUNS}/{self.job.name}"
            )


def committed_plans() -> list[Plan]:
    """Returns the plans that `deepscaler render` writes into k8s/jobs."""
    training = [
        plan_of(train_job(recipe_named(name), ("train", name, "--output-dir", f"{RUNS}/{name}")))
        for name in ("8k", "16k", "24k", "2k", "4k")
    ]
    return [plan_of(quickstart_job()), *training, chain_plan(), evaluation_plan()]


def plan_of(job: Job, inputs: Mapping[str, bytes] | None = None) -> Plan:
    """Returns the plan of a job, judged by its command: its retries, its deadline, and the folder that it saves to."""
    command, run_dir, inputs = job.arguments[0], _option(job.arguments, "--output-dir"), inputs or {}
    if command == "quickstart":
        return Plan(job=job, shared=False, retries=1, deadline=3 * HOUR, start_deadline=HOUR, keep=HOUR)
    if command == "evaluate":  # samples are kept one by one
        return Plan(job=job, inputs=inputs, retries=6, deadline=7 * DAY)
    if command == "chain":
        return Plan(job=job, inputs=inputs, run_dir=run_dir, retries=12, deadline=21 * DAY)
    return Plan(job=job, inputs=inputs, run_dir=run_dir, retries=6, deadline=14 * DAY)


def quickstart_job(arguments: Sequence[str] = ("--output-dir", f"{RUNS}/quickstart")) -> Job:
    """Returns the quickstart in one pod of the CPU image, which contains the model; nothing outlives the pod."""
    return Job(name="quickstart", arguments=("quickstart", *arguments), gpus_per_node=1, image="cpu", ray=True)


def chain_plan() -> Plan:
    """Returns 8k -> 16k -> 24k in one Ray cluster, whose size changes no hyperparameter of the first stage."""
    run_dir, settings = f"{RUNS}/chain", [f"num_nodes={CHAIN_NODES}"]
    recipes = [with_settings(recipe_named(name), settings) for name in CHAIN]
    engines = f"--engines {CHAIN_NODES * GPUS_PER_NODE}"
    arguments = ("chain", *CHAIN, "--output-dir", run_dir, "--set", *settings, "--eval", "aime", "--gate")
    return plan_of(chain_job(recipes, (*arguments, f"--eval-options={engines}"), ("aime",)))


def chain_job(
    recipes: Sequence[Recipe],
    arguments: Sequence[str],
    datasets: Sequence[str],
    device: Device = "cuda",
    only: Sequence[str] = (),
) -> Job:
    """Returns a chain in one Ray cluster, with all stages or some. Raises UserError if their sizes differ."""
    # Needed by the first stage, and by the evaluation before it, whose name is none of a stage.
    model = recipes[0].model if recipes[0].name in only or not set(only) & {recipe.name for recipe in recipes} else ""
    recipes = [recipe for recipe in recipes if recipe.name in only] or recipes[:1] if only else recipes
    sizes = {(recipe.num_nodes, recipe.gpus_per_node) for recipe in recipes}
    if len(sizes) > 1:
        told = ", ".join(f"{recipe.name} ({recipe.num_nodes} x {recipe.gpus_per_node})" for recipe in recipes)
        raise UserError(
            f"the stages {told} want different machines, and a Ray cluster has one size: add"
            f" --set num_nodes={max(sizes)[0]}, or render a stage at a time with --only"
        )
    [(num_nodes, gpus_per_node)] = sizes
    needed = [name for recipe in recipes for name in recipe.datasets]
    return Job(
        name="-".join(["chain", *dict.fromkeys(only)]),
        arguments=tuple(arguments),
        num_nodes=num_nodes,
        gpus_per_node=gpus_per_node,
        image="train" if device == "cuda" else "cpu",
        ray=True,
        model=model,
        datasets=(*needed, *datasets),
    )


def evaluation_plan() -> Plan:
    """Returns the evaluation of the published model on the published benchmarks."""
    config = EvaluationConfig(model=EVALUATED, output_dir=Path(RUNS, "evaluation"))
    return plan_of(engines_job(config, num_nodes=EVALUATION_NODES, gpus_per_node=GPUS_PER_NODE))


def engines_job(config: EvaluationConfig, *, num_nodes: int, gpus_per_node: int) -> Job:
    """Returns `deepscaler evaluate` with an engine on every GPU (or every few); without GPUs, with one in each pod."""
    if config.device == "cpu":
        gpus_per_node = 1  # which it pretends to have
    engines = config.engines or num_nodes * gpus_per_node // config.tensor_parallel_size
    job = evaluate_job(replace(config, engines=engines), num_nodes=num_nodes, gpus_per_node=gpus_per_node)
    # the image `eval` has no dashboard of Ray, which KubeRay asks how its pods are
    return replace(job, name="evaluate", image="train" if job.image == "eval" else job.image)


def _option(arguments: Sequence[str], flag: str) -> str:
    """Returns the value of a flag that is given as one argument or two."""
    for number, argument in enumerate(arguments):
        if argument == flag:
            return arguments[number + 1]
        if argument.startswith(f"{flag}="):
            return argument.removeprefix(f"{flag}=")
    return ""
