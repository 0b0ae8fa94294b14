"""Keeps how far a run's mirror is, on the run's own disk, where `status` reads it: mirror.json.

{"url": "s3://bucket/8k", "run": "3f2a...", "steps": [40, 60], "at": 1764277000.0, "left": [], "error": "", ...}
"""

import secrets
import time
from dataclasses import asdict, dataclass, field, fields, replace

from deepscaler.runs.folder import RunFolder
from deepscaler.system.errors import UserError, file_system_error
from deepscaler.system.files import read_json, write_json


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorState:
    """State of the mirror at its process's last look."""

    url: str
    run: str = field(default_factory=lambda: secrets.token_hex(8))
    """Distinguishes the run from any other, in its mirror too."""
    tokens: dict[str, str] = field(default_factory=dict)
    """Token by which each attempt knows its own claim."""
    steps: list[int] = field(default_factory=list)
    """Steps of the checkpoints in the mirror."""
    at: float | None = None
    """Unix seconds at which all but `left` was there."""
    left: list[str] = field(default_factory=list)
    error: str = ""
    """Why the mirror falls behind; empty while it does not."""
    complete: int = 0
    """Attempt of which this disk has nothing left to upload: all was uploaded, or came from the mirror. 0 for none."""

    def token_of(self, attempt: int) -> str:
        """Returns the token of an attempt, made at the first call."""
        return self.tokens.setdefault(str(attempt), secrets.token_hex(4))

    def at_place(self, url: str) -> "MirrorState":
        """Returns the state of a mirror at a place; at another one than before, nothing is known to be there."""
        if url == self.url:
            return self
        return replace(self, url=url, steps=[], at=None, left=[], error="", complete=0)

    def fetched(self, steps: list[int], attempt: int) -> "MirrorState":
        """Returns the state after the run came from its mirror, with the attempt that was the last one there."""
        return replace(self, steps=steps, left=[], error="", complete=attempt)

    def completed(self, attempt: int) -> "MirrorState":
        """Returns the state after all of an attempt was uploaded."""
        return replace(self, complete=attempt)

    def reached(self, steps: list[int], left: list[str]) -> "MirrorState":
        """Returns the state after a look that went well."""
        return replace(self, steps=steps, left=left, at=time.time(), error="")

    def lacking(self, left: list[str]) -> "MirrorState":
        """Returns the state while something is sent."""
        return replace(self, left=left)

    def failing(self, error: str) -> "MirrorState":
        """Returns the state after one that did not."""
        return replace(self, error=error)


def read_state(run: RunFolder) -> MirrorState | None:
    """Returns the state of a run's mirror; None if it has none that can be read, for those who only show it."""
    try:
        return stored_state(run)
    except (UserError, OSError):
        return None


def stored_state(run: RunFolder) -> MirrorState | None:
    """Returns the state of a run's mirror; None if it has none. Raises UserError for a file that cannot be read."""
    path = run.root / "mirror.json"
    try:
        values = read_json(path)
        # A newer kit may have written more: after a step back to this one its state still counts.
        known = {one.name for one in fields(MirrorState)}
        return MirrorState(**{name: value for name, value in values.items() if name in known})
    except (UserError, TypeError) as error:
        failure = file_system_error(error)
        # Nothing but its absence means that there is none: with another identity, the run's own mirror is a stranger's.
        if isinstance(failure, FileNotFoundError):
            return None
        if failure:
            raise
        raise UserError(
            f"{path} is damaged ({error}): move {run.root} away and rerun the same command, which fetches the run from"
            f" its mirror, or remove {path.name} and give another --mirror"
        ) from None


def is_complete(run: RunFolder, url: str) -> bool:
    """Returns whether the mirror at a place has all that this disk has of the run's last attempt."""
    state, attempts = read_state(run), run.attempts()
    # By what was seen to arrive, not by what is known to lack: a process that is killed before its first look at the
    # last checkpoint has written down neither.
    return bool(state and attempts and state.url == url and state.complete == attempts[-1].number)


def is_fetched(run: RunFolder, url: str) -> bool:
    """Returns whether the run's last attempt came from its mirror at a place, so that nothing of it is to be uploaded.

    Its claim there is that of another disk, which alone may upload as this attempt.
    """
    state = read_state(run)
    return state is not None and is_complete(run, url) and str(run.attempts()[-1].number) not in state.tokens


def write_state(run: RunFolder, state: MirrorState) -> None:
    """Writes the state down."""
    write_json(run.root / "mirror.json", asdict(state))
