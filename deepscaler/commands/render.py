"""`deepscaler render`: RayJobs from commands, plain or composed for the cluster of a site file."""

import argparse
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from deepscaler.commands.counting import counts_if, counts_without
from deepscaler.commands.far import evaluate_far, one_chain_far, quickstart_far, train_far
from deepscaler.commands.given import options_given
from deepscaler.commands.parser import Parser, named, parse
from deepscaler.commands.recipe import check_further, load
from deepscaler.kubernetes import require_yaml
from deepscaler.kubernetes.render.plans import Plan, plan_of
from deepscaler.kubernetes.render.pods import RUNS
from deepscaler.launch.launcher import PlannedJob
from deepscaler.system.errors import UserError, unknown
from deepscaler.system.files import write_text
from evaluation.config import config_of

EXAMPLES = (
    "deepscaler render --output mine.yaml train 16k --set num_nodes=2",
    "deepscaler render --site cluster.toml --output mine evaluate --model /runs/8k/model",
)

JOBS = Path("k8s", "jobs")

ERRORS = Console(stderr=True)
"""Console for notes: standard output may be the manifest."""


def configure(parser: Parser) -> None:
    """Adds the place to write to, what is Kubernetes' own, and the command with its options."""
    parser.add_argument(
        "--output",
        metavar="PATH",
        help=f"file to write, or with --site a folder (default: standard output; without COMMAND, {JOBS})",
    )
    site = parser.add_argument(
        "--site",
        type=Path,
        metavar="FILE",
        help="site file of a cluster: writes a folder for `kubectl apply -k` there, for GitOps",
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
    counts_without(image, "--site")  # which says it
    for action in (name, image, site):
        counts_if(action, "with a COMMAND", "add one, such as train 8k", _has_command)
    parser.add_dry_run("print the RayJob, or without COMMAND which files differ; write nothing")
    parser.add_argument(
        "arguments",
        nargs=argparse.REMAINDER,
        metavar="COMMAND ...",
        help="`train`, `chain`, `evaluate` or `quickstart` with its options (default: all of k8s/jobs)",
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
    if arguments.site:
        return _compose(arguments)
    text = rendered(_plan(arguments), _typed(arguments), arguments.image)
    if arguments.output in (None, "-") or arguments.dry_run:
        print(text, end="")
        return 0
    write_text(Path(arguments.output), text)
    # write_text replaces the file, whose mode then follows the umask: a manifest is for others to read, too
    Path(arguments.output).chmod(0o644)
    return 0


def _compose(arguments: argparse.Namespace) -> int:
    """Writes the folder of a job for the cluster of a site file, or prints what kubectl builds of it."""
    from deepscaler.kubernetes.cluster.compose import check_ours, compose  # noqa: PLC0415  needs yaml, an extra
    from deepscaler.kubernetes.cluster.place import load_place  # noqa: PLC0415  no other job needs it

    plan, place = _plan(arguments), load_place(arguments.site)
    if arguments.output in (None, "-") or arguments.dry_run:
        with tempfile.TemporaryDirectory(prefix="deepscaler-k8s-") as scratch:
            print(compose(plan, place, Path(scratch, plan.job.name), with_base=True), end="")
        return 0
    folder = Path(arguments.output)
    check_ours(folder)
    compose(plan, place, folder, with_base=True)
    print(
        f"Wrote {folder}. Once: deepscaler k8s setup --site {arguments.site}; then:"
        f" kubectl apply --server-side -k {folder}"
    )
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
    # Preset, so that options count or not as they would on a cluster, which `render` has no flag for.
    parsed = parse([command, *given], on="k8s")
    for option in ("on", "site"):
        if option in parsed.given:
            raise UserError(f"--{option} is for what submits: leave it out of a command that is rendered")
    if parsed.dry_run:
        raise UserError(
            f"a RayJob cannot hold --dry-run: give it before {command}, where it belongs to render, or leave it out"
        )
    planned = makers[command](parsed)
    job = replace(planned.jobs[0], name=arguments.name) if arguments.name else planned.jobs[0]
    return plan_of(job, planned.inputs)


def _train(parsed: argparse.Namespace) -> PlannedJob:
    recipe = load(parsed.recipe, parsed, parsed.device)
    check_further([recipe], parsed.device, ERRORS)
    return train_far(parsed, recipe, parsed.output_dir or Path(RUNS, recipe.name))


def _chain(parsed: argparse.Namespace) -> PlannedJob:
    recipes = [load(name, parsed, parsed.device) for name in parsed.recipes]
    check_further(recipes, parsed.device, ERRORS)
    # In the pods: outputs/ of a container would go with it.
    default = Path(RUNS, "-".join(recipe.name for recipe in recipes))
    return one_chain_far(parsed, recipes, parsed.output_dir or default)


def _evaluate(parsed: argparse.Namespace) -> PlannedJob:
    given = options_given(parsed)
    folder = given.get("output_dir") or Path(RUNS, "evaluation")
    config = config_of({**given, "output_dir": folder})
    return evaluate_far(parsed, config, folder)


def _quickstart(parsed: argparse.Namespace) -> PlannedJob:
    return quickstart_far(parsed, parsed.output_dir or Path(RUNS, parsed.recipe))
