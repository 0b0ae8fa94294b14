"""Every block of commands in the documents is run, and what the documents show of its output is what it prints.

A block of `bash` runs in a folder of its page, after the blocks before it. The block of `text` that follows is the
output of its last command: UPDATE_GOLDEN=1 writes it again, except where a line `...` leaves something out. A block
with a title is a file of that name. What needs more than this machine has a mark before it, which names a test that
runs such commands:

<!-- needs SLURM: tests/integration/slurm/test_commands.py -->
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.places import ROOT
from tests.test_documents import DOCUMENTS

GOLDEN = ROOT / "tests/golden/evaluations"
PAGES = [page for page in DOCUMENTS if page.name != "CHANGELOG.md"]
FENCE = re.compile(r'^( *)```(\w*)(?: title="([^"]+)")?.*?\n(.*?)^\1```$', re.MULTILINE | re.DOTALL)
MARK = re.compile(r"<!-- needs ([^:>]+): (\S+) -->\s*$")


@dataclass
class Block:
    """One block of a page."""

    language: str
    title: str
    text: str
    start: int
    """The character of the page at which its text begins."""
    indent: str
    needs: str = ""
    run_by: str = ""
    output: "Block | None" = field(default=None, repr=False)


def blocks_of(text: str) -> list[Block]:
    """Returns the blocks of a page; the output of commands is with them."""
    found: list[Block] = []
    end = 0
    for match in FENCE.finditer(text):
        block = Block(match[2], match[3] or "", match[4], match.start(4), match[1])
        before = text[end : match.start()]
        end = match.end()
        if mark := MARK.search(before):
            block.needs, block.run_by = mark[1], mark[2]
        if block.language == "text" and found and found[-1].language == "bash" and not before.strip():
            found[-1].output = block
        else:
            found.append(block)
    return found


def commands_of(block: Block) -> list[str]:
    """Returns the commands of a block, each on one line, without comments."""
    text = re.sub(r" *\\\n *", " ", block.text)
    return [line for line in (re.sub(r"\s+# .*", "", line).strip() for line in text.splitlines()) if line]


def name_of(page: Path) -> str:
    """Returns the path of a page in the checkout."""
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_has_a_language_and_every_mark_a_test(page: Path) -> None:
    for block in blocks_of(page.read_text()):
        assert block.language, block.text
        assert not block.run_by or (ROOT / block.run_by).exists(), block.run_by
        assert not block.needs or block.language == "bash", block.text


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Returns a folder with what the pages take as given: three evaluations, and the checkout's files."""
    shutil.copytree(GOLDEN, tmp_path / "outputs")
    set_up(tmp_path)
    return tmp_path


def set_up(workspace: Path) -> None:
    """Gives a folder the checkout's files and the program."""
    for name in ("k8s", "tests", "docker"):
        (workspace / name).symlink_to(ROOT / name)
    (workspace / "bin").mkdir()
    program = workspace / "bin/deepscaler"
    program.write_text(f"#!{sys.executable}\nfrom deepscaler.cli import main\nraise SystemExit(main())\n")
    program.chmod(0o755)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page.read_text())], ids=name_of)
def test_the_commands_of_a_page_run_and_print_what_it_shows(page: Path, workspace: Path) -> None:
    text = page.read_text()
    changes: list[tuple[Block, str]] = []
    for block in blocks_of(text):
        if block.title:
            (workspace / block.title).write_text(dedented(block))
        if block.language != "bash" or block.needs:
            continue
        printed = [run_command(command, workspace) for command in commands_of(block)]
        if block.output and not matches(printed[-1], dedented(block.output)):
            assert os.environ.get("UPDATE_GOLDEN"), f"`make golden`, or by hand around `...`:\n{printed[-1]}"
            assert "\n...\n" not in block.output.text, printed[-1]
            changes.append((block.output, printed[-1]))
    for output, printed_now in reversed(changes):
        new = "".join(f"{output.indent}{line}".rstrip() + "\n" for line in printed_now.strip().splitlines())
        text = text[: output.start] + new + text[output.start + len(output.text) :]
    if changes:
        page.write_text(text)


def run_command(command: str, workspace: Path, seconds: float = 120) -> str:
    """Returns what a command prints; it may use neither a network nor more than this machine."""
    settings = {
        "PATH": f"{workspace / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "100",
        "HF_HUB_OFFLINE": "1",
        "DEEPSCALER_CACHE": str(workspace / "cache"),
    }
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=workspace,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"{command}: code {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def dedented(block: Block) -> str:
    return re.sub(rf"^{block.indent}", "", block.text, flags=re.MULTILINE)


def matches(printed: str, shown: str) -> bool:
    """Returns whether an output is as it is shown, where `...` stands for any lines; spaces at ends do not count."""
    lines = [line.rstrip() for line in shown.strip().splitlines()]
    pattern = "\n".join("(?:.*\n)*?.*" if line == "..." else re.escape(line) for line in lines)
    return re.fullmatch(pattern, "\n".join(line.rstrip() for line in printed.strip().splitlines())) is not None
