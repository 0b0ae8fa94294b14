"""Finds faults in the data itself: test problems in a training set, golds that contradict their solutions."""

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
    """Records a test problem that is also in the training set."""

    test_id: str
    train_id: str
    kind: Literal["exact", "near"]
    similarity: float


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Records a published gold that differs from the end of its own solution."""

    test_id: str
    golds: tuple[str, ...]
    solution_says: str


def contamination(train: Iterable[Problem], test: list[Problem]) -> list[Overlap]:
    """Returns the most similar training problem for each test problem that has an exact or near one."""
    return [overlap(test[index], *best) for index, best in sorted(most_similar(train, test).items())]


def most_similar(train: Iterable[Problem], test: list[Problem]) -> dict[int, tuple[Problem, float]]:
    """Returns the most similar training problem and its similarity for each test problem, by index, if one is near.

    Only the n-grams of the test problems are in memory; the training problems pass one by one.
    """
    test_shingles = [shingles(problem.question) for problem in test]
    # An index from n-gram to problems, because comparing each with each takes 40,000 x 1,600 comparisons.
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
    """Returns the record of a pair of similar problems."""
    kind: Literal["exact", "near"] = "exact" if words(test.question) == words(train.question) else "near"
    return Overlap(test.id, train.id, kind, similarity)


def contradictions(name: str, folder: Path | None) -> list[Contradiction]:
    """Returns the rows whose gold differs from the last box of their solution."""
    source = SOURCES[name]
    found = []
    for row in read_rows(source_file(source, folder), name):
        solution = row.get("solution")
        says = last_boxed(solution) if isinstance(solution, str) else None
        answer = row.get("answer")
        golds = tuple(clean_gold(gold) for gold in (answer if isinstance(answer, list) else [answer]))
        # By the grader: a solution may write the gold in another way.
        if says and source.key and not any(is_equivalent(says, gold) for gold in golds):
            found.append(Contradiction(f"{name}/{source.key(row)}", golds, says))
    return found
