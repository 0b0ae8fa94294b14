"""Fuzzes the grader's text stage for exceptions and slow inputs: `python tools/fuzz_grader.py -max_total_time=3600`.

atheris feeds bytes as an answer and a gold; options are libFuzzer's. Found inputs are written to `crash-*`.
"""

import sys
import time

import atheris

with atheris.instrument_imports(include=["deepscaler.rewards"]):
    from deepscaler.rewards.answers import scanner, structure
    from deepscaler.rewards.answers.equivalence import compare
    from deepscaler.rewards.answers.literals import decide_cheaply
    from deepscaler.rewards.extract import after_thinking, last_boxed

SLOW = 2.0
"""Seconds of processor time for the longest text within the bounds, instrumented; uninstrumented it is a tenth."""

PIECES = [
    *("\\frac", "\\sqrt", "\\text{", "{", "}", "(", ")", "\\{", "\\}", "[", "]", "|", "^", "_", ",", ";", ":", "."),
    *("\\begin{pmatrix}", "\\end{pmatrix}", "&", "\\\\", "\\left", "\\right", "\\in", "\\mathbb{Z}", "\\pm", "\\cup"),
    *("\\not", "1", "23", "1,000", "0.5", "x", "f(x)", "cm", " hours ", " and ", " or ", " for all ", "million", "%"),
    *("\\circ", "'", "!", "=", "<", ">", "\\le", "\\sin", "\\log", "\\sum", "\\int", "\\dot", "\\overline{", "½"),
    *("²", "₂", "个", "√", "\\boxed{", "</think>"),
]  # fmt: skip


def one_input(data: bytes) -> None:
    """Compares what the bytes choose, with short repetitions turned into long ones."""
    provider = atheris.FuzzedDataProvider(data)
    repeats = provider.ConsumeIntInRange(1, 40)
    chosen = [PIECES[provider.ConsumeIntInRange(0, len(PIECES) - 1)] for _ in range(provider.ConsumeIntInRange(1, 24))]
    text = ("".join(chosen) * repeats)[: scanner.MAX_LENGTH]
    other = provider.ConsumeUnicodeNoSurrogates(60)
    # An answer out of the cache takes no time, and would hide a slow one.
    scanner.tokenize.cache_clear()
    structure._read.cache_clear()
    started = time.process_time()
    for answer, gold in ((text, "x+1"), ("42", text), (text, other), (other, text)):
        if compare(answer, gold, decide_cheaply) not in (True, False, None):
            raise AssertionError((answer, gold))
    last_boxed(after_thinking(f"<think>{other}</think>{text}") or "")
    if (seconds := time.process_time() - started) > SLOW:
        raise AssertionError(f"{seconds:.1f} s: {text!r}")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
