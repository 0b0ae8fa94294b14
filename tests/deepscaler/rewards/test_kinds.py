r"""Kinds of answers people reported: `kinds.txt` has headings, and lines `+ gold ~ answer`, `- gold ~ answer`.

A line that begins with `?` is a pair on which mathematicians differ: the grader decides it as docs/grading.md says.
"""

import json
from pathlib import Path

import pytest

from deepscaler.rewards import grade, is_equivalent

KINDS = Path(__file__).parent / "kinds.txt"


def kinds() -> dict[str, list[tuple[bool, str, str]]]:
    """Returns the pairs under each heading, with the verdict they should get."""
    found: dict[str, list[tuple[bool, str, str]]] = {}
    for line in KINDS.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            found[line.removeprefix("# ")] = []
        elif line:
            sign, _, rest = line.partition(" ")
            gold, _, answer = rest.partition(" ~ ")
            found[list(found)[-1]].append((sign.endswith("+"), gold, answer.replace(r"\u200b", "\u200b")))
    return found


@pytest.mark.parametrize("kind", kinds())
def test_kind(kind: str) -> None:
    wrong = [(gold, answer) for equal, gold, answer in kinds()[kind] if is_equivalent(answer, gold) != equal]
    assert not wrong, "\n".join(f"{gold} ~ {answer}" for gold, answer in wrong)


@pytest.mark.parametrize(
    ("file", "allowed", "positives"), [("grader_pairs.jsonl", 2, 0), ("grader_pairs_2.jsonl", 15, 3)]
)
def test_labelled_pairs(shared_data: Path, file: str, allowed: int, positives: int) -> None:
    pairs = [
        pair for pair in map(json.loads, (shared_data / file).read_text().splitlines()) if not pair.get("disputed")
    ]
    verdicts = [
        grade(p["pred"], p["gold"]).correct if p.get("response") else is_equivalent(p["pred"], p["gold"]) for p in pairs
    ]
    assert sum(v != p["equal"] for v, p in zip(verdicts, pairs, strict=True)) <= allowed
    assert sum(v and not p["equal"] for v, p in zip(verdicts, pairs, strict=True)) <= positives
