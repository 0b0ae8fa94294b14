"""Reads a command line of `deepscaler`: one-line errors that name the nearest valid word, help in sections.

deepscaler evaluate: unrecognized option '--datasest' for evaluate (did you mean '--datasets'?); see deepscaler ...
"""

import argparse
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar, cast

from deepscaler.commands.counting import complaint
from deepscaler.commands.table import COMMANDS, NAMES
from deepscaler.system.errors import UserError, unknown
from deepscaler.system.exit_codes import BAD_INPUT

N = TypeVar("N", int, float)

METAVARS = {int: "N", float: "X", None: "TEXT", str: "TEXT"}
"""Names of values by the type of an option; for any other type it is PATH."""

Actions = argparse._SubParsersAction


class CommandModule(Protocol):
    """The parts of a command's module."""

    EXAMPLES: tuple[str, str]

    def configure(self, parser: "Parser", /) -> None:
        """Adds the command's options."""

    def run(self, arguments: argparse.Namespace, /) -> int:
        """Does it and returns the exit code."""
        ...


class Parser(argparse.ArgumentParser):
    """Reads one command. After parsing, `given` in the namespace names the options that were typed."""

    def __init__(self, **settings: Any) -> None:
        # An abbreviation in somebody's script would be ambiguous as soon as another option begins like it.
        super().__init__(**{"allow_abbrev": False, **settings})
        self.examples: Sequence[str] = ()
        self.values_of: Callable[[argparse.Namespace], Mapping[str, Any]] = vars
        """What an option's condition is tried on; a command that reads a file adds that file's values."""
        self.also_given: Callable[[argparse.Namespace], Mapping[str, Any]] = lambda _: {}
        """Options that were given in another way than typed, such as by a file."""
        self._given: dict[argparse.Action, list[str]] = {}
        self._valued: list[str] = []
        self._positionals.title, self._optionals.title = "arguments", "options"

    def add_actions(self) -> "Actions[Parser]":
        """Adds a choice of actions, such as `prepare` of `data`."""
        # argparse would format a usage to find the program's name, which loads what only --help needs
        return self.add_subparsers(dest="action", metavar="ACTION", required=True, prog=self.prog, title="actions")

    def add_dry_run(self, about: str, *, scripts: bool = False) -> argparse.Action:
        """Adds `--dry-run`; with `scripts` also `--dry-run=full`, which never takes the word that follows."""
        if not scripts:
            return self.add_argument("--dry-run", action="store_true", help=about)
        self._valued.append("--dry-run")
        return self.add_argument("--dry-run", choices=("plan", "full"), default="", metavar="[=full]", help=about)

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """Parses all of it: what is left over is an error here, in the parser that knows the nearest valid option."""
        words = [str(word) for word in (sys.argv[1:] if args is None else args)]
        self._given.clear()
        self._refuse_unknown_options(words)
        # argparse calls this method for subcommands and itself complains only at the very end, without the
        # nearest name.
        namespace, rest = super().parse_known_args(self._with_values(words), namespace)
        if rest:
            self.error(f"unexpected argument {rest[0]!r} for {self._short_name}")
        if wrong := complaint({**self._of_file(namespace), **self._given}, self.values_of(namespace)):
            self.error(wrong)
        given = {action.dest for action in self._given}
        # An action's parser has put its own options into the namespace by now.
        namespace.given = frozenset(given | getattr(namespace, "given", frozenset()))
        return namespace, []

    def _of_file(self, namespace: argparse.Namespace) -> dict[argparse.Action, list[str]]:
        try:
            found = self.also_given(namespace)
        except UserError:  # the command itself reports a file that cannot be read
            return {}
        by_name = {action.dest: action for action in self._actions}
        return {by_name[name]: [str(value)] for name, value in found.items() if name in by_name}

    def error(self, message: str) -> NoReturn:
        """Prints one line and exits with 2."""
        # argparse puts "argument --nodes: " before the message of a type, which names the value and not the
        # option.
        message = re.sub(
            r"^argument (\S+): (invalid value .+?)( \(did you mean .+?\?\))?: ",
            r"\2 for \1\3: ",
            " ".join(message.split()),
        )
        message = re.sub(r"^argument (\S+): (?=\1 )", "", message)
        print(f"{self.prog}: {message}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(BAD_INPUT)

    def format_help(self) -> str:
        """Returns the help: usage, what it does, the options in sections, examples."""
        for action in self._actions:
            if action.metavar is None and action.choices is None and action.nargs != 0:
                action.metavar = METAVARS.get(cast("Any", action.type), "PATH")
        formatter = self._get_formatter()
        width = formatter._width
        # argparse formats every text by %, usage and examples included.
        formatter.add_usage(self._usage().replace("%", "%%"), [], [])
        formatter.add_text(textwrap.fill((self.description or "").replace("%", "%%"), width))
        for group in self._action_groups:
            formatter.start_section(group.title)
            formatter.add_text(group.description)
            formatter.add_arguments(group._group_actions)
            formatter.end_section()
        formatter.add_text(textwrap.fill((self.epilog or "").replace("%", "%%"), width, break_on_hyphens=False))
        formatter.add_text(_shown_examples(self.examples, width).replace("%", "%%"))
        return formatter.format_help()

    def _get_formatter(self) -> argparse.HelpFormatter:
        """Returns one with colors for a terminal, and a plain one for everything else."""
        if not sys.stdout.isatty():
            return argparse.RawDescriptionHelpFormatter(self.prog, max_help_position=28)
        from rich_argparse import RawDescriptionRichHelpFormatter  # noqa: PLC0415  --help alone needs it

        class Formatter(RawDescriptionRichHelpFormatter):
            # rich_argparse would Capitalize Every Word.
            group_name_formatter = str
            help_markup = text_markup = False  # a help text may hold brackets

        return Formatter(self.prog, max_help_position=28)

    @property
    def _short_name(self) -> str:
        return self.prog.partition(" ")[2] or self.prog

    def _usage(self) -> str:
        """Returns the usage without the options: first what an option of many values would take for one of them."""
        positionals = [action for action in self._actions if not action.option_strings]
        if any(action.nargs == argparse.REMAINDER for action in positionals):
            return f"{self.prog} [options] [{positionals[-1].metavar}]"
        # So wide that nothing is wrapped here, since the whole is wrapped once more.
        plain = argparse.HelpFormatter(self.prog, width=10_000)
        plain.add_usage(None, positionals, [], prefix="")
        return f"{plain.format_help().strip()} [options]"

    def _refuse_unknown_options(self, words: Sequence[str]) -> None:
        """Names a mistyped option before argparse misses what its value would have been."""
        before_others = any(action.nargs in (argparse.PARSER, argparse.REMAINDER) for action in self._actions)
        for before, word in zip(["", *words], words, strict=False):
            if word == "--" or (before_others and not word.startswith("-")):
                return  # what follows is read by another parser
            flag = word.partition("=")[0]
            # A dash alone is standard input, -1 and -.5 are numbers, and a word with a blank is a value such as
            # '--engines 8'.
            is_option = word.startswith("-") and len(word) > 1 and " " not in word and not re.match(r"-\.?\d", word)
            if is_option and flag not in self._option_string_actions:
                owner = self._option_string_actions.get(before)
                is_value = owner and owner.nargs != 0  # argparse takes nothing that looks like an option for a value
                hint = f"; write {before}={word} if it belongs to {before}" if is_value else ""
                hint = nearest(flag, self._option_string_actions) + hint
                self.error(f"unrecognized option {flag!r} for {self._short_name}{hint}")

    def _with_values(self, words: Sequence[str]) -> list[str]:
        """Gives `--dry-run` its value, so that it does not take the word that follows for one."""
        end = words.index("--") if "--" in words else len(words)
        return [f"{word}=plan" if word in self._valued and i < end else word for i, word in enumerate(words)]

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        # argparse calls this once for every option that was typed, and for no default
        if action.option_strings:
            is_bare = action.option_strings[0] in self._valued and arg_strings == ["plan"]
            self._given[action] = [] if is_bare else arg_strings
        return super()._get_values(action, arg_strings)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        choices = [str(choice) for choice in action.choices]
        name = action.option_strings[0] if action.option_strings else str(action.metavar or action.dest)
        expected = " or ".join(choices) if len(choices) < 3 else f"one of {', '.join(choices)}"
        self.error(f"invalid value {value!r} for {name}{nearest(str(value), choices)}: expected {expected}")


def add_action(actions: "Actions[Parser]", name: str, about: str) -> Parser:
    """Adds one action of a command, and returns its parser."""
    return actions.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")


def nearest(given: str, valid: Iterable[str]) -> str:
    """Returns ` (did you mean 'x'?)` for the most similar valid word, or nothing if none is similar."""
    names = {name.lstrip("-"): name for name in valid}
    found = get_close_matches(given.lstrip("-"), names, n=1)
    return f" (did you mean {names[found[0]]!r}?)" if found else ""


def module_of(name: str) -> CommandModule:
    """Imports the module of a command."""
    module = import_module(f"deepscaler.commands.{COMMANDS[NAMES[name]].module}")
    return cast("CommandModule", module)


def parser_of(name: str) -> Parser:
    """Returns the parser of one command, and imports no other. Raises UserError for a name that is none."""
    if name not in NAMES:
        raise unknown("command", name, NAMES)
    return fill(Parser(prog=f"deepscaler {NAMES[name]}"), name)


def fill(parser: Parser, name: str) -> Parser:
    """Adds what a command takes, from its module."""
    command, module = COMMANDS[NAMES[name]], module_of(name)
    parser.description = f"{command.help} Also: deepscaler {command.also}." if command.also else command.help
    parser.examples = module.EXAMPLES
    module.configure(parser)
    return parser


def parse(words: Sequence[str], **preset: Any) -> argparse.Namespace:
    """Reads a whole command after `deepscaler`; preset values take the place of defaults."""
    return parser_of(words[0]).parse_args(words[1:], argparse.Namespace(**preset))


def named(text: str) -> str:
    """Checks an option that must not be empty, as its type."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"invalid value {text!r}: expected a name")
    return text


def folder_to_write(text: str) -> Path:
    """Checks an option that names a folder to write to, as its type. The folder may not exist yet."""
    if not text or Path(text).is_file():
        problem = "is a file" if text else "is not a name"
        raise argparse.ArgumentTypeError(f"invalid value {text!r}: it {problem}; give a folder")
    return Path(text)


def offer(action: argparse.Action, names: Iterable[str], files: str = "") -> None:
    """Has the shell complete an argument with some names, and with files of a suffix; any other text stays possible."""

    def complete(prefix: str = "", **_: Any) -> list[str]:
        if not files:
            return list(names)
        from argcomplete.completers import FilesCompleter  # noqa: PLC0415  no other start needs it

        return [*names, *FilesCompleter(allowednames=(files,))(prefix)]

    action.completer = complete  # type: ignore[attr-defined]


def _shown_examples(examples: Sequence[str], width: int) -> str:
    """Returns them below each other, none wider than the terminal, each still one that a shell takes."""
    if not examples:
        return ""
    lines = []
    for example in examples:
        parts = textwrap.wrap(example, max(width - 8, 20), break_long_words=False, break_on_hyphens=False)
        lines.append("  " + " \\\n      ".join(parts))
    return "\n".join(["examples:", *lines])
