"""Prepares a process from a start of a run: the files that have to be on disk, and a Ray of its own."""

import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from deepscaler.system.files import remove_tree
from deepscaler.system.paths import REFUSED_BY_VERL, short_temporary_folder
from deepscaler.training.merge import merge
from deepscaler.training.start import Start


@dataclass(frozen=True, slots=True)
class Launch:
    """A command that is ready to begin."""

    command: list[str]
    environment: dict[str, str]
    folder: Path
    """Its working directory. Ray puts it first on the path of its workers, so it must hold nobody's packages."""
    ray_dir: Path | None
    """Sockets, logs and token of the Ray that the command starts; None if it joins one."""

    def clean_up(self) -> None:
        """Removes what a local Ray leaves."""
        if self.ray_dir:
            remove_tree(self.ray_dir)


def prepare_launch(start: Start, console: Console) -> Launch:
    """Writes what the command reads: the link to its checkpoint or the merged model, and the attempt's record."""
    if checkpoint := start.checkpoint:
        if link := start.resume_link:
            link.parent.mkdir()
            # verl reads its step from the end of the path, and a sealed folder is named by the run's step.
            link.symlink_to(checkpoint.path)
            console.print(f"Resuming from the checkpoint of step {checkpoint.step}.")
        else:
            console.print(
                f"The checkpoint of step {checkpoint.step} was written by {checkpoint.world_size} ranks, now there are"
                f" {start.recipe.world_size}, and it cannot be resharded: resuming from its merged model, with a new"
                " optimizer.",
                soft_wrap=True,
            )
            merge(start.run, console)
    resumed_step = checkpoint.step if checkpoint else 0
    # Before verl starts: its callback reads both, and readers of the metrics go by them from the first line on.
    start.attempt.update_record(resumed_step=resumed_step, step_offset=start.step_offset)
    ray_dir = Path(tempfile.mkdtemp(prefix="dsr-", dir=short_temporary_folder())) if start.has_own_ray else None
    environment = {**os.environ, **start.environment, **(_local_ray(ray_dir) if ray_dir else {})}
    for name in REFUSED_BY_VERL:
        environment.pop(name, None)
    return Launch(start.command, environment, start.attempt.root, ray_dir)


def _local_ray(ray_dir: Path) -> dict[str, str]:
    """Returns the settings of the Ray that verl starts on this machine: a folder of its own, and a token."""
    token = ray_dir / "token"
    # Before it holds anything: a mode that is set afterwards leaves a moment in which others can read the token.
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32), encoding="ascii")
    usual = Path(tempfile.gettempdir())
    # Python's managers, which read data for verl, have sockets below the temporary folder, too
    short = {} if ray_dir.parent == usual else {"TMPDIR": str(ray_dir)}
    return short | {"RAY_TMPDIR": str(ray_dir), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
