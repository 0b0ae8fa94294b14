"""Bring a source's file here: from a `--source` folder, or from its pinned address once, into the cache."""

import json
import os
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
"""Seconds without a byte before a download is given up."""


def source_file(source: Source, folder: Path | None) -> Path:
    """The local file of a source. Raises UserError where there is none and it cannot be downloaded."""
    if folder is not None:
        file = folder / source.file
        if not file.is_file():
            raise UserError(f"{source.name}: no file {file}; --source needs the layout <folder>/{source.file}")
        return file
    if not (cached := cached_file(source)).is_file():
        (_copy_split if is_hub(source.url) else _download)(source, cached)
    return cached


def cached_file(source: Source) -> Path:
    """Returns where a download is kept."""
    return cache_dir() / "downloads" / source.revision / source.name / Path(source.file).name


def read_rows(file: Path, name: str) -> list[Row]:
    """The rows of a JSON array, of JSON lines or of a parquet file."""
    if file.suffix == ".parquet":
        return [row for _, row in rows_of_file(file)]
    try:
        text = file.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
        rows = json.loads(text) if file.suffix == ".json" else _read_lines(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name}: {file} is not valid JSON: {error}; fetch it again or repair it") from error
    if not isinstance(rows, list):
        raise UserError(
            f"{name}: {file} holds {type(rows).__name__}, expected a list of problems; give the published file"
        )
    return rows


def _read_lines(text: str) -> list[Row]:
    """JSON lines; only a line feed ends one, for JSON texts may hold every other line separator."""
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _check(source: Source, file: Path) -> None:
    """Refuse a download that is not the pinned file."""
    if source.sha256 and sha256(file) != source.sha256:
        raise UserError(f"{source.name}: {source.url} is not the pinned file (sha256 {sha256(file)}); try again later")


def _copy_split(source: Source, target: Path) -> None:
    """Writes the rows of a hub set's split as JSON lines, whatever files hold them at that commit."""
    files, _, _ = the_hub.fetch(source.url)
    rows = [row for file in files for _, row in rows_of_file(file)]
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows))


def _download(source: Source, target: Path) -> None:
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise UserError(f"{source.name} is not in the cache and HF_HUB_OFFLINE is set; give --source DIR or unset it")
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    request = urllib.request.Request(source.url.format(hub=hub), headers={"User-Agent": "deepscaler"})  # noqa: S310
    token = os.environ.get("HF_TOKEN")
    if token and request.full_url.startswith(hub):
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with (
            urllib.request.urlopen(request, timeout=TIMEOUT) as reply,  # noqa: S310  https, from the pinned table
            atomic_path(target) as temporary,
            temporary.open("wb") as file,
        ):
            shutil.copyfileobj(reply, file)
            file.flush()
            _check(source, temporary)
    except (urllib.error.URLError, OSError) as error:
        raise UserError(
            f"{source.name}: cannot download {request.full_url}: {reason(error)};"
            " on a machine without internet give --source DIR"
        ) from error
