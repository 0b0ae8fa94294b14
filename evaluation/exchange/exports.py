"""Writes an evaluation in the formats of other programs, with this kit's verdicts.

inspect      aime.inspect.json           a log that `inspect view` and `read_eval_log` open
lm-eval      samples_aime_DATE.jsonl     the samples that lm-eval's --log_samples writes
model-index  model-index.yml             the metadata of a model card: Pass@1 with n, interval and protocol
"""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deepscaler import __version__
from deepscaler.data.sources import title
from deepscaler.system.errors import UserError
from deepscaler.system.files import write_text
from evaluation.folder import EvaluationFolder
from evaluation.results import read_results
from evaluation.score import Scored, read_scored

Texts = dict[str, str]
"""Contents of the files to write, by name."""

GENERATION = ("temperature", "top_p", "max_tokens", "seed")
GRADER = "deepscaler"
URL = "https://github.com/agentica-project/deepscaler"
"""Address of the recipe, because a model card requires a URL for a source."""


def export(folder: EvaluationFolder, form: str) -> Texts:
    """Returns the files of a format. Raises UserError if the folder has no report yet."""
    config = folder.read_config()
    results = read_results(folder.report_path("json"))  # its error says how to write a missing report
    names = [name for name in config["datasets"] if name in results.benchmarks]
    if not names:
        raise UserError(f"{folder.root} holds no graded samples; run `deepscaler report {folder.root}`")
    if form == "model-index":
        return {"model-index.yml": _model_index(folder, config)}
    texts = {}
    for name in names:
        file, text = _FORMS[form](folder, name, config)
        texts[file] = text
    return texts


def write_export(texts: Texts, output: Path) -> None:
    """Writes the files, each atomically."""
    for name, text in texts.items():
        write_text(output / name, text)


def _inspect(folder: EvaluationFolder, name: str, config: dict[str, Any]) -> tuple[str, str]:
    problems = {problem["id"]: problem for problem in folder.read_problems(name)}
    scored = read_scored(folder, name)
    accuracy = read_results(folder.report_path("json")).benchmarks[name].pass_at_1
    # The ids follow from the weights and the data set, so exporting again gives the same log.
    times = [one.sample.started for one in scored] + [one.sample.finished for one in scored]
    key = hashlib.sha256(f"{config['weights']} {name}".encode()).hexdigest()[:22]
    log = {
        "version": 2,
        "status": "success",
        "eval": {
            "eval_id": key,
            "run_id": key,
            "task_id": key,
            "created": _moment(min(times)),
            "task": name,
            "dataset": {"name": name, "samples": len(problems), "sample_ids": [*problems], "shuffled": False},
            "model": config["model"],
            "config": {"epochs": config["num_samples"]},
            "packages": {GRADER: __version__},
            "metadata": config,
        },
        "plan": {"name": "plan", "steps": [], "config": _generation(config)},
        "results": {
            "total_samples": len(scored),
            "completed_samples": len(scored),
            "scores": [
                {
                    "name": GRADER,
                    "scorer": GRADER,
                    "metrics": {"accuracy": {"name": "accuracy", "value": accuracy.value}},
                    "metadata": {"interval_95": [accuracy.low, accuracy.high]},
                }
            ],
        },
        "stats": {"started_at": _moment(min(times)), "completed_at": _moment(max(times))},
        "samples": [_inspect_sample(one, problems[one.sample.problem_id], config) for one in scored],
    }
    return f"{name}.inspect.json", json.dumps(log, indent=1) + "\n"


