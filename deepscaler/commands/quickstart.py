"""`deepscaler quickstart`: the whole path with a small real model, no GPU and no hub, here or in one pod."""

import argparse
from dataclasses import replace
from pathlib import Path

from deepscaler.commands.launcher import add_dry_run, add_place, launcher_for, submit
from deepscaler.commands.parser import Parser, folder_to_write
from deepscaler.models.smollm import NAME, small_model
from deepscaler.output.terminal import PlainConsole
from deepscaler.recipes.load import recipe_named
from deepscaler.runs.chain import ChainOptions, build_chain
from deepscaler.system.errors import UserError
from deepscaler.training.run_chain import describe_chain, run_chain

EXAMPLES = ("deepscaler quickstart", "deepscaler quickstart --on k8s --site cluster.toml")

EVALUATION = ("--num-samples", "4", "--max-tokens", "48", "--dtype", "float32")
"""float32 before and after: the merged model is in bfloat16, which a CPU computes slowly."""


def configure(parser: Parser) -> None:
    """Adds what may be overridden."""
    parser.add_argument(
        "--model", metavar="MODEL", help="hub id or path of the model (default: SmolLM2-135M-Instruct from PyPI)"
    )
    parser.add_argument(
        "--recipe",
        choices=("quickstart", "learn"),
        default="quickstart",
        help="recipe to train (default: quickstart); learn takes about an hour",
    )
    parser.add_argument(
        "--output-dir", type=folder_to_write, metavar="DIR", help="folder of the chain (default: outputs/RECIPE)"
    )
    parser.add_argument(
        "--engine",
        default="vllm",
        choices=("vllm", "transformers"),
        help="engine of the evaluations (default: %(default)s)",
    )
    add_dry_run(parser, "print every command, run nothing")
    add_place(parser)


def run(arguments: argparse.Namespace) -> int:
    """Fetches the model if need be, runs a chain of one stage, and says what to do next."""
    if arguments.on == "slurm":
        raise UserError("quickstart is for this machine and for one pod (--on k8s): a node of SLURM is this machine")
    root, console = arguments.output_dir or Path("outputs", arguments.recipe), PlainConsole()
    launcher = launcher_for(arguments)
    if not launcher.sees_files:
        from deepscaler.commands.far import quickstart_far  # noqa: PLC0415  no other place needs it

        return submit(arguments, [quickstart_far(arguments, launcher.folder_there(root))], launcher, root)
    # Making the model takes a download and half a minute or more, which a dry run must not do.
    model = arguments.model or (NAME if arguments.dry_run else str(small_model(console.print)))
    recipe = replace(recipe_named(arguments.recipe), model=model)
    options = ChainOptions(
        datasets=recipe.validation_dataset,
        evaluation_options=(*EVALUATION, "--engine", arguments.engine),
        train_options=("--device", "cpu"),
    )
    chain = build_chain(root.resolve(), [recipe], [], options)
    if arguments.dry_run:
        describe_chain(chain, console)
        return 0
    code = run_chain(chain, console)
    if code == 0:
        console.print(
            "\nNext, the real thing on machines with GPUs:\n\n"
            "  deepscaler train 8k --dry-run\n"
            "  deepscaler chain 8k 16k 24k --eval aime --gate\n",
        )
    return code
