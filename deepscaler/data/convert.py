"""Turns users' files into one parquet file in verl's schema, in a child process with bounded memory and time.

The parent writes a JSON request to its standard input and reads one JSON line back:

{"files": [".../sums.jsonl"], "target": ".../.mine.parquet.tmp", "label": "mine", "columns": {...}, ...}
{"rows": 498, "dropped": {"null answer": 2}, "first": {"null answer": "line 17"}, "columns": {...}, ...}
{"error": "sums.jsonl, line 7: not valid JSON (...); write one JSON object per line"}

A file may be hostile (a parquet file of a few kB may unpack to 64 GiB), and the library that reads parquet is large.
Whatever they break is only the child. Rows pass one by one, so a file may be larger than the memory.
"""

import json
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

from deepscaler.data.columns import Columns, Found, choose, read_row
from deepscaler.data.problem import Problem, ask
from deepscaler.data.rows import check_readable, read_rows
from deepscaler.data.similar import Duplicates
from deepscaler.data.table import Writer
from deepscaler.system.errors import UserError
from deepscaler.system.processes import LIBC, PR_SET_PDEATHSIG, python_command

MEMORY = 6 << 30
"""Bytes of the child's address space. Parquet's libraries reserve far more of it than they use."""

PATIENCE = 120.0
BYTES_A_SECOND = 100_000
"""Bytes for which the child gets one more second beyond PATIENCE; it reads thirty times as fast."""


def convert(request: dict[str, Any]) -> dict[str, Any]:
    """Returns the child's answer to a request. Raises UserError if a file cannot be used."""
    return ask_child("deepscaler.data.convert", request)


def ask_child(module: str, request: dict[str, Any]) -> dict[str, Any]:
    """Runs a module that calls `answer_request` in a child process, and returns its answer to a request.

    Raises UserError if one of the request's `files` cannot be used.
    """
    files = [Path(file) for file in request["files"]]
    for file in files:
        # Here, too: the child's deadline follows from the sizes of the files.
        check_readable(file)
    deadline = PATIENCE + sum(file.stat().st_size for file in files) / BYTES_A_SECOND
    command = python_command("-m", module)
    told = ", ".join(str(file) for file in files[:3])
    try:
        child = subprocess.run(
            command,
            input=json.dumps({**request, "memory": MEMORY}).encode(),
            capture_output=True,
            timeout=deadline,
            check=False,
        )
        answer: dict[str, Any] = json.loads(child.stdout)
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{told} was not read within {deadline:.0f} s: give JSON lines or parquet") from error
    except ValueError as error:
        last = child.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or [f"code {child.returncode}"]
        # The kernel kills with SIGKILL where a container's limit is below the child's own.
        why = "not enough memory" if child.returncode == -signal.SIGKILL or "MemoryError" in last[0] else last[0][:200]
        raise UserError(f"{told} cannot be read ({why}): give smaller rows, or JSON Lines") from error
    if "error" in answer:
        raise UserError(answer["error"])
    return answer


def main() -> None:
    """Answers the request on standard input."""
    answer_request(write_problems)


def answer_request(work: Callable[..., dict[str, Any]]) -> None:
    """Answers the request on standard input with the result of a function of its parts, within bounded memory."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # an orphan would keep reading a hostile file
    request = json.load(sys.stdin)
    memory = request.pop("memory")
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash must not write gigabytes of core
    try:
        answer = work(**request)
    except UserError as error:
        answer = {"error": str(error)}
    # RLIMIT_AS makes allocations fail instead of getting the child killed, mostly in time to say so.
    except MemoryError:
        told = f"a row needs more than {memory >> 30} GiB of memory: give smaller rows, or JSON Lines"
        answer = {"error": f"{request['files'][0]}: {told}"}
    print(json.dumps(answer))


def write_problems(
    files: list[str],
    target: str,
    label: str,
    columns: dict[str, str],
    suffix: str,
    split: str,
    drop_duplicates: bool,
    answers: bool,
) -> dict[str, Any]:
    """Writes the problems in files, or only reads them if `target` is empty; returns a report on them."""
    counts: dict[str, Any] = {"read": 0, "rows": 0, "without_answer": 0}
    dropped: Counter[str] = Counter()
    marks: Counter[str] = Counter()
    first: dict[str, str] = {}
    copies, ids = Duplicates(), _Ids(label)
    chosen: Columns | None = None
    with ExitStack() as opened:
        writer = opened.enter_context(Writer(Path(target), split)) if target else None
        for place, row in _rows(files):
            counts["read"] += 1
            if chosen is None:
                chosen = choose(row, Columns(**columns), place, answers=answers)
            found = read_row(row, chosen, marks, answers=answers)
            if isinstance(found, str):
                dropped[found] += 1
                first.setdefault(found, place)
                continue
            question = _question(found)
            # Asked in any case, because copies are counted also where they stay.
            if copies.is_copy(question) and drop_duplicates:
                dropped["duplicate"] += 1
                first.setdefault("duplicate", place)
                continue
            prompt = ask(found.problem, suffix=suffix) if isinstance(found.problem, str) else found.problem
            # A hash of the question, not a number: it stays when rows above it are added or removed.
            identifier = ids.new(found.id or sha256(question.encode()).hexdigest()[:12])
            counts["rows"] += 1
            counts["without_answer"] += not found.golds
            if writer:
                writer.add(Problem(id=identifier, data_source=label, prompt=prompt, golds=found.golds))
        if chosen is None:
            raise UserError(f"{files[0]} holds no rows: give a file with one problem per row")
        if not counts["rows"]:
            why = "; ".join(f"{count} x {reason} (first: {first[reason]})" for reason, count in dropped.items())
            used = " and ".join(repr(column) for column in (chosen.problem, chosen.answer) if column)
            raise UserError(
                f"{files[0]}: none of its {counts['read']} rows can be used with the columns {used}: {why};"
                " fix them, or name other columns"
            )
    return {
        "rows": counts["rows"],
        "without_answer": counts["without_answer"],
        "dropped": dict(sorted(dropped.items())),
        "first": first,
        "columns": asdict(chosen),
        "golds": dict(marks),
        "repeated_ids": ids.num_repeated,
        "duplicates": copies.exact,
        "near_duplicates": copies.near,
        "all_compared": copies.is_complete,
    }


def _rows(files: list[str]) -> Iterator[tuple[str, Any]]:
    for file in files:
        name = Path(file).name
        for place, row in read_rows(Path(file)):
            yield f"{name}, {place}", row


def _question(found: Found) -> str:
    return found.problem if isinstance(found.problem, str) else found.problem[-1]["content"]


class _Ids:
    """Makes ids unique by numbering repeated ones, as in the kit's own sets."""

    def __init__(self, label: str) -> None:
        self.num_repeated = 0
        self._label = label
        self._seen: dict[bytes, int] = {}

    def new(self, key: str) -> str:
        key = key.removeprefix(f"{self._label}/")  # files that the kit has written carry it already
        digest = blake2b(key.encode(), digest_size=8).digest()  # 8 bytes, so the ids of millions of rows fit
        number = self._seen[digest] = self._seen.get(digest, 0) + 1
        self.num_repeated += number > 1
        return f"{self._label}/{key}" + (f"~{number}" if number > 1 else "")


if __name__ == "__main__":
    main()
