"""The folder of one evaluation: what binds it, who holds it, where its parts lie.

config.json  provenance.json  problems/NAME.jsonl  samples/NAME.jsonl  scores/NAME.jsonl  report.{json,md,html}
shards/0-of-4/  shards/aime-1-of-2/  ...     each of the same form, bound to its shard
queue/  shards/0-of-4/claimed/     while engines pull from one queue
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepscaler.data import Problem
from deepscaler.rewards.grade import Mode
from deepscaler.system.errors import UserError
from deepscaler.system.files import file_size, locked, reason, write_json, write_text
from evaluation.protocols import samples_of
from evaluation.requests import Prompt
from evaluation.stored import check_stored

FREE = ("datasets", "num_samples", "samples", "until", "model", "revision", "thinking", "base_url")
"""Options that may change: the weights' hash, or host and name, tell the model; thinking only matters to the grader."""

DIFFERING = ("engine", "versions", "git_revision", "hardware")
"""Parts of the provenance that may differ between two attempts at one evaluation."""


class FolderBusyError(UserError):
    """Another process is at work in a folder."""


@dataclass(frozen=True, slots=True)
class EvaluationFolder:
    """Paths and contents of an evaluation."""

    root: Path

    @property
    def config_path(self) -> Path:
        """The result-changing options that the samples were drawn with."""
        return self.root / "config.json"

    @property
    def provenance_path(self) -> Path:
        """Model, versions, hardware, attempts."""
        return self.root / "provenance.json"

    @property
    def is_bound(self) -> bool:
        """Whether an evaluation has begun here."""
        return self.config_path.is_file()

    def shards(self) -> "list[EvaluationFolder]":
        """The parts of this evaluation that have begun."""
        return [EvaluationFolder(path.parent) for path in sorted((self.root / "shards").glob("*/config.json"))]

    @property
    def queue_path(self) -> Path:
        """Where work lies that engines may claim."""
        return self.root / "queue"

    @property
    def claimed_path(self) -> Path:
        """Where an engine's claims lie; only the shard of one that pulls from a queue has it."""
        return self.root / "claimed"

    def num_bytes(self) -> int:
        """Returns how many bytes of samples there are, here and in the shards: more as long as some are drawn."""
        paths = (
            path for pattern in ("samples/*.jsonl", "shards/*/samples/*.jsonl") for path in self.root.glob(pattern)
        )
        return sum(file_size(path) for path in paths)

    def samples_path(self, dataset: str) -> Path:
        """The responses of one benchmark."""
        return self.root / "samples" / f"{dataset}.jsonl"

    def problems_path(self, dataset: str) -> Path:
        """The questions and golds that one benchmark had."""
        return self.root / "problems" / f"{dataset}.jsonl"

    def scores_path(self, dataset: str, mode: Mode = "kit") -> Path:
        """The grades of one benchmark's responses."""
        return self.root / f"scores{_suffix(mode)}" / f"{dataset}.jsonl"

    def report_path(self, extension: str, mode: Mode = "kit") -> Path:
        """`report.html`, `report-deepscaler.html`, ..."""
        return self.root / f"report{_suffix(mode)}.{extension}"

    def read_config(self) -> dict[str, Any]:
        """The stored options. Raises UserError where this is no evaluation."""
        return check_stored(self._read_json(self.config_path), self.config_path)

    def read_provenance(self) -> dict[str, Any]:
        """The stored provenance, empty if there is none."""
        provenance = self._read_json(self.provenance_path) if self.provenance_path.is_file() else {}
        if not isinstance(provenance, dict) or not isinstance(provenance.get("attempts", []), list):
            raise UserError(f"{self.provenance_path} is no provenance of `deepscaler evaluate`; remove it")
        return provenance

    def read_problems(self, dataset: str) -> list[dict[str, Any]]:
        """The `{"id", "problem", "golds"}` of one benchmark."""
        try:
            text = self.problems_path(dataset).read_text(encoding="utf-8")
            problems = [json.loads(line) for line in text.split("\n")[:-1]]
            if all(isinstance(p["problem"] + p["id"] + "".join(p["golds"]), str) for p in problems):
                return problems
            raise ValueError("a problem has the wrong form")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(
                f"{self.problems_path(dataset)} cannot be read: {reason(error)}; run the evaluation again"
            ) from error

    def check(self, wanted: dict[str, Any]) -> None:
        """Raise UserError if the folder is bound to other options than these; where the model lies does not matter."""
        if not self.is_bound:
            return
        stored = self.read_config()
        found = differences(stored, wanted)
        numbers = {(samples_of(stored, name), samples_of(wanted, name)) for name in wanted["datasets"]}
        found += [f"num_samples: {old} -> {new} (it can only grow)" for old, new in sorted(numbers) if new < old]
        self._refuse(found)

    def check_shards(self, wanted: dict[str, Any]) -> None:
        """Raise UserError if a shard that has begun here was drawn with other options: its samples do not count."""
        for shard in self.shards():
            shard._refuse(differences(shard.read_config(), wanted, (*FREE, "shard")))

    def _refuse(self, found: list[str]) -> None:
        if found:
            raise UserError(
                f"{self.root} holds samples drawn with other options ({'; '.join(found)});"
                " give the old ones or another --output-dir"
            )

    def bind(self, wanted: dict[str, Any]) -> None:
        """Tie the folder to options, or check that it is tied to these.

        A folder may be extended: more data sets, more samples per problem. Anything else would mix two experiments.
        """
        if not self.is_bound:
            write_json(self.config_path, wanted)
            return
        self.check(wanted)
        stored = self.read_config()
        datasets = list(dict.fromkeys([*stored["datasets"], *wanted["datasets"]]))
        samples = {name: samples_of(wanted if name in wanted["datasets"] else stored, name) for name in datasets}
        merged = {**wanted, "datasets": datasets, "num_samples": max(samples.values()), "samples": samples}
        if len(set(samples.values())) == 1:
            del merged["samples"]
        write_json(self.config_path, merged)

    def write_problems(self, dataset: str, problems: list[Problem], prompts: Mapping[str, Prompt]) -> None:
        """Keep questions, golds and a hash of each prompt, or check that they are the ones kept."""
        lines = [
            {"id": p.id, "problem": p.question, "golds": list(p.golds), "prompt_sha256": _hash(prompts[p.id])}
            for p in problems
        ]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        path = self.problems_path(dataset)
        if path.is_file() and path.read_text(encoding="utf-8") != text:
            raise UserError(
                f"{path} holds other problems or prompts than {dataset} has now (was the data, the chat template or"
                " the tokenizer changed?); use another --output-dir"
            )
        if not path.is_file():
            write_text(path, text)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other process out. Raises FolderBusyError if one is at work here."""
        if self.is_bound:
            self.read_config()  # refuses a foreign folder before anything is written to it
        with locked(
            self.root, FolderBusyError(f"another process is evaluating into {self.root}; wait for it or stop it")
        ):
            yield

    def _read_json(self, path: Path) -> Any:
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(
                f"{path} cannot be read ({reason(error)}); {self.root} is no folder of `deepscaler evaluate`"
            ) from error


def differences(stored: dict[str, Any], wanted: dict[str, Any], free: Collection[str] = FREE) -> list[str]:
    """What separates the options of two evaluations, but for those that may differ; only a shard has a `shard`."""
    return [
        f"{name}: {stored.get(name, '')!r} -> {wanted.get(name, '')!r}"
        for name in dict.fromkeys([*wanted, "shard"])
        if name not in free and stored.get(name, "") != wanted.get(name, "")
    ]


def _suffix(mode: Mode) -> str:
    return "" if mode == "kit" else f"-{mode}"


def _hash(prompt: Prompt) -> str:
    text = " ".join(part if isinstance(part, str) else json.dumps(part) for part in prompt)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
