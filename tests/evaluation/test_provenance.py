"""A stranger can get the numbers again from what the provenance tells."""

import sys
from collections.abc import Iterable, Iterator

import pytest

from deepscaler.models.model import ChatTokenizer, Model
from deepscaler.models.provenance import command_line
from deepscaler.system.files import sha256
from evaluation.folder import EvaluationFolder
from evaluation.provenance import describe
from evaluation.requests import Request
from evaluation.samples import Sample
from tests.evaluation.conftest import CONFIG


class _Tokenizer(ChatTokenizer):
    """Stands where no tokenizer is needed."""


class _Engine:
    """An engine that only says what it is."""

    name = "some-engine"

    def generate(self, requests: Iterable[Request]) -> Iterator[Sample]:
        raise AssertionError("nothing is to be drawn")

    def describe(self) -> dict[str, object]:
        return {"name": self.name, "dtype": "float32"}


def test_everything_that_numbers_depend_on_is_told(finished: EvaluationFolder) -> None:
    model = Model("/models/m", "sha256:00", 4096, "{{ messages }}", _Tokenizer())
    told = describe(finished, CONFIG, model, _Engine(), {"aime": "11"})
    assert told["model"] == {"name": "org/some-model", "revision": "main", "weights": "sha256:00"}
    assert told["chat_template_sha256"] == model.chat_template_sha256
    assert told["engine"]["dtype"] == "float32"
    problems = sha256(finished.problems_path("aime"))
    assert told["datasets"]["aime"] == {"problems_sha256": problems, "prepared_sha256": "11"}
    assert {"torch", "transformers", "mpmath", "sympy", "python", "deepscaler"} <= set(told["versions"])
    assert told["hardware"]["cores"] >= 1
    assert told["hardware"]["memory_gib"] > 0


def test_the_command_is_told_without_the_path_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/opt/bin/deepscaler", "evaluate", "--model", "my m"])
    assert command_line() == "deepscaler evaluate --model 'my m'"
