"""Finds a source's file in a `--source` folder, or downloads it once from its pinned address into the cache."""

import json
import os
import re
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from deepscaler.data import hub as the_hub
from deepscaler.data.names import is_hub
from deepscaler.data.rows import read_rows as rows_of_file
from deepscaler.data.sources import Row, Source
from deepscaler.system.errors import UserError
from deepscaler.system.files import atomic_path, reason, sha256, write_text
from deepscaler.system.paths import cache_dir

TIMEOUT = 60.0
"""Seconds without a byte after which a download fails."""


def source_file(source: Source, folder: Path | None) -> Path:
    """Returns the local file of a source. Raises UserError if there is none and it cannot be downloaded."""
    if folder is not None:
        file = folder / source.file
        if not file.is_file():
            raise UserError(f"{source.name}: no file {file}; --source needs the layout <folder>/{source.file}")
        return file
    if not (cached := cached_file(source)).is_file():
        (_copy_split if is_hub(source.url) else _download)(source, cached)
    return cached


def cached_file(source: Source) -> Path:
    """Returns the path of a download in the cache."""
    # By revision, so a pin that is moved never finds the old file.
    return cache_dir() / "downloads" / source.revision / source.name / Path(source.file).name


def hub() -> str:
    """Returns the hub's address."""
    # huggingface_hub's own variable, so that a mirror of the hub serves both.
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def hub_token() -> str:
    """Returns the hub's token from the environment; empty if there is none. Raises UserError for a malformed one."""
    # As huggingface_hub reads it: secrets of Kubernetes often end with a line break, which no header may hold.
    found = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN") or ""
    token = found.replace("\r", "").replace("\n", "").strip()
    if not re.fullmatch(r"[!-~]*", token):
        raise UserError("HF_TOKEN holds blanks or letters beyond ASCII, as no token does: export it again")
    return token


def is_offline() -> bool:
    """Returns whether HF_HUB_OFFLINE says to fetch nothing."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")


def read_rows(file: Path, name: str) -> list[Row]:
    """Returns the rows of a JSON array, of JSON Lines or of a parquet file."""
    if file.suffix == ".parquet":
        return [row for _, row in rows_of_file(file)]
    try:
        text = file.read_text(encoding="utf-8-sig")  # some editors begin a file with a byte order mark
        rows = json.loads(text) if file.suffix == ".json" else _read_lines(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name}: {file} is not valid JSON: {error}; fetch it again or repair it") from error
    if not isinstance(rows, list):
        raise UserError(
            f"{name}: {file} holds {type(rows).__name__}, expected a list of problems; give the published file"
        )
    return rows


def _read_lines(text: str) -> list[Row]:
    """Returns the rows of JSON Lines. Only a line feed ends a line, because JSON texts may hold other separators."""
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _check(source: Source, file: Path) -> None:
    """Raises UserError for a download that is not the pinned file."""
    if source.sha256 and sha256(file) != source.sha256:
        raise UserError(f"{source.name}: {source.url} is not the pinned file (sha256 {sha256(file)}); try again later")


def _copy_split(source: Source, target: Path) -> None:
    """Writes the rows of a hub set's split as JSON Lines, whichever files hold them at that commit."""
    # The name in the table holds the commit, so what comes back of it is known.
    files, _, _ = the_hub.fetch(source.url)
    rows = [row for file in files for _, row in rows_of_file(file)]
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows))


def _download(source: Source, target: Path) -> None:
    if is_offline():
        raise UserError(f"{source.name} is not in the cache and HF_HUB_OFFLINE is set; give --source DIR or unset it")
    # urllib, because these few files must be fetched without huggingface_hub, which only some extras install.
    request = urllib.request.Request(source.url.format(hub=hub()), headers={"User-Agent": "deepscaler"})  # noqa: S310
    token = hub_token()
    if token and request.full_url.startswith(hub()):  # unredirected: the hub redirects downloads to other hosts
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with (
            urllib.request.urlopen(request, timeout=TIMEOUT) as reply,  # noqa: S310  https, from the pinned table
            atomic_path(target) as temporary,
            temporary.open("wb") as file,
        ):
            # Piece by piece into a file: a server may send more than the memory holds.
            shutil.copyfileobj(reply, file)
            file.flush()  # the check reads the file by its path
            _check(source, temporary)  # before the rename, so a wrong file never enters the cache
    except (urllib.error.URLError, OSError) as error:
        raise UserError(
            f"{source.name}: cannot download {request.full_url}: {reason(error)};"
            " on a machine without internet give --source DIR"
        ) from error
