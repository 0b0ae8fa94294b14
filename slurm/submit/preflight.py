"""Finds what would go wrong on the nodes, before anything waits in a queue."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from deepscaler.data.prepare import parquet_path
from deepscaler.data.sources import SOURCES
from deepscaler.job import Job
from deepscaler.models.present import lacks
from deepscaler.system.errors import UserError
from deepscaler.system.paths import cache_dir, snapshots_of
from slurm.runtime_class import check_runtime
from slurm.site import Site

MIN_FREE = 1 << 30
"""Bytes that must be free where a run writes. The trainer checks for a checkpoint: 18 GB for the 1.5B model."""


def check_before(jobs: Sequence[Job], site: Site, run_folder: Path, *, dry_run: bool = False) -> None:
    """Raises UserError for a folder that cannot be written, a missing interpreter or image, missing inputs.

    A dry run asks for the permission to write, instead of trying it.
    """
    for folder, advice in ((run_folder, "choose another --output-dir"), (_cache(site), "set cache in the site file")):
        _check_writable(folder, advice, dry_run=dry_run)
    check_runtime(site.runs_in, sorted({job.image for job in jobs}), sorted({job.model for job in jobs}))
    if not site.internet:
        _check_offline(jobs, site)


def _cache(site: Site) -> Path:
    return Path(site.kit_cache) if site.kit_cache else cache_dir()


def _check_writable(folder: Path, advice: str, *, dry_run: bool) -> None:
    # Its future parents are not made: a refused submission leaves nothing behind.
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not existing.is_dir():
        raise UserError(f"{folder} cannot be made, {existing} is not a folder: {advice}")
    if not dry_run:
        _try_to_write(existing, folder, advice)
    elif not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"{folder} cannot be written (no permission): {advice}")
    free = shutil.disk_usage(existing).free
    if free < MIN_FREE:
        raise UserError(f"{folder} has {free / 1e9:.2f} GB free, at least {MIN_FREE / 1e9:.0f} are needed: {advice}")


def _try_to_write(existing: Path, folder: Path, advice: str) -> None:
    probe = existing / f".deepscaler-{os.getpid()}"
    try:
        # Really written: access() says yes to root, and knows nothing of a full quota.
        probe.write_bytes(b"\0" * 4096)
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}): {advice}") from error
    finally:
        probe.unlink(missing_ok=True)


def _check_offline(jobs: Sequence[Job], site: Site) -> None:
    """Checks that data and models are in the cache if nodes have no internet. Raises UserError."""
    cache = _cache(site)
    for dataset in sorted({name for job in jobs for name in job.datasets if name in SOURCES and SOURCES[name].url}):
        if not parquet_path(dataset, cache / "data").is_file():
            raise UserError(
                f"nodes have no internet, and {dataset} is not prepared:"
                f" DEEPSCALER_CACHE={cache} deepscaler data prepare {dataset}"
            )
    home = Path(
        f"{site.cache_dir}/huggingface" if site.cache_dir else os.environ.get("HF_HOME", "~/.cache/huggingface")
    )
    for model in sorted({job.model for job in jobs if job.model}):
        # Any of them, because an evaluation may name a revision.
        snapshots = snapshots_of(model, home.expanduser() / "hub").glob("*")
        if not Path(model).is_dir() and not model.startswith("/") and all(lacks(one) for one in snapshots):
            raise UserError(
                f"nodes have no internet, and {model} is not in the cache: HF_HOME={home} hf download {model}"
            )
