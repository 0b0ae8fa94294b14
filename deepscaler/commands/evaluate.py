"""`deepscaler evaluate`: flags are the fields of EvaluationConfig."""

import argparse
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from deepscaler.commands.counting import counts_if, counts_with, counts_without
from deepscaler.commands.given import in_file, options_given
from deepscaler.commands.launcher import CLUSTER, add_dry_run, add_place, launcher_for, submit
from deepscaler.commands.mirrored import model_to_read
from deepscaler.commands.parser import Parser, offer
from deepscaler.data.names import KNOWN
from deepscaler.data.sources import SOURCES
from deepscaler.job import Job
from deepscaler.launch.launcher import PlannedJob
from deepscaler.output.terminal import PlainConsole
from deepscaler.system.errors import UserError
from deepscaler.system.flags import add_flags, whole
from deepscaler.system.options import options_of
from evaluation.config import EvaluationConfig, config_of, to_arguments
from evaluation.endpoint_options import is_loopback
from slurm.submit.evaluation import plan_evaluation

EXAMPLES = (
    "deepscaler evaluate --model agentica-org/DeepScaleR-1.5B-Preview --datasets aime --output-dir outputs/aime",
    "deepscaler evaluate --config evaluation.toml --engines 8 --dry-run",
)


ENDPOINT = (
    *("base_url", "api", "tokenizer", "api_key_env", "concurrency", "max_requests", "request_timeout", "leave_out"),
)
"""Options that only `--engine openai` has."""


def configure(parser: Parser) -> None:
    """Adds the options of an evaluation, and says which data sets there are."""
    offer(add_options(parser)["datasets"], KNOWN)
    parser.epilog = f"Data sets: {', '.join(SOURCES)}."


def add_options(parser: Parser, without: Collection[str] = ()) -> dict[str, argparse.Action]:
    """Adds `--config`, `--dry-run` and one flag for each field; a flag not given leaves the file's or default value."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file with any of the options below")
    add_dry_run(parser, "print what would be drawn, write nothing")
    actions = add_flags(parser, EvaluationConfig, without)
    counts_with(actions["device"], "--engines", on=CLUSTER)
    counts_without(actions["data_dir"], "--source")
    for name in ("tensor_parallel_size", "gpu_memory_utilization"):
        counts_with(actions[name], engine="vllm")
        counts_with(actions[name], device="cuda")
    for name in ENDPOINT:
        counts_with(actions[name], engine="openai")
    counts_with(actions["tokenizer"], api="completions")
    for name in ("dtype", "deterministic", "max_num_seqs", "device"):
        counts_with(actions[name], engine=("vllm", "transformers"))
    counts_if(actions["revision"], "for a model of the hub", "give its id as --model", _is_of_hub)
    _add_machines(parser)
    parser.values_of = _values
    parser.also_given = _in_file_if_there
    return actions


def _add_machines(parser: Parser) -> None:
    """Adds the place, and how many of its machines are asked for."""
    section = add_place(parser)
    nodes = section.add_argument(
        "--nodes", type=whole(1), metavar="N", default=1, help="number of nodes (default: %(default)s)"
    )
    gpus = section.add_argument(
        "--gpus", type=whole(1), metavar="N", default=8, help="GPUs per node (default: %(default)s)"
    )
    problems = section.add_argument(
        "--problems-per-job",
        type=whole(1),
        metavar="N",
        default=50,
        help="problems of each job of the array (default: %(default)s)",
    )
    for action in (nodes, gpus):
        counts_with(action, on=CLUSTER)
    counts_with(nodes, "--engines", on="k8s")  # a RayJob has an engine on each of its GPUs
    counts_with(gpus, "--engines", "--shard", on="k8s")  # an element of the array has the GPUs of one engine
    counts_with(gpus, device="cuda", on="k8s")
    counts_with(problems, on="slurm")
    counts_without(problems, "--engines", "--shard", "--gather")


def _is_of_hub(values: Mapping[str, Any]) -> bool:
    return not Path(str(values["model"])).is_dir()


def _in_file_if_there(arguments: argparse.Namespace) -> dict[str, Any]:
    is_there = arguments.config and arguments.config.exists()  # `options_given` reports one that is not
    return in_file(arguments) if is_there else {}


def _values(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns every option with the value it has here: typed, from the file, or the default."""
    defaults = {name: one.default for name, one in options_of(EvaluationConfig).items()}
    # In this order: what was typed wins over the file, and the file over the defaults.
    return {**defaults, **_in_file_if_there(arguments), **vars(arguments)}


def run(arguments: argparse.Namespace) -> int:
    """Evaluates, or says what would be evaluated."""
    return start(config_of(options_given(arguments)), arguments)


def start(config: EvaluationConfig, arguments: argparse.Namespace) -> int:
    """Evaluates where the arguments say, or says what would be evaluated."""
    if config.engine == "openai" and arguments.on != "local" and is_loopback(config.base_url):
        raise UserError(
            f"--base-url {config.base_url} means the machine that asks, which is another one with --on {arguments.on}:"
            " give the server's name in the network"
        )
    launcher, folder = launcher_for(arguments), config.output_dir
    if not launcher.sees_files:
        from deepscaler.commands.far import evaluate_far  # noqa: PLC0415  no other place needs it

        return submit(arguments, [evaluate_far(arguments, config, launcher.folder_there(folder))], launcher, folder)
    if arguments.on == "local":
        here = partial(_evaluate_here, config, dry_run=bool(arguments.dry_run))
        job = Job(name="evaluate", arguments=tuple(to_arguments(config)))
        return submit(arguments, [PlannedJob(jobs=(job,), outputs=(folder,), here=here)], launcher, folder)
    plan = plan_evaluation(
        config, arguments.problems_per_job, arguments.nodes, arguments.gpus, dry_run=bool(arguments.dry_run)
    )
    return submit(arguments, plan, launcher, folder.absolute())


def _evaluate_here(config: EvaluationConfig, *, dry_run: bool) -> int:
    """Evaluates on this machine, or the Ray cluster that it is part of."""
    say = partial(PlainConsole().print, soft_wrap=True)
    config = replace(config, model=model_to_read(config.model, say, dry_run=dry_run))
    if dry_run:
        from evaluation.plan import describe_plan  # noqa: PLC0415  numpy: 0.2 s

        describe_plan(config, PlainConsole())
        return 0
    from evaluation.evaluate import evaluate  # noqa: PLC0415  matplotlib: 0.5 s

    return evaluate(config, PlainConsole())
