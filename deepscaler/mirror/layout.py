"""Lists what a mirror holds and what of it counts, by names of objects and by manifests that are written last.

A mirror needs neither a lock nor a conditional write, because buckets differ in what they offer. Each attempt writes
below its own number, the name of its claim says where it resumed, and manifests come last. One listing then shows what
counts, and a zombie that writes at the worst moment changes nothing.

attempts/0002/claim-0-4be1d0aa   attempts/0003/claim-40-9f3c2a1b
attempts/0002/checkpoints/global_step_40/manifest.json          counts
attempts/0002/checkpoints/global_step_60/manifest.json          a zombie's: attempt 3 resumed at 40
attempts/0003/checkpoints/global_step_60/actor/...              torn: no manifest
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from deepscaler.mirror.bucket import Bucket, DamagedError
from deepscaler.runs.checkpoints import PREFIX

IDENTITY = "mirror.json"
"""`{"run": "3f2a..."}`; on disk, in the run's folder, also how far the mirror is."""

MANIFEST = "manifest.json"
FILES = "files.json"

_PART = re.compile(r"attempts/(\d+)/")
_CLAIM = re.compile(r"attempts/(\d+)/claim-(\d+)-(\w+)")
_CHECKPOINT = re.compile(rf"attempts/(\d+)/checkpoints/{PREFIX}(\d+)/(.+)")
_STAGE = re.compile(r"(\d+-[^/]+)/attempts/\d+/files\.json")
_ATTEMPT = re.compile(r"attempts/(\d+)/files\.json")


@dataclass(frozen=True, slots=True)
class Stored:
    """A checkpoint in the mirror."""

    attempt: int
    step: int

    @property
    def folder(self) -> str:
        """Its name in the mirror."""
        return f"{attempt_folder(self.attempt)}/checkpoints/{PREFIX}{self.step}"


@dataclass(frozen=True, slots=True)
class View:
    """A mirror at one moment, by one listing."""

    claims: dict[int, dict[str, int]] = field(default_factory=dict)
    """Step at which an attempt resumed, by attempt and token; several tokens if two starts met."""
    objects: dict[Stored, list[str]] = field(default_factory=dict)
    """Every object of every checkpoint, whole or not."""
    whole: dict[int, Stored] = field(default_factory=dict)
    """The checkpoints that count, by step; of one step the latest attempt's."""
    indexed: tuple[int, ...] = ()
    """Attempts with small files, the first first."""
    names: frozenset[str] = frozenset()

    @property
    def owner(self) -> int:
        """Returns the newest attempt; 0 if there is none."""
        return max(self.claims, default=0)

    def resumed_after(self, attempt: int) -> int | None:
        """Returns the step at which attempts after this one resumed, the earliest; None if there are none."""
        # Where two starts took one number, nobody knows which of them trained on: the earlier step is the safe one.
        return min((min(steps.values()) for number, steps in self.claims.items() if number > attempt), default=None)

    def counts(self, step: int, attempt: int) -> bool:
        """Returns whether a step of an attempt is part of the run: no later attempt has resumed at an earlier one."""
        resumed = self.resumed_after(attempt)
        return resumed is None or step <= resumed


def look(bucket: Bucket) -> View:
    """Returns what a mirror holds. Raises MirrorError."""
    names = frozenset(bucket.names())
    claims: dict[int, dict[str, int]] = {}
    objects: dict[Stored, list[str]] = {}
    indexed = []
    for name in sorted(names):
        if match := _CLAIM.fullmatch(name):
            claims.setdefault(int(match[1]), {})[match[3]] = int(match[2])
        elif match := _CHECKPOINT.fullmatch(name):
            objects.setdefault(Stored(int(match[1]), int(match[2])), []).append(name)
        elif match := _ATTEMPT.fullmatch(name):
            indexed.append(int(match[1]))
    view = View(claims, objects, {}, tuple(sorted(indexed)), names)
    for stored in sorted(objects, key=lambda one: one.attempt):
        if f"{stored.folder}/{MANIFEST}" in names and view.counts(stored.step, stored.attempt):
            view.whole[stored.step] = stored
    return view


def attempt_folder(number: int) -> str:
    """Returns the name of an attempt's part of a mirror."""
    return f"attempts/{number:04}"


def stages_of(view: View) -> list[str]:
    """Returns the stages of a chain that have a mirror with a run below this place: `["1-8k", "2-16k"]`."""
    found = {match[1] for name in view.names if (match := _STAGE.fullmatch(name))}
    return sorted(found, key=lambda stage: int(stage.partition("-")[0]))


def attempt_of(name: str) -> int:
    """Returns the attempt that an object is of; 0 for none."""
    found = _PART.match(name)
    return int(found[1]) if found else 0


def claim_name(number: int, resumed_step: int, token: str) -> str:
    """Returns the name of the object by which an attempt owns a mirror."""
    return f"{attempt_folder(number)}/claim-{resumed_step}-{token}"


def read_object(bucket: Bucket, name: str) -> dict[str, Any] | None:
    """Returns a JSON object of a mirror; None if there is none. Raises DamagedError for anything else."""
    content = bucket.read(name)
    if content is None:
        return None
    try:
        value = json.loads(content)
    # RecursionError is what json raises for a thousand nested brackets.
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise DamagedError(f"{bucket.url}/{name} holds no JSON object")
    return value


def as_bytes(value: Any) -> bytes:
    """Returns JSON for an object of a mirror."""
    return json.dumps(value, indent=1).encode()


def small_files(bucket: Bucket, view: View) -> dict[str, dict[str, Any]]:
    """Returns every small file of a run, by its path: `{"object", "size", "sha256"}`; a later attempt's counts."""
    found: dict[str, dict[str, Any]] = {}
    for number in view.indexed:
        index = read_object(bucket, f"{attempt_folder(number)}/{FILES}") or {}
        # Whoever may write to the bucket chooses these names: ../../.ssh/authorized_keys would be fetched to
        # its place.
        found |= {path: told for path, told in index.items() if _is_safe(path) and _is_entry(told, "object", "sha256")}
    return found


def read_manifest(bucket: Bucket, stored: Stored) -> dict[str, dict[str, Any]]:
    """Returns `{"size", "sha256"}` of every file of a checkpoint, by its path. Raises DamagedError."""
    manifest = read_object(bucket, f"{stored.folder}/{MANIFEST}") or {}
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(_is_safe(path) and _is_entry(files[path], "sha256") for path in files):
        raise DamagedError(f"{bucket.url}/{stored.folder}/{MANIFEST} is not a manifest, or the checkpoint is gone")
    return files


def _is_safe(path: str) -> bool:
    """Returns whether a path from a bucket stays in the folder that it is fetched to."""
    return not path.startswith("/") and ".." not in path.split("/")


def _is_entry(told: Any, *texts: str) -> bool:
    """Returns whether an entry has the size of a file, and these texts."""
    return (
        isinstance(told, dict)
        and type(told.get("size")) is int
        and all(isinstance(told.get(name), str) for name in texts)
    )
