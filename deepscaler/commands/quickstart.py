"""`deepscaler quickstart`: the whole path on this machine, with a small real model, no GPU and no hub."""

import argparse
from pathlib import Path

HELP = "Evaluate, train, merge and evaluate again a small real model on this machine (no GPU, no hub)."

EVALUATION = ("--num-samples", "4", "--max-tokens", "48", "--dtype", "float32")
"""float32 before and after: the merged model is in bfloat16, which a CPU computes slowly."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what may be overridden."""
    parser.add_argument("--model", help="hub id or path (default: SmolLM2-135M-Instruct from PyPI)")
    parser.add_argument(
        "--recipe", choices=("quickstart", "learn"), default="quickstart", help="learn takes about an hour"
    )
    parser.add_argument("--output-dir", type=Path, help="default: outputs/RECIPE")
    parser.add_argument("--engine", default="vllm", choices=("vllm", "transformers"), help="default: %(default)s")
    parser.add_argument("--dry-run", action="store_true", help="print every command, run nothing")


def run(arguments: argparse.Namespace) -> int:
    """Fetch the model if need be, run a chain of one stage, and say what to do next."""
    from dataclasses import replace  # noqa: PLC0415

    from deepscaler.models.smollm import NAME, small_model  # noqa: PLC0415
    from deepscaler.output.terminal import PlainConsole  # noqa: PLC0415
    from deepscaler.recipes.load import recipe_named  # noqa: PLC0415
    from deepscaler.runs.chain import ChainOptions, build_chain  # noqa: PLC0415
    from deepscaler.training.run_chain import describe_chain, run_chain  # noqa: PLC0415

    console = PlainConsole()
    model = arguments.model or (NAME if arguments.dry_run else str(small_model(console.print)))
    recipe = replace(recipe_named(arguments.recipe), model=model)
    options = ChainOptions(
        datasets=(recipe.validation_dataset,),
        evaluation_options=(*EVALUATION, "--engine", arguments.engine),
        train_options=("--device", "cpu"),
    )
    root = arguments.output_dir or Path("outputs", recipe.name)
    chain = build_chain(root.resolve(), [recipe], [], options)
    if arguments.dry_run:
        describe_chain(chain, console)
        return 0
    code = run_chain(chain, console)
    if code == 0:
        console.print(
            "\nNext, the real thing on machines with GPUs:\n\n"
            "  deepscaler train 8k --dry-run\n"
            "  deepscaler run 8k 16k 24k --eval aime --gate\n",
        )
    return code
