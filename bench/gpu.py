"""Compares a training step on one GPU with its lower bounds: `python bench/gpu.py --model FOLDER --output DIR`.

checks    kernels against float32                     floors   attention, last layer and passes in plain torch
engine    verl's passes over one batch                vllm     generation alone, started without and with a cache
faithful  `deepscaler train`, its phases and steps    fast     the same with --profile fast
stock     faithful, with verl's own defaults           resume   a training that is killed after a save and resumed
evaluation  `deepscaler evaluate`, and plain vLLM on the same requests

Each part is a process with a time limit that writes its findings to DIR/gpu.jsonl at once, so a part that fails or runs
out of time costs only itself. The last three parts need a second call: --parts stock,evaluation,resume. Random weights
will do, so `--model` is the folder of any model. Without a GPU everything is tiny, as a rehearsal.
"""

import argparse
import json
import os
import shutil
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
    "evaluation": 240,
    "resume": 400,
}
"""Most seconds of each part."""

SHAPE = {
    "max_prompt_length": 512,
    "max_response_length": 4096,
    "train_batch_size": 8,
    "mini_batch_size": 8,
    "group_size": 8,
    "gpus_per_node": 1,
    "max_tokens_per_gpu": 18_432,
    "gpu_memory_utilization": 0.5,
    "train_dataset": "arithmetic_train",
    "validation_dataset": "arithmetic",
    "validation_group_size": 1,
    "validate_every": 1000,
    "save_every": 1000,
}
"""Fields of recipe 8k on one GPU: 64 responses of 4,096 tokens per step, four per micro batch."""

REHEARSAL = {
    "max_prompt_length": 128,
    "max_response_length": 8,
    "train_batch_size": 2,
    "mini_batch_size": 2,
    "group_size": 2,
    "kl_coefficient": 0.0,
    "entropy_coefficient": 0.0,
}
"""Fields that turn it into a rehearsal on a machine without a GPU."""

NO_PAUSES = {"trainer.val_before_train": False, "trainer.test_freq": -1, "trainer.save_freq": -1}
"""Keys of verl that disable validation and saving."""

STOCK = {"actor_rollout_ref.model.use_fused_kernels": False, "actor_rollout_ref.rollout.cudagraph_capture_sizes": None}
STOCK_ENVIRONMENT = {"VLLM_DISABLE_COMPILE_CACHE": "1"}
"""verl's defaults that replace the kit's, except for attention, because verl's own needs flash-attn."""

PHASES = {
    "generate and reward": "timing_s/gen",
    "old log-probabilities": "timing_s/old_log_prob",
    "reference": "timing_s/ref",
    "update": "timing_s/update_actor",
    "weights to the rollout": "timing_s/update_weights",
    "step": "timing_s/step",
}


