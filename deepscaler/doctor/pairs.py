"""Pairs nodes: decides in which order they meet, and which node makes its pairs slow."""

from collections.abc import Iterator, Sequence
from statistics import median

SLOW = 3.0
"""Times slower than the others' median that makes a slow node."""


def rounds(members: Sequence[str]) -> Iterator[list[tuple[str, str]]]:
    """Yields the pairs of each round: every pair comes once, and no node twice in a round."""
    ring = [*members, *([""] if len(members) % 2 else [])]
    for _ in range(len(ring) - 1):
        half = len(ring) // 2
        pairs = zip(ring[:half], reversed(ring[half:]), strict=True)
        yield [(min(pair), max(pair)) for pair in pairs if all(pair)]
        # The circle method of tournaments: the first one stays and all others move on by one.
        ring = [ring[0], ring[-1], *ring[1:-1]]


def slow_nodes(rates: dict[tuple[str, str], float]) -> list[str]:
    """Returns the nodes whose pairs are slow as a rule, each against the pairs without it.

    A pair that was not measured has a rate of 0.
    """
    slow: list[str] = []
    names = sorted({name for pair in rates for name in pair})
    while True:
        left = [name for name in names if name not in slow]
        found = []
        for name in left:
            own = [rate for pair, rate in rates.items() if name in pair and not set(pair) & set(slow)]
            rest = [rate for pair, rate in rates.items() if name not in pair and not set(pair) & set(slow)]
            # without other pairs there is nothing to compare with: of two nodes nobody can say which one is
            # slow
            if own and rest and SLOW * median(own) < median(rest):
                found.append((median(own), name))
        if not found:
            return slow
        # One at a time, the slowest first: its pairs also make its partners look slow.
        slow.append(min(found)[1])
