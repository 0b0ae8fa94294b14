"""Reads and writes a place in a bucket by fsspec: objects by name, nothing cached, every error in one line.

Credentials are those of the protocol's own package: environment, profile or the machine's role. None is in a URL.
"""

import hashlib
import importlib.util
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from deepscaler.mirror.pace import Limiter
from deepscaler.mirror.url import PACKAGES, check_url
from deepscaler.system.errors import UserError
from deepscaler.system.files import FullDiskError, naming_full_disk, sync_directory
from deepscaler.system.patience import HangingError, Patience

CHUNK = 1 << 20
BLOCK = 8 << 20
"""Bytes of a part of an upload; larger for files beyond 40 GB, of which S3 takes 10,000 parts."""
MAX_PARTS = 5_000

# s3fs tries a call five times by itself (S3FileSystem.retries), and botocore's own tries multiply with these.
S3_TIMEOUTS = {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 2}}
SECRET = re.compile("KEY|SECRET|TOKEN|PASSWORD|CREDENTIAL", re.IGNORECASE)
"""Parts of a variable's name whose value is never shown."""


class MirrorError(UserError):
    """A bucket that cannot be reached, refuses, or lacks an object."""


class DamagedError(MirrorError):
    """A bucket that answers, and holds something other than was written to it: no further try mends it."""


