"""`deepscaler render`: RayJobs from commands."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepscaler.kubernetes.render.plans import Plan

HELP = "Write a command as a RayJob for Kubernetes; without one, all of k8s/jobs anew."

JOBS = Path("k8s", "jobs")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the place to write to, what is Kubernetes' own, and the command with its options."""
    parser.add_argument("--output", metavar="FILE", help=f"default: - (standard output); without COMMAND {JOBS}")
    parser.add_argument("--name", help="of the RayJob (default: train-RECIPE, chain, evaluate, quickstart)")
    parser.add_argument("--image", help="default: deepscaler:train or deepscaler:cpu")
    parser.add_argument(
        "arguments",
        nargs=argparse.REMAINDER,
        metavar="COMMAND ...",
        help="`train`, `run`, `evaluate` or `quickstart` with its options, after those of render",
    )


def run(arguments: argparse.Namespace) -> int:
    """Render one command, or what is committed."""
    from deepscaler.kubernetes import require_yaml  # noqa: PLC0415
    from deepscaler.system.errors import UserError  # noqa: PLC0415
    from deepscaler.system.files import write_text  # noqa: PLC0415

    require_yaml()
    from deepscaler.kubernetes.render.write import rendered, write_committed  # noqa: PLC0415

    if not arguments.arguments:
        if arguments.name or arguments.image:
            raise UserError("--name and --image are for one command: deepscaler render --name mine train 8k")
        written = write_committed(Path(arguments.output or JOBS))
        print("\n".join(f"wrote {path}" for path in written) or "Nothing differs.")
        return 0
    text = rendered(_plan(arguments), _typed(arguments), arguments.image)
    if arguments.output in (None, "-"):
        print(text, end="")
        return 0
    write_text(Path(arguments.output), text)
    Path(arguments.output).chmod(0o644)
    return 0


def _typed(arguments: argparse.Namespace) -> str:
    """The command as it was typed, save where it writes to."""
    import shlex  # noqa: PLC0415

    given = {"--name": arguments.name, "--image": arguments.image}
    options = [part for flag, value in given.items() if value is not None for part in (flag, value)]
    return shlex.join(["deepscaler", "render", *options, *arguments.arguments])


def _plan(arguments: argparse.Namespace) -> "Plan":
    """What the command's own parser understands, as a job with a life on Kubernetes."""
    from dataclasses import replace  # noqa: PLC0415

    from deepscaler.cli import build_parser  # noqa: PLC0415  the one parser of all commands
    from deepscaler.system.errors import UserError, unknown  # noqa: PLC0415

    command, *given = arguments.arguments
    makers = {"train": _train, "run": _run, "evaluate": _evaluate, "quickstart": _quickstart}
    if command not in makers:
        raise unknown("command to render", command, makers)
    parsed = build_parser().parse_args([command, *given])
    if getattr(parsed, "on", "local") != "local":
        raise UserError(f"--on {parsed.on} is another launcher: leave it out of a command that is rendered")
    plan = makers[command](parsed, given)
    return replace(plan, job=replace(plan.job, name=arguments.name)) if arguments.name else plan


def _train(parsed: argparse.Namespace, given: list[str]) -> "Plan":
    from deepscaler.kubernetes.render.plans import train_plan  # noqa: PLC0415
    from deepscaler.kubernetes.render.pods import RUNS  # noqa: PLC0415
    from deepscaler.recipes.load import load_recipe  # noqa: PLC0415

    recipe = load_recipe(parsed.recipe, parsed.profile, parsed.set)
    given, folder = _with_folder(parsed, given, f"{RUNS}/{parsed.recipe}")
    return train_plan(recipe, ("train", *given), folder, parsed.device)


def _run(parsed: argparse.Namespace, given: list[str]) -> "Plan":
    from deepscaler.kubernetes.render.plans import run_plan  # noqa: PLC0415
    from deepscaler.kubernetes.render.pods import RUNS  # noqa: PLC0415
    from deepscaler.recipes.load import load_recipe  # noqa: PLC0415

    recipes = [load_recipe(name, parsed.profile, parsed.set) for name in parsed.recipes]
    given, folder = _with_folder(parsed, given, f"{RUNS}/{'-'.join(parsed.recipes)}")
    only = [step.partition(":")[0] for step in parsed.only]
    return run_plan(recipes, ("run", *given), folder, parsed.eval, parsed.device, only)


def _evaluate(parsed: argparse.Namespace, given: list[str]) -> "Plan":
    from deepscaler.kubernetes.render.plans import evaluate_plan  # noqa: PLC0415
    from deepscaler.kubernetes.render.pods import RUNS  # noqa: PLC0415
    from deepscaler.system.options import given_options  # noqa: PLC0415
    from evaluation.config import EvaluationConfig, load_config  # noqa: PLC0415

    _, folder = _with_folder(parsed, given, f"{RUNS}/evaluation")
    config = load_config(parsed.config, {**given_options(parsed, EvaluationConfig), "output_dir": Path(folder)})
    return evaluate_plan(config, num_nodes=parsed.nodes, gpus_per_node=parsed.gpus)


def _quickstart(parsed: argparse.Namespace, given: list[str]) -> "Plan":
    from dataclasses import replace  # noqa: PLC0415

    from deepscaler.kubernetes.render.plans import quickstart_plan  # noqa: PLC0415
    from deepscaler.kubernetes.render.pods import RUNS  # noqa: PLC0415

    plan = quickstart_plan()
    given, _folder = _with_folder(parsed, given, f"{RUNS}/{parsed.recipe}")
    return replace(plan, job=replace(plan.job, arguments=("quickstart", *given)))


def _with_folder(parsed: argparse.Namespace, given: list[str], default: str) -> tuple[list[str], str]:
    """The command's arguments with an --output-dir, and that folder."""
    folder = getattr(parsed, "output_dir", None)
    return (given, str(folder)) if folder else ([*given, "--output-dir", default], default)
