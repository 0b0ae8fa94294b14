"""The import contracts hold, and each of them can be broken: one that nothing breaks would hold nothing."""

import os
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from itertools import combinations, pairwise, product
from pathlib import Path

import pytest

from tests.places import ROOT, copy_packages


def contracts() -> dict[str, dict[str, str]]:
    """Returns the sections of .importlinter by the contract's name."""
    parser = ConfigParser()
    parser.read(ROOT / ".importlinter")
    found = [dict(parser[section]) for section in parser.sections() if section.startswith("importlinter:contract:")]
    return {contract["name"]: contract for contract in found}


def layers(contract: dict[str, str]) -> list[list[str]]:
    """Returns a contract's layers from the top; those of one line know nothing of each other."""
    return [[name.strip() for name in line.split("|")] for line in contract["layers"].split("\n") if line.strip()]


def forbidden_imports(contract: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yields (importer, imported) that a contract forbids: of neighbors in layers, and one for each source module."""
    if contract["type"] == "layers":
        floors = layers(contract)
        for above, below in pairwise(floors):
            yield from product(below, above)
        for floor in floors:
            yield from combinations(floor, 2)
    else:
        assert contract["type"] == "forbidden", "tell this test how to break the new type of contract"
        yield from product(contract["source_modules"].split(), contract["forbidden_modules"].split()[:1])


def lint_imports(folder: Path) -> str:
    """Returns what lint-imports says of the packages in a folder, with the contracts of this tree."""
    program = Path(sys.executable).with_name("lint-imports")
    command = [str(program), "--no-logo", "--no-cache", "--config", str(ROOT / ".importlinter")]
    environment = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment).stdout


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Returns what lint-imports says of a copy in which every forbidden import is made."""
    folder = tmp_path_factory.mktemp("tree")
    copy_packages(folder)
    for contract in contracts().values():
        for importer, imported in forbidden_imports(contract):
            module = folder / importer.replace(".", "/")
            file = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
            file.write_text(f"{file.read_text()}\nimport {imported}\n")
    return lint_imports(folder)


def test_every_contract_is_kept() -> None:
    shown = lint_imports(ROOT)
    assert "0 broken" in shown, shown


@pytest.mark.parametrize("name", contracts())
def test_a_contract_breaks_where_it_should(broken: str, name: str) -> None:
    assert f"{name} BROKEN" in broken
    said = broken[broken.rindex(f"\n{name}\n---") :]  # the details come below the summary, contract by contract
    for importer, imported in forbidden_imports(contracts()[name]):
        assert f"{importer} is not allowed to import {imported}:" in said


def test_every_package_has_its_layer() -> None:
    (whole,) = [contract for contract in contracts().values() if "deepscaler.cli" in contract.get("layers", "")]
    named = {name for floor in layers(whole) for name in floor}
    packages = {f"deepscaler.{folder.parent.name}" for folder in ROOT.glob("deepscaler/*/__init__.py")}
    assert packages | {"evaluation", "slurm"} <= named