def main() -> None:
    """Runs the requested parts, one after another, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="folder of a model")
    parser.add_argument(
        "--output", type=Path, default=Path("gpu-bench"), help="folder for results (default: %(default)s)"
    )
    parser.add_argument(
        "--parts",
        default="checks,floors,engine,vllm,faithful,fast",
        help="parts to run, each optionally followed by :SECONDS (default: %(default)s)",
    )
    parser.add_argument("--steps", type=int, default=6, help="steps of a training (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=460, help="time for all parts (default: %(default)s)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PART:FIELD=VALUE",
        help="field of a training's recipe, such as fast:offload_actor=true",
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    if arguments.child:
        child(arguments.child, arguments)
        return
    end = time.monotonic() + arguments.seconds
    for word in arguments.parts.split(","):
        part, _, most = word.partition(":")
        limit = min(float(most or PARTS[part]), end - time.monotonic())
        if limit < 10:
            print(f"{part}: no time left")
            continue
        started = time.monotonic()
        outcome = run(part, sys.argv[1:], arguments.output, limit)
        record(arguments.output, part, f"{part}: {outcome}", seconds=time.monotonic() - started)
    tell(arguments.output)


def run(part: str, words: list[str], output: Path, limit: float) -> str:
    """Runs a part in a process group of its own, and returns its outcome."""
    command = [sys.executable, "-P", str(Path(__file__).resolve()), *words, "--child", part]
    folder = str(Path(__file__).resolve().parent)
    # -P keeps the script's own folder off the path, and the other parts are beside it.
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
            # after a good end, too: whatever is left of a part would hold memory of the GPU in the next one
            for sign in (signal.SIGTERM, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, sign)
                if sign == signal.SIGTERM:
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(15)


def record(output: Path, part: str, name: str, **values: Any) -> None:
    """Appends a finding to the file of findings, and prints it."""
    rounded = {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in values.items()}
    with (output / "gpu.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"part": part, "name": name, **rounded}) + "\n")
    print(name, rounded, flush=True)


def child(part: str, arguments: argparse.Namespace) -> None:
    """Runs one part in this process."""
    note = partial(record, arguments.output, part)
    if part in ("faithful", "fast", "stock"):
        train(part, arguments, note)
        return
    import gpu_torch

    if part in ("evaluation", "resume"):
        import gpu_commands

        measure = gpu_commands.evaluation if part == "evaluation" else gpu_commands.resume
        measure(arguments.model, arguments.output, note)
        return
    if gpu_torch.GPU:
        import torch

        note("card", name_of_card=torch.cuda.get_device_name(), torch=torch.__version__)
    else:
        # Before verl is imported, which reads both variables then.
        os.environ |= {"VERL_PLATFORM": "cpu", "VERL_USE_EXTERNAL_MODULES": "deepscaler.verl_plugin.cpu.platform"}
    if part == "vllm":
        start_vllm(arguments)
        return
    import gpu_engines

    parts = {"checks": gpu_torch.checks, "floors": gpu_torch.floors, "engine": gpu_engines.engine}
    parts[part](arguments.model, note)


def start_vllm(arguments: argparse.Namespace) -> None:
    """Starts vLLM twice with one cache of compiled kernels, to generate and then to time the second start."""
    cache = Path(os.environ.get("BENCH_CACHE", arguments.output / "vllm-cache"))
    for again in ("", "1"):
        settings = {
            "VLLM_DISABLE_COMPILE_CACHE": "0",
            "VLLM_CACHE_ROOT": str(cache.resolve()),
            "BENCH_START_ONLY": again,
            "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # this process has used CUDA, so vLLM must not fork
        }
        script = Path(__file__).with_name("gpu_engines.py")
        command = [sys.executable, str(script), arguments.model, str(arguments.output)]
        subprocess.run(command, env={**os.environ, **settings}, check=True)


def train(part: str, arguments: argparse.Namespace, note: Any) -> None:
    """Trains with the kit's settings, without validation and saving, and reads the phases of the steps."""
    from rich.console import Console

    from deepscaler.data.prepare import load_problems
    from deepscaler.recipes.load import load_recipe
    from deepscaler.runs.fence import acquire
    from deepscaler.runs.folder import RunFolder
    from deepscaler.system import processes
    from deepscaler.system.paths import data_dir
    from deepscaler.training.launch import prepare_launch
    from deepscaler.training.manifest import TrainOptions, find_inputs
    from deepscaler.training.start import Start
    from deepscaler.verl_plugin.overrides import to_arguments

    gpu = has_gpu()
    settings = settings_of(model=arguments.model, num_steps=arguments.steps)
    given = [word.partition(":")[2] for word in arguments.set if word.partition(":")[0] == part]
    recipe = load_recipe("8k", "fast" if part == "fast" else "faithful", [*settings, *given])
    options = TrainOptions(run_dir=arguments.output / f"run-{part}", device="cuda" if gpu else "cpu")
    run = RunFolder(options.run_dir.resolve())
    for name in recipe.datasets:
        load_problems(name, data_dir())
    inputs, _ = find_inputs(recipe, options)
    start = Start(run=run, attempt=acquire(run, print), recipe=recipe, options=options, inputs=inputs)
    launch = prepare_launch(start, Console())
    command = [*launch.command, *to_arguments({**NO_PAUSES, **(STOCK if part == "stock" else {})})]
    environment = {**launch.environment, **(STOCK_ENVIRONMENT if part == "stock" else {})}
    log, stamped = start.attempt.log_path, arguments.output / f"{part}.verl.log"
    begin = time.time()
    process = processes.start(command, log=log, environment=environment, folder=launch.folder)
    try:
        log.touch()
        with log.open(encoding="utf-8", errors="replace") as lines, stamped.open("w", encoding="utf-8") as out:
            ended, told = False, 0
            while not ended:
                ended = process.poll() is not None
                for line in lines:
                    out.write(f"{time.time() - begin:6.1f} {line}")
                out.flush()
                told = tell_steps(start.attempt.metrics_path, begin, note, told)
                time.sleep(0.2)
    finally:
        processes.kill(process)
        launch.clean_up()
    print("verl ended with", process.returncode)
    if process.returncode:
        sys.exit(1)


def has_gpu() -> bool:
    """Returns whether there is a GPU, without using CUDA, because vLLM may fork this process."""
    return shutil.which("nvidia-smi") is not None


def settings_of(**changes: Any) -> list[str]:
    """Returns the recipe's fields in the form of `--set`."""
    shape = {**SHAPE, **changes, **({} if has_gpu() else REHEARSAL)}
    return [f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in shape.items()]


def tell_steps(metrics: Path, begin: float, note: Any, told: int) -> int:
    """Records the first step, and after each later one the median of all but the first; returns the number of steps."""
    entries = []
    with suppress(OSError):
        # Without a last line that is still being written.
        whole = metrics.read_text(encoding="utf-8").rpartition("\n")[0]
        entries = [json.loads(line)["data"] for line in whole.splitlines()]
    steps = [entry for entry in entries if "timing_s/step" in entry]
    for number in range(told, len(steps)):
        chosen = steps[number : number + 1] if number == 0 else steps[1 : number + 1]
        values = {label: statistics.median(step.get(key, 0.0) for step in chosen) for label, key in PHASES.items()}
        tokens = statistics.median(step["perf/total_num_tokens"] for step in chosen)
        name = "first step" if number == 0 else f"warm steps, median of {number}"
        note(name, ended=time.time() - begin, tokens=tokens, tokens_per_second=tokens / values["step"], **values)
    return len(steps)


def tell(output: Path) -> None:
    """Prints the findings."""
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
