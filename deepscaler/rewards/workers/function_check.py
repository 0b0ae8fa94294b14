"""Checks a user's reward file without importing it: that it parses, holds the function, and can be called.

`python -m deepscaler.rewards.workers.function_check FILE NAME` prints {"error": "..."}, or {"error": ""}. It runs in a
process of its own, because a hostile file can make the parser exhaust memory or crash.
"""

import ast
import json
import resource
import sys
from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path

from deepscaler.system.errors import unknown

ARGUMENTS = (
    "response",
    "golds",
    "problem",
    "data_source",
    "id",
    "num_tokens",
    "max_tokens",
    "truncated",
    "correct",
    "extra",
)
"""Arguments that a reward function may declare, by name; docs/rewards.md describes each."""

MAX_FILE = 1 << 20
"""Most bytes of a reward file."""

MEMORY_LIMIT = 2 << 30
"""Most bytes of address space for the parser."""

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def find_error(file: Path, name: str) -> str:
    """Returns the fault of a reward file in one line; empty if its function can be called."""
    try:
        # The size first: a model's weights, given by mistake, would fill the memory.
        content = file.read_bytes() if file.stat().st_size <= MAX_FILE else None
    except OSError as error:
        return f"{file} cannot be read: {error.strerror}; give FILE.py:NAME"
    if content is None:
        return f"{file} has more than {MAX_FILE:,} bytes: give a file of Python code"
    try:
        tree = ast.parse(content, str(file))
    except SyntaxError as error:
        return f"{file}, line {error.lineno or 1}: {error.msg}"
    # Beyond the limit of memory that is set below, ast.parse raises MemoryError.
    except (ValueError, RecursionError, MemoryError) as error:
        return f"{file} cannot be read as Python: {str(error) or type(error).__name__}"
    bound: dict[str, ast.stmt | None] = {}
    # Also inside ifs and tries, where many files define a function twice; what is bound last wins, as in Python.
    for statement in _top_level(tree.body):
        bound |= dict.fromkeys(_names_bound(statement), statement)
    # `from x import *` may bind any name, and only an import can show which.
    if name not in bound and "*" not in bound:
        defined = [key for key, node in bound.items() if isinstance(node, _FUNCTIONS)]
        nearest = get_close_matches(name, defined, n=1, cutoff=0.5)
        line = getattr(bound[nearest[0]], "lineno", 1) if nearest else 1
        return f"{file}, line {line}: {unknown('function', name, defined)}"
    function = bound.get(name)
    if isinstance(function, _FUNCTIONS) and (problem := _signature_error(function)):
        return f"{file}, line {function.lineno}: {name} {problem}"
    return next(_sibling_errors(file, tree), "")


def argument_error(required: Iterable[str], known: Collection[str] = ARGUMENTS) -> str:
    """Returns the fault of a function's required arguments; empty if all of them are known."""
    for name in required:
        if name not in known:
            return f"requires an argument that no reward gets: {unknown('argument', name, known)}"
    return ""


def _signature_error(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    arguments = function.args
    if arguments.posonlyargs:
        return f"accepts {arguments.posonlyargs[0].arg} by position only, but a reward gets its arguments by name"
    by_name = arguments.args[: len(arguments.args) - len(arguments.defaults)]
    by_name += [one for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if not default]
    return argument_error(one.arg for one in by_name)


def _top_level(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yields the statements of a module, including those inside its ifs and tries."""
    for statement in body:
        yield statement
        if not isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
            for part in ("body", "orelse", "handlers", "finalbody"):
                for inner in getattr(statement, part, []):
                    yield from _top_level(inner.body if isinstance(inner, ast.ExceptHandler) else [inner])


def _names_bound(statement: ast.stmt) -> list[str]:
    if isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
        return [statement.name]
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return [(one.asname or one.name).partition(".")[0] for one in statement.names]
    targets = getattr(statement, "targets", None) or [getattr(statement, "target", None)]
    return [node.id for target in targets if target for node in ast.walk(target) if isinstance(node, ast.Name)]


def _sibling_errors(file: Path, tree: ast.Module) -> Iterator[str]:
    """Yields an error for each import of a file beside this one, which a run's copy of the file would not find."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        plain = [one.name for one in node.names]
        for name in plain if isinstance(node, ast.Import) else ["." * node.level + (node.module or "")]:
            if name.startswith(".") or _is_beside(file, name.partition(".")[0]):
                yield (
                    f"{file}, line {node.lineno}: imports {name}, a file beside it, but a run copies only"
                    f" {file.name}: put both into one file, or install the other as a package"
                )


def _is_beside(file: Path, module: str) -> bool:
    # A file beside it that is named like a standard module is shadowed by that one, since children run with -P.
    paths = (file.with_name(f"{module}.py"), file.with_name(module) / "__init__.py")
    return module not in sys.stdlib_module_names and any(path.is_file() for path in paths)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    print(json.dumps({"error": find_error(Path(sys.argv[1]), sys.argv[2])}))
