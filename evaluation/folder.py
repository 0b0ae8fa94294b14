"""The folder of one evaluation: what binds it, who holds it, where its parts lie.

config.json  provenance.json  problems/NAME.jsonl  samples/NAME.jsonl  scores/NAME.jsonl  report.{json,md,html}
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepscaler.data import Problem
from deepscaler.errors import UserError
from deepscaler.files import write_json, write_text


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

    def samples_path(self, dataset: str) -> Path:
        """The responses of one benchmark."""
        return self.root / "samples" / f"{dataset}.jsonl"

    def problems_path(self, dataset: str) -> Path:
        """The questions and golds that one benchmark had."""
        return self.root / "problems" / f"{dataset}.jsonl"

    def scores_path(self, dataset: str) -> Path:
        """The grades of one benchmark's responses."""
        return self.root / "scores" / f"{dataset}.jsonl"

    def read_config(self) -> dict[str, Any]:
        """The stored options. Raises UserError where this is no evaluation."""
        return self._read_json(self.config_path)

    def read_provenance(self) -> dict[str, Any]:
        """The stored provenance, empty if there is none."""
        return self._read_json(self.provenance_path) if self.provenance_path.is_file() else {}

    def read_problems(self, dataset: str) -> list[dict[str, Any]]:
        """The `{"id", "problem", "golds"}` of one benchmark."""
        try:
            text = self.problems_path(dataset).read_text(encoding="utf-8")
            return [json.loads(line) for line in text.splitlines()]
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self.problems_path(dataset)} cannot be read: {error}; run the evaluation again"
            ) from error

    def bind(self, wanted: dict[str, Any]) -> None:
        """Tie the folder to options, or check that it is tied to these.

        A folder may be extended: more data sets, more samples per problem. Anything else would mix two experiments.
        """
        if not self.config_path.is_file():
            write_json(self.config_path, wanted)
            return
        stored = self.read_config()
        differences = [
            f"{name}: {stored.get(name)!r} -> {value!r}"
            for name, value in wanted.items()
            if name not in ("datasets", "num_samples") and stored.get(name) != value
        ]
        if wanted["num_samples"] < stored["num_samples"]:
            differences.append(f"num_samples: {stored['num_samples']} -> {wanted['num_samples']} (it can only grow)")
        if differences:
            raise UserError(
                f"{self.root} holds samples drawn with other options ({'; '.join(differences)});"
                " give the old ones or another --output-dir"
            )
        datasets = list(dict.fromkeys([*stored["datasets"], *wanted["datasets"]]))
        write_json(self.config_path, {**wanted, "datasets": datasets})

    def write_problems(self, dataset: str, problems: list[Problem]) -> None:
        """Keep the questions and golds, or check that they are the ones kept."""
        lines = [{"id": p.id, "problem": p.question, "golds": list(p.golds)} for p in problems]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        path = self.problems_path(dataset)
        if path.is_file() and path.read_text(encoding="utf-8") != text:
            raise UserError(f"{path} holds other problems than {dataset} has now; use another --output-dir")
        if not path.is_file():
            write_text(path, text)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other process out. Raises UserError if one is at work here."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = (self.root / ".lock").open("w")
        except OSError as error:
            raise UserError(f"cannot write to {self.root}: {error.strerror}; choose another --output-dir") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"another process is evaluating into {self.root}; wait for it or stop it") from None
            yield

    def _read_json(self, path: Path) -> dict[str, Any]:
        try:
            value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path} cannot be read ({error}); {self.root} is no folder of `deepscaler evaluate`"
            ) from error
        return value
