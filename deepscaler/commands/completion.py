"""`deepscaler completion bash|zsh|fish`: the script that completes commands, flags and names in a shell."""

import argparse
import os
import shlex

import argcomplete
from argcomplete.shell_integration import shellcode

from deepscaler.commands.parser import Parser, fill
from deepscaler.commands.table import COMMANDS, NAMES

SHELLS = ("bash", "zsh", "fish")
EXAMPLES = (
    'eval "$(deepscaler completion bash)"',
    "deepscaler completion fish > ~/.config/fish/completions/deepscaler.fish",
)
LOAD_ZSH = "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }\n"
"""Starts zsh's completion system, which a plain ~/.zshrc does not, so there is something to register with."""


def configure(parser: Parser) -> None:
    """Adds the shell."""
    parser.add_argument(
        "shell",
        choices=SHELLS,
        metavar="SHELL",
        help="shell to complete commands in: bash, zsh or fish; put the example in its start-up file",
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints the script."""
    script: str = shellcode(["deepscaler"], shell=arguments.shell)
    print((LOAD_ZSH if arguments.shell == "zsh" else "") + script)
    return 0


def complete() -> None:
    """Answers the shell, which asks with the line so far in COMP_LINE, and exits; imports only the command in it."""
    try:
        typed = [word for word in shlex.split(os.environ.get("COMP_LINE", ""))[1:] if not word.startswith("-")][:1]
    except ValueError:  # an open quote
        typed = []
    top = Parser(prog="deepscaler")
    top.add_argument("--version", action="store_true")
    commands = top.add_subparsers(dest="command", prog="deepscaler")
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.help)
    for name in typed:
        if name in NAMES:
            # A command's second name is not offered, and is completed all the same once it was typed.
            fill(commands.choices.get(name) or commands.add_parser(name), name)
    # Options appear once a dash was typed; before, the names of sets and recipes would drown in them.
    argcomplete.autocomplete(top, always_complete_options=False)
