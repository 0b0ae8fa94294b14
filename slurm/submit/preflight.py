"""What would go wrong on the nodes, told before anything waits in a queue."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from deepscaler.data.prepare import parquet_path
from deepscaler.data.sources import SOURCES
from deepscaler.job import Job
from deepscaler.system.errors import UserError
from deepscaler.system.paths import cache_dir
from slurm.runtime_class import check_runtime
from slurm.site import Site

MIN_FREE = 1 << 30
"""Bytes where a run is to write; a checkpoint of the 1.5B model has 18 GB, and the trainer tells of that."""


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
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not existing.is_dir():
        raise UserError(f"{folder} cannot be made, {existing} is no folder: {advice}")
    if not dry_run:
        _try_to_write(existing, folder, advice)
    elif not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"{folder} cannot be written (no permission): {advice}")
    free = shutil.disk_usage(existing).free
    if free < MIN_FREE:
        raise UserError(f"{folder} has {free / 1e9:.2f} GB free, at least {MIN_FREE / 1e9:.0f} are wanted: {advice}")


def _try_to_write(existing: Path, folder: Path, advice: str) -> None:
    probe = existing / f".deepscaler-{os.getpid()}"
    try:
        probe.write_bytes(b"\0" * 4096)
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}): {advice}") from error
    finally:
        probe.unlink(missing_ok=True)


def _check_offline(jobs: Sequence[Job], site: Site) -> None:
    """Without internet on the nodes, data and models have to be in the cache."""
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
        folder = home.expanduser() / "hub" / f"models--{model.replace('/', '--')}"
        if not Path(model).is_dir() and not folder.is_dir() and not model.startswith("/"):
            raise UserError(
                f"nodes have no internet, and {model} is not in the cache: HF_HOME={home} hf download {model}"
            )
