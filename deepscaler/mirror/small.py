"""The small files of a run in its mirror: metrics, records, rollouts, recipe, data; each object by its content."""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from deepscaler.mirror.bucket import Bucket
from deepscaler.mirror.layout import FILES, View, as_bytes, attempt_folder, read_object, small_files
from deepscaler.runs.folder import RunFolder

KEPT = ("run.json", "recipe.toml", "recipes/*", "data/**/*", "reward/*.py")
LOGGED = ("attempts/*/attempt.json", "attempts/*/metrics.jsonl", "rollouts/*.jsonl", "validation/*.jsonl")
"""Small files of a run that its mirror has: what it is, and what it says of itself."""


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
        changed: dict[str, dict[str, Any]] = {}
        for path, name in self._found():
            with suppress(FileNotFoundError):  # replaced at this moment: the next look has it
                stat = path.stat()
                stamp = (stat.st_size, stat.st_mtime_ns)
                if self._stamps.get(name) == stamp:
                    continue
                content = path.read_bytes()
                if told := self._send_one(name, content):
                    changed[name] = told
                self._stamps[name] = stamp
        if changed:
            replaced = [self._index[name]["object"] for name in changed if name in self._index]
            self._index |= changed
            self._known |= changed
            self._bucket.write(f"{self._folder}/{FILES}", as_bytes(self._index))
            self._bucket.remove(replaced)

    def _send_one(self, name: str, content: bytes) -> dict[str, Any]:
        """Sends a file; returns how the index tells it, or nothing where the mirror has this content."""
        digest = hashlib.sha256(content).hexdigest()
        if self._known.get(name, {}).get("sha256") == digest:
            return {}
        item = f"{self._folder}/files/{name}-{digest[:8]}"
        self._bucket.write(item, content)
        return {"object": item, "size": len(content), "sha256": digest}

    def _found(self) -> Iterator[tuple[Path, str]]:
        root = self._run.root
        for pattern in (*KEPT, *LOGGED):
            for path in sorted(root.glob(pattern)):
                if path.is_file() and not path.name.startswith("."):
                    yield path, path.relative_to(root).as_posix()
