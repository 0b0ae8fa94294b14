"""Simulates how verl spreads the sequences of a batch over GPUs and packs them into micro batches, by sizes alone.

packed([8192, 4096, 4096], groups=1, budget=8192, work=float)    -> [8192.0, 8192.0]
"""

from collections.abc import Callable, Sequence
from heapq import heapify, heapreplace
from math import ceil


def packed(lengths: Sequence[float], groups: int, budget: int, work: Callable[[float], float]) -> list[float]:
    """Returns the work of each micro batch, largest first: that of the group (of GPUs) that has most to do in it.

    Every group gets as many sequences as the others, dealt from the longest back and forth, and as many micro batches,
    for each of its layers is a collective operation. Each micro batch holds at most `budget` tokens and is filled to
    balance the work (verl/utils/seqlen_balancing.py, rearrange_micro_batches; it partitions better by a little).
    """
    assert max(lengths) <= budget, "the recipe sees to it: relations.py"
    dealt: list[list[float]] = [[] for _ in range(groups)]
    for number, length in enumerate(sorted(lengths, reverse=True)):
        turn, place = divmod(number, groups)
        # Back and forth, or the first group would get the longest sequence of every turn.
        dealt[groups - 1 - place if turn % 2 else place].append(length)
    count = max(1, *(ceil(sum(one) / budget) for one in dealt))
    while not (filled := [_filled(one, count, budget, work) for one in dealt if one]) or None in filled:
        count += 1
    # The slowest group of each round: FSDP's collectives make all others wait for it.
    return [max(micro_batch) for micro_batch in zip(*filter(None, filled), strict=True)]


def _filled(lengths: list[float], count: int, budget: int, work: Callable[[float], float]) -> list[float] | None:
    """Returns the work of so many micro batches, largest first; None if one would hold too many tokens.

    The longest sequence left goes where there is least work.
    """
    least = [(0.0, 0.0, number) for number in range(count)]
    heapify(least)
    for length in lengths:
        done, tokens, number = least[0]
        if tokens + length > budget:
            return None
        heapreplace(least, (done + work(length), tokens + length, number))
    return sorted((done for done, _, _ in least), reverse=True)
