"""Reads files to which others append lines: a kill, or a writer at work, may leave the last one torn."""

from pathlib import Path

from deepscaler.system.errors import UserError


class NewLines:
    """Follows a file that grows: each read takes only what was added since the last one."""

    def __init__(self, path: Path) -> None:
        self._path, self._position = path, 0

    def read(self) -> list[bytes]:
        """Returns the whole lines that are new, without their ends. Raises OSError."""
        # Bytes, because a position in a text file is opaque, and a torn line may end within a character.
        with self._path.open("rb") as file:
            file.seek(self._position)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._position += len(whole)
        return whole.split(b"\n")[:-1]


def whole_lines(path: Path) -> list[bytes]:
    """Returns all whole lines of a file; none if there is no such file. Raises UserError if it cannot be read."""
    try:
        return NewLines(path).read() if path.is_file() else []
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
