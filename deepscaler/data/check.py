"""Finds what is wrong with the data itself: test problems in a training set, golds that contradict their solutions."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deepscaler.data.clean import clean_gold
from deepscaler.data.fetch import read_rows, source_file
from deepscaler.data.problem import Problem
from deepscaler.data.similar import NEAR, shingles, words
from deepscaler.data.sources import SOURCES
from deepscaler.rewards import is_equivalent
from deepscaler.rewards.extract import last_boxed


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


def contamination(train: Iterable[Problem], test: list[Problem]) -> list[Overlap]:
    """Returns for each test problem its most similar training problem, if that is exact or near."""
    return [overlap(test[index], *best) for index, best in sorted(most_similar(train, test).items())]


def most_similar(train: Iterable[Problem], test: list[Problem]) -> dict[int, tuple[Problem, float]]:
    """Returns for each test problem, by its place, the most similar training problem if it is near, and how near.

    Only the n-grams of the test problems are in memory: training problems pass one by one.
    """
    test_shingles = [shingles(problem.question) for problem in test]
    holders: defaultdict[str, list[int]] = defaultdict(list)
    for index, found in enumerate(test_shingles):
        for shingle in found:
            holders[shingle].append(index)
    best: dict[int, tuple[Problem, float]] = {}
    for problem in train:
        own = shingles(problem.question)
        shared = Counter(index for shingle in own for index in holders.get(shingle, ()))
        for index, count in shared.items():
            similarity = count / (len(own) + len(test_shingles[index]) - count)
            if similarity >= NEAR and (index not in best or similarity > best[index][1]):
                best[index] = (problem, similarity)
    return best


def overlap(test: Problem, train: Problem, similarity: float) -> Overlap:
    """Returns a pair of similar problems as it is reported."""
    kind: Literal["exact", "near"] = "exact" if words(test.question) == words(train.question) else "near"
    return Overlap(test.id, train.id, kind, similarity)


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
