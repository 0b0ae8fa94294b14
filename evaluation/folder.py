"""Reads and writes the folder of one evaluation: the options it is bound to, its lock and the paths of its parts.

config.json  provenance.json  problems/NAME.jsonl  samples/NAME.jsonl  scores/NAME.jsonl  report.{json,md,html}
shards/0-of-4/  shards/aime-1-of-2/  ...     each with the same layout, bound to its shard
queue/  shards/0-of-4/{claimed/,alive}     while engines pull from one queue
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
"""Options that may change. The weights' hash, or host and name, identify the model; thinking only affects grading."""

DIFFERING = ("engine", "versions", "git_revision", "hardware")
"""Parts of the provenance that may differ between two attempts at one evaluation."""


class FolderBusyError(UserError):
    """Signals that another process is using a folder."""


@dataclass(frozen=True, slots=True)
class EvaluationFolder:
    """Gives the paths and contents of an evaluation."""

    root: Path

    @property
    def config_path(self) -> Path:
        """Returns the file of the options that the samples were drawn with."""
        return self.root / "config.json"

    @property
    def provenance_path(self) -> Path:
        """Returns the file that records the model, versions, hardware and attempts."""
        return self.root / "provenance.json"

    @property
    def is_bound(self) -> bool:
        """Returns whether an evaluation has begun here."""
        return self.config_path.is_file()

    def shards(self) -> "list[EvaluationFolder]":
        """Returns the shards of this evaluation that have begun."""
        return [EvaluationFolder(path.parent) for path in sorted((self.root / "shards").glob("*/config.json"))]

    @property
    def queue_path(self) -> Path:
        """Returns the folder of work that engines may claim."""
        return self.root / "queue"

    @property
    def claimed_path(self) -> Path:
        """Returns the folder of an engine's claims; only the shard of an engine that pulls from a queue has it."""
        return self.root / "claimed"

    @property
    def alive_path(self) -> Path:
        """Returns the file in which such an engine counts its steps."""
        return self.root / "alive"

    def num_bytes(self) -> int:
        """Returns the bytes of all samples, here and in the shards. The number grows as long as engines draw."""
        paths = (
            path for pattern in ("samples/*.jsonl", "shards/*/samples/*.jsonl") for path in self.root.glob(pattern)
        )
        return sum(file_size(path) for path in paths)

    def samples_path(self, dataset: str) -> Path:
        """Returns the file of one benchmark's responses."""
        return self.root / "samples" / f"{dataset}.jsonl"

    def problems_path(self, dataset: str) -> Path:
        """Returns the file of the questions and golds that one benchmark had."""
        return self.root / "problems" / f"{dataset}.jsonl"

    def scores_path(self, dataset: str, mode: Mode = "kit") -> Path:
        """Returns the file of the grades of one benchmark's responses."""
        return self.root / f"scores{_suffix(mode)}" / f"{dataset}.jsonl"

    def report_path(self, extension: str, mode: Mode = "kit") -> Path:
        """Returns the path of a report: `report.html`, `report-deepscaler.html`, ..."""
        return self.root / f"report{_suffix(mode)}.{extension}"

    def read_config(self) -> dict[str, Any]:
        """Returns the stored options. Raises UserError if this is not an evaluation."""
        return check_stored(self._read_json(self.config_path), self.config_path)

    def read_provenance(self) -> dict[str, Any]:
        """Returns the stored provenance, empty if there is none."""
        provenance = self._read_json(self.provenance_path) if self.provenance_path.is_file() else {}
        if not isinstance(provenance, dict) or not isinstance(provenance.get("attempts", []), list):
            raise UserError(f"{self.provenance_path} is not a provenance of `deepscaler evaluate`; remove it")
        return provenance

    def read_problems(self, dataset: str) -> list[dict[str, Any]]:
        """Returns `{"id", "problem", "golds"}` for every problem of one benchmark. Raises UserError if it is broken."""
        try:
            # split("\n") below, because a problem may hold the other separators at which splitlines() cuts
            text = self.problems_path(dataset).read_text(encoding="utf-8")
            problems = [json.loads(line) for line in text.split("\n")[:-1]]
            # Adding and joining raise TypeError for all but texts, so that one expression checks every part.
            if all(isinstance(p["problem"] + p["id"] + "".join(p["golds"]), str) for p in problems):
                return problems
            raise ValueError("a problem has the wrong form")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(
                f"{self.problems_path(dataset)} cannot be read: {reason(error)}; run the evaluation again"
            ) from error

    def check(self, wanted: dict[str, Any]) -> None:
        """Raises UserError if the folder is bound to other options than these. The model's path does not matter."""
        if not self.is_bound:
            return
        stored = self.read_config()
        found = differences(stored, wanted)
        numbers = {(samples_of(stored, name), samples_of(wanted, name)) for name in wanted["datasets"]}
        found += [f"num_samples: {old} -> {new} (it can only grow)" for old, new in sorted(numbers) if new < old]
        self._refuse(found)

    def check_shards(self, wanted: dict[str, Any]) -> None:
        """Raises UserError if a shard that has begun here was drawn with other options: its samples do not count."""
        for shard in self.shards():
            shard._refuse(differences(shard.read_config(), wanted, (*FREE, "shard")))

    def _refuse(self, found: list[str]) -> None:
        if found:
            raise UserError(
                f"{self.root} holds samples drawn with other options ({'; '.join(found)});"
                " give the old ones or another --output-dir"
            )

    def bind(self, wanted: dict[str, Any]) -> None:
        """Binds the folder to options, or checks that it is bound to them already."""
        if not self.is_bound:
            write_json(self.config_path, wanted)
            return
        self.check(wanted)
        stored = self.read_config()
        # a folder may get more data sets and more samples per problem; anything else would mix two experiments
        datasets = list(dict.fromkeys([*stored["datasets"], *wanted["datasets"]]))
        samples = {name: samples_of(wanted if name in wanted["datasets"] else stored, name) for name in datasets}
        merged = {**wanted, "datasets": datasets, "num_samples": max(samples.values()), "samples": samples}
        if len(set(samples.values())) == 1:
            del merged["samples"]
        write_json(self.config_path, merged)

    def write_problems(self, dataset: str, problems: list[Problem], prompts: Mapping[str, Prompt]) -> None:
        """Stores questions, golds and a hash of each prompt, or checks that they match the stored ones."""
        # The prompt's hash catches a changed chat template or tokenizer, which question and golds do not show.
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
        """Locks the folder against every other process. Raises FolderBusyError if one holds it."""
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
                f"{path} cannot be read ({reason(error)}); give the --output-dir of a `deepscaler evaluate` command"
            ) from error


def differences(stored: dict[str, Any], wanted: dict[str, Any], free: Collection[str] = FREE) -> list[str]:
    """Returns the options that differ between two evaluations, except the free ones; only a shard has a `shard`."""
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
