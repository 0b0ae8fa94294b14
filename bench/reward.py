"""Measures the kit's overhead over a user's own reward function: `python bench/reward.py`.

The script scores 2,048 responses of several thousand characters in three ways. The ways take turns, 256 responses at a
time, so all of them see the same machine: the function called plainly in this process, the same function through the
kit's workers as verl's reward workers await it, and the grader alone. The function sleeps for a millisecond and reads
the whole response.
"""

import argparse
import asyncio
import importlib.util
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from deepscaler.verl_plugin.reward import _own_function, compute_score

NUM_RESPONSES = 2048
TURN = 256
CHARACTERS = 6000
SOURCE = """
import time


def score(response, golds, num_tokens):
    time.sleep({seconds})
    return {{"score": response.count("Wait") / (1 + len(response)), "golds": len(golds)}}
"""


@dataclass(frozen=True)
class Case:
    """Holds a response and its gold."""

    response: str
    gold: str


Way = Callable[[Case], Awaitable[Any]]


def build_case(generator: random.Random) -> Case:
    """Returns a response with several thousand characters of thinking; half the answers need the grader's algebra."""
    a, b = generator.randint(2, 99), generator.randint(2, 99)
    thought = f"Wait, let me check: ${a} \\cdot {b} = {a * b}$, so it is \\boxed{{{a}}}? No. "
    answer, gold = generator.choice(((f"\\sqrt{{{4 * a}}}", f"2\\sqrt{{{a}}}"), (str(a * b), str(a * b))))
    length = generator.randint(CHARACTERS // 2, CHARACTERS * 3 // 2)
    return Case(f"<think>{thought * (length // len(thought))}</think> \\boxed{{{answer}}}", gold)


def main() -> None:
    """Scores the same responses each way, and prints the milliseconds that each way takes and adds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--sleep", type=float, default=0.001, metavar="SECONDS", help="seconds that a call takes by itself"
    )
    parser.add_argument("--num-workers", type=int, default=8, metavar="N", help="the option reward.num_workers")
    arguments = parser.parse_args()
    generator = random.Random(0)
    cases = [build_case(generator) for _ in range(NUM_RESPONSES)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "my_reward.py")
        file.write_text(SOURCE.format(seconds=arguments.sleep), encoding="utf-8")
        function = {"file": f"{file}:score", "timeout": 10.0, "memory": 4.0, "num_workers": arguments.num_workers}
        parts = {"grader": 1.0, "function": 0.5}
        plain = _load(file)
        ways: dict[str, Way] = {
            "plain call": lambda case: _plain(plain, case),
            "kit, one after another": lambda case: compute_score(
                "bench", case.response, [], {"num_tokens": 1}, parts={"function": 1.0}, function=function
            ),
            "grader": lambda case: compute_score("bench", case.response, [case.gold]),
            "grader and kit": lambda case: compute_score(
                "bench", case.response, [case.gold], {"num_tokens": 1}, parts=parts, function=function
            ),
        }
        seconds: dict[str, list[float]] = {name: [] for name in [*ways, "kit, all at once"]}
        for way in ways.values():
            asyncio.run(_in_turn(way, cases[:16]))  # starts the workers
        asyncio.run(_together(ways["kit, one after another"], cases[:64]))
        for start in range(0, len(cases), TURN):
            turn = cases[start : start + TURN]
            for name, way in ways.items():
                seconds[name].append(asyncio.run(_in_turn(way, turn)) / len(turn))
            seconds["kit, all at once"].append(asyncio.run(_together(ways["kit, one after another"], turn)) / len(turn))
        # the cached one, which all the calls above have used: its workers would outlive them
        _own_function(**function).function.close()
    table = Table("way", "ms per response", "slowest turn", "added, ms", title=f"{len(cases)} responses")
    base = {"kit, one after another": "plain call", "kit, all at once": "plain call", "grader and kit": "grader"}
    for name, turns in seconds.items():
        mean = statistics.mean(turns)
        own = statistics.mean(seconds[base[name]]) if name in base else None
        # The function's own time is not overhead; the plain call has it on both sides.
        extra = arguments.sleep if name == "grader and kit" else 0.0
        added = "" if own is None else f"{1000 * (mean - own - extra):.2f}"
        table.add_row(name, f"{1000 * mean:.2f}", f"{1000 * max(turns):.2f}", added)
    Console().print(table)


def _load(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location("plain", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.score


async def _plain(function: Any, case: Case) -> Any:
    return function(response=case.response, golds=[case.gold], num_tokens=1)


async def _in_turn(way: Way, cases: list[Case]) -> float:
    """Returns the seconds for all responses, one after another."""
    started = time.monotonic()
    for case in cases:
        await way(case)
    return time.monotonic() - started


async def _together(way: Way, cases: list[Case]) -> float:
    """Returns the seconds for all responses at once, as the responses of a step arrive."""
    started = time.monotonic()
    await asyncio.gather(*map(way, cases))
    return time.monotonic() - started


if __name__ == "__main__":
    main()
