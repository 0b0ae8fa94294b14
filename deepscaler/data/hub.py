"""Finds and fetches the files of a data set of the hub, at one commit: parquet, JSON lines or JSON.

hub:openai/gsm8k/main@main:train    the split `train` of the configuration `main`
hub:org/name                        its only split, or `train`

Which files a split has is told by the set's own card (`configs: data_files`), else by their names, as the hub itself
reads them: `data/train-00000-of-00002.parquet`, `main/train.jsonl`.
"""

import hashlib
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from deepscaler.data.names import HUB, SUFFIXES, parse_hub
from deepscaler.system.errors import UserError

SPLITS = ("train", "validation", "valid", "dev", "test")
MAX_CARD = 4 << 20
"""Bytes of a card; its head alone is read."""


def fetch(name: str) -> tuple[list[Path], str, str]:
    """Returns the local files, the commit and the split of a set. Raises UserError where it cannot be had."""
    repository, config, revision, split = parse_hub(name)
    try:
        from huggingface_hub import hf_hub_download  # noqa: PLC0415  seconds of import
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError  # noqa: PLC0415
    except ImportError as error:
        raise UserError(f"{name} is on the hub, which needs huggingface_hub: install the `eval` extra") from error
    try:
        commit, listed = _listing(repository, revision)
        card = _card(repository, commit, listed)
        split, chosen = _choose(name, config, split, listed, card)
        files = [Path(hf_hub_download(repository, file, repo_type="dataset", revision=commit)) for file in chosen]
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        why = " ".join(str(error).split())[:200]
        raise UserError(
            f"{name} cannot be had from the hub: {why}; check the name and HF_TOKEN, or give a file"
        ) from error
    return files, commit, split


def pinned(name: str, commit: str, split: str) -> str:
    """Returns the name with its commit and split, which means the same for ever."""
    repository, config, _, _ = parse_hub(name)
    return f"{HUB}{repository}{'/' if config else ''}{config}@{commit}:{split}"


def digest(hashes: list[str]) -> str:
    """Returns one hash for several files."""
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def _listing(repository: str, revision: str) -> tuple[str, list[str]]:
    """Returns the commit of a revision and its files; those of the hub's cache where the hub may not be asked."""
    from huggingface_hub import HfApi, constants, snapshot_download  # noqa: PLC0415

    if constants.HF_HUB_OFFLINE:
        folder = Path(snapshot_download(repository, repo_type="dataset", revision=revision, local_files_only=True))
        return folder.name, sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    info = HfApi().dataset_info(repository, revision=revision, timeout=60)
    return str(info.sha), sorted(str(file.rfilename) for file in info.siblings or ())


def _card(repository: str, commit: str, listed: list[str]) -> list[dict[str, Any]]:
    """Returns the configurations that the set's card declares; none where it declares none."""
    from huggingface_hub import hf_hub_download, metadata_load  # noqa: PLC0415

    if "README.md" not in listed:
        return []
    path = Path(hf_hub_download(repository, "README.md", repo_type="dataset", revision=commit))
    if path.stat().st_size > MAX_CARD:
        return []
    try:
        found = (metadata_load(path) or {}).get("configs", [])
    except Exception:  # a card is written by hand; YAML raises errors of its own
        return []
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _choose(name: str, config: str, split: str, listed: list[str], card: list[dict[str, Any]]) -> tuple[str, list[str]]:
    """Returns the split and its files. Raises UserError that lists what there is."""
    by_config = {str(one.get("config_name", "default")): _declared(one, listed) for one in card}
    by_config = {key: splits for key, splits in by_config.items() if splits} or _by_name(listed)
    if not by_config:
        raise UserError(f"{name} holds no file of its splits that ends in {', '.join(SUFFIXES)}: give a file instead")
    if not config:
        if len(by_config) > 1 and "default" not in by_config:
            raise UserError(f"{name} has several configurations: give {HUB}ORG/NAME/CONFIG, {_one_of(by_config)}")
        config = "default" if "default" in by_config else next(iter(by_config))
    if config not in by_config:
        raise UserError(f"{name} has no configuration {config!r}: give {_one_of(by_config)}")
    splits = by_config[config]
    split = split or (next(iter(splits)) if len(splits) == 1 else "train")
    if split not in splits:
        raise UserError(f"{name} has no split {split!r}: give {HUB}ORG/NAME@REVISION:SPLIT with {_one_of(splits)}")
    return split, splits[split]


def _one_of(names: dict[str, Any]) -> str:
    return " or ".join(sorted(names)[:20])


def _declared(config: dict[str, Any], listed: list[str]) -> dict[str, list[str]]:
    """Returns the files of each split that a configuration of the card names, by patterns."""
    files = config.get("data_files", [])
    if isinstance(files, str) or (isinstance(files, list) and all(isinstance(one, str) for one in files)):
        files = [{"split": "train", "path": files}]
    found: dict[str, list[str]] = {}
    for one in files if isinstance(files, list) else []:
        if isinstance(one, dict):
            paths = one.get("path", [])
            patterns = [paths] if isinstance(paths, str) else [path for path in paths if isinstance(path, str)]
            matched = [file for file in listed if any(fnmatch(file, pattern) for pattern in patterns)]
            matched = [file for file in matched if file.endswith(SUFFIXES)]
            if matched:
                found[str(one.get("split", "train"))] = matched
    return found


def _by_name(listed: list[str]) -> dict[str, dict[str, list[str]]]:
    """Returns the files of each split by configuration, told by their names; a folder is a configuration."""
    found: dict[str, dict[str, list[str]]] = {}
    usable = [file for file in listed if file.endswith(SUFFIXES)]
    for file in usable:
        folder, _, stem = file.rpartition("/")
        config = folder if folder not in ("", "data") else "default"
        words = re.split(r"[^a-zA-Z0-9]+", stem.rsplit(".", 1)[0].lower())
        split = next((one for one in SPLITS if one in words), "")
        if split:
            found.setdefault(config, {}).setdefault(split, []).append(file)
    if not found and len(usable) == 1:
        found = {"default": {"train": usable}}
    return found
