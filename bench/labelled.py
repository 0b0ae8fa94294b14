r"""Measures the figures of docs/grading.md: labeled pairs, golds against their own rewrites, the time of the import.

`python bench/labelled.py DIR [--show]` reads grader_pairs.jsonl, grader_pairs_2.jsonl and the five benchmarks from DIR.
It compares every gold with itself and with rewrites of it (spaces, \left, \dfrac, braces).
"""

import argparse
import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deepscaler.rewards import grade, is_equivalent

PAIRS = ("grader_pairs.jsonl", "grader_pairs_2.jsonl")
BENCHMARKS = ("aime", "amc", "math", "minerva", "olympiad_bench")


def rewrites(gold: str) -> Iterator[str]:
    """Yields the gold and other ways to write it."""
    yield gold
    yield f"  {gold} "
    # a gold that has \dfrac already would get \ddfrac
    yield gold.replace("\\frac", "\\dfrac").replace("\\ddfrac", "\\dfrac")
    yield (
        re.sub(r"(?<![\\\w])\(", r"\\left(", gold).replace(")", "\\right)") if _closes(gold) else f"${gold.strip('$')}$"
    )
    # not after a letter, where the sign may belong to a command such as \left<
    yield re.sub(r"(?<![\\a-zA-Z\s])\s*([=+<>])\s*(?!\s)", r" \1 ", gold)
    yield re.sub(r"\^(\d)(?!\d)", r"^{\1}", re.sub(r"_(\w)", r"_{\1}", gold))
    yield f"\\boxed{{{gold.strip().strip('$')}}}" if "$" not in gold.strip().strip("$") else f"{gold}."


def _closes(gold: str) -> bool:
    return (
        gold.count("(") == gold.count(")") == len(re.findall(r"(?<![\\\w])\(", gold))
        and "[" not in gold
        and "\\right" not in gold
    )


def golds(folder: Path) -> list[str]:
    """Returns every gold of the five benchmarks, as `data prepare` writes them."""
    found = []
    for name in BENCHMARKS:
        for row in json.loads((folder / f"{name}.json").read_text(encoding="utf-8")):
            answers = row["answer"] if isinstance(row["answer"], list) else [row["answer"]]
            # the files have 204.0 where `data prepare` writes 204
            found += [str(int(a) if isinstance(a, float) and a.is_integer() else a).strip() for a in answers]
    return found


def labelled(path: Path) -> tuple[int, list[tuple[str, str, str, float]], float]:
    """Returns the number of undisputed pairs, the wrongly decided pairs, and the slowest time in seconds."""
    wrong, total, slowest = [], 0, 0.0
    for pair in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
        if pair.get("disputed"):
            continue
        started = time.monotonic()
        verdict = (
            grade(pair["pred"], pair["gold"]).correct
            if pair.get("response")
            else is_equivalent(pair["pred"], pair["gold"])
        )
        seconds = time.monotonic() - started
        slowest = max(slowest, seconds)
        total += 1
        if verdict != pair["equal"]:
            wrong.append(("false positive" if verdict else "miss", pair["gold"], pair["pred"][-100:], seconds))
    return total, wrong, slowest


def import_seconds(module: str) -> float:
    """Returns the least processor time of five imports, each in its own process, without Python's own start."""

    def best(code: str) -> float:
        times = []
        for _ in range(5):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-c", code], check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        # The least, because other processes only ever make it longer.
        return min(times)

    return best(f"import {module}") - best("pass")


def main() -> None:
    """Measures everything and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--show", action="store_true", help="print every wrong verdict")
    arguments = parser.parse_args()
    # Starts the workers, which the first pair's time must not include.
    is_equivalent(r"\sqrt{12}+x", r"2\sqrt{3}+x")
    console, table = Console(), Table("pairs", "number", "right", "false positives", "misses", "slowest, s")
    shown: list[tuple[str, str, str, float]] = []
    for name in PAIRS:
        total, wrong, slowest = labelled(arguments.folder / name)
        positives = sum(kind == "false positive" for kind, *_ in wrong)
        table.add_row(
            name,
            str(total),
            f"{1 - len(wrong) / total:.1%}",
            str(positives),
            str(len(wrong) - positives),
            f"{slowest:.2f}",
        )
        shown += wrong
    own = golds(arguments.folder)
    pairs = [(text, gold) for gold in own for text in rewrites(gold)]
    missed = [("miss", gold, text, 0.0) for text, gold in pairs if not is_equivalent(text, gold)]
    table.add_row(
        f"{len(own)} golds rewritten", str(len(pairs)), f"{1 - len(missed) / len(pairs):.2%}", "", str(len(missed)), ""
    )
    console.print(table)
    console.print(f"import deepscaler.rewards: {import_seconds('deepscaler.rewards'):.3f} s")
    if arguments.show:
        for kind, gold, text, seconds in shown + missed:
            # rich would read an interval such as [1, 5) as markup
            console.print(f"{kind} ({seconds:.1f} s): {gold!r} ~ {text!r}", markup=False)


if __name__ == "__main__":
    main()
