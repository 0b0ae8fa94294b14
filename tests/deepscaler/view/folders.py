"""Evaluations to look at: finished, at work, and written by an enemy."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation.folder import EvaluationFolder

CONFIG = {
    "model": "org/some-model",
    "datasets": ["aime"],
    "revision": "main",
    "num_samples": 2,
    "temperature": 0.6,
    "top_p": 0.95,
    "max_tokens": 32_768,
    "seed": 0,
    "limit": 0,
    "thinking": "yes",
    "engine": "vllm",
    "dtype": "auto",
    "weights": "sha256:00",
}


def sample(problem: str, number: int, text: str, **changes: Any) -> dict[str, Any]:
    """A line of samples/NAME.jsonl."""
    return {
        "problem_id": problem,
        "sample": number,
        "text": text,
        "prompt_tokens": 20,
        "response_tokens": len(text.split()),
        "finish_reason": "stop",
        "seed": number,
        "started": 1000.0,
        "finished": 1002.0,
        **changes,
    }


def write_lines(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def make_evaluation(
    root: Path,
    problems: dict[str, tuple[str, str]],
    samples: Sequence[dict[str, Any]],
    reasons: dict[tuple[str, int], tuple[str, str | None]] | None = None,
    **config: Any,
) -> EvaluationFolder:
    """Writes a folder: problems by id (text, gold), samples, and what the grader said of some (reason, answer)."""
    folder = EvaluationFolder(root)
    root.mkdir(parents=True, exist_ok=True)
    folder.config_path.write_text(json.dumps({**CONFIG, **config}))
    rows = [{"id": name, "problem": text, "golds": [gold]} for name, (text, gold) in problems.items()]
    write_lines(folder.problems_path("aime"), rows)
    write_lines(folder.samples_path("aime"), samples)
    if reasons is not None:
        scores = [
            {"problem_id": name, "sample": number, "correct": reason == "correct", "reason": reason, "answer": answer}
            for (name, number), (reason, answer) in reasons.items()
        ]
        write_lines(folder.scores_path("aime"), scores)
    return folder


PROBLEMS = {
    "aime/1": (r"What is $\frac{6}{2}$?", "3"),
    "aime/2": ("How many primes are below ten?", "4"),
    "aime/3": ("Which number is even and prime?", "2"),
}
SAMPLES = [
    sample("aime/1", 0, "<think>\nSix by two.\n</think>\nIt is \\(\\boxed{3}\\).", response_tokens=9000),
    sample("aime/1", 1, "<think>\nHalf a dozen?\n</think>\nIt is \\boxed{6}.", response_tokens=500),
    sample("aime/2", 0, "<think>\n2, 3, 5, 7.\n</think>\n\\[ \\boxed{4} \\]", response_tokens=700),
    sample("aime/2", 1, "<think>\non and on", response_tokens=32_768, finish_reason="length"),
    sample("aime/3", 0, "</think> Two, surely.", response_tokens=20),
    sample("aime/3", 1, "</think>\\boxed{x^{x^x}}", response_tokens=30),
]
REASONS = {
    ("aime/1", 0): ("correct", "3"),
    ("aime/1", 1): ("wrong", "6"),
    ("aime/2", 0): ("correct", "4"),
    ("aime/2", 1): ("no_think_end", None),
    ("aime/3", 0): ("no_box", None),
    ("aime/3", 1): ("timeout", "x^{x^x}"),
}


def finished(root: Path, **config: Any) -> EvaluationFolder:
    """Three problems, two samples each, with every kind of end."""
    return make_evaluation(root, PROBLEMS, SAMPLES, REASONS, **config)


NASTY = [
    "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 1'>",
    "<!--<script> <svg onload=window.broken=1> <iframe src=//evil.example></iframe>",
    "\u202eright to left\u202c \u2066 \x00 \x1b[31m \ud83d half",
    r"\(\text{<img src=x onerror=window.broken=1>}\) \(\href{javascript:window.broken=1}{x}\) \(\style{x:y}{z}\)",
    r"$\mathrm{</math><script>window.broken=1</script>}$ \(" + r"\frac{" * 300 + r"\) \boxed{" * 50,
    "__proto__ constructor ${window.broken=1} {{1}} $__proto__$ $constructor$",
]


def hostile(root: Path, megabytes: int = 1) -> EvaluationFolder:
    """A model, its problems and its responses all try to become more than text; one line is long."""
    name = "aime/<b onclick=window.broken=1>"
    problems = {name: (NASTY[0], NASTY[3]), "__proto__": (NASTY[3], "</script>"), "aime/long": ("Long?", "1")}
    texts = [f"<think>{text}</think>{text} \\boxed{{{text}}}" for text in NASTY]
    samples = [sample(key, number, text) for key in (name, "__proto__") for number, text in enumerate(texts)]
    samples.append(sample("aime/long", 0, "<think>" + "ab $x$ \\( " * 100_000 * megabytes + "</think>\\boxed{1}"))
    reasons: dict[tuple[str, int], tuple[str, str | None]] = {
        (one["problem_id"], one["sample"]): ("wrong", NASTY[one["sample"]]) for one in samples
    }
    return make_evaluation(
        root, problems, samples, reasons, model="org/</title><script>window.broken=1</script>", num_samples=6
    )
