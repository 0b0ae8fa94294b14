"""Simulates engines that pull from the product's own backlog, with lengths like R1's, on 1 to 1,024 GPUs.

Assumptions: a step of an engine with B sequences takes 2.37 + 0.035 B ms, which follows from 13,900 tokens/s with 64
and 22,600 with 256 sequences for a 1.5B model on an H100. An engine has at most 256 sequences; loading takes no time.
Lengths are log-normal with a cut-off at 32,768 (`Lengths`, mean and share cut off by benchmark below), and 60 % of the
variance of their logarithm is between problems.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from math import sqrt

import numpy as np

from deepscaler.recipes.response_lengths import Lengths
from evaluation.engines.backlog import Backlog, fair_share
from evaluation.requests import Key

STEP, STEP_OF_SEQUENCE = 2.37e-3, 0.035e-3
"""Seconds that each sequence adds to a step; STEP is the time of a step without sequences."""
SLOTS = 256
LIMIT = 32_768
BETWEEN = 0.6
BATCH = 2048
"""Requests between two barriers."""
BENCHMARKS = {
    "aime": (30, Lengths(mean=11_000, cut_off=0.10, limit=LIMIT)),
    "amc": (83, Lengths(mean=7_500, cut_off=0.04, limit=LIMIT)),
    "math": (500, Lengths(mean=4_000, cut_off=0.01, limit=LIMIT)),
    "minerva": (272, Lengths(mean=5_500, cut_off=0.02, limit=LIMIT)),
    "olympiad_bench": (675, Lengths(mean=8_000, cut_off=0.05, limit=LIMIT)),
}
Tokens = dict[Key, int]


def lengths(num_samples: int, seed: int = 0) -> Tokens:
    """Returns the length of every sample of the five benchmarks, in tokens."""
    generator, found = np.random.default_rng(seed), {}
    for name, (num_problems, one) in BENCHMARKS.items():
        mu, sigma = one._log_normal
        of_problem = generator.standard_normal((num_problems, 1))
        of_sample = generator.standard_normal((num_problems, num_samples))
        # The shares add up to 1, so that the sum is a standard normal again.
        normal = sqrt(BETWEEN) * of_problem + sqrt(1 - BETWEEN) * of_sample
        tokens = np.clip(np.exp(mu + sigma * normal), 1, LIMIT).astype(int)
        found |= {(f"{name}/{p}", n): int(tokens[p, n]) for p in range(num_problems) for n in range(num_samples)}
    return found


class Engine:
    """Simulates an engine that draws its responses in one continuous batch."""

    def __init__(self) -> None:
        self.now, self._step = 0.0, 0
        self.running: list[tuple[int, Key]] = []

    def add(self, key: Key, tokens: int) -> None:
        """Begins a response."""
        # by the step in which it ends and not by the time, which changes with every response that begins
        heapq.heappush(self.running, (self._step + tokens, key))

    def next_end(self) -> float:
        """Returns the time at which the next response ends, if none begins before."""
        return self.now + (self.running[0][0] - self._step) * (STEP + STEP_OF_SEQUENCE * len(self.running))

    def advance(self) -> Iterator[Key]:
        """Advances to the next end, and yields the responses that end then."""
        self.now, self._step = self.next_end(), self.running[0][0]
        while self.running and self.running[0][0] == self._step:
            yield heapq.heappop(self.running)[1]


def pulled(tokens: Tokens, num_engines: int) -> float:
    """Returns the makespan, in seconds, of engines that pull from one backlog as the kit's do."""
    backlog, share = Backlog(tokens, num_engines), fair_share(len(tokens), num_engines)
    engines = [Engine() for _ in range(num_engines)]
    claimed: list[list[Key]] = [[] for _ in engines]
    ends: list[tuple[float, int]] = []

    def fill(index: int) -> None:
        # called at the start and whenever the engine's own entry was popped, so `ends` never holds two of one
        # engine
        engine, keys = engines[index], claimed[index]
        while len(engine.running) < SLOTS:
            if not keys and len(engine.running) < share:
                keys.extend(reversed(backlog.next_chunk()))
            if not keys:
                break
            # Arguments are evaluated from left to right, so that both are of the last key.
            engine.add(keys[-1], tokens[keys.pop()])
        if engine.running:
            heapq.heappush(ends, (engine.next_end(), index))

    for index in range(num_engines):
        fill(index)
    while ends:
        _, index = heapq.heappop(ends)
        for key in engines[index].advance():
            backlog.drawn(key[0], tokens[key])
        fill(index)
    return max(engine.now for engine in engines)


