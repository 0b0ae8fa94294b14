"""Keeps the fetched part of a mirror a copy of one run and one checkpoint: remains of another are removed first.

<cache>/mirror/8k-3f2a91c04be1/{run.json, attempts/, checkpoints/global_step_60/, model/}      as in a run's folder
<cache>/mirror/8k-3f2a91c04be1/fetched.json      {"run": "3f2a...", "checkpoint": "SHA-256 of its manifest"}

A URL says where a mirror is, not which run it is of: its bucket may have been emptied and used again, and a step whose
checkpoint was lost may have been saved again.
"""

import hashlib
import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from deepscaler.mirror.small import small_paths
from deepscaler.runs.checkpoints import MERGED, PREFIX, sealed
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.holds import HOLDS, is_held
from deepscaler.runs.resharded import copies
from deepscaler.system.errors import UserError
from deepscaler.system.files import LOCK, read_json, write_json
from deepscaler.system.paths import cache_dir

RECORD = "fetched.json"
FETCHED = ".fetch-"
"""Begins the name of a checkpoint's folder until the checkpoint is whole."""


def cached(url: str) -> RunFolder:
    """Returns the folder in the cache to which a mirror is fetched, whether it is there or not."""
    name = f"{url.rpartition('/')[2]}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"
    return RunFolder((cache_dir() / "mirror" / name).resolve())


def keep_run(run: RunFolder, identity: str) -> None:
    """Empties the folder where it is not known to be of this run. Raises UserError if that fails."""
    if _record(run).get("run") == identity:
        return
    for path in run.root.iterdir():
        if path.name != LOCK:
            _remove(path)
    # At the end: a removal that was interrupted begins again.
    write_json(run.root / RECORD, {"run": identity})


def keep_files(run: RunFolder, names: Collection[str]) -> None:
    """Removes small files and attempts that the mirror does not have."""
    for path, name in list(small_paths(run.root)):
        if name not in names:
            _remove(path)
    for attempt in run.attempts():
        if not any(name.startswith(f"attempts/{attempt.root.name}/") for name in names):
            _remove(attempt.root)


def keep_checkpoint(run: RunFolder, step: int, files: dict[str, dict[str, Any]]) -> None:
    """Removes every checkpoint but the one of these files, so that one of this step is whole and the mirror's.

    The cache holds one checkpoint of a run, because that of a 1.5B model has 18 GB with its optimizer.
    """
    digest = hashlib.sha256(json.dumps([step, files], sort_keys=True).encode()).hexdigest()
    record = _record(run)
    if record.get("checkpoint") == digest:
        return
    if read := [one.path for one in sealed(run) if is_held(run, one.step)]:
        raise UserError(f"another process reads {read[0]}, which is no longer what is asked for: wait for it")
    # The model itself stays until the next merge replaces it, because an evaluation may be reading it.
    (run.model / MERGED).unlink(missing_ok=True)
    for path in [*run.checkpoints.glob("*"), copies(run)]:
        # What an earlier try has fetched of this step is compared file by file; a lock or a hold is somebody's.
        if path.name not in (f"{FETCHED}{PREFIX}{step}", LOCK, HOLDS):
            _remove(path)
    write_json(run.root / RECORD, {**record, "checkpoint": digest})


def _record(run: RunFolder) -> dict[str, Any]:
    """Returns which run and checkpoint the folder is of; nothing if that is not known."""
    try:
        return read_json(run.root / RECORD)
    except UserError:
        return {}


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    # What stays would be taken for the mirror's.
    if path.exists():
        raise UserError(f"{path} cannot be removed, and is not what the mirror has now: remove it by hand")
