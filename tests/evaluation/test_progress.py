"""Progress is a live bar on a terminal and quiet lines in a log."""

import io

from rich.console import Console

from evaluation.progress import show_progress
from tests.evaluation.conftest import make_sample


def shown(*, terminal: bool, interval: float) -> str:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=100)
    with show_progress(console, done=2, total=5, interval=interval) as bar:
        for number in range(3):
            bar.advance(make_sample(1, number, "</think>"))
    return output.getvalue()


def test_a_log_gets_its_last_line_and_no_control_characters() -> None:
    text = shown(terminal=False, interval=60)
    assert text.startswith("5/5 samples, ")
    assert text.endswith("tok/s, 0 s left\n")
    assert text.count("\n") == 1


def test_a_log_gets_a_line_an_interval() -> None:
    assert [line.split()[0] for line in shown(terminal=False, interval=0).splitlines()] == ["3/5", "4/5", "5/5"]


def test_a_terminal_gets_a_bar() -> None:
    text = shown(terminal=True, interval=60)
    assert "5/5" in text
    assert "\x1b[" in text
