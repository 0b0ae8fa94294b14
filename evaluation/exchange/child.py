"""Reads another program's file in a child process, so a hostile file can only break the child."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepscaler.data.convert import answer_request, ask_child
from deepscaler.system.errors import UserError
from evaluation.exchange.found import Found
from evaluation.exchange.readers import READERS
from evaluation.responses import Columns

MOST_BYTES = 4 << 30
"""Most bytes of responses in a file: the parent holds all of them, and 24,000 of 32,768 tokens take 3 GiB."""


def read_found(file: Path, form: str, columns: dict[str, str], target: Path) -> list[Found]:
    """Returns the responses in a file; the child passes them through `target`. Raises UserError for a bad file."""
    ask_child(
        "evaluation.exchange.child",
        {"files": [str(file)], "form": form, "columns": columns, "target": str(target), "most_bytes": MOST_BYTES},
    )
    return list(_lines(target))


def _lines(path: Path) -> Iterator[Found]:
    with path.open(encoding="utf-8") as opened:
        for line in opened:
            values = json.loads(line)
            yield Found(**{**values, "golds": tuple(values["golds"])})


def write_found(files: list[str], form: str, columns: dict[str, str], target: str, most_bytes: int) -> dict[str, Any]:
    """Writes the responses in a file, one JSON line each; returns their number.

    Raises UserError if they take more than `most_bytes`: a small file may unpack to any size.
    """
    count = size = 0
    with Path(target).open("w", encoding="utf-8") as opened:
        for found in READERS[form](Path(files[0]), Columns(**columns)):
            # JSON escapes line ends, so each response stays on one line
            line = json.dumps(found.to_json()) + "\n"
            count, size = count + 1, size + len(line)
            if size > most_bytes:
                raise UserError(
                    f"{files[0]} holds more than {most_bytes >> 20:,} MiB of responses, the most that an import takes;"
                    " split it"
                )
            opened.write(line)
    return {"rows": count}


if __name__ == "__main__":
    answer_request(write_found)
