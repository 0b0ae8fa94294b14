"""How far from the floor a step on one GPU is: `python bench/gpu.py --model FOLDER --output DIR`.

checks    kernels against float32                     floors   attention, last layer and passes in plain torch
engine    verl's passes over one batch                vllm     generation alone, started without and with a cache
faithful  `deepscaler train`, its phases and steps    fast     the same with --profile fast
stock     verl without the kit's settings             resume   the start of a run that goes on

Each part is a process with a time limit; what it finds is in DIR/gpu.jsonl at once, and a part that fails or is cut off
costs only itself. Random weights will do: `--model` is any folder of a model. Without a GPU everything is tiny: a rehearsal.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

PARTS = {
    "checks": 60,
    "floors": 90,
    "engine": 150,
    "vllm": 150,
    "faithful": 400,
    "fast": 400,
    "stock": 400,
    "resume": 300,
}
"""Seconds that each may take."""

SHAPE = {
    "max_prompt_length": 512,
    "max_response_length": 4096,
    "train_batch_size": 8,
    "mini_batch_size": 8,
    "group_size": 8,
    "gpus_per_node": 1,
    "max_tokens_per_gpu": 16_384,
    "gpu_memory_utilization": 0.5,
    "train_dataset": "arithmetic_train",
    "validation_dataset": "arithmetic",
    "validation_group_size": 1,
    "validate_every": 1000,
    "save_every": 1000,
}
"""Recipe 8k on one GPU: 64 responses of 4,096 tokens a step."""

PHASES = {
    "generate and reward": "timing_s/gen",
    "old log-probabilities": "timing_s/old_log_prob",
    "reference": "timing_s/ref",
    "update": "timing_s/update_actor",
    "weights to the rollout": "timing_s/update_weights",
    "save": "timing_s/save_checkpoint",
    "step": "timing_s/step",
}


def main() -> None:
    """Runs the parts that were asked for, one after another, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="folder of a model")
    parser.add_argument("--output", type=Path, default=Path("gpu-bench"), help="default: %(default)s")
    parser.add_argument("--parts", default="checks,floors,engine,vllm,faithful,fast", help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=6, help="steps of a training (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=460, help="for all parts together (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="of the trainings' recipe")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    if arguments.child:
        child(arguments.child, arguments)
        return
    end = time.monotonic() + arguments.seconds
    for part in arguments.parts.split(","):
        limit = min(PARTS[part], end - time.monotonic())
        if limit < 10:
            print(f"{part}: no time left")
            continue
        started = time.monotonic()
        outcome = run(part, sys.argv[1:], arguments.output, limit)
        record(arguments.output, part, f"{part}: {outcome}", seconds=time.monotonic() - started)
    tell(arguments.output)


def run(part: str, words: list[str], output: Path, limit: float) -> str:
    """Runs a part in a process group of its own; returns how it ended."""
    command = [sys.executable, "-P", str(Path(__file__).resolve()), *words, "--child", part]
    folder = str(Path(__file__).resolve().parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])}
    with (output / f"{part}.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, env=environment
        )
        try:
            return {0: "done"}.get(process.wait(limit), "failed")
        except subprocess.TimeoutExpired:
            return f"cut off after {limit:.0f} s"
        finally:
            for sign in (signal.SIGTERM, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, sign)
                if sign == signal.SIGTERM:
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(15)


