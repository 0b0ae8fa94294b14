"""Finds prose that a reader has to decode, in code and documents: `.venv/bin/python tools/prose.py`.

A line names the place, the rule and the text. `make lint` runs this over every package and document.

* A docstring begins with a whole thought, not with a conjunction or a preposition; that of a function or a module with
  a verb. Only the module of a command may begin with the command instead.
* The help of an option can be read without the flag beside it.
* Some words have a plain equivalent: WORDS names both.
"""

import ast
import re
import sys
import tokenize
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CODE = ("bench", "deepscaler", "evaluation", "slurm", "tools")
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs",
    "k8s/README.md",
    "slurm/README.md",
    "docker/README.md",
)

FRAGMENT = re.compile(
    r"(What|Of|Whether|That|As|Such|How|Which|Who|Where|When|For|From|In|On|At|To|By|With|Without|Below|Beside|Between)\b"
)
COMMAND = re.compile(r"`(deepscaler|python) ")
VERB = re.compile(r"[A-Z][a-z]+s\b(?! of\b)")
"""A verb in the third person. A plural noun looks the same, and `Lines of a file` is a common one."""

WORDS = {
    r"\banew\b": "again",
    r"\bwish(es|ed)?\b": "request, or want",
    r"\bdeaf\b": "ignores",
    r"\bgo(es)? on\b": "continues, resumes",
    r"\b(is|was) wanted\b": "expected",
    r"\b(lies?|lay) (in|on|at|below|beside|there|under)\b": "is",
    r"(?<!there\s)\bis no\b(?! (longer|more|less)\b)": "is not a",
    r"\bare told\b|\bis told\b|\bwas told\b|\btold (by|of|in)\b": "says, is given, knows",
    r"\btells? (it|them|what|how|of|no|nothing|its|the|every)\b": "says, shows, describes",
    r"\bwhat (gathers|waits|asks|draws)\b": "the name of the thing",
    r"\blooks? whether\b": "checks whether",
    r"\bin the making\b": "in progress, unfinished",
    r"\b(otherwise|something else) than\b": "differently from, something other than",
    r"\bRaises \w+ where\b": "if",
}
HELP = re.compile(
    r"(what|of|whether|that|as|such|where|which|how|when|if|whose|its?|they|them|these|those|instead|the same"
    r"|after|at|before|by|for|from|in|on|to|with)\b",
    re.IGNORECASE,
)
IGNORED = re.compile(r"\(default: (%\(default\)|[^()])*\)|\b(a|an|the)\b")
"""Words that add nothing: `nodes (default: 1)` says no more than `nodes`, and `the folder` no more than `folder`."""

DECLARES = {"option", "table"}


def main(arguments: list[str]) -> int:
    """Prints every finding; returns 1 if there is one."""
    files = [file for name in arguments or CODE + DOCUMENTS for file in _files(ROOT / name)]
    found = [f"{file.relative_to(ROOT)}:{line}: {text}" for file in files for line, text in sorted(findings(file))]
    print("\n".join(found) or f"{len(files)} files: no finding")
    return int(bool(found))


def findings(file: Path) -> Iterator[tuple[int, str]]:
    """Yields the line and the complaint for every finding of a module or a document."""
    if file.suffix == ".md":
        # Of what stands between backquotes only the length counts, so that lines stay where they are.
        text = re.sub(r"`[^`\n]+`", lambda quoted: "`" * len(quoted[0]), file.read_text(encoding="utf-8"))
        yield from _of_words(text, 1)
        return
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        yield from _of_docstrings(node)
        yield from _of_help(node)
        # Names and keys are left alone: prose has blanks.
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield from _of_words(node.value, node.lineno)
    with file.open("rb") as opened:
        for token in tokenize.tokenize(opened.readline):
            if token.type == tokenize.COMMENT:
                yield from _of_words(token.string, token.start[0])


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted([*path.rglob("*.py"), *path.rglob("*.md")])


def _of_docstrings(node: ast.AST) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        text = ast.get_docstring(node) or ""
        begins_with_verb = not isinstance(node, ast.ClassDef)
        # A module has no line of its own.
        line = getattr(node, "lineno", 1)
        if FRAGMENT.match(text):
            yield line, f"begins with a fragment: {_first(text)}"
        elif (
            begins_with_verb
            and text
            and not VERB.match(text)
            and not (COMMAND.match(text) and isinstance(node, ast.Module))
        ):
            yield line, f"begins without a verb in the third person: {_first(text)}"
    if isinstance(node, ast.Module | ast.ClassDef):
        # a text below a name documents it; to Python it is an expression of its own
        for named, about in pairwise(node.body):
            is_field = isinstance(named, ast.Assign | ast.AnnAssign)
            text = _text(about.value) if is_field and isinstance(about, ast.Expr) else ""
            if FRAGMENT.match(text):
                yield about.lineno, f"begins with a fragment: {_first(text)}"


def _of_help(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Yields findings of an option that a dataclass declares, or that a command adds to its parser."""
    given: list[ast.expr] = []
    if not isinstance(node, ast.AnnAssign | ast.Call):
        return
    if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Call) and _called(node.value) in DECLARES:
        given = node.value.args[1:2]
    elif isinstance(node, ast.Call) and _called(node) == "add_argument":
        given = [keyword.value for keyword in node.keywords if keyword.arg == "help"]
    for text in filter(None, map(_text, given)):
        if HELP.match(text) or len(re.findall(r"\w+", IGNORED.sub("", text))) < 2:
            yield node.lineno, f"needs its flag to make sense: {_first(text)}"


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _of_words(text: str, line: int) -> Iterator[tuple[int, str]]:
    for word, instead in WORDS.items():
        # A phrase may cross the end of a line.
        for match in re.finditer(word.replace(" ", r"\s+"), text, re.IGNORECASE):
            at = line + text.count("\n", 0, match.start())
            yield at, f"{match[0]!r}, where plain English has: {instead}: {_first(text[max(0, match.start() - 40) :])}"


def _text(node: ast.AST) -> str:
    """Returns a text of the code, in which two words stand for each value of an f-string."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "some text" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _first(text: str) -> str:
    return " ".join(text.split())[:90]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
