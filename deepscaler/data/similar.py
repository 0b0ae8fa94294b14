"""Says which problems are copies of each other: exact ones by a hash, near ones by MinHash, in linear time.

Near-duplicates share at least half of their word 8-grams (Jaccard index; 8 as in the GPT-2 report's overlap
study, section 4). Problems are compared by words, numbers and signs: case, spaces and braces do not hide a copy.
"""

import re
from hashlib import blake2b

from deepscaler.data.problem import INSTRUCTION

SHINGLE = 8
"""Words in an n-gram."""

NEAR = 0.5
"""Jaccard index of n-grams from which two problems count as near-duplicates."""

BANDS, ROWS = 20, 3
"""Of the MinHash signature: a pair of similarity 0.5 meets in a band with 93 %, one of 0.7 with 99.98 %."""

MAX_COMPARED = 150_000
"""Different problems that near-duplicates are looked for among; each takes 2 kB of memory."""

_WORD = re.compile(r"[a-z]+|\d+|[-+*/=^<>]")


def words(question: str) -> list[str]:
    """Returns what a question is compared by."""
    return _WORD.findall(question.removesuffix(INSTRUCTION).lower())


def shingles(question: str) -> set[str]:
    """Returns a question's word n-grams; a shorter question is one n-gram of its own."""
    found = words(question)
    return {" ".join(found[i : i + SHINGLE]) for i in range(max(1, len(found) - SHINGLE + 1))}


class Duplicates:
    """Counts the copies in a set whose questions come one by one."""

    def __init__(self) -> None:
        from rensa import RMinHash  # noqa: PLC0415  a command that compares nothing need not load it

        self._signature = RMinHash
        self._seen: set[bytes] = set()
        self._buckets: dict[int, int] = {}
        """The first question with a band's values, for each band: one only, so the work stays linear."""
        self._hashes: list[frozenset[int]] = []
        self.exact = self.near = 0

    @property
    def is_complete(self) -> bool:
        """Whether every question was compared with those before it."""
        return len(self._hashes) < MAX_COMPARED

    def is_copy(self, question: str) -> bool:
        """Returns whether a question was there before, and counts it."""
        digest = blake2b(" ".join(words(question)).encode(), digest_size=8).digest()
        if digest in self._seen:
            self.exact += 1
            return True
        self._seen.add(digest)
        if not self.is_complete:
            return False
        if self._is_near(shingles(question)):
            self.near += 1
            return True
        return False

    def _is_near(self, found: set[str]) -> bool:
        signature = self._signature(num_perm=BANDS * ROWS, seed=1)
        signature.update(list(found))
        values = signature.digest()
        bands = [hash((band, *values[band * ROWS : (band + 1) * ROWS])) for band in range(BANDS)]
        hashes = frozenset(map(hash, found))
        for index in {self._buckets[band] for band in bands if band in self._buckets}:
            other = self._hashes[index]
            if len(hashes & other) >= NEAR * len(hashes | other):
                return True
        for band in bands:
            self._buckets.setdefault(band, len(self._hashes))
        self._hashes.append(hashes)
        return False
