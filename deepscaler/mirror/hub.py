"""Reads a place in a repository of the hub like any other, and changes it by few commits.

The hub makes a commit of every change and limits them by the hour, to about a hundred for a repository (recalled, not
checked). What belongs together is therefore one commit: a checkpoint's files and its manifest, all small files that
have changed, all that is removed. Signs of life are rarer than in a bucket, and a start waits longer for one.
"""

import io
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from deepscaler.mirror.bucket import Bucket, MirrorError, within
from deepscaler.mirror.pace import Limiter, Watched
from deepscaler.mirror.url import repository_of

TIMEOUT = 90.0
"""Seconds of silence after which a request is given up; less than those after which the process restarts."""

TRIES = 3
"""Most tries of a commit, because another one may be made at the same moment."""


class Hub(Bucket):
    """Objects below a URL of a model or dataset repository."""

    pause = 120.0
    beat = 180.0
    silence = 400.0

    def __init__(self, url: str, limiter: Limiter | None = None, moved: Callable[[], None] = lambda: None) -> None:
        super().__init__(url, limiter, moved)
        kind, self._repo, prefix = repository_of(self.url)
        self._where = {"repo_id": self._repo, "repo_type": kind}
        self._folder = prefix
        self._start = f"{prefix}/" if prefix else ""
        self._sent: dict[str, Any] = {}
        """Operations of a commit to come, by name: their large files are at the hub, in no commit yet."""

    @property
    def _api(self) -> Any:
        from huggingface_hub import HfApi, get_session  # noqa: PLC0415  seconds of import

        # Each time, because huggingface_hub makes a new session after an error, which waits for ever.
        get_session().timeout = TIMEOUT
        return HfApi()

    def prepare(self) -> None:
        """Makes the repository, private, if it is not there."""
        with self._told(""):
            self._api.create_repo(**self._where, private=True, exist_ok=True)

    def names(self) -> dict[str, int]:
        """Returns the size of every object below the URL, by name."""
        # For downloads, which go by the listings that this file system keeps.
        self._files.invalidate_cache()
        return self._sizes(self._found())

    def read(self, name: str) -> bytes | None:
        """Returns an object's content; None if there is none."""
        from huggingface_hub import hf_hub_url  # noqa: PLC0415
        from huggingface_hub.errors import EntryNotFoundError  # noqa: PLC0415
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff  # noqa: PLC0415

        with self._told(name):
            address = hf_hub_url(filename=self._start + name, **self._where)
            response = http_backoff("GET", address, headers=build_hf_headers(), timeout=TIMEOUT, follow_redirects=True)
            try:
                hf_raise_for_status(response)
            except EntryNotFoundError:
                return None
            return bytes(response.content)

    def write(self, name: str, content: bytes) -> None:
        """Puts an object in place, whole."""
        self.change({name: content})

    def remove(self, names: Iterable[str]) -> None:
        """Removes objects; those that are gone already count as removed."""
        self.change({}, names)

    def upload(self, name: str, file: Path) -> dict[str, Any]:
        """Sends a file, which is in place with the next change that names it; returns its size and hash."""
        with self._told(name), Watched(file.open("rb"), self._limiter, self._moved) as source:
            addition = self._addition(name, source)
            self._api.preupload_lfs_files(additions=[addition], **self._where)
            # The hub takes a small file with the commit; the content of a large one is given up when it is sent.
            if addition.path_or_fileobj is source:
                addition.path_or_fileobj = file.read_bytes()
        self._moved()
        self._sent[name] = addition
        return {"size": addition.upload_info.size, "sha256": addition.upload_info.sha256.hex()}

    def change(
        self,
        contents: Mapping[str, bytes],
        removed: Iterable[str] = (),
        sent: Mapping[str, dict[str, Any]] | None = None,
    ) -> None:
        """Puts objects and files that were sent in place and removes others, in one commit; large ones in another."""
        # Of those that are there: for another one the hub would refuse the whole commit.
        there = self._found() if (gone := set(removed) - contents.keys()) else {}
        gone &= there.keys()
        large = {name for name in gone if there[name].lfs}
        with self._told(next(iter(contents), "")):
            additions = [self._sent.pop(name) for name in sent or ()]
            additions += [
                self._addition(name, Watched(io.BytesIO(content), self._limiter, self._moved))
                for name, content in contents.items()
            ]
            done = self._commit(additions, gone - large)
            # A checkpoint's manifest is gone by now. Its large files are listed until the hub has given them up: a kill
            # in between leaves something that the next removal finds.
            self._free({name: there[name].lfs.sha256 for name in large}, done)
            self._commit([], large)
        try:
            self._check_sent(sent or {}, self._sizes(self._found(done)) if sent else {})
        except MirrorError:
            # The repository's .gitignore may keep files out of a commit without a word.
            self.remove(contents)
            raise

    def _commit(self, additions: list[Any], removed: set[str]) -> str:
        """Makes a commit; returns its hash, by which the hub lists what is in it, and not what it has cached."""
        from huggingface_hub import CommitOperationDelete  # noqa: PLC0415
        from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415

        operations = [*additions, *(CommitOperationDelete(self._start + name) for name in sorted(removed))]
        if not operations:
            return "main"
        message = f"Put {len(additions)} files in place, remove {len(removed)}"
        for attempt in range(TRIES):
            try:
                done = self._api.create_commit(operations=operations, commit_message=message, **self._where)
            except HfHubHTTPError as error:
                # Another commit at the same moment, such as a sign of life.
                if error.response.status_code not in (409, 412) or attempt == TRIES - 1:
                    raise
                time.sleep(1.0 + attempt)
            else:
                self._moved()
                return str(done.oid)
        raise AssertionError("every try returns or raises")

    def _free(self, removed: Mapping[str, str], commit: str) -> None:
        """Deletes large files (by name and hash) from the hub for good; it would keep and count them as history."""
        if not removed:
            return
        names = {self._start + name for name in removed}
        used = {one.lfs.sha256 for one in self._files_in(None, commit) if one.lfs and one.path not in names}
        dead = set(removed.values()) - used
        files = [one for one in self._api.list_lfs_files(**self._where) if one.file_oid in dead]
        self._moved()
        # Without history: it would give every commit another name while another process makes one.
        self._api.permanently_delete_lfs_files(lfs_files=files, rewrite_history=False, **self._where)
        self._moved()

    def _addition(self, name: str, source: Watched) -> Any:
        from huggingface_hub import CommitOperationAdd  # noqa: PLC0415

        made = CommitOperationAdd(self._start + name, source)  # reads all of it for its hash
        source.begin_sending()
        return made

    def _sizes(self, found: Mapping[str, Any]) -> dict[str, int]:
        return {name: int(one.size) for name, one in found.items()}

    def _found(self, commit: str = "main") -> dict[str, Any]:
        """Returns what is below the URL, by name."""
        from huggingface_hub.errors import EntryNotFoundError  # noqa: PLC0415

        with self._told(""):
            try:
                found = self._files_in(self._folder or None, commit)
            except EntryNotFoundError:
                return {}
        return {one.path.removeprefix(self._start): one for one in found}

    def _files_in(self, folder: str | None, commit: str) -> list[Any]:
        """Returns the files below a folder of the repository."""
        from huggingface_hub.hf_api import RepoFile  # noqa: PLC0415

        def listed() -> list[Any]:
            found = self._api.list_repo_tree(path_in_repo=folder, recursive=True, revision=commit, **self._where)
            return [one for one in found if isinstance(one, RepoFile)]

        # huggingface_hub lists without a time-out, whatever its session has.
        return list(within(TIMEOUT, listed, self.url))

    def _failure(self, name: str, error: Exception) -> str:
        from huggingface_hub.errors import RepositoryNotFoundError  # noqa: PLC0415

        # huggingface_hub says of a large file that it could not be sent, and only by the cause why.
        if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
            error = error.__cause__
        if isinstance(error, RepositoryNotFoundError):
            return f"{self.url}: the repository is not there yet, or the token may not see it"
        # Large files go to addresses that are signed for whoever has them.
        return re.sub(r"\?[^\s']+", "?...", super()._failure(name, error))


def place(url: str, limiter: Limiter | None = None, moved: Callable[[], None] = lambda: None) -> Bucket:
    """Returns the place of a mirror: a repository of the hub, or a bucket. Raises UserError, MirrorError."""
    return (Hub if repository_of(url)[1] else Bucket)(url, limiter, moved)
