"""Rollouts and validations as verl writes them, and the data that they come from."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from deepscaler.runs.folder import RunFolder


def question(number: int) -> str:
    return f"What is {number}?"


def prompt(number: int) -> str:
    """A rendered prompt with an example in front, whose question is another problem's."""
    return f"system\nBox it.\nuser\n{question(1)}\nassistant\n\\boxed{{1}}\nuser\n{question(number)}\nassistant\n"


def add_data(run: RunFolder, **datasets: Sequence[int]) -> None:
    """Writes data/validation.parquet with some problems of each data set."""
    rows = [
        {
            "data_source": name,
            "prompt": [{"role": "user", "content": question(number)}],
            "reward_model": {"style": "rule", "ground_truth": [str(number)]},
            "extra_info": {"id": f"{name}/{number}"},
        }
        for name, numbers in datasets.items()
        for number in numbers
    ]
    (run.root / "data").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), run.root / "data" / "validation.parquet")


def add_responses(run: RunFolder, kind: str, step: int, outcomes: dict[int, Sequence[float]], **more: Any) -> Path:
    """Writes one step's file: rewards by problem. A validation also says `acc`."""
    path = run.root / kind / f"{step}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        {
            "input": prompt(number),
            "output": f"</think>It is \\boxed{{{number if reward == 1 else 0}}}.",
            "gts": [str(number)],
            "score": float(reward),
            "step": step,
            "uid": f"uid{number}_{place}_0",
            **({"acc": float(reward == 1), "truncated": 0.0} if kind == "validation" else {}),
            **more,
        }
        for number, rewards in outcomes.items()
        for place, reward in enumerate(rewards)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
