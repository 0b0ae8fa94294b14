"""The tutorial on SLURM: its commands in the order of the page, and what they print but for its numbers."""

import re
from pathlib import Path

import pytest

from tests.integration.slurm.sandbox import NAME
from tests.places import ROOT
from tests.test_examples import blocks_of, commands_of, dedented, matches, run_command, set_up

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("idle", "training")]

PAGE = ROOT / "docs/slurm-run.md"
LONGEST = 900
"""Seconds for one command, such as one that waits for a checkpoint."""

HOME = "/home/me/deepscaler"
"""The folder of the page's outputs."""


def test_the_tutorial_trains_breaks_resumes_and_evaluates(tmp_path: Path, kept_cache: Path, model: Path) -> None:
    """The page waits by itself for a checkpoint or the end of a job, so nothing is added between its commands."""
    set_up(tmp_path)
    (tmp_path / "cache").symlink_to(kept_cache)  # it holds the small model, whose tokenizer the page's model has
    differ: list[str] = []
    for block in blocks_of(PAGE.read_text()):
        if block.title:
            (tmp_path / block.title).write_text(dedented(block))
        if block.run_by != f"tests/integration/slurm/{Path(__file__).name}":
            continue
        for command in commands_of(block):
            printed = run_command(command, tmp_path, LONGEST).replace(str(tmp_path), HOME).replace(NAME, "node")
            print(f"$ {command}\n{printed}", flush=True)
        if block.output and not matches(masked(printed), masked(dedented(block.output))):
            differ.append(printed)
    assert (tmp_path / "outputs/sums/model/merged.json").is_file()
    assert len(list((tmp_path / "outputs/sums/attempts").iterdir())) == 3, "started, requeued, cancelled and submitted"
    assert not differ, "the page shows something else"


def masked(text: str) -> str:
    """Returns lines without the width of their columns, with every number as `#`."""
    numbers = re.sub(r"\d[\d.,:]*", "#", re.sub("─+", "─", text))
    return "\n".join(" ".join(line.split()) for line in numbers.splitlines())