def alone(requests: Iterable[int]) -> float:
    """Returns the seconds of an engine that draws some responses in one continuous batch."""
    engine, waiting = Engine(), iter(requests)
    for tokens in waiting:
        engine.add(("", 0), tokens)
        if len(engine.running) == SLOTS:
            break
    while engine.running:
        for _ in list(engine.advance()):
            if (tokens := next(waiting, None)) is not None:
                engine.add(("", 0), tokens)
    return engine.now


def equal_shares(tokens: Tokens, num_engines: int) -> float:
    """Returns the makespan if problems are dealt out in turn."""
    problems = list(dict.fromkeys(problem for problem, _ in tokens))
    engine_of = {problem: index % num_engines for index, problem in enumerate(problems)}
    parts: list[list[int]] = [[] for _ in range(num_engines)]
    for (problem, _), length in tokens.items():
        parts[engine_of[problem]].append(length)
    return max(map(alone, parts))


def barriers(tokens: Tokens, num_engines: int) -> float:
    """Returns the makespan of equal shares if every 2,048 requests of an engine wait for the slowest."""
    lengths_of = list(tokens.values())
    return max(sum(map(alone, _batches(lengths_of[index::num_engines]))) for index in range(num_engines))


def _batches(requests: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(requests), BATCH):
        yield requests[start : start + BATCH]


def foreseen(tokens: Tokens, num_engines: int) -> float:
    """Returns the makespan of longest-first scheduling with every length known in advance."""
    waiting = iter(sorted(tokens.values(), reverse=True))
    engines = [Engine() for _ in range(num_engines)]
    for _ in range(min(SLOTS, fair_share(len(tokens), num_engines))):
        for engine in engines:
            if (length := next(waiting, None)) is not None:
                engine.add(("", 0), length)
    ends = [(engine.next_end(), index) for index, engine in enumerate(engines) if engine.running]
    heapq.heapify(ends)
    while ends:
        _, index = heapq.heappop(ends)
        for _ in list(engines[index].advance()):
            if (length := next(waiting, None)) is not None:
                engines[index].add(("", 0), length)
        if engines[index].running:
            heapq.heappush(ends, (engines[index].next_end(), index))
    return max(engine.now for engine in engines)


def lower_bound(tokens: Tokens, num_engines: int) -> float:
    """Returns the seconds that no schedule can beat: all work in full batches, or the longest response alone."""
    work = sum(tokens.values()) * (STEP / SLOTS + STEP_OF_SEQUENCE) / num_engines
    return max(work, max(tokens.values()) * (STEP + STEP_OF_SEQUENCE))


def simulate(num_samples: int, most: int) -> None:
    """Prints the makespans of all schedules, as multiples of the lower bound."""
    tokens = lengths(num_samples)
    cut_off = sum(length == LIMIT for length in tokens.values()) / len(tokens)
    mean = sum(tokens.values()) / len(tokens)
    print(f"{len(tokens):,} samples (n {num_samples}), mean {mean:,.0f} tokens, {cut_off:.1%} cut off")
    print(f"{'GPUs':>5}{'bound, s':>10}{'pulled':>9}{'shares':>9}{'barriers':>9}{'foreseen':>9}   (times the bound)")
    num_engines = 1
    while num_engines <= most:
        bound = lower_bound(tokens, num_engines)
        found = [one(tokens, num_engines) / bound for one in (pulled, equal_shares, barriers, foreseen)]
        print(f"{num_engines:5}{bound:10,.0f}" + "".join(f"{ratio:9.3f}" for ratio in found), flush=True)
        num_engines *= 2
