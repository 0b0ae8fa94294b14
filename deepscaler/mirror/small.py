"""Mirrors a run's small files (metrics, records, rollouts, recipe, data), each as an object named by its content."""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from deepscaler.mirror.bucket import Bucket
from deepscaler.mirror.layout import FILES, View, as_bytes, attempt_folder, read_object, small_files
from deepscaler.runs.folder import RunFolder

KEPT = ("run.json", "recipe.toml", "recipes/*", "data/**/*", "reward/*.py")
LOGGED = (
    "attempts/*/attempt.json",
    "attempts/*/metrics.jsonl",
    "attempts/*/saved.json",
    "attempts/*/prompts.jsonl",
    "rollouts/*.jsonl",
    "validation/*.jsonl",
)
"""Small files of a run that its mirror has: what it is, and what it says of itself."""

BATCH = 32 << 20
"""Bytes that are sent together: held in memory, and followed by an index."""


def small_paths(root: Path) -> Iterator[tuple[Path, str]]:
    """Yields the small files in a run's folder, and their names in its mirror."""
    for pattern in (*KEPT, *LOGGED):
        for path in sorted(root.glob(pattern)):
            # Files that are being written begin with a dot until they are whole (system.files).
            if path.is_file() and not path.name.startswith("."):
                yield path, path.relative_to(root).as_posix()


class SmallFiles:
    """Those that one attempt sends: what is new, or has another content than the mirror's."""

    def __init__(self, bucket: Bucket, run: RunFolder, attempt: int, view: View) -> None:
        self._bucket, self._run, self._folder = bucket, run, attempt_folder(attempt)
        self._known = small_files(bucket, view)
        self._index = read_object(bucket, f"{self._folder}/{FILES}") or {}
        """Sent by this attempt, by an earlier process too."""
        self._stamps: dict[str, tuple[int, int]] = {}
        """Size and time of those that need no look."""

    def send(self) -> None:
        """Sends what has changed, then the index that makes it count. Raises MirrorError."""
        pending: dict[str, tuple[tuple[int, int], bytes]] = {}
        for path, name in small_paths(self._run.root):
            with suppress(FileNotFoundError):  # replaced at this moment: the next look has it
                # Before the content is read: what is appended in between changes the stamp, so the next look
                # sends it.
                stat = path.stat()
                stamp = (stat.st_size, stat.st_mtime_ns)
                if self._stamps.get(name) != stamp:
                    pending[name] = stamp, path.read_bytes()
            if sum(len(content) for _, content in pending.values()) > BATCH:
                self._send(pending)
                pending = {}
        self._send(pending)

    def _send(self, pending: dict[str, tuple[tuple[int, int], bytes]]) -> None:
        changed, contents = {}, {}
        for name, (_, content) in pending.items():
            digest = hashlib.sha256(content).hexdigest()
            if self._known.get(name, {}).get("sha256") != digest:
                item = f"{self._folder}/files/{name}-{digest[:8]}"
                changed[name] = {"object": item, "size": len(content), "sha256": digest}
                contents[item] = content
        if changed:
            index = self._index | changed
            replaced = [self._index[name]["object"] for name in changed if name in self._index]
            # The index after the objects and before the removal: whichever a reader has, all that it names is there.
            self._bucket.change({**contents, f"{self._folder}/{FILES}": as_bytes(index)}, replaced)
            self._index = index
            self._known |= changed
        # At the end, so that what could not be sent is sent by the next look.
        self._stamps |= {name: stamp for name, (stamp, _) in pending.items()}
