"""Measures `deepscaler data prepare` on many problems: processor seconds, peak memory, copies found.

python bench/data.py --rows 40000
"""

import argparse
import json
import os
import random
import resource
import tempfile
from pathlib import Path

from deepscaler.data.own import prepare_own

WORDS = [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(400)]
LENGTH = 50
"""Words in a problem, as in MATH. A tenth of the problems repeat another one plus a sentence, a tenth repeat one."""


def main() -> None:
    """Prepares generated problems and prints one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=40_000)
    rows = parser.parse_args().rows
    # the empty text is there for choice(), which refuses an empty list; texts[1:] below leaves it out
    draw, texts = random.Random(0), [""]
    for number in range(rows):
        text = " ".join(draw.choices(WORDS, k=LENGTH))
        if number % 10 == 8:
            text = draw.choice(texts) + " Give the exact value."
        elif number % 10 == 9:
            text = draw.choice(texts)
        # a copy of that first text would not be a problem
        texts.append(text or "Solve it.")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "made.jsonl")
        with file.open("w", encoding="utf-8") as opened:
            for number, text in enumerate(texts[1:]):
                opened.write(json.dumps({"question": text, "final": number}) + "\n")
        entry = prepare_own(str(file), Path(folder, "data"), called="made")
    # The work is done in a child process (data.convert). Linux gives ru_maxrss in kB.
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{rows:,} problems: {used.ru_utime + used.ru_stime:.1f} s of one processor (of {os.cpu_count()}),"
        f" {used.ru_maxrss / 1e6:.2f} GB; {entry['duplicates']:,} duplicates,"
        f" {entry['near_duplicates']:,} near-duplicates"
    )


if __name__ == "__main__":
    main()