class Bucket:
    """Objects below a URL. Every method raises MirrorError; none waits longer than its protocol's time-outs."""

    pause = 5.0
    """Seconds between two looks for what the place lacks."""
    beat = 10.0
    """Seconds between two signs of life in it."""
    silence = 35.0
    """Seconds without one after which an attempt elsewhere is dead."""

    def __init__(self, url: str, limiter: Limiter | None = None, moved: Callable[[], None] = lambda: None) -> None:
        self.url = check_url(url)
        self._limiter = limiter or Limiter()
        self._moved = moved
        """Called whenever bytes have moved."""
        scheme = url.partition("://")[0]
        package = PACKAGES[scheme]
        if not all(map(importlib.util.find_spec, ("fsspec", package))):
            raise UserError(f"{url} needs the package {package}: pip install fsspec {package}")
        import fsspec  # noqa: PLC0415  an extra package

        # fsspec shares instances by their arguments within a process, and with them listings, in which objects
        # that another machine has written since are missing.
        options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
        if scheme == "s3":
            options["config_kwargs"] = S3_TIMEOUTS
        with self._told(""):
            self._files = fsspec.filesystem(scheme, **options)
            self._root = str(self._files._strip_protocol(url)).rstrip("/")
        self._is_local = scheme == "file"

    def prepare(self) -> None:
        """Makes the place ready to be written to; a bucket has to be there."""

    def names(self) -> dict[str, int]:
        """Returns the size of every object below the URL, by name."""
        with self._told(""):
            # The hub's file system keeps its listings whatever the options say.
            self._files.invalidate_cache()
            found = self._files.find(self._root, detail=True)
        start = len(self._root) + 1
        return {path[start:]: int(info["size"] or 0) for path, info in found.items() if path[start:]}

    def read(self, name: str) -> bytes | None:
        """Returns an object's content; None if there is none."""
        with self._told(name):
            try:
                content: bytes = self._files.cat_file(self._path(name))
            except FileNotFoundError:
                return None
            return content

    def write(self, name: str, content: bytes) -> None:
        """Puts an object in place, whole."""
        self._limiter.wait(len(content), self._moved)
        with self._told(name), self._in_place(name) as path:
            self._files.pipe_file(path, content)
        self._moved()

    def upload(self, name: str, file: Path) -> dict[str, Any]:
        """Sends a file; returns `{"size": 1234, "sha256": "..."}` of what was sent."""
        digest, size = hashlib.sha256(), 0
        block = max(BLOCK, file.stat().st_size // MAX_PARTS)
        with self._told(name), file.open("rb") as source, self._in_place(name) as path:
            target = self._files.open(path, "wb", block_size=block)
            try:
                while chunk := source.read(CHUNK):
                    self._limiter.wait(len(chunk), self._moved)
                    target.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
                    self._moved()
                target.close()
            except BaseException:
                with suppress(Exception):  # fsspec would commit what there is when the file is collected
                    target.discard()
                with suppress(Exception):
                    target.closed = True
                raise
        self._moved()
        return {"size": size, "sha256": digest.hexdigest()}

    def download(self, name: str, file: Path, told: dict[str, Any]) -> None:
        """Fetches an object to a file, whole or not at all. Raises DamagedError if it is not what `told` says."""
        # Size first, which spares the hash of most that differ; never size alone, which a torn write may have,
        # too.
        if file.is_file() and file.stat().st_size == told["size"] and _sha256(file) == told["sha256"]:
            return
        digest, size, part = hashlib.sha256(), 0, file.with_name(f".{file.name}.part")
        file.parent.mkdir(parents=True, exist_ok=True)
        with (
            self._told(name),
            self._files.open(self._path(name), "rb", block_size=BLOCK) as source,
            naming_full_disk(file, wanted=told["size"]),
            part.open("wb") as target,
        ):
            while chunk := source.read(CHUNK):
                target.write(chunk)
                digest.update(chunk)
                size += len(chunk)
            # Before the name: after a crash the rename may be on the disk and the bytes not.
            os.fsync(target.fileno())
            there = source.size
        if size != there:  # a connection that ended early says nothing about the object
            part.unlink()
            raise MirrorError(f"{self.url}/{name} ended after {size} of {there} bytes")
        if digest.hexdigest() != told["sha256"]:
            part.unlink()
            raise DamagedError(f"{self.url}/{name} is not what its manifest tells: another size or hash")
        part.replace(file)

    def remove(self, names: Iterable[str]) -> None:
        """Removes objects; those that are gone already count as removed."""
        for name in names:
            with self._told(name), suppress(FileNotFoundError):
                self._files.rm_file(self._path(name))
            self._moved()

    def change(
        self,
        contents: Mapping[str, bytes],
        removed: Iterable[str] = (),
        sent: Mapping[str, dict[str, Any]] | None = None,
    ) -> None:
        """Puts objects in place in their order, then removes others.

        They vouch for files that were `sent`. Raises MirrorError, and changes nothing, where one of these is not there.
        """
        # By what the bucket has, not by what the client believes to have sent.
        self._check_sent(sent or {}, self.names() if sent else {})
        for name, content in contents.items():
            self.write(name, content)
        self.remove(removed)

    def _check_sent(self, sent: Mapping[str, dict[str, Any]], there: Mapping[str, int]) -> None:
        for name, told in sent.items():
            if there.get(name) != told["size"]:
                raise MirrorError(f"{self.url}/{name} was sent, and is not there in full")

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _in_place(self, name: str) -> Iterator[str]:
        """Yields where to write; a bucket shows an object when it is whole, a folder has to be helped."""
        path = self._path(name)
        if not self._is_local:
            yield path
            return
        folder, part = Path(path).parent, Path(f"{path}.part")
        made = [one for one in (folder, *folder.parents) if not one.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        yield str(part)
        # A power cut must not leave a manifest and take what it vouches for: bytes, then the name, then the folders.
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(path)
        for one in (folder, *(new.parent for new in made)):
            sync_directory(one)

    @contextmanager
    def _told(self, name: str) -> Iterator[None]:
        try:
            yield
        except (MirrorError, FullDiskError):
            raise
        except FileNotFoundError as error:
            raise MirrorError(f"{self.url}{'/' if name else ''}{name} is not there") from error
        except OSError as error:
            raise MirrorError(self._failure(name, error)) from error
        except Exception as error:  # botocore, aiohttp and others raise what they like
            raise MirrorError(self._failure(name, error)) from error

    def _failure(self, name: str, error: Exception) -> str:
        text = " ".join(str(error).split()) or type(error).__name__
        return without_secrets(f"{self.url}{'/' if name else ''}{name}: {type(error).__name__}: {text[:300]}")


def without_secrets(text: str) -> str:
    """Returns a text without the values of variables that hold secrets."""
    for name, value in os.environ.items():
        # A short value hides nothing, and its letters would be replaced everywhere.
        if SECRET.search(name) and len(value) >= 8:
            text = text.replace(value, f"(${name})")
    return text


def within(seconds: float, work: Callable[[], Any], what: str) -> Any:
    """Returns what some work comes to. Raises MirrorError if it takes longer; then it continues, unwatched."""
    try:
        return Patience[Any]("bucket").call(work, seconds)
    except HangingError as error:
        raise MirrorError(f"{what} does not answer within {seconds:.0f} s") from error


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
