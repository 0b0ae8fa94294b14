"""The documents as a site, and the pages that are written from the code."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deepscaler.commands.table import COMMANDS
from tests.places import ROOT
from tools.reference import TARGET, pages

SOURCES = ("docs", "tools", "mkdocs.yml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "pyproject.toml")


def build(root: Path) -> subprocess.CompletedProcess[str]:
    """Builds the site of a checkout as `make docs` does."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Returns a copy of what the site is built from, to which links outside of docs/ lead too."""
    for child in ROOT.iterdir():
        if child.name in SOURCES and child.is_dir():
            shutil.copytree(child, tmp_path / child.name)
        elif child.name in SOURCES:
            shutil.copy(child, tmp_path)
        elif child.name in ("deepscaler", "k8s", "slurm", "docker", "tests", ".github", "evaluation", "bench"):
            (tmp_path / child.name).symlink_to(child)
    return tmp_path


def test_the_site_is_whole_and_needs_no_network(checkout: Path) -> None:
    built = build(checkout)
    assert built.returncode == 0, built.stderr
    home = (checkout / "site/index.html").read_text()
    assert 'href="kubernetes.html"' in home
    assert (checkout / "site/search/search_index.js").exists(), "searchable from a disk"
    for page in (checkout / "site").rglob("*.html"):
        text = page.read_text()
        assert 'src="http' not in text, page
        assert 'rel="stylesheet" href="http' not in text, page


@pytest.mark.parametrize(
    ("page", "text", "told"),
    [
        ("train.md", "[gone](gone.md)", "gone.md"),
        ("train.md", "[gone](data.md#nowhere)", "#nowhere"),
        ("unlisted.md", "# Unlisted", "unlisted.md"),
    ],
    ids=["a dead link", "a missing anchor", "a page that no menu lists"],
)
def test_a_fault_of_the_documents_fails_the_build(checkout: Path, page: str, text: str, told: str) -> None:
    with (checkout / "docs" / page).open("a", encoding="utf-8") as file:
        file.write(f"\n{text}\n")
    built = build(checkout)
    assert built.returncode != 0
    assert told in built.stdout + built.stderr


def test_the_reference_is_what_the_code_says() -> None:
    written = {path.name: path.read_text() for path in TARGET.glob("*.md")}
    assert written == pages(), "run `make render`"


def test_every_command_has_a_section() -> None:
    text = pages()["commands.md"]
    assert [name for name in COMMANDS if f"\n## deepscaler {name}\n" not in text] == []
