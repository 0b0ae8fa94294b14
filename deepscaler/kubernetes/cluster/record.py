"""Remembers on this machine which jobs a run was given on which cluster: outputs/mine/k8s/jobs.json.

It is a note, not the truth: the cluster is asked for that, and the same command writes the note anew.
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
"""Below a run's folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """One object that was applied for a run."""

    name: str
    kind: str = "rayjob"
    context: str
    namespace: str
    run_dir: str = ""
    """The run's folder in the pods."""
    owner: str = ""
    """Names who has submitted it (see deepscaler.kubernetes.cluster.owner)."""
    trains: bool = True
    """Whether `deepscaler status` knows that folder: an evaluation's it does not."""
    after: str = ""
    """The job that it waits for, of a chain."""
    submitted: float = 0.0


def read_jobs(run_folder: Path) -> list[Submitted]:
    """Returns what was applied for a run, the first first. Raises UserError for a file that is none of the kit's."""
    path = run_folder / FOLDER / "jobs.json"
    if not path.is_file():
        return []
    try:
        return [Submitted(**entry) for entry in json.loads(path.read_text("utf-8"))]
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path} is no list of jobs ({reason(error)}): remove it, and give the command of the run again, which"
            " finds its jobs on the cluster"
        ) from error


@contextmanager
def submitting(run_folder: Path) -> Iterator[None]:
    """Holds a run's folder while its jobs are submitted; a refusal leaves nothing there that was not there before.

    Raises UserError where another process holds it.
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
    """Writes down what was just applied."""
    now = time.time()
    write_json(run_folder / FOLDER / "jobs.json", [asdict(job) | {"submitted": job.submitted or now} for job in jobs])
