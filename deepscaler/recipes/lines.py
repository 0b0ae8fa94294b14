"""Finds the line of a TOML file that sets a key, so an error can name it: tomllib does not report lines.

[data]
weights = [1, 2]        line_of(text, "data.weights") == 2
"""

import re

HEADER = re.compile(r"\s*\[([^\[\]]+)\]\s*(#.*)?")
SETS = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")


def line_of(text: str, name: str) -> int:
    """Returns the number of the last line that sets an option by its dotted name, or a table around it; 0 for none."""
    table, best, length = "", 0, 0
    for number, line in enumerate(text.splitlines(), start=1):
        if header := HEADER.fullmatch(line):
            found = table = _plain(header[1])
        elif sets := SETS.match(line):
            # A text of several lines may hold what looks like a key, so the line is a hint and decides nothing.
            found = f"{table}.{_plain(sets[1])}" if table else _plain(sets[1])
        else:
            continue
        # The longest match wins, and of equal ones the last.
        if (name == found or name.startswith(f"{found}.")) and len(found) >= length:
            best, length = number, len(found)
        elif found.startswith(f"{name}.") and not best:
            best = number  # a table that is only there in the names of its keys
    return best


def _plain(key: str) -> str:
    """Returns a key without quotes and blanks: `a . "b.c"` is a.b.c."""
    return ".".join(part.strip().strip("\"'") for part in re.split(r"""\.(?=(?:[^"']|"[^"]*"|'[^']*')*$)""", key))
