"""Measures the kit's commands as a user runs them: two parts of bench/gpu.py.

python bench/gpu_commands.py MODEL OUTPUT     plain vLLM on the requests of an evaluation, in a process of its own
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from gpu import has_gpu, settings_of
from gpu import record as write

from deepscaler.runs.checkpoints import sealed
from deepscaler.runs.folder import RunFolder
from deepscaler.system import processes
from deepscaler.system.processes import deepscaler_command
from evaluation.config import EvaluationConfig, to_arguments
from evaluation.folder import EvaluationFolder
from evaluation.samples import Sample, read_samples

DATASET = "arithmetic"
NOT_ARGUMENTS = ("name", "version", "device", "attention")
"""Entries of an evaluation's provenance that are not arguments of vLLM."""

RESUMED = {"max_response_length": 512, "num_steps": 100, "save_every": 2}
"""Fields for short steps, because only the start, the save and the load matter."""

SAVED = "timing_s/save_checkpoint"


def evaluation(model: str, output: Path, record: Callable[..., None]) -> None:
    """Times `deepscaler evaluate`, then vLLM alone. If compile caches are cold, then only for the kit."""
    config, begin = _config(model, output), time.time()
    subprocess.run(deepscaler_command(to_arguments(config)), check=True)
    samples = read_samples(EvaluationFolder(config.output_dir).samples_path(DATASET))
    started, finished = min(one.started for one in samples), max(one.finished for one in samples)
    tokens = sum(one.response_tokens for one in samples)
    seconds = finished - started
    record(
        "deepscaler evaluate, generation",
        samples=len(samples),
        tokens=tokens,
        seconds=seconds,
        tokens_per_second=tokens / seconds,
        seconds_before=started - begin,
        seconds_after=time.time() - finished,
    )
    subprocess.run([sys.executable, str(Path(__file__).resolve()), model, str(output)], check=True)


def _config(model: str, output: Path) -> EvaluationConfig:
    many, length = ((64, 4), 1024) if has_gpu() else ((3, 2), 12)
    return EvaluationConfig(
        model=model,
        output_dir=output / "evaluation",
        datasets=(DATASET,),
        limit=many[0],
        num_samples=many[1],
        max_tokens=length,
    )


def plain_vllm(model: str, output: Path, record: Callable[..., None]) -> None:
    """Hands vLLM all requests of an evaluation at once, with the arguments that the kit gave it."""
    from rich.console import Console

    from evaluation.engines.vllm import _prepare_cpu
    from evaluation.inputs import read_inputs
    from evaluation.requests import to_request

    config = _config(model, output)
    folder = EvaluationFolder(config.output_dir)
    inputs = read_inputs(config, folder, Console())
    requests = [
        to_request((problem_id, sample), ids, config.max_tokens, inputs.context, config.seed)
        for problem_id, ids in inputs.prompts[DATASET].items()
        for sample in range(config.num_samples)
    ]
    if not has_gpu():
        _prepare_cpu()
    # Only now: vLLM reads its variables when it is imported.
    from vllm import LLM, SamplingParams

    engine = folder.read_provenance()["engine"]
    begin = time.time()
    arguments = {name: value for name, value in engine.items() if name not in NOT_ARGUMENTS}
    llm = LLM(model=inputs.model.path, disable_log_stats=True, **arguments)
    prompts: Any = [{"prompt_token_ids": list(one.prompt_token_ids)} for one in requests]
    sampling = [
        SamplingParams(temperature=config.temperature, top_p=config.top_p, max_tokens=one.max_tokens, seed=one.seed)
        for one in requests
    ]
    started = time.time()
    completions = [one.outputs[0] for one in llm.generate(prompts, sampling, use_tqdm=False)]
    seconds, tokens = time.time() - started, sum(len(one.token_ids) for one in completions)
    drawn: dict[tuple[str, int], Sample] = {one.key: one for one in read_samples(folder.samples_path(DATASET))}
    same = sum(
        drawn[one.problem_id, one.sample].text == completion.text
        for one, completion in zip(requests, completions, strict=True)
    )
    record(
        "plain vLLM, the same requests",
        samples=len(requests),
        tokens=tokens,
        seconds=seconds,
        tokens_per_second=tokens / seconds,
        seconds_before=started - begin,
        same_text=same,
    )


def resume(model: str, output: Path, record: Callable[..., None]) -> None:
    """Kills a training once its first checkpoint counts, reruns the same command, and waits for its next step."""
    run = RunFolder((output / "run-resume").resolve())
    # A run of an earlier call would be resumed, and nothing would be saved for the first time.
    shutil.rmtree(run.root, ignore_errors=True)
    words = ["train", "8k", "--output-dir", str(run.root), *([] if has_gpu() else ["--device", "cpu"])]
    words += [word for field in settings_of(model=model, **RESUMED) for word in ("--set", field)]
    train_until_saved(run, words, record)
    resume_until_stepped(run, words, record)
    shutil.rmtree(run.checkpoints)  # it takes gigabytes


def train_until_saved(run: RunFolder, words: list[str], record: Callable[..., None]) -> None:
    """Records the duration of a save; the training is killed in the step after it."""
    begin = time.time()
    with _training(words) as wait:
        while not (found := sealed(run)) or not (steps := [one for one in _steps(run) if SAVED in one]):
            wait()
    record(
        "killed after a save",
        step=found[0].step,
        seconds=time.time() - begin,
        save_seconds=steps[0][SAVED],
        gigabytes=sum(found[0].sizes.values()) / 1e9,
    )


def resume_until_stepped(run: RunFolder, words: list[str], record: Callable[..., None]) -> None:
    """Records the time from the command to the end of the first step after a checkpoint."""
    begin, killed = time.time(), run.attempts()[-1].number
    with _training(words) as wait:
        while run.attempts()[-1].number == killed or not (steps := _steps(run)):
            wait()
    record(
        "resumed",
        step=int(steps[0]["training/global_step"]),
        seconds_to_its_end=time.time() - begin,
        step_seconds=steps[0]["timing_s/step"],
    )


@contextmanager
def _training(words: list[str]) -> Iterator[Callable[[], None]]:
    """Starts a command and kills all of it at the end. Yields a function that waits, and raises if it has ended."""
    process = processes.start(deepscaler_command(words), log=None, environment=os.environ)

    def wait() -> None:
        time.sleep(0.1)
        if process.poll() is not None:
            raise RuntimeError(f"ended with {process.returncode}: deepscaler {' '.join(words)}")

    try:
        yield wait
    finally:
        processes.kill(process)


def _steps(run: RunFolder) -> list[dict[str, float]]:
    """Returns the metrics of the newest attempt's steps, without a last line that is still being written."""
    attempts = run.attempts()
    path = attempts[-1].metrics_path if attempts else run.root / "none"
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0] if path.is_file() else ""
    entries = [json.loads(line)["data"] for line in whole.splitlines()]
    return [entry for entry in entries if "timing_s/step" in entry]


if __name__ == "__main__":
    plain_vllm(sys.argv[1], Path(sys.argv[2]), partial(write, Path(sys.argv[2]), "evaluation"))
