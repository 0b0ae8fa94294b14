"""Prints what is added to files, each line with the name of who says it: `node1        | joining 10.0.0.1:20017`."""

from pathlib import Path

from deepscaler.output.terminal import printable


class Tail:
    """Remembers how far each file was shown. Of a file seen for the first time it shows the last lines alone."""

    def __init__(self, num_lines: int) -> None:
        self._num_lines = num_lines
        self._seen: dict[Path, int] = {}

    def show(self, path: Path, speaker: str) -> None:
        """Prints the whole lines of a file that have not been shown."""
        first = path not in self._seen
        with path.open("rb") as file:
            file.seek(self._seen.get(path, 0))
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._seen[path] = self._seen.get(path, 0) + len(whole)
        lines = whole.decode("utf-8", errors="replace").splitlines()
        for line in lines[-self._num_lines :] if first else lines:
            print(f"{speaker:<12} | {printable(line)}", flush=True)
