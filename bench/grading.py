r"""Compares the kit's grader with math-verify on the same responses: `python bench/grading.py [--source DIR]`.

2,048 responses = 128 golds x 16, half of them wrong, each with several thousand characters of thinking before the
answer. Right answers are respelled as models do (`\dfrac`, spaces, units, `x=`, a decimal point); wrong ones are near
misses. math-verify is called as its documentation says: gold in `$...$`, the text after `</think>`, its time-outs off.
CPU seconds count this process and its workers, after both have started.
"""

import argparse
import json
import logging
import os
import random
import re
import time
from dataclasses import dataclass
from pathlib import Path

from math_verify import parse, verify
from rich.console import Console
from rich.table import Table

from deepscaler.rewards import grade
from deepscaler.rewards.grade import hard_case_counts

NUM_GOLDS = 128
SAMPLES_PER_GOLD = 16
THINKING_CHARACTERS = 6000

BUILT_IN_GOLDS = [
    "204", "33", "\\frac{3}{4}", "-\\frac{7}{2}", "2\\sqrt{3}", "\\frac{\\sqrt{2}}{2}", "(3, \\frac{\\pi}{2})", "10080",
    "x^2+2x+1", "[1, 5)", "1, 2, 3", "\\frac{1}{2}\\pi", "0.25", "70", "12\\pi", "3+2\\sqrt{2}", "\\text{Evelyn}", "-5",
    "6.02\\times 10^{23}", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "2k+1", "(-\\infty, 2)", "90^\\circ",
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """Holds a response, its gold, and whether the response was built to be right."""

    response: str
    gold: str
    right: bool


def build_cases(golds: list[str], generator: random.Random) -> list[Case]:
    """Returns responses for each gold, half of them right and half wrong."""
    return [
        Case(_response(_respell(gold, generator) if right else _spoil(gold, generator), generator), gold, right)
        for gold in golds
        for right in [sample % 2 == 0 for sample in range(SAMPLES_PER_GOLD)]
    ]


def load_golds(source: Path | None, generator: random.Random) -> list[str]:
    """Returns golds of four published benchmarks in equal parts, or the built-in ones."""
    if source is None:
        return [generator.choice(BUILT_IN_GOLDS) for _ in range(NUM_GOLDS)]
    golds: list[str] = []
    for name in ("aime", "amc", "math", "olympiad_bench"):
        answers = [row["answer"] for row in json.loads((source / f"{name}.json").read_text(encoding="utf-8"))]
        texts = [
            str(a[0] if isinstance(a, list) else int(a) if isinstance(a, float) else a).strip(" $\n") for a in answers
        ]
        golds += [generator.choice(texts) for _ in range(NUM_GOLDS // 4)]
    return golds


def _respell(gold: str, generator: random.Random) -> str:
    forms = [gold, gold, gold.replace("\\frac", "\\dfrac"), gold.replace(", ", ","), f"{gold}.", f" {gold} "]
    if re.fullmatch(r"\d+", gold):
        forms += [f"{gold}.0", f"x = {gold}", f"{gold}\\text{{ units}}"]
    return generator.choice(forms)


def _spoil(gold: str, generator: random.Random) -> str:
    numbers = list(re.finditer(r"\d+", gold))
    if not numbers:
        return generator.choice([f"-{gold}", f"{gold}+1", "0"])
    number = generator.choice(numbers)
    other = str(int(number.group()) + generator.choice([-2, -1, 1, 2, 10]))
    return gold[: number.start()] + other + gold[number.end() :]


def _response(answer: str, generator: random.Random) -> str:
    thoughts = []
    while sum(map(len, thoughts)) < generator.randint(THINKING_CHARACTERS // 2, THINKING_CHARACTERS * 3 // 2):
        a, b = generator.randint(2, 99), generator.randint(2, 99)
        thoughts.append(
            f"Wait, let me check: ${a} \\cdot {b} = {a * b}$, so $\\frac{{{a}}}{{{b}}}$ is \\boxed{{{a}}}? No. "
        )
    ending = f"So the answer follows.\n\n**Final Answer**\n\\[\n\\boxed{{{answer}}}\n\\]"
    return f"<think>\n{''.join(thoughts)}\n</think>\n\n{ending}"


def cpu_seconds() -> float:
    """Returns the user and system time of this process and all its descendants."""
    ticks, waiting = 0, [os.getpid()]
    while waiting:
        pid = waiting.pop()
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            children = [path.read_text(encoding="utf-8") for path in Path(f"/proc/{pid}/task").glob("*/children")]
        except OSError:
            continue
        # proc(5), fields 14 to 17: time in user and kernel mode, and both of children that were waited for.
        ticks += sum(int(field) for field in fields[11:15])
        waiting += [int(child) for line in children for child in line.split()]
    return ticks / os.sysconf("SC_CLK_TCK")


def grade_with_kit(cases: list[Case]) -> list[bool]:
    """Returns the kit's verdicts."""
    return [grade(case.response, case.gold).correct for case in cases]


def grade_with_math_verify(cases: list[Case]) -> list[bool]:
    """Returns math-verify's verdicts."""
    return [
        bool(
            verify(
                parse(f"${case.gold}$", parsing_timeout=None),
                parse(case.response.rpartition("</think>")[2], parsing_timeout=None),
                timeout_seconds=None,
            )
        )
        for case in cases
    ]


def main() -> None:
    """Grades the same cases with both graders, in turns, and prints the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--source", type=Path, metavar="DIR", help="folder with aime.json, amc.json, math.json, ...")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    generator = random.Random(arguments.seed)
    cases = build_cases(load_golds(arguments.source, generator), generator)
    graders = {"deepscaler.rewards": grade_with_kit, "math-verify": grade_with_math_verify}
    spent, verdicts = dict.fromkeys(graders, 0.0), {name: list[bool]() for name in graders}
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    for grader in graders.values():
        # Starts the workers and imports what is imported late, before the clock runs; sympy has to decide this
        # one.
        grader([Case(_response("2\\sqrt{3}+x", generator), "\\sqrt{12}+x", right=True)])
    wall = time.monotonic()
    for start in range(0, len(cases), 256):  # in turns, so both see the same machine
        for name, grader in graders.items():
            before = cpu_seconds()
            verdicts[name] += grader(cases[start : start + 256])
            spent[name] += cpu_seconds() - before
    table = Table(
        "grader",
        "CPU-s",
        "pairs per CPU-s",
        "as constructed",
        title=f"{len(cases)} responses, {time.monotonic() - wall:.0f} s",
    )
    for name, seconds in spent.items():
        agreement = sum(v == case.right for v, case in zip(verdicts[name], cases, strict=True)) / len(cases)
        table.add_row(name, f"{seconds:.2f}", f"{len(cases) / seconds:,.0f}", f"{agreement:.1%}")
    console = Console()
    console.print(table)
    console.print(
        f"ratio {spent['math-verify'] / spent['deepscaler.rewards']:.1f}x;"
        f" comparisons that needed a worker: {sum(hard_case_counts().values())}"
    )


if __name__ == "__main__":
    main()
