"""Reads and writes prepared sets batch by batch: parquet files in verl's schema, which may exceed the memory."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

from deepscaler.data.problem import Problem
from deepscaler.system.errors import UserError
from deepscaler.system.files import reason

BATCH = 1000
"""Rows in memory at once."""

Row = dict[str, Any]


class Writer(AbstractContextManager["Writer"]):
    """Writes rows with one schema, whatever their golds and prompts; the caller renames the finished file."""

    def __init__(self, path: Path, split: str = "train") -> None:
        self._path, self._split = path, split
        self._rows: list[Row] = []
        self.num_rows = 0

    def __enter__(self) -> Self:
        from pyarrow import parquet  # noqa: PLC0415  keeps `deepscaler --help` quick

        self._file = parquet.ParquetWriter(self._path, _schema())
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._file.close()

    def add(self, problem: Problem) -> None:
        """Appends a problem."""
        self.add_row(problem.to_verl_row(self._split, self.num_rows))

    def add_row(self, row: Row) -> None:
        """Appends a row of another prepared set."""
        self._rows.append(row)
        self.num_rows += 1
        if len(self._rows) >= BATCH:
            self._flush()

    def _flush(self) -> None:
        import pyarrow  # noqa: PLC0415

        if self._rows:
            self._file.write_table(pyarrow.Table.from_pylist(self._rows, schema=_schema()))
        self._rows = []


def rows_of(path: Path) -> Iterator[Row]:
    """Yields the rows of a prepared set. Raises UserError for any other file."""
    from pyarrow import parquet  # noqa: PLC0415

    try:
        with parquet.ParquetFile(path) as opened:
            for batch in opened.iter_batches(batch_size=BATCH):
                yield from batch.to_pylist()
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a prepared data set ({reason(error)}); delete it and start again") from error


def problems_of(path: Path) -> Iterator[Problem]:
    """Yields the problems of a prepared set. Raises UserError for any other file."""
    try:
        yield from map(Problem.from_verl_row, rows_of(path))
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is not a prepared data set ({error!r}); delete it and start again") from error


def num_rows(path: Path) -> int:
    """Returns the number of rows of a prepared set."""
    from pyarrow import parquet  # noqa: PLC0415

    return int(parquet.read_metadata(path).num_rows)


def copy_rows(sources: Iterator[Row], path: Path, change: Callable[[Row], Row] = lambda row: row) -> int:
    """Writes rows, each after `change`, to a new file; returns their number."""
    with Writer(path) as writer:
        for row in sources:
            writer.add_row(change(row))
        return writer.num_rows


def _schema() -> Any:
    import pyarrow  # noqa: PLC0415

    # Stated in full, because a schema inferred per batch would differ between batches, as for a batch without golds.
    text = pyarrow.string()
    message = pyarrow.struct([("content", text), ("role", text)])
    return pyarrow.schema(
        [
            ("data_source", text),
            ("prompt", pyarrow.list_(message)),
            ("ability", text),
            ("reward_model", pyarrow.struct([("ground_truth", pyarrow.list_(text)), ("style", text)])),
            ("extra_info", pyarrow.struct([("id", text), ("index", pyarrow.int64()), ("split", text)])),
        ]
    )
