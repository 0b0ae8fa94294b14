"""kubectl as a table of answers: a program first on PATH, which leaves `kustomize` to the real one."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from deepscaler.kubernetes.cluster.kubectl import find_kubectl

Answer = str | tuple[int, str]

PROGRAM = """#!{python}
import json, os, sys
from pathlib import Path

folder, words = Path({folder!r}), sys.argv[1:]
if words[0] == "kustomize":
    os.execv({real!r}, [{real!r}, *words])
given = "" if sys.stdin.isatty() or "-f" not in words and "--filename=-" not in words else sys.stdin.read()
while words and words[0] in ("--context", "--namespace"):
    words = words[2:]
with (folder / "calls.jsonl").open("a") as calls:
    calls.write(json.dumps([words, given]) + "\\n")
line = " ".join(words)
answers = json.loads((folder / "answers.json").read_text())
found = max((prefix for prefix in answers if line.startswith(prefix)), key=len, default=None)
code, text = answers[found] if found is not None else (1, f"error: the table has no answer for {{line}}")
(sys.stderr if code else sys.stdout).write(text)
sys.exit(code)
"""


class Answers(dict[str, Answer]):
    """Is written down with each change, for the program."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file
        self._file.write_text("{}")

    def __setitem__(self, words: str, answer: Answer) -> None:
        super().__setitem__(words, answer)
        table = {key: (0, value) if isinstance(value, str) else value for key, value in self.items()}
        self._file.write_text(json.dumps(table))


class FakeKubectl:
    """What kubectl is to answer, by the longest beginning of its words, and what it was asked."""

    def __init__(self, folder: Path) -> None:
        self._calls = folder / "calls.jsonl"
        self.answers = Answers(folder / "answers.json")
        self.answers["config current-context"] = "research\n"

    @property
    def calls(self) -> list[list[str]]:
        """The words of each call, without context and namespace."""
        return [words for words, _ in self._read()]

    @property
    def given(self) -> list[str]:
        """What each call read from standard input, of those that did."""
        return [given for _, given in self._read() if given]

    def _read(self) -> list[Any]:
        return [json.loads(line) for line in self._calls.read_text().splitlines()] if self._calls.exists() else []


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKubectl:
    """`kubectl.answers["get nodes"] = '{"items": []}'`, or `(1, "Error from server (Forbidden): ...")`."""
    folder, real = tmp_path / "kubectl-table", find_kubectl()
    folder.mkdir()
    program = folder / "kubectl"
    program.write_text(PROGRAM.format(python=sys.executable, folder=str(folder), real=real))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return FakeKubectl(folder)
