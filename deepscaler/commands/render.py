"""`deepscaler render`: RayJobs from commands."""

import argparse
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepscaler.commands.counting import counts_if
from deepscaler.commands.parser import Parser, named, parse
from deepscaler.commands.train import passed_on
from deepscaler.kubernetes import require_yaml
from deepscaler.kubernetes.render.plans import Plan, evaluate_plan, quickstart_plan, run_plan, train_plan
from deepscaler.kubernetes.render.pods import RUNS
from deepscaler.recipes.load import is_file, load_recipe, to_words
from deepscaler.system.errors import UserError, unknown
from deepscaler.system.files import write_text
from deepscaler.system.flags import given_options
from evaluation.config import EvaluationConfig, load_config

EXAMPLES = (
    "deepscaler render --output mine.yaml train 16k --set num_nodes=2",
    "deepscaler render --name mine evaluate --model /runs/8k/model",
)

JOBS = Path("k8s", "jobs")


def configure(parser: Parser) -> None:
    """Adds the place to write to, what is Kubernetes' own, and the command with its options."""
    parser.add_argument(
        "--output", metavar="FILE", help=f"file to write; default: standard output, without COMMAND {JOBS}"
    )
    name = parser.add_argument(
        "--name",
        type=named,
        metavar="NAME",
        help="name of the RayJob (default: train-RECIPE, chain, evaluate, quickstart)",
    )
    image = parser.add_argument(
        "--image", type=named, metavar="IMAGE", help="container image (default: deepscaler:train or deepscaler:cpu)"
    )
    for action in (name, image):
        counts_if(action, "with a COMMAND", "add one, such as train 8k", _has_command)
    parser.add_dry_run("print the RayJob, or without COMMAND which files differ; write nothing")
    parser.add_argument(
        "arguments",
        nargs=argparse.REMAINDER,
        metavar="COMMAND ...",
        help="`train`, `chain`, `evaluate` or `quickstart` with its options; none: all of k8s/jobs",
    )


def run(arguments: argparse.Namespace) -> int:
    """Renders one command, or what is committed."""
    require_yaml()
    from deepscaler.kubernetes.render.write import rendered, write_committed  # noqa: PLC0415  needs yaml, an extra

    if not arguments.arguments:
        written = write_committed(Path(arguments.output or JOBS), dry_run=arguments.dry_run)
        did = "would write" if arguments.dry_run else "wrote"
        print("\n".join(f"{did} {path}" for path in written) or "Nothing differs.")
        return 0
    text = rendered(_plan(arguments), _typed(arguments), arguments.image)
    if arguments.output in (None, "-") or arguments.dry_run:
        print(text, end="")
        return 0
    write_text(Path(arguments.output), text)
    Path(arguments.output).chmod(0o644)
    return 0


def _typed(arguments: argparse.Namespace) -> str:
    """Returns the command as it was typed, save where it writes to."""
    given = {"--name": arguments.name, "--image": arguments.image}
    options = [part for flag, value in given.items() if value is not None for part in (flag, value)]
    return shlex.join(["deepscaler", "render", *options, *arguments.arguments])


def _has_command(values: Mapping[str, Any]) -> bool:
    return bool(values["arguments"])


def _plan(arguments: argparse.Namespace) -> Plan:
    """Returns what the command's own parser understands, as a job with a life on Kubernetes."""
    command, *given = arguments.arguments
    makers = {"train": _train, "chain": _chain, "run": _chain, "evaluate": _evaluate, "quickstart": _quickstart}
    if command not in makers:
        raise unknown("command to render", command, makers)
    parsed = parse([command, *given], on="k8s")
    if parsed.on != "k8s":
        raise UserError(f"--on {parsed.on} is another launcher: leave it out of a command that is rendered")
    if parsed.dry_run:
        raise UserError(f"a RayJob is for work: give --dry-run before {command}, to render, or leave it out")
    plan = makers[command](parsed, given)
    return replace(plan, job=replace(plan.job, name=arguments.name)) if arguments.name else plan


def _train(parsed: argparse.Namespace, given: list[str]) -> Plan:
    recipe = load_recipe(parsed.recipe, parsed.profile, parsed.set)
    if is_file(parsed.recipe):  # a pod has no such file
        given = [*to_words(recipe), *passed_on(parsed)]
        given += ["--output-dir", str(parsed.output_dir)] if parsed.output_dir else []
    given, folder = _with_folder(parsed, given, f"{RUNS}/{recipe.name}")
    return train_plan(recipe, ("train", *given), folder, parsed.device)


def _chain(parsed: argparse.Namespace, given: list[str]) -> Plan:
    recipes = [load_recipe(name, parsed.profile, parsed.set) for name in parsed.recipes]
    if files := [name for name in parsed.recipes if is_file(name)]:
        raise UserError(f"{files[0]}: a chain's RayJob takes no recipe files; render `train {files[0]}` for each stage")
    given, folder = _with_folder(parsed, given, f"{RUNS}/{'-'.join(parsed.recipes)}")
    only = [step.partition(":")[0] for step in parsed.only]
    return run_plan(recipes, ("chain", *given), folder, parsed.eval, parsed.device, only)


def _evaluate(parsed: argparse.Namespace, given: list[str]) -> Plan:
    _, folder = _with_folder(parsed, given, f"{RUNS}/evaluation")
    config = load_config(parsed.config, {**given_options(parsed, EvaluationConfig), "output_dir": Path(folder)})
    return evaluate_plan(config, num_nodes=parsed.nodes, gpus_per_node=parsed.gpus)


def _quickstart(parsed: argparse.Namespace, given: list[str]) -> Plan:
    plan = quickstart_plan()
    given, _folder = _with_folder(parsed, given, f"{RUNS}/{parsed.recipe}")
    return replace(plan, job=replace(plan.job, arguments=("quickstart", *given)))


def _with_folder(parsed: argparse.Namespace, given: list[str], default: str) -> tuple[list[str], str]:
    """The command's arguments with an --output-dir, and that folder."""
    folder = getattr(parsed, "output_dir", None)
    return (given, str(folder)) if folder else ([*given, "--output-dir", default], default)
