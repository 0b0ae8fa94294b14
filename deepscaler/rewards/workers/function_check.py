"""Reads a user's reward file without importing it: whether it parses, holds the function, and can be called.

`python -m deepscaler.rewards.workers.function_check FILE NAME` prints {"error": "..."}, or {"error": ""}. It runs in a
process of its own, because a parser can be made to eat memory or to crash.
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
"""What a reward function may ask for, by name; docs/train.md says what each is."""

MAX_FILE = 1 << 20
"""Bytes of a reward file."""

MEMORY_LIMIT = 2 << 30
"""Bytes of address space that the parser may add."""

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def find_error(file: Path, name: str) -> str:
    """Returns what is wrong with a reward file, in one line; nothing where it can be called."""
    try:
        content = file.read_bytes() if file.stat().st_size <= MAX_FILE else None
    except OSError as error:
        return f"{file} cannot be read: {error.strerror}; give FILE.py:NAME"
    if content is None:
        return f"{file} has more than {MAX_FILE:,} bytes: a reward file is Python, not data"
    try:
        tree = ast.parse(content, str(file))
    except SyntaxError as error:
        return f"{file}, line {error.lineno or 1}: {error.msg}"
    except (ValueError, RecursionError, MemoryError) as error:
        return f"{file} cannot be read as Python: {str(error) or type(error).__name__}"
    bound: dict[str, ast.stmt | None] = {}
    for statement in _top_level(tree.body):
        bound |= dict.fromkeys(_names_bound(statement), statement)
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
    """Returns what is wrong with the arguments that a function cannot be called without; else nothing."""
    for name in required:
        if name not in known:
            return f"wants an argument that no reward gets: {unknown('argument', name, known)}"
    return ""


def _signature_error(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    arguments = function.args
    if arguments.posonlyargs:
        return f"takes {arguments.posonlyargs[0].arg} by position only, and a reward gets its arguments by name"
    by_name = arguments.args[: len(arguments.args) - len(arguments.defaults)]
    by_name += [one for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if not default]
    return argument_error(one.arg for one in by_name)


def _top_level(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yields the statements of a module, also those below its ifs and tries."""
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
    """Yields the imports of files beside this one, which the run's copy of it would not find."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        plain = [one.name for one in node.names]
        for name in plain if isinstance(node, ast.Import) else ["." * node.level + (node.module or "")]:
            if name.startswith(".") or _is_beside(file, name.partition(".")[0]):
                yield (
                    f"{file}, line {node.lineno}: imports {name}, a file beside it, and a run keeps a copy of"
                    f" {file.name} alone: put both into one file, or install the other as a package"
                )


def _is_beside(file: Path, module: str) -> bool:
    paths = (file.with_name(f"{module}.py"), file.with_name(module) / "__init__.py")
    return module not in sys.stdlib_module_names and any(path.is_file() for path in paths)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    print(json.dumps({"error": find_error(Path(sys.argv[1]), sys.argv[2])}))
