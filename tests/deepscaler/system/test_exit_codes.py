"""Exit codes stand in one place, each with what follows; nobody else turns a return code into one."""

import ast
import re
import signal
from itertools import pairwise

import pytest

from deepscaler.system import exit_codes
from tests.places import ROOT


def told() -> dict[str, str]:
    """The sentence below each constant."""
    body = ast.parse((ROOT / "deepscaler/system/exit_codes.py").read_text()).body
    return {
        statement.targets[0].id: str(after.value.value)
        for statement, after in pairwise(body)
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
    }


def test_every_code_says_what_a_launcher_does_next() -> None:
    names = [name for name in vars(exit_codes) if name.isupper()]
    assert sorted(told()) == sorted(names)
    assert {getattr(exit_codes, name) for name in names} == {0, 1, 2, 3, 75, 76, 130, 137, 143}


@pytest.mark.parametrize(
    ("returncode", "code"), [(0, 0), (1, 1), (76, 76), (-signal.SIGTERM, 143), (-signal.SIGINT, 130), (-9, 137)]
)
def test_a_signal_becomes_what_a_shell_says(returncode: int, code: int) -> None:
    assert exit_codes.exit_code(returncode) == code


def test_no_other_module_has_codes_of_its_own() -> None:
    own = re.compile(r"128 [-+] (?!\d)|^(EXIT_\w+|AGAIN|STOPPED|FENCED) = \d", re.MULTILINE)
    packages = [path for name in ("deepscaler", "evaluation", "slurm") for path in (ROOT / name).rglob("*.py")]
    assert [path.name for path in packages if own.search(path.read_text())] == ["exit_codes.py"]
