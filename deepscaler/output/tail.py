"""Prints new lines of files, each with the name of its source: `node1        | joining 10.0.0.1:20017`."""

from pathlib import Path

from deepscaler.output.terminal import printable
from deepscaler.system.lines import NewLines


class Tail:
    """Remembers how much of each file was shown. It shows only the last lines of a file that is new to it."""

    def __init__(self, num_lines: int) -> None:
        self._num_lines = num_lines
        self._seen: dict[Path, NewLines] = {}

    def show(self, path: Path, speaker: str) -> None:
        """Prints the complete lines of a file that have not been shown yet."""
        first = path not in self._seen
        # Decoded after joining: whole lines only, so no character is cut.
        lines = b"\n".join(self._seen.setdefault(path, NewLines(path)).read()).decode("utf-8", "replace").splitlines()
        for line in lines[-self._num_lines :] if first else lines:
            print(f"{speaker:<12} | {printable(line)}", flush=True)
