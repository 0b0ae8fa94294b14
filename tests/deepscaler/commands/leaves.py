"""Every parser that reads options: of a command, or of each of its actions; a new one is found by itself."""

import argparse
from collections.abc import Iterator

from deepscaler.commands.parser import Parser, parser_of
from deepscaler.commands.table import COMMANDS


def leaves() -> Iterator[tuple[str, Parser]]:
    """Words after `deepscaler`, and the parser."""
    for name in COMMANDS:
        parser = parser_of(name)
        actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        for action in actions:
            for word, below in action.choices.items():
                yield f"{name} {word}", below
        if not actions:
            yield name, parser


LEAVES = dict(leaves())
