"""A finished evaluation that every report test reads: three problems, four samples each, one of every kind of end."""

from pathlib import Path

import pytest

from deepscaler.data.problem import Problem, ask
from evaluation.folder import EvaluationFolder
from evaluation.samples import Sample, SampleStore

CONFIG = {
    "model": "org/some-model",
    "datasets": ["aime"],
    "revision": "main",
    "num_samples": 4,
    "temperature": 0.6,
    "top_p": 0.95,
    "max_tokens": 100,
    "seed": 0,
    "limit": 0,
    "thinking": "yes",
    "engine": "vllm",
    "dtype": "auto",
    "weights": "sha256:00",
}
PROBLEMS = [
    Problem(id=f"aime/{n}", data_source="aime", prompt=ask(f"What is {n}?"), golds=(str(n),)) for n in (1, 2, 3)
]
PROMPTS = {problem.id: (1, 2, index) for index, problem in enumerate(PROBLEMS)}
ENDS = {
    1: [r"</think>\boxed{1}", r"</think>\boxed{1.0}", r"</think>\boxed{x=1}", r"</think>\boxed{1}"],
    2: [r"</think>\boxed{2}", r"</think><script>x</script>\boxed{5}", r"</think>\boxed{5}", "</think> no idea"],
    3: ["<think> and on and on", r"</think>\boxed{7}", r"</think>\boxed{8}", r"</think>\boxed{9}"],
}


def make_sample(problem: int, number: int, text: str) -> Sample:
    return Sample(
        problem_id=f"aime/{problem}",
        sample=number,
        text=text,
        prompt_tokens=20,
        response_tokens=100 if "</think>" not in text else 10 * problem + number,
        finish_reason="length" if "</think>" not in text else "stop",
        seed=number,
        started=1000.0,
        finished=1001.0,
    )


@pytest.fixture
def finished(tmp_path: Path) -> EvaluationFolder:
    folder = EvaluationFolder(tmp_path / "run")
    folder.bind(CONFIG)
    folder.write_problems("aime", PROBLEMS, PROMPTS)
    with SampleStore(folder.samples_path("aime")) as store:
        for number in (3, 1, 0, 2):  # samples are written in the order they finish
            for problem, texts in ENDS.items():
                store.append(make_sample(problem, number, texts[number]))
    return folder
