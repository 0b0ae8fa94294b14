"""Remembers on this machine which jobs of a run were submitted to which cluster: outputs/mine/k8s/jobs.json.

The record is not authoritative: commands ask the cluster, and the same command rewrites the record.
"""

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from deepscaler.system.errors import UserError
from deepscaler.system.files import locked, reason, write_json

FOLDER = "k8s"
"""Folder of the record below a run's folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """Records one object that was applied for a run."""

    name: str
    kind: str = "rayjob"
    context: str
    namespace: str
    run_dir: str = ""
    """The run's folder in the pods."""
    owner: str = ""
    """Names who has submitted it (see deepscaler.kubernetes.cluster.owner)."""
    trains: bool = True
    """True if `deepscaler status` can read that folder, unlike an evaluation's."""
    after: str = ""
    """Job of the chain that it waits for."""
    submitted: float = 0.0


def read_jobs(run_folder: Path) -> list[Submitted]:
    """Returns the objects that were applied for a run, in order. Raises UserError for a file that is not the kit's."""
    path = run_folder / FOLDER / "jobs.json"
    if not path.is_file():
        return []
    try:
        return [Submitted(**entry) for entry in json.loads(path.read_text("utf-8"))]
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path} is not a list of jobs ({reason(error)}): remove it, and give the command of the run again, which"
            " finds its jobs on the cluster"
        ) from error


@contextmanager
def submitting(run_folder: Path) -> Iterator[None]:
    """Locks a run's folder while its jobs are submitted; a refusal leaves nothing new in it.

    Raises UserError if another process holds the lock.
    """
    folder = run_folder / FOLDER
    with locked(folder, UserError(f"another process is submitting jobs for {run_folder}; wait for it")):
        try:
            yield
        except UserError:
            if not (folder / "jobs.json").is_file():
                shutil.rmtree(folder, ignore_errors=True)
                with suppress(OSError):  # it holds more
                    run_folder.rmdir()
            raise


def write_jobs(run_folder: Path, jobs: Sequence[Submitted]) -> None:
    """Records the objects that were just applied."""
    now = time.time()
    write_json(run_folder / FOLDER / "jobs.json", [asdict(job) | {"submitted": job.submitted or now} for job in jobs])
