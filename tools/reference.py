"""Writes docs/reference from the code: `.venv/bin/python tools/reference.py`.

Each page names everything of one kind: commands with their options, fields of a recipe, options of a site file, exit
codes, checks of the doctor. A test compares the pages with what this would write, so they cannot fall behind the code.
"""

import argparse
import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from deepscaler.commands.parser import METAVARS, Parser, parser_of
from deepscaler.commands.table import COMMANDS
from deepscaler.doctor.checks import CHECKS
from deepscaler.doctor.judge import BETWEEN_NODES
from deepscaler.kubernetes.cluster.place import Place
from deepscaler.recipes.recipe import Recipe
from deepscaler.system import exit_codes
from deepscaler.system.options import options_of
from slurm.site import Site

TARGET = Path(__file__).resolve().parent.parent / "docs/reference"
NOTE = "<!-- Written by tools/reference.py from the code; `make render` writes it again. -->\n"


def main() -> None:
    """Writes every page."""
    TARGET.mkdir(exist_ok=True)
    for name, text in pages().items():
        (TARGET / name).write_text(text, encoding="utf-8")
        print(TARGET / name)


def pages() -> dict[str, str]:
    """Returns the text of every page by its file's name."""
    return {
        "commands.md": _page(_commands()),
        "recipe.md": _page(_recipe()),
        "slurm-site.md": _page(_site("SLURM site file", Site, "slurm init site.toml")),
        "kubernetes-site.md": _page(_site("Kubernetes site file", Place, "k8s init cluster.toml", "All but `context`")),
        "exit-codes.md": _page(_exit_codes()),
        "checks.md": _page(_checks()),
    }


def _page(lines: Iterator[str]) -> str:
    title, *rest = lines
    return "\n".join([title, "", NOTE, *rest]).rstrip() + "\n"


def _commands() -> Iterator[str]:
    yield "# Commands"
    yield "`deepscaler COMMAND --help` prints the same in a terminal."
    for group in dict.fromkeys(command.group for command in COMMANDS.values()):
        names = [f"[`{name}`](#deepscaler-{name})" for name, command in COMMANDS.items() if command.group == group]
        yield f"\n{group[0].upper()}{group[1:]}: {', '.join(names)}."
    for name in COMMANDS:
        yield from _parser(parser_of(name), level=2)


def _checks() -> Iterator[str]:
    yield "# Checks"
    yield "`deepscaler doctor` makes these checks; [the doctor](../doctor.md) explains how to run it."
    yield "A fast check also runs before every training."
    for group in dict.fromkeys(check.group for check in CHECKS):
        yield f"\n## {group[0].upper()}{group[1:]} checks"
        for check in (one for one in CHECKS if one.group == group):
            yield f"\n### {check.name}\n"
            yield f"Finds {check.finds}.{' Fast.' if check.fast else ''}\n"
            yield f"To repair it: {check.fix}."
    yield "\n## Checks between nodes"
    for name, (finds, fix) in BETWEEN_NODES.items():
        yield f"\n### {name}\n"
        yield f"Finds {finds}.\n"
        yield f"To repair it: {fix}."


def _parser(parser: Parser, level: int) -> Iterator[str]:
    yield f"\n{'#' * level} {parser.prog}\n"
    yield str(parser.description)
    yield f"\n```\n{parser._usage()}\n```"
    inner: list[Parser] = []
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.help != argparse.SUPPRESS]
        for action in actions:
            if isinstance(action, argparse._SubParsersAction):
                inner += action.choices.values()
        rows = [_option(parser, action) for action in actions if _has_row(action)]
        if rows:
            yield from _table((group.title or "").strip(), "meaning", rows)
    if parser.examples:
        yield "\nExamples:\n\n```"
        yield from parser.examples
        yield "```"
    for one in inner:
        yield from _parser(one, level + 1)


def _has_row(action: argparse.Action) -> bool:
    """Returns whether an action has a row: --help is the same everywhere, and actions have sections of their own."""
    return not isinstance(action, argparse._HelpAction | argparse._SubParsersAction)


def _option(parser: Parser, action: argparse.Action) -> tuple[str, str]:
    """Returns how an option is typed, and its meaning."""
    value = ""
    if action.nargs != 0:
        value = str(action.metavar or METAVARS.get(cast("Any", action.type), "PATH"))
        if action.metavar is None and action.choices is not None:
            value = "{" + ",".join(map(str, action.choices)) + "}"
    names = ", ".join(action.option_strings)
    typed = f"{names}{'' if value.startswith('[=') else ' '}{value}".strip() if names else value
    # As argparse does: help texts hold %(default)s, and %% for a percent sign.
    meaning = (action.help or "") % {**vars(action), "prog": parser.prog}
    return typed, meaning


def _recipe() -> Iterator[str]:
    yield "# Recipe fields"
    yield (
        "This page lists every field of a recipe file and of `--set FIELD=VALUE`. Defaults are those of the recipe"
        " `8k`; `deepscaler recipes NAME` shows those of another. [Recipes](../recipes.md) explains how to write one."
    )
    yield from _fields(Recipe, source=True)


def _site(title: str, kind: type[Any], command: str, optional: str = "All") -> Iterator[str]:
    yield f"# {title}"
    yield (
        f"This page lists every option of the TOML file that `--site` names. {optional} may be left out. `deepscaler"
        f" {command}` asks the cluster and writes a first file."
    )
    yield from _fields(kind)


def _fields(kind: type[Any], *, source: bool = False) -> Iterator[str]:
    rows = []
    for name, one in options_of(kind).items():
        default = "" if one.default in ("", (), {}, None) else f"`{_toml(one.default)}`"
        meaning = f"{one.help}; {one.expected}" if one.choices or str(one.allowed) else one.help
        rows.append((name, default, meaning, *([str(one.notes.get("source", ""))] if source else [])))
    header = ("field", "default", "meaning", *(["source of the default"] if source else []))
    yield f"\n| {' | '.join(header)} |"
    yield "|" + "---|" * len(header)
    for name, *rest in rows:
        yield f"| `{name}` | {' | '.join(_cell(text) for text in rest)} |"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml(item)}" for name, item in value.items()) + "}"
    return f'"{value}"' if isinstance(value, str | Path) else str(value)


def _exit_codes() -> Iterator[str]:
    yield "# Exit codes"
    yield "Commands and jobs end with these codes; the table says what a launcher does after each."
    yield "\n| code | name | meaning |\n|---|---|---|"
    # From the source, because Python drops a text that stands below a name.
    body = ast.parse(Path(exit_codes.__file__).read_text(encoding="utf-8")).body
    for named, about in pairwise(body):
        if isinstance(named, ast.Assign) and isinstance(about, ast.Expr) and isinstance(named.targets[0], ast.Name):
            name = named.targets[0].id
            meaning = _cell(ast.literal_eval(about.value))
            yield f"| {int(getattr(exit_codes, name))} | {name.lower().replace('_', ' ')} | {meaning} |"


def _table(first: str, second: str, rows: list[tuple[str, str]]) -> Iterator[str]:
    yield f"\n| {first} | {second} |\n|---|---|"
    for typed, meaning in rows:
        yield f"| `{typed}` | {_cell(meaning)} |"


def _cell(text: str) -> str:
    """Returns a text as a cell takes it: one line, no bar, and no HTML outside of code."""
    text = " ".join(text.split()).replace("|", "\\|")
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;").replace("*", "\\*") for part in parts)


if __name__ == "__main__":
    main()