def _inspect_sample(one: Scored, problem: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    sample = one.sample
    answer = {"role": "assistant", "content": sample.text, "source": "generate", "model": config["model"]}
    counts = {"input_tokens": sample.prompt_tokens, "output_tokens": sample.response_tokens}
    usage = {**counts, "total_tokens": sum(counts.values())}
    stop_reason = "max_tokens" if sample.finish_reason == "length" else "stop"
    return {
        "id": sample.problem_id,
        # inspect counts epochs from 1.
        "epoch": sample.sample + 1,
        "input": problem["problem"],
        "target": problem["golds"],
        "messages": [{"role": "user", "content": problem["problem"], "source": "input"}, answer],
        "output": {
            "model": config["model"],
            "choices": [{"message": answer, "stop_reason": stop_reason}],
            "usage": usage,
            "time": sample.finished - sample.started,
        },
        "scores": {
            GRADER: {
                "value": "C" if one.grade.correct else "I",
                "answer": one.grade.answer or "",
                "explanation": one.grade.reason,
            }
        },
        "metadata": {"seed": sample.seed},
        "model_usage": {config["model"]: usage},
    }


def _lm_eval(folder: EvaluationFolder, name: str, config: dict[str, Any]) -> tuple[str, str]:
    by_problem: dict[str, list[Scored]] = {}
    for one in read_scored(folder, name):
        by_problem.setdefault(one.sample.problem_id, []).append(one)
    options = _generation(config)
    options |= {"max_gen_toks": options.pop("max_tokens")} if "max_tokens" in options else {}
    lines = []
    for number, problem in enumerate(folder.read_problems(name)):
        group = by_problem.get(problem["id"], [])
        if not group:
            continue
        texts, target = [one.sample.text for one in group], problem["golds"]
        correct = [one.grade.correct for one in group]
        line = {
            "doc_id": number,
            "doc": {"id": problem["id"], "problem": problem["problem"], "answer": target},
            "target": target[0] if len(target) == 1 else target,
            "arguments": {"gen_args_0": {"arg_0": problem["problem"], "arg_1": options}},
            # lm-eval has a list for each request of a document, and here each document is one request.
            "resps": [texts],
            "filtered_resps": [texts],
            "filter": "none",
            "metrics": ["exact_match"],
            "doc_hash": _hash(json.dumps(problem)),
            "prompt_hash": _hash(problem["problem"]),
            "target_hash": _hash(json.dumps(target)),
            "exact_match": sum(correct) / len(correct),
            "correct": correct,
        }
        lines.append(json.dumps(line) + "\n")
    date = time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime(folder.report_path("json").stat().st_mtime))
    return f"samples_{name}_{date}.jsonl", "".join(lines)


_FORMS: dict[str, Callable[[EvaluationFolder, str, dict[str, Any]], tuple[str, str]]] = {
    "inspect": _inspect,
    "lm-eval": _lm_eval,
}


def _model_index(folder: EvaluationFolder, config: dict[str, Any]) -> str:
    """Returns YAML in which every text is a JSON string, because YAML reads JSON strings unchanged."""
    told = {"n": config["num_samples"], **_generation(config)}
    protocol = ", ".join(f"{name} {value}" for name, value in told.items())
    lines = ["model-index:", f"- name: {json.dumps(config['model'])}", "  results:"]
    for name, one in read_results(folder.report_path("json")).benchmarks.items():
        interval = f"95% interval {one.pass_at_1.low:.1%} to {one.pass_at_1.high:.1%}, clustered by problem"
        label = f"Pass@1 ({protocol}, {one.num_problems} problems; {interval})"
        lines += [
            "  - task:",
            "      type: text-generation",
            "    dataset:",
            f"      name: {json.dumps(title(name))}",
            f"      type: {json.dumps(name)}",
            "    metrics:",
            "    - type: pass@1",
            f"      value: {100 * one.pass_at_1.value:.2f}",
            f"      name: {json.dumps(label)}",
            "    source:",
            '      name: "deepscaler evaluate"',
            f"      url: {json.dumps(URL)}",
        ]
    return "\n".join(lines) + "\n"


def _generation(config: dict[str, Any]) -> dict[str, Any]:
    return {name: config[name] for name in GENERATION if config.get(name) is not None}


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(seconds))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
