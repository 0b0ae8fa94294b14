"""Finds and fetches the files of a hub data set at one commit: parquet, JSON Lines or JSON.

hub:openai/gsm8k/main@main:train    the split `train` of the configuration `main`
hub:org/name                        its only split, or `train`

The set's card lists the files of each split (`configs: data_files`). Without that, their names do, as the hub itself
reads them: `data/train-00000-of-00002.parquet`, `main/train.jsonl`.
"""

import hashlib
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from deepscaler.data.names import HUB, SUFFIXES, parse_hub
from deepscaler.system.errors import UserError
from deepscaler.system.paths import snapshot_of

SPLITS = ("train", "validation", "valid", "dev", "test")
MAX_CARD = 4 << 20
"""Most bytes of a card; a larger one is ignored, because only the head matters."""


def fetch(name: str) -> tuple[list[Path], str, str]:
    """Returns the local files, the commit and the split of a set. Raises UserError if it cannot be fetched."""
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
        # By the commit that was listed, not by the branch, which may move in between.
        files = [Path(hf_hub_download(repository, file, repo_type="dataset", revision=commit)) for file in chosen]
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        why = " ".join(str(error).split())[:200]
        raise UserError(
            f"cannot fetch {name} from the hub: {why}; check the name and HF_TOKEN, or give a file"
        ) from error
    return files, commit, split


def check_listed(name: str, told: dict[str, Any]) -> None:
    """Raises UserError unless the hub, by what its API answers about a set, has files of the split that is named."""
    _, config, _, split = parse_hub(name)
    listed = [str(file.get("rfilename")) for file in told.get("siblings") or ()]
    _choose(name, config, split, listed, _configurations(told.get("cardData")))


def check_cached(name: str) -> None:
    """Raises UserError unless the hub's cache has files of the split that is named; asks nobody."""
    repository, config, revision, split = parse_hub(name)
    folder = snapshot_of(repository, revision, "datasets")
    if folder is None:
        raise UserError(f"{name} is not in the hub's cache: deepscaler data prepare {name}, where there is internet")
    _choose(name, config, split, _files(folder), _configurations_of(folder / "README.md"))


def pinned(name: str, commit: str, split: str) -> str:
    """Returns the name with its commit and split, whose meaning never changes."""
    repository, config, _, _ = parse_hub(name)
    return f"{HUB}{repository}{'/' if config else ''}{config}@{commit}:{split}"


def digest(hashes: list[str]) -> str:
    """Returns one hash for several files."""
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def _listing(repository: str, revision: str) -> tuple[str, list[str]]:
    """Returns the commit of a revision and its files; offline, those in the hub's cache."""
    from huggingface_hub import HfApi, constants, snapshot_download  # noqa: PLC0415

    if constants.HF_HUB_OFFLINE:
        folder = Path(snapshot_download(repository, repo_type="dataset", revision=revision, local_files_only=True))
        # the hub's cache names a snapshot's folder after its commit
        return folder.name, _files(folder)
    info = HfApi().dataset_info(repository, revision=revision, timeout=60)
    return str(info.sha), sorted(str(file.rfilename) for file in info.siblings or ())


def _files(folder: Path) -> list[str]:
    """Returns the files below a snapshot's folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _card(repository: str, commit: str, listed: list[str]) -> list[dict[str, Any]]:
    """Returns the configurations that the set's card declares; empty if it declares none."""
    from huggingface_hub import hf_hub_download  # noqa: PLC0415

    if "README.md" not in listed:
        return []
    return _configurations_of(Path(hf_hub_download(repository, "README.md", repo_type="dataset", revision=commit)))


def _configurations_of(card: Path) -> list[dict[str, Any]]:
    if not card.is_file() or card.stat().st_size > MAX_CARD:
        return []
    try:
        from huggingface_hub import metadata_load  # noqa: PLC0415

        return _configurations(metadata_load(card))
    except Exception:  # people write cards by hand, and the YAML parser raises errors of its own
        return []


def _configurations(head: Any) -> list[dict[str, Any]]:
    """Returns the configurations in the head of a card."""
    found = head.get("configs") if isinstance(head, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _choose(name: str, config: str, split: str, listed: list[str], card: list[dict[str, Any]]) -> tuple[str, list[str]]:
    """Returns the split and its files. Raises UserError that lists the available ones."""
    by_config = {str(one.get("config_name", "default")): _declared(one, listed) for one in card}
    # Cards may name files that are gone, or none in a form that is read here; then names decide.
    by_config = {key: splits for key, splits in by_config.items() if splits} or _by_name(listed)
    if not by_config:
        raise UserError(f"{name} has no files in {', '.join(SUFFIXES)} for its splits: give a local file instead")
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
    """Returns the files of each split that match the patterns of a configuration in the card."""
    files = config.get("data_files", [])
    if isinstance(files, str) or (isinstance(files, list) and all(isinstance(one, str) for one in files)):
        # The hub's own short form: a pattern without splits is `train`.
        files = [{"split": "train", "path": files}]
    found: dict[str, list[str]] = {}
    for one in files if isinstance(files, list) else []:
        if isinstance(one, dict):
            paths = one.get("path", [])
            patterns = [paths] if isinstance(paths, str) else [path for path in paths if isinstance(path, str)]
            # fnmatch's * crosses folders, as the hub's ** does.
            matched = [file for file in listed if any(fnmatch(file, pattern) for pattern in patterns)]
            matched = [file for file in matched if file.endswith(SUFFIXES)]
            if matched:
                found[str(one.get("split", "train"))] = matched
    return found


def _by_name(listed: list[str]) -> dict[str, dict[str, list[str]]]:
    """Returns the files of each split by configuration, judged by their names; a folder is a configuration."""
    found: dict[str, dict[str, list[str]]] = {}
    usable = [file for file in listed if file.endswith(SUFFIXES)]
    for file in usable:
        folder, _, stem = file.rpartition("/")
        # `data/` is the usual place of all files and names no configuration.
        config = folder if folder not in ("", "data") else "default"
        words = re.split(r"[^a-zA-Z0-9]+", stem.rsplit(".", 1)[0].lower())
        split = next((one for one in SPLITS if one in words), "")
        if split:
            found.setdefault(config, {}).setdefault(split, []).append(file)
    if not found and len(usable) == 1:
        found = {"default": {"train": usable}}
    return found
