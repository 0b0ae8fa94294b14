"""Evaluation folders with samples and grades, as `deepscaler evaluate` leaves them: 6 problems of two benchmarks."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from deepscaler.data.problem import Problem, ask
from evaluation.folder import EvaluationFolder
from evaluation.report.write import write_report
from evaluation.requests import derive_seed
from evaluation.samples import Sample, SampleStore
from tests.evaluation.conftest import CONFIG

DATASETS = ("aime", "amc")
NUM_SAMPLES = 4


def right(number: int) -> str:
    """Returns a correct response to problem NUMBER."""
    return rf"<think>easy</think>\boxed{{{number}}}"


def wrong(_: int) -> str:
    """Returns a wrong response to any problem."""
    return r"<think>easy enough</think>\boxed{1000}"


def write_folder(
    path: Path,
    solved: Mapping[int, int],
    *,
    texts: tuple[Callable[[int], str], Callable[[int], str]] = (right, wrong),
    num_problems: int = 6,
    prompt: int = 0,
    **config: Any,
) -> EvaluationFolder:
    """Writes and scores an evaluation that solves problem N in the first `solved[N]` samples of each benchmark."""
    folder = EvaluationFolder(path)
    folder.bind({**CONFIG, "datasets": list(DATASETS), "num_samples": NUM_SAMPLES, "weights": "sha256:00"} | config)
    for dataset in DATASETS:
        problems = [
            Problem(id=f"{dataset}/{n}", data_source=dataset, prompt=ask(f"What is <b>{n}</b>?"), golds=(str(n),))
            for n in range(num_problems)
        ]
        folder.write_problems(dataset, problems, {one.id: (prompt, n) for n, one in enumerate(problems)})
        with SampleStore(folder.samples_path(dataset)) as store:
            for n, one in enumerate(problems):
                for sample in range(NUM_SAMPLES):
                    store.append(
                        Sample(
                            problem_id=one.id,
                            sample=sample,
                            text=texts[sample >= solved.get(n, 0)](n),
                            prompt_tokens=20,
                            response_tokens=30,
                            finish_reason="stop",
                            seed=derive_seed(0, one.id, sample),
                            started=1000.0,
                            finished=1001.0,
                        )
                    )
    write_report(folder.root, Console(file=io.StringIO()))
    return folder
