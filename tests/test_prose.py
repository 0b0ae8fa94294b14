"""The linter of prose finds what it is for, and nothing in plain English."""

from pathlib import Path

import pytest

from tools.prose import findings


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('"""What a module is for."""', "begins with a fragment"),
        ('def f():\n    """The number of samples."""', "begins without a verb"),
        ('def f():\n    """Lines of a file."""', "begins without a verb"),
        ('class A:\n    size: int\n    """Of a page, in bytes."""', "begins with a fragment"),
        ('class A:\n    size: int\n    """Where a page begins."""', "begins with a fragment"),
        ('class A:\n    wait: int\n    """For a server to answer."""', "begins with a fragment"),
        ('class A:\n    size: int = option(1, "whether it is large")', "needs its flag"),
        ('class A:\n    nodes: int = option(1, "machines")', "needs its flag"),
        ('parser.add_argument("--nodes", help="of Ray")', "needs its flag"),
        ('parser.add_argument("--nodes", help="nodes (default: %(default)s)")', "needs its flag"),
        ('parser.add_argument("--output-dir", help="the folder (default: outputs)")', "needs its flag"),
        ('parser.add_argument("--model", help="its name in reports")', "needs its flag"),
        ('parser.add_argument("--head", help=f"on the head: {ABOUT}")', "needs its flag"),
        ('raise UserError("the same command goes on")', "continues, resumes"),
        ("x = 1  # made anew", "again"),
        ('raise UserError(f"{name} is no recipe")', "is not a"),
        ('"""Raises ValueError\nwhere it is none."""', "if"),
        ('"""Tells what it is."""', "says, shows"),
        ('"""The parts of a run."""', "begins without a verb"),
    ],
)
def test_prose_that_has_to_be_decoded_is_found(code: str, found: str, tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(code)
    assert [found in text for _, text in findings(file)] == [True]


@pytest.mark.parametrize(
    "code",
    [
        '"""Draws samples, in any order."""',
        'def f():\n    """Returns the number of samples."""',
        'class A:\n    size: int\n    """Bytes of a page."""',
        'class A:\n    nodes: int = option(1, "number of machines")',
        'parser.add_argument("--nodes", help="number of nodes (default: %(default)s)")',
        'parser.add_argument("--source", help=f"{RUN_HELP}; or the folder of a merged model")',
        'x = "there is no such file"',
        'x = "it is no longer there"',
        'x = "goes_on"',
    ],
)
def test_plain_prose_passes(code: str, tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(code)
    assert list(findings(file)) == []
