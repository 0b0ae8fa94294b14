"""Finds problems that are copies of each other in linear time: exact ones by a hash, near ones by MinHash.

Near-duplicates share at least half of their word 8-grams (Jaccard index; 8 as in the GPT-2 report's overlap
study, section 4). Only words, numbers and signs count, so case, spaces and braces do not hide a copy.

rensa computes the signatures of 40,000 problems and looks them up in 1.6 s, where datasketch takes 81 s. The buckets
are ours and keep one problem each, because a look-up that returns all candidates is quadratic on problems that were
made from one template.
"""

import re
from hashlib import blake2b

from deepscaler.data.problem import INSTRUCTION

SHINGLE = 8
"""Words in an n-gram."""

NEAR = 0.5
"""Least Jaccard index of n-grams at which two problems count as near-duplicates."""

BANDS, ROWS = 20, 3
"""Shape of the MinHash signature. A pair of similarity 0.5 shares a band with 93 %, one of 0.7 with 99.98 %."""

MAX_COMPARED = 150_000
"""Most different problems to search for near-duplicates; each takes 2 kB of memory."""

_WORD = re.compile(r"[a-z]+|\d+|[-+*/=^<>]")


def words(question: str) -> list[str]:
    """Returns the words, numbers and signs by which a question is compared."""
    return _WORD.findall(question.removesuffix(INSTRUCTION).lower())


def shingles(question: str) -> set[str]:
    """Returns a question's word n-grams; a shorter question is one n-gram of its own."""
    found = words(question)
    return {" ".join(found[i : i + SHINGLE]) for i in range(max(1, len(found) - SHINGLE + 1))}


class Duplicates:
    """Counts the copies in a set whose questions arrive one by one."""

    def __init__(self) -> None:
        from rensa import RMinHash  # noqa: PLC0415  a command that compares nothing need not load it

        self._signature = RMinHash
        self._seen: set[bytes] = set()
        self._buckets: dict[int, int] = {}
        """Index of the first question with a band's values, for each band; keeping one keeps the work linear."""
        self._hashes: list[frozenset[int]] = []
        self.exact = self.near = 0

    @property
    def is_complete(self) -> bool:
        """Returns whether every question was compared with all earlier ones."""
        return len(self._hashes) < MAX_COMPARED

    def is_copy(self, question: str) -> bool:
        """Returns whether a question copies an earlier one, and counts it."""
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
        # A fixed seed, so that the same file gives the same notes.
        signature = self._signature(num_perm=BANDS * ROWS, seed=1)
        signature.update(list(found))
        values = signature.digest()
        bands = [hash((band, *values[band * ROWS : (band + 1) * ROWS])) for band in range(BANDS)]
        # Python's hashes are 8 bytes where an n-gram is a text of fifty; they differ by process, and are never kept.
        hashes = frozenset(map(hash, found))
        for index in {self._buckets[band] for band in bands if band in self._buckets}:
            other = self._hashes[index]  # a common band is only a hint; the n-grams themselves decide
            if len(hashes & other) >= NEAR * len(hashes | other):
                return True
        for band in bands:
            self._buckets.setdefault(band, len(self._hashes))
        self._hashes.append(hashes)
        return False