def record(output: Path, part: str, name: str, **values: Any) -> None:
    """Appends a finding to the file of findings, and says it."""
    rounded = {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in values.items()}
    with (output / "gpu.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"part": part, "name": name, **rounded}) + "\n")
    print(name, rounded, flush=True)


def child(part: str, arguments: argparse.Namespace) -> None:
    """Does one part."""
    note = partial(record, arguments.output, part)
    if part in ("checks", "floors", "engine", "vllm"):
        import gpu_torch

        if not gpu_torch.GPU:
            os.environ |= {"VERL_PLATFORM": "cpu", "VERL_USE_EXTERNAL_MODULES": "deepscaler.verl_plugin.cpu.platform"}
        else:
            import torch

            note("card", name_of_card=torch.cuda.get_device_name(), torch=torch.__version__)
        if part != "vllm":
            getattr(gpu_torch, part)(arguments.model, note)
            return
        cache = arguments.output / "vllm-cache" if "BENCH_CACHE" not in os.environ else Path(os.environ["BENCH_CACHE"])
        for again in ("", "1"):
            command = [sys.executable, "-c", _VLLM, arguments.model, str(arguments.output)]
            settings = {
                "VLLM_DISABLE_COMPILE_CACHE": "0",
                "VLLM_CACHE_ROOT": str(cache.resolve()),
                "BENCH_START_ONLY": again,
            }
            settings["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"  # whether there is a GPU was asked in this process
            subprocess.run(command, env={**os.environ, **settings}, check=True)
        return
    train(part, arguments, note)


_VLLM = """
import sys
from functools import partial
from pathlib import Path
import gpu, gpu_torch
if __name__ == "__main__":
    gpu_torch.vllm_engine(sys.argv[1], partial(gpu.record, Path(sys.argv[2]), "vllm"))
"""


def train(part: str, arguments: argparse.Namespace, note: Any) -> None:
    """Trains with the kit's own command, and reads the phases of its steps."""
    import torch

    from deepscaler.system.processes import deepscaler_command

    gpu = torch.cuda.is_available()
    run_folder = arguments.output / ("run-faithful" if part == "resume" else f"run-{part}")
    shape = dict(SHAPE)
    if not gpu:
        shape |= {"max_prompt_length": 128, "max_response_length": 8, "train_batch_size": 2, "mini_batch_size": 2}
        shape |= {"group_size": 2, "kl_coefficient": 0.0, "entropy_coefficient": 0.0, "recompute_log_probs": False}
    steps = arguments.steps + 1 if part == "resume" else arguments.steps
    shape |= {"model": arguments.model, "num_steps": steps}
    settings = [f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in shape.items()]
    command = ["train", "8k", "--device", "cuda" if gpu else "cpu", "--output-dir", str(run_folder)]
    command += ["--profile", "fast" if part == "fast" else "faithful"]
    command += [word for one in (*settings, *arguments.set) for word in ("--set", one)]
    started = time.time()
    subprocess.run(deepscaler_command(command), check=False)
    tell_steps(run_folder, started, note)


def tell_steps(run_folder: Path, started: float, note: Any) -> None:
    """Notes the phases of the first step and the median of the others, by the metrics of the newest attempt."""
    newest = sorted(run_folder.glob("attempts/*/metrics.jsonl"))[-1]
    entries = [json.loads(line)["data"] for line in newest.read_text(encoding="utf-8").splitlines()]
    steps = [entry for entry in entries if "timing_s/step" in entry]
    for name, chosen in (("first step", steps[:1]), ("warm steps", steps[1:])):
        if chosen:
            values = {label: statistics.median(step.get(key, 0.0) for step in chosen) for label, key in PHASES.items()}
            tokens = statistics.median(step["perf/total_num_tokens"] for step in chosen)
            note(name, steps=len(chosen), tokens=tokens, tokens_per_second=tokens / values["step"], **values)
    first = newest.stat().st_mtime - started - sum(step["timing_s/step"] for step in steps[1:])
    note("start to the end of the first step", seconds=first)


def tell(output: Path) -> None:
    """Prints what was found."""
    lines = [json.loads(line) for line in (output / "gpu.jsonl").read_text(encoding="utf-8").splitlines()]
    card = next((line["name_of_card"] for line in lines if "name_of_card" in line), "no GPU")
    print(f"\n{card}")
    for line in lines:
        values = {key: value for key, value in line.items() if key not in ("part", "name")}
        print(
            f"{line['part']:9} {line['name'][:52]:52} " + "  ".join(f"{key} {value}" for key, value in values.items())
        )


if __name__ == "__main__":
    main()
