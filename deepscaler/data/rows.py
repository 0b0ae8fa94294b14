"""Reads the rows of a user's file one by one, however large the file is. Runs in the child of `convert`.

sums.jsonl    one JSON object per line      -> ("line 1", {"question": "1 + 1?", "final": 2}), ...
sums.json     a JSON list of objects        -> ("row 1", {...}), ...
sums.parquet  one row per problem           -> ("row 1", {...}), ...

The extension distinguishes parquet from JSON, and the first character distinguishes lines from a list. Every fault
raises a UserError that names the file, the row and what to do.
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
"""Most bytes of one row; a problem of a million words is a mistake."""

CHUNK = 1 << 20
BATCH = 128
"""Rows of a parquet file in memory at once."""

_BETWEEN = (re.compile(r"[ \t\r\n]*"), re.compile(r"[ \t\r\n]*,?[ \t\r\n]*"))
"""Separators before the first item of a list, and before any other item."""

_DECODER = json.JSONDecoder()


def read_rows(file: Path) -> Iterator[tuple[str, Any]]:
    """Yields each row with its place. Raises UserError for a file that does not match its extension."""
    check_readable(file)
    if file.suffix == ".parquet":
        yield from _parquet_rows(file)
        return
    with file.open("rb") as opened:
        first = _skip_mark(opened, file)
        yield from _list_rows(opened, file) if first == b"[" else _lines(opened, file)


def check_readable(file: Path) -> None:
    """Raises UserError if a path is not a file that can be read."""
    if not file.exists():
        raise UserError(f"there is no file {file}: give the path of a .jsonl, .json or .parquet file")
    if not file.is_file():
        raise UserError(f"{file} is not a regular file: give the path of a .jsonl, .json or .parquet file")
    try:
        with file.open("rb") as opened:
            if not opened.read(1):
                raise UserError(f"{file} is empty: write one problem per line, or give another file")
    except OSError as error:
        raise UserError(f"{file} cannot be read: {reason(error)}; check its permissions") from error


def _skip_mark(opened: BinaryIO, file: Path) -> bytes:
    """Moves to the first character of text, and returns it."""
    start = opened.read(4)
    # Spreadsheets save UTF-16: as UTF-8 its first line would fail with a message that helps nobody.
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in start:
        raise UserError(f"{file} is not UTF-8 text (UTF-16?): save it as UTF-8")
    if start == b"PAR1":
        raise UserError(f"{file} is a parquet file: give it the extension .parquet")
    opened.seek(len(codecs.BOM_UTF8) if start.startswith(codecs.BOM_UTF8) else 0)
    while (byte := opened.read(1)) and byte in b" \t\r\n":
        pass
    if byte:
        opened.seek(-1, 1)
    return byte


def _lines(opened: BinaryIO, file: Path) -> Iterator[tuple[str, Any]]:
    """Yields JSON Lines. Only a line feed ends a line, because JSON texts may hold other separators."""
    at = opened.tell()
    opened.seek(0)
    number = opened.read(at).count(b"\n")  # blank lines before the first row count, as in an editor
    # Bounded: one line of a hostile file may be as long as the file.
    while line := opened.readline(MAX_ROW + 1):
        number += 1
        if len(line) > MAX_ROW:
            raise UserError(f"{file}, line {number}: longer than {MAX_ROW >> 20} MiB; write one problem per line")
        if not line.strip():
            continue
        try:
            yield f"line {number}", json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise UserError(
                f"{file}, line {number}: byte {error.start + 1} is not UTF-8; save the file as UTF-8"
            ) from error
        except (ValueError, RecursionError) as error:
            advice = "write one JSON object per line" if line.endswith(b"\n") else "check whether the file is cut off"
            raise UserError(f"{file}, line {number}: not valid JSON ({_short(error)}); {advice}") from error


def _list_rows(opened: BinaryIO, file: Path) -> Iterator[tuple[str, Any]]:
    """Yields the items of a JSON list, which need not fit into memory."""
    # Incremental, because a chunk may end within a character.
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
                # raw_decode reads one value and says where it ends; json.loads would want the whole list.
                value, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            if at_end or len(text) - at > MAX_ROW or isinstance(error, RecursionError):
                if not at_end and not isinstance(error, RecursionError):
                    raise UserError(
                        f"{file}, row {number + 1}: not valid JSON within {MAX_ROW >> 20} MiB; repair it"
                    ) from error
                advice = "check whether the file is cut off" if at_end else "repair that row"
                raise UserError(f"{file}, row {number + 1}: not valid JSON ({_short(error)}); {advice}") from error
        if end > at and (end < len(text) or at_end):  # a number at the end of the chunk may continue in the next one
            number, at, step = number + 1, end, CHUNK
            yield f"row {number}", value
            continue
        if at_end:
            raise UserError(f"{file}, row {number + 1}: the list does not end; check whether the file is cut off")
        chunk = opened.read(step)
        at_end, step = not chunk, step * 2  # a long row is decoded repeatedly; doubling keeps that linear
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
            # By few rows: a column of a row group may unpack to far more than its file has.
            for batch in opened.iter_batches(batch_size=BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", row
    except (ArrowException, OSError, ValueError, OverflowError) as error:
        where = f", after row {number}" if number else ""
        raise UserError(
            f"{file}{where}: cannot read parquet ({_short(error)}); write it again, or give JSON Lines"
        ) from error


def _short(error: Exception) -> str:
    return " ".join(reason(error).split())[:160]
