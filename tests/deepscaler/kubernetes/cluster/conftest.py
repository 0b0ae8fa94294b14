"""kubectl where there is no cluster: a program on PATH that answers from a table."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deepscaler.kubernetes.cluster import compose

Answer = str | tuple[int, str] | list[str | tuple[int, str]]

NOT_FOUND = (1, 'Error from server (NotFound): jobs.batch "x" not found')

PROGRAM = """#!{python} -SE
import fcntl, json, sys
words = sys.argv[1:]
if words[:1] == ["--context"]:
    words = words[4:]
given = sys.stdin.read() if "-" in words else ""
with open("{folder}/calls.jsonl", "a+") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    file.seek(0)
    before = [json.loads(line)["words"] for line in file]
    file.write(json.dumps(dict(words=words, given=given)) + "\\n")
with open("{folder}/answers.json") as file:
    answers = json.load(file)
fits = [key for key in answers if (" ".join(words) + " ").startswith(key + " ") or not key]
if not fits:
    sys.exit("error: the fake kubectl has no answer for: " + " ".join(words))
key = max(fits, key=len)
answer = answers[key]
if answer and isinstance(answer, list) and not isinstance(answer[0], int):
    asked = sum((" ".join(one) + " ").startswith(key + " ") for one in before)
    answer = answer[min(asked, len(answer) - 1)]
code, text = answer if isinstance(answer, list) else (0, answer)
answers_no = words[:2] == ["auth", "can-i"] and text.startswith("no")
print(text, end="", file=sys.stderr if code and not answers_no else sys.stdout)
sys.exit(code)
"""


class Answers(dict[str, Answer]):
    """The table; a change counts from the next call on."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._write()

    def __setitem__(self, words: str, answer: Answer) -> None:
        super().__setitem__(words, answer)
        self._write()

    def __delitem__(self, words: str) -> None:
        super().__delitem__(words)
        self._write()

    def update(self, *others: Any, **more: Any) -> None:
        """Takes over other answers."""
        super().update(*others, **more)
        self._write()

    def _write(self) -> None:
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(self))
        new.replace(self._path)


class FakeKubectl:
    """Answers by the longest beginning of the words that follow context and namespace.

    An answer is text, `(exit code, text on standard error)`, or a list of such: one a call, the last one ever after.
    """

    def __init__(self, folder: Path) -> None:
        self.answers = Answers(folder / "answers.json")
        self._log = folder / "calls.jsonl"
        self._log.touch()

    @property
    def calls(self) -> list[list[str]]:
        """The words of every call, without context and namespace."""
        return [entry["words"] for entry in self._entries()]

    @property
    def given(self) -> list[str]:
        """What came on standard input, of the calls that read it."""
        return [entry["given"] for entry in self._entries() if entry["given"]]

    def _entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]


@pytest.fixture
def kubectl(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> FakeKubectl:
    """A kubectl without answers: give them by `kubectl.answers["get rayjob"] = "..."`."""
    folder = tmp_path_factory.mktemp("kubectl")
    program = folder / "kubectl"
    program.write_text(PROGRAM.format(python=sys.executable, folder=folder))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return FakeKubectl(folder)


@pytest.fixture
def cluster(kubectl: FakeKubectl, monkeypatch: pytest.MonkeyPatch) -> FakeKubectl:
    """A namespace that is set up, without jobs; kustomizations are built by the real kubectl."""
    real = Path(sys.executable).with_name("kubectl")
    monkeypatch.setattr(
        compose, "build", lambda folder: subprocess.check_output([real, "kustomize", folder], text=True)
    )
    kubectl.answers.update(
        {
            "config current-context": "research\n",
            "auth": "yes\n",
            "auth whoami": "jane\n",
            "get": NOT_FOUND,
            "get serviceaccount/deepscaler": "{}",
            "get serviceaccount/deepscaler-chain": "{}",
            "get pvc/deepscaler-runs": "{}",
            "get pvc/deepscaler-cache": "{}",
            "create": "",
            "delete": "",
        }
    )
    return kubectl
