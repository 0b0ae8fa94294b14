"""Copies a user's reward file into the run, so that editing the file changes nothing of a run that has begun.

reward/my_reward.py   what the run calls, copied at its submission or first start
run.json              {"reward": {"file": "my_reward.py", "function": "score", "sha256": "...", "source": "/home/..."}}

The copy is the truth from then on: on another machine, or in a container, the file itself may not exist.
"""

import shutil
from pathlib import Path
from typing import Any

from deepscaler.rewards.function import check_file, split_function
from deepscaler.runs.folder import RunFolder
from deepscaler.system.errors import UserError
from deepscaler.system.files import atomic_path, sha256

KEY = "reward"
"""Key of run.json, and name of the folder."""


def copied_function(run_dir: Path, function: str) -> str:
    """Returns `FILE.py:NAME` of the run's own copy, whether it is there yet or not."""
    file, name = split_function(function)
    return f"{run_dir / KEY / file.name}:{name}"


def called_file(run: RunFolder, function: str) -> tuple[Path, str]:
    """Returns the file that a run calls, and its function: the run's own copy, or before there is one the user's file.

    Raises UserError if it is not what the run is bound to.
    """
    source, name = split_function(function)
    copy, _ = split_function(copied_function(run.root, function))
    # Not by the user's file, which may have been edited since, or be on another machine.
    if bound := _bound(run):
        if (bound.get("file"), bound.get("function")) != (source.name, name):
            was = f"{bound.get('file')}:{bound.get('function')}"
            raise UserError(
                f"{run.root} holds another run (reward.function: {was} -> {source.name}:{name}); give its options, or"
                " another --output-dir"
            )
        # The user can write to that folder, and rewards of two versions in one run could not be told apart later.
        if not copy.is_file() or sha256(copy) != bound.get("sha256"):
            raise UserError(
                f"{copy} is not the file that the run was begun with: put that back, or give another --output-dir"
            )
    return (copy if copy.is_file() else source), name


def check_called(run: RunFolder, function: str) -> None:
    """Reads the file that a run calls. Raises UserError, with the line, where it cannot be called; imports nothing."""
    if function:
        check_file(*called_file(run, function))


def keep_copy(run: RunFolder, function: str) -> dict[str, Any]:
    """Copies the user's file into the run's folder unless it is there; returns what run.json says of it."""
    source, name = split_function(function)
    copy, _ = split_function(copied_function(run.root, function))
    if not copy.is_file():
        with atomic_path(copy) as temporary:
            shutil.copyfile(source, temporary)
    text = copy.read_text(encoding="utf-8", errors="replace")
    return {"file": source.name, "function": name, "sha256": sha256(copy), "source": str(source), "text": text}


def submit_copy(run: RunFolder, function: str) -> None:
    """Copies the user's file for a run that has not begun: what an earlier submission left there may be outdated.

    Raises UserError, with the line, where it cannot be called.
    """
    if not function or run.is_run:
        return
    source, name = split_function(function)
    copy, _ = split_function(copied_function(run.root, function))
    if copy.is_file() and not source.is_file():  # a job in a container sees the copy alone
        return
    check_file(source, name)
    # `keep_copy` leaves a file that is there, so what an earlier submission copied has to go first.
    copy.unlink(missing_ok=True)
    keep_copy(run, function)


def edited_note(run: RunFolder, function: str) -> str:
    """Returns a line on a file that is no longer what the run calls; nothing where it is, or is not here."""
    if not function:
        return ""
    source, _ = split_function(function)
    copy, _ = split_function(copied_function(run.root, function))
    if not copy.is_file() or not source.is_file() or sha256(copy) == sha256(source):
        return ""
    return f"{source} was edited since; this run continues with its own copy, {copy}"


def _bound(run: RunFolder) -> dict[str, Any]:
    bound = run.read_manifest().get(KEY) if run.is_run else None
    return bound if isinstance(bound, dict) else {}
