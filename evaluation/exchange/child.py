"""Reads another program's file in a child process, so a hostile file can only break the child."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepscaler.data.convert import answer_request, ask_child
from evaluation.exchange.found import Found
from evaluation.exchange.readers import READERS
from evaluation.responses import Columns


def read_found(file: Path, form: str, columns: dict[str, str], target: Path) -> list[Found]:
    """Returns the responses in a file; the child passes them through `target`. Raises UserError for a bad file."""
    ask_child(
        "evaluation.exchange.child",
        {"files": [str(file)], "form": form, "columns": columns, "target": str(target)},
    )
    return list(_lines(target))


def _lines(path: Path) -> Iterator[Found]:
    with path.open(encoding="utf-8") as opened:
        for line in opened:
            values = json.loads(line)
            yield Found(**{**values, "golds": tuple(values["golds"])})


def write_found(files: list[str], form: str, columns: dict[str, str], target: str) -> dict[str, Any]:
    """Writes the responses in a file, one JSON line each; returns their number."""
    count = 0
    with Path(target).open("w", encoding="utf-8") as opened:
        for found in READERS[form](Path(files[0]), Columns(**columns)):
            # JSON escapes line ends, so each response stays on one line
            opened.write(json.dumps(found.to_json()) + "\n")
            count += 1
    return {"rows": count}


if __name__ == "__main__":
    answer_request(write_found)
