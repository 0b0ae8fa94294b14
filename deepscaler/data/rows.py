"""Reads the rows of a user's file one by one, however large the file is. Runs in the child of `convert`.

sums.jsonl    one JSON object a line        -> ("line 1", {"question": "1 + 1?", "final": 2}), ...
sums.json     a JSON list of objects        -> ("row 1", {...}), ...
sums.parquet  one row a problem             -> ("row 1", {...}), ...

The ending chooses between parquet and JSON; the first character, between lines and a list. Every fault is one
UserError that names the file, the row and what to do.
"""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from deepscaler.system.errors import UserError
from deepscaler.system.files import reason

MAX_ROW = 16 << 20
"""Bytes of one row; a problem of a million words is a mistake."""

CHUNK = 1 << 20
BATCH = 128
"""Rows of a parquet file in memory at once."""

_BETWEEN = (re.compile(r"[ \t\r\n]*"), re.compile(r"[ \t\r\n]*,?[ \t\r\n]*"))
"""What stands before the first item of a list, and before any other."""

_DECODER = json.JSONDecoder()


def read_rows(file: Path) -> Iterator[tuple[str, Any]]:
    """Yields each row with its place. Raises UserError for a file that is not what its name says."""
    check_readable(file)
    if file.suffix == ".parquet":
        yield from _parquet_rows(file)
        return
    with file.open("rb") as opened:
        first = _skip_mark(opened, file)
        yield from _list_rows(opened, file) if first == b"[" else _lines(opened, file)


def check_readable(file: Path) -> None:
    """Raises UserError where a name is that of no file that can be read."""
    if not file.exists():
        raise UserError(f"there is no file {file}: give the path of a .jsonl, .json or .parquet file")
    if not file.is_file():
        raise UserError(f"{file} is no regular file: give the path of a .jsonl, .json or .parquet file")
    try:
        with file.open("rb") as opened:
            if not opened.read(1):
                raise UserError(f"{file} is empty: write one problem a line, or give another file")
    except OSError as error:
        raise UserError(f"{file} cannot be read: {reason(error)}") from error


def _skip_mark(opened: BinaryIO, file: Path) -> bytes:
    """Goes to the first character of text, and returns it."""
    start = opened.read(4)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in start:
        raise UserError(f"{file} is not UTF-8 text (UTF-16?): save it as UTF-8")
    if start == b"PAR1":
        raise UserError(f"{file} is a parquet file: let its name end in .parquet")
    opened.seek(len(codecs.BOM_UTF8) if start.startswith(codecs.BOM_UTF8) else 0)
    while (byte := opened.read(1)) and byte in b" \t\r\n":
        pass
    if byte:
        opened.seek(-1, 1)
    return byte


def _lines(opened: BinaryIO, file: Path) -> Iterator[tuple[str, Any]]:
    """Yields JSON lines; only a line feed ends one, for JSON texts may hold every other line separator."""
    at = opened.tell()
    opened.seek(0)
    number = opened.read(at).count(b"\n")
    while line := opened.readline(MAX_ROW + 1):
        number += 1
        if len(line) > MAX_ROW:
            raise UserError(f"{file}, line {number}: longer than {MAX_ROW >> 20} MiB; write one problem a line")
        if not line.strip():
            continue
        try:
            yield f"line {number}", json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise UserError(
                f"{file}, line {number}: byte {error.start + 1} is not UTF-8; save the file as UTF-8"
            ) from error
        except (ValueError, RecursionError) as error:
            advice = "write one JSON object a line" if line.endswith(b"\n") else "is the file cut off?"
            raise UserError(f"{file}, line {number}: not valid JSON ({_short(error)}); {advice}") from error


def _list_rows(opened: BinaryIO, file: Path) -> Iterator[tuple[str, Any]]:
    """Yields the items of a JSON list, which need not fit into memory."""
    decode = codecs.getincrementaldecoder("utf-8")().decode
    opened.read(1)
    text, at, number, at_end, step = "", 0, 0, False, CHUNK
    while True:
        at = _BETWEEN[number > 0].match(text, at).end()  # type: ignore[union-attr]
        if text.startswith("]", at):
            return
        end = at
        try:
            if at < len(text):
                value, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            if at_end or len(text) - at > MAX_ROW or isinstance(error, RecursionError):
                if not at_end and not isinstance(error, RecursionError):
                    raise UserError(
                        f"{file}, row {number + 1}: not valid JSON within {MAX_ROW >> 20} MiB; repair it"
                    ) from error
                advice = "is the file cut off?" if at_end else "repair that row"
                raise UserError(f"{file}, row {number + 1}: not valid JSON ({_short(error)}); {advice}") from error
        if end > at and (end < len(text) or at_end):  # a number may go on in the next chunk
            number, at, step = number + 1, end, CHUNK
            yield f"row {number}", value
            continue
        if at_end:
            raise UserError(f"{file}, row {number + 1}: the list does not end; is the file cut off?")
        chunk = opened.read(step)
        at_end, step = not chunk, step * 2  # a long row is decoded again and again, but ever less often
        try:
            text, at = text[at:] + decode(chunk, at_end), 0
        except UnicodeDecodeError as error:
            byte = opened.tell() - len(chunk) + error.start + 1
            raise UserError(f"{file}, after row {number}: byte {byte} is not UTF-8; save the file as UTF-8") from error


def _parquet_rows(file: Path) -> Iterator[tuple[str, Any]]:
    from pyarrow import ArrowException, parquet  # noqa: PLC0415  keeps `deepscaler --help` quick

    number = 0
    try:
        with parquet.ParquetFile(file) as opened:
            for batch in opened.iter_batches(batch_size=BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", row
    except (ArrowException, OSError, ValueError, OverflowError) as error:
        where = f", after row {number}" if number else ""
        raise UserError(
            f"{file}{where}: no parquet file that can be read ({_short(error)}); write it again, or give JSON lines"
        ) from error


def _short(error: Exception) -> str:
    return " ".join(reason(error).split())[:160]
