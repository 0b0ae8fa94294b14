r"""What is wrong with the data itself: test problems in the training set, golds that contradict their solutions.

Near-duplicates share at least half of their word 8-grams (Jaccard index; 8 as in the GPT-2 report's overlap
study, section 4). Problems are compared by words, numbers and signs: case, spaces and braces do not hide a copy.
"""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deepscaler.data.clean import clean_gold
from deepscaler.data.fetch import read_rows, source_file
from deepscaler.data.problem import INSTRUCTION, Problem
from deepscaler.data.sources import SOURCES
from deepscaler.rewards import is_equivalent
from deepscaler.rewards.extract import last_boxed

SHINGLE = 8
"""Words in an n-gram."""

NEAR = 0.5
"""Jaccard index of n-grams from which two problems count as near-duplicates."""

_WORD = re.compile(r"[a-z]+|\d+|[-+*/=^<>]")


@dataclass(frozen=True, slots=True)
class Overlap:
    """A test problem that is also in the training set."""

    test_id: str
    train_id: str
    kind: Literal["exact", "near"]
    similarity: float


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A published gold that its own solution does not end in."""

    test_id: str
    golds: tuple[str, ...]
    solution_says: str


def contamination(train: list[Problem], test: list[Problem]) -> list[Overlap]:
    """For each test problem its most similar training problem, if that is exact or near."""
    train_shingles = [_shingles(problem) for problem in train]
    holders: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, shingles in enumerate(train_shingles):
        for shingle in shingles:
            holders[shingle].append(index)
    found = []
    for problem in test:
        shingles = _shingles(problem)
        shared = Counter(index for shingle in shingles for index in holders.get(shingle, ()))
        similar = [(count / len(shingles | train_shingles[index]), -index) for index, count in shared.items()]
        similarity, index = max(similar, default=(0.0, 0))
        if similarity >= NEAR:
            kind: Literal["exact", "near"] = "exact" if _words(problem) == _words(train[-index]) else "near"
            found.append(Overlap(problem.id, train[-index].id, kind, similarity))
    return found


def contradictions(name: str, folder: Path | None) -> list[Contradiction]:
    """Rows whose gold differs from the last box of their solution."""
    source = SOURCES[name]
    found = []
    for row in read_rows(source_file(source, folder), name):
        solution = row.get("solution")
        says = last_boxed(solution) if isinstance(solution, str) else None
        answer = row.get("answer")
        golds = tuple(clean_gold(gold) for gold in (answer if isinstance(answer, list) else [answer]))
        if says and source.key and not any(is_equivalent(says, gold) for gold in golds):
            found.append(Contradiction(f"{name}/{source.key(row)}", golds, says))
    return found


def _words(problem: Problem) -> list[str]:
    return _WORD.findall(problem.question.removesuffix(INSTRUCTION).lower())


def _shingles(problem: Problem) -> frozenset[tuple[str, ...]]:
    """A problem's word n-grams; a shorter problem is one n-gram of its own."""
    words = _words(problem)
    return frozenset(tuple(words[i : i + SHINGLE]) for i in range(max(1, len(words) - SHINGLE + 1)))
