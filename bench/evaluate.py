"""Measures the overhead of sampling over vLLM alone, and the gain from scheduling: `python bench/evaluate.py PART`.

speed      tokens/s of the kit's loop and of plain `vllm.LLM.generate`: same requests, same engine, in turn
makespan   two real engines: pulling from one queue, equal shares, and shares with a barrier every 8 batches
schedule   a simulation with lengths like R1's on 1 to 1,024 GPUs (bench/schedule.py)
until      a simulation of `--until`: bias, coverage, and samples saved compared with equal numbers

`speed` and `makespan` run the small model on the CPU, or any model with --model on a GPU.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from schedule import simulate

from deepscaler.models.smollm import small_model
from deepscaler.system.processes import deepscaler_command
from evaluation.config import EvaluationConfig, to_arguments
from evaluation.folder import EvaluationFolder
from evaluation.inputs import Inputs, read_inputs
from evaluation.requests import Request, to_request
from evaluation.samples import Sample, SampleStore, read_samples
from evaluation.until import estimate, plan

DATASET = "arithmetic"
BATCHES = 8
"""Batches between two barriers: 2,048 requests with 256 sequences at once."""


def main() -> None:
    """Runs one part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["speed", "makespan", "schedule", "until", "barriers"])
    parser.add_argument("--model", default="", help="folder or hub id (default: the small model of the tests)")
    parser.add_argument("--problems", type=int, default=24, help="problems of the set (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=4, help="samples of each problem (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=64, help="most tokens of a response (default: %(default)s)")
    parser.add_argument("--sequences", type=int, default=16, help="sequences in a batch (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="alternations or trials (default: %(default)s)")
    parser.add_argument("--gpus", type=int, default=1024, help="most GPUs of `schedule` (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=None, help="folder of `barriers`, which `makespan` starts")
    arguments = parser.parse_args()
    if arguments.part == "schedule":
        simulate(arguments.samples, arguments.gpus)
    elif arguments.part == "until":
        simulate_until(arguments.rounds)
    elif arguments.part == "barriers":
        draw_with_barriers(_config(arguments, arguments.output))
    else:
        {"speed": speed, "makespan": makespan}[arguments.part](arguments)


def _config(arguments: argparse.Namespace, output: Path) -> EvaluationConfig:
    return EvaluationConfig(
        model=arguments.model or str(small_model(print)),
        output_dir=output,
        datasets=(DATASET,),
        limit=arguments.problems,
        num_samples=arguments.samples,
        max_tokens=arguments.tokens,
        max_num_seqs=arguments.sequences,
    )


def _requests(inputs: Inputs) -> list[Request]:
    config = inputs.config
    return [
        to_request((problem_id, sample), ids, config.max_tokens, inputs.context, config.seed)
        for problem_id, ids in inputs.prompts[DATASET].items()
        for sample in range(config.num_samples)
    ]


def speed(arguments: argparse.Namespace) -> None:
    """Alternates the kit's loop and `LLM.generate` on one engine, each with an empty prefix cache."""
    from evaluation.engines.vllm import VllmEngine

    with tempfile.TemporaryDirectory(prefix="bench-evaluate-") as folder:
        config = _config(arguments, Path(folder))
        inputs = read_inputs(config, EvaluationFolder(config.output_dir), Console())
        engine, requests = VllmEngine(config, inputs.model.path, inputs.context), _requests(inputs)
        llm: Any = engine.llm
        prompts = [{"prompt_token_ids": list(one.prompt_token_ids)} for one in requests]
        sampling = [engine._sampling(one) for one in requests]

        def kit() -> int:
            num_tokens, path = 0, Path(folder, "samples.jsonl")
            # a store counts what its file holds as drawn, and appends to it
            path.unlink(missing_ok=True)
            with SampleStore(path) as store:
                for sample in engine.generate(requests):
                    store.append(sample)
                    num_tokens += sample.response_tokens
            return num_tokens

        def plain() -> int:
            outputs = llm.generate(prompts, sampling, use_tqdm=False)
            return sum(len(one.outputs[0].token_ids) for one in outputs)

        kit()  # the first pass is slower
        ratios = []
        for number in range(arguments.rounds):
            speeds = {}
            # Each begins as often as the other, or a machine that slows down would favor one of them.
            for draw in (kit, plain) if number % 2 else (plain, kit):
                llm.reset_prefix_cache()
                started = time.perf_counter()
                num_tokens = draw()
                speeds[draw.__name__] = num_tokens / (time.perf_counter() - started)
            ratios.append(speeds["kit"] / speeds["plain"])
            print(f"kit {speeds['kit']:.1f}, plain {speeds['plain']:.1f} tokens/s: {ratios[-1]:.3f}", flush=True)
        print(f"{len(requests)} requests, kit / plain: median {statistics.median(ratios):.3f}")


def makespan(arguments: argparse.Namespace) -> None:
    """Draws the same samples with two engines in three ways, and compares the times without loading."""
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    # This process must not ask torch: what it starts may be forked, and CUDA refuses to work in a fork.
    device = "cuda" if "CUDA_VISIBLE_DEVICES" in os.environ else "cpu"
    for number in range(arguments.rounds):
        with tempfile.TemporaryDirectory(prefix="bench-evaluate-") as folder:
            seconds = {}
            config = replace(_config(arguments, Path(folder, "queue")), device=device, engines=2)
            subprocess.run(deepscaler_command(to_arguments(config)), check=True, stdout=subprocess.DEVNULL)
            seconds["one queue"] = _seconds([config.output_dir])
            shares = [replace(config, engines=0, shard=f"{n}/2", output_dir=Path(folder, f"share-{n}")) for n in (0, 1)]
            _at_once([deepscaler_command(to_arguments(one)) for one in shares])
            seconds["equal shares"] = max(_seconds([one.output_dir]) for one in shares)
            names = ("model", "problems", "samples", "tokens", "sequences")
            options = [f"--{name}={getattr(arguments, name)}" for name in names]
            outputs = [Path(folder, f"barriers-{n}-of-2") for n in (0, 1)]
            script = [sys.executable, __file__, "barriers", *options]
            _at_once([[*script, f"--output={output}"] for output in outputs])
            seconds["barriers"] = max(_seconds([output]) for output in outputs)
            base = seconds["one queue"]
            shown = ", ".join(f"{name} {took:.1f} s ({took / base:.2f})" for name, took in seconds.items())
            print(f"round {number + 1}: {shown}", flush=True)


def draw_with_barriers(config: EvaluationConfig) -> None:
    """Draws every second request, with a barrier after every 8 batches."""
    from evaluation.engines.vllm import VllmEngine

    inputs = read_inputs(config, EvaluationFolder(config.output_dir), Console())
    engine = VllmEngine(config, inputs.model.path, inputs.context)
    # barriers-0-of-2: the folder's name alone distinguishes the two processes that `makespan` starts
    index = int(config.output_dir.name.split("-")[1])
    own, size = _requests(inputs)[index::2], BATCHES * config.max_num_seqs
    with SampleStore(EvaluationFolder(config.output_dir).samples_path(DATASET)) as store:
        for start in range(0, len(own), size):
            for sample in engine.generate(own[start : start + size]):
                store.append(sample)


def _at_once(commands: list[list[str]]) -> None:
    """Runs commands in parallel, each with its share of the cores."""
    threads = str(max(1, len(os.sched_getaffinity(0)) // len(commands)))
    # without it each engine starts a thread for every core, so that two of them slow each other down
    environment = {**os.environ, "OMP_NUM_THREADS": threads}
    started = [subprocess.Popen(one, env=environment, stdout=subprocess.DEVNULL) for one in commands]
    codes = [process.wait() for process in started]
    if any(codes):
        sys.exit("an engine failed")


def _seconds(folders: list[Path]) -> float:
    samples: list[Sample] = [
        one for folder in folders for one in read_samples(EvaluationFolder(folder).samples_path(DATASET))
    ]
    return max(one.finished for one in samples) - min(one.started for one in samples)


def simulate_until(trials: int) -> None:
    """Prints the bias, coverage and samples of `--until` for several kinds of benchmarks, beside equal numbers."""
    generator = np.random.default_rng(0)
    kinds: dict[str, tuple[Any, int, int, float]] = {
        "30 problems, Beta(0.4, 0.6)": (lambda n: generator.beta(0.4, 0.6, n), 30, 256, 1.5),
        "83 problems, Beta(0.4, 0.6)": (lambda n: generator.beta(0.4, 0.6, n), 83, 64, 1.5),
        "500 problems, Beta(1, 0.2)": (lambda n: generator.beta(1.0, 0.2, n), 500, 64, 0.5),
        "30 problems, Beta(0.2, 0.3)": (lambda n: generator.beta(0.2, 0.3, n), 30, 256, 1.5),
        "30 problems, Beta(0.3, 3)": (lambda n: generator.beta(0.3, 3.0, n), 30, 128, 1.5),
        "30 problems, 90 % or 5 %": (lambda n: np.where(np.arange(n) % 3, 0.05, 0.9), 30, 256, 1.5),
        "30 problems, all 50 %": (lambda n: np.full(n, 0.5), 30, 128, 3.0),
    }
    print(f"{'':30}{'points':>7}{'bias':>8}{'+-':>7}{'plain':>8}{'covered':>9}{'drawn':>7}{'equal':>7}{'saved':>7}")
    for name, (rates_of, num_problems, most, points) in kinds.items():
        found = np.array([_trial(rates_of(num_problems), most, points, generator) for _ in range(trials)])
        bias, plain, covered, drawn, equal = found.mean(axis=0)
        error = found[:, 0].std() / trials**0.5
        print(
            f"{name:30}{points:7.1f}{bias:+8.3f}{error:7.3f}{plain:+8.3f}{covered:9.1%}{drawn:7.1f}{equal:7.1f}"
            f"{1 - drawn / equal:7.0%}",
            flush=True,
        )


def _trial(rates: Any, most: int, points: float, generator: Any) -> tuple[float, float, bool, float, float]:
    """Returns the error and the plain mean's error in points, the coverage, and samples per problem in both ways."""
    outcomes = generator.random((len(rates), most)) < rates[:, None]
    everything = {str(p): (row[0::2].tolist(), row[1::2].tolist()) for p, row in enumerate(outcomes)}
    seen: dict[str, Any] = {problem: ([], []) for problem in everything}
    while True:
        counts = plan(seen, most, points / 100)
        now = {p: (everything[p][0][:even], everything[p][1][:odd]) for p, (even, odd) in counts.items()}
        # no round adds a sample any more, as when `evaluate` ends
        if now == seen:
            break
        seen = now
    _, interval = estimate(seen, points / 100)
    truth = float(rates.mean())
    plain = float(np.mean([np.mean(even + odd) for even, odd in seen.values()]))
    drawn = sum(len(half) for halves in seen.values() for half in halves) / len(rates)
    # The equal number m for which 1.96 sqrt(mean variance / (problems * m)) is the half width.
    equal = min(most, float((rates * (1 - rates)).mean()) / len(rates) * (1.96 / (points / 100)) ** 2)
    covered = interval.low <= truth <= interval.high
    return 100 * (interval.value - truth), 100 * (plain - truth), covered, drawn, equal


if __name__ == "__main__":
    main()
