"""Reads the samples of other programs, in the child process. Each format is one function from a file to responses.

lm-eval    samples_TASK_DATE.jsonl of --log_samples      lighteval  details_TASK_DATE.parquet of --save-details
inspect    LOG.eval or LOG.json                          verl       STEP.jsonl of rollout_data_dir, validation_data_dir
jsonl      one response per line, in columns that the user names
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from deepscaler.data.rows import read_rows
from evaluation.exchange.found import Found, checked, golds_of, verdict
from evaluation.exchange.inspect_log import read_inspect
from evaluation.responses import Columns, read_responses

Reader = Callable[[Path, Columns], Iterator[Found]]

QUESTIONS = ("problem", "question", "prompt", "input")
"""Columns that may hold a row's question, the likeliest first."""


def _lm_eval(file: Path, columns: Columns) -> Iterator[Found]:
    task = re.sub(r"^samples_|_\d{4}-\d\d-\d\dT.*$", "", file.stem)
    return checked(read_rows(file), partial(_lm_eval_row, task, {}), str(file), "lm-eval's samples")


def _lm_eval_row(task: str, filters: dict[str, str], row: dict[str, Any]) -> Iterator[Found]:
    if filters.setdefault("", row.get("filter", "")) != row.get("filter", ""):
        return  # lm-eval repeats the same responses for each filter; only the first filter's rows count
    told = row["arguments"]
    if isinstance(told, dict):
        prompt, options = told["gen_args_0"]["arg_0"], told["gen_args_0"].get("arg_1") or {}
    else:
        prompt, options = told[0]  # the format before lm-eval 0.4.3
    question = next((row["doc"][name] for name in QUESTIONS if isinstance(row["doc"].get(name), str)), prompt)
    texts = [text for several in row["resps"] for text in several]
    score = row.get(row["metrics"][0]) if row.get("metrics") else None
    for text in texts:
        yield Found(
            dataset=task,
            question=str(question),
            golds=golds_of(row["target"]),
            text=_text(text),
            # Of several texts it is a mean, or that of the best one, and no verdict on any.
            score=verdict(score) if len(texts) == 1 else None,
            told=_told(options, max_tokens=options.get("max_gen_toks")),
        )


def _lighteval(file: Path, columns: Columns) -> Iterator[Found]:
    return checked(read_rows(file), _lighteval_row, str(file), "lighteval's details")


def _lighteval_row(row: dict[str, Any]) -> Iterator[Found]:
    doc, answer = row["doc"], row["model_response"]
    indexes = doc["gold_index"] if isinstance(doc["gold_index"], list) else [doc["gold_index"]]
    scores = [value for name, value in row["metric"].items() if len(answer["text"]) == 1 or name.startswith("avg@")]
    for number, text in enumerate(answer["text"]):
        tokens = answer["output_tokens"] or []
        yield Found(
            dataset=str(doc["task_name"]).partition("|")[0],
            question=str(doc["query"]),
            golds=golds_of([doc["choices"][index] for index in indexes]),
            text=_text(text),
            score=verdict(scores[0]) if scores else None,  # an average decides each response only if it is 0 or 1
            response_tokens=len(tokens[number]) if number < len(tokens) else 0,
        )


def _verl(file: Path, columns: Columns) -> Iterator[Found]:
    return checked(read_rows(file), partial(_verl_row, file.stem), str(file), "verl's rollouts")


def _verl_row(step: str, row: dict[str, Any]) -> Iterator[Found]:
    yield Found(
        dataset=str(row.get("data_source", f"step-{row.get('step', step)}")),
        question=str(row["input"]),
        golds=golds_of(row["gts"]),
        text=_text(row["output"]),
        score=verdict(row.get("acc", row["score"])),  # `score` may be a sum of several rewards, `acc` is the grade
        finish_reason="length" if row.get("truncated") else "stop",
    )


def _jsonl(file: Path, columns: Columns) -> Iterator[Found]:
    for key, response, gold, row in read_responses(file, columns):
        names = [columns.problem] if columns.problem else QUESTIONS
        question = next((row[name] for name in names if isinstance(row.get(name), str)), key)
        yield Found(dataset=file.stem, question=question, golds=golds_of(gold), text=response)


READERS: dict[str, Reader] = {
    "lm-eval": _lm_eval,
    "lighteval": _lighteval,
    "inspect": lambda file, columns: read_inspect(file),
    "verl": _verl,
    "jsonl": _jsonl,
}


def _told(options: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Returns the options that are numbers."""
    named = {**{name: options.get(name) for name in ("temperature", "top_p", "seed")}, **more}
    return {name: value for name, value in named.items() if type(value) in (int, float)}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a response is not a text")
    return value
