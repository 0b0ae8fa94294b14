"""Packs recipe, reward and data files for a RayJob into a ConfigMap, which every pod mounts read-only.

mine-inputs-3f2a91c0   the name holds a hash of the content: an edited file is another ConfigMap, for another run
/inputs/mine.toml  /inputs/sums.jsonl
"""

import base64
import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from deepscaler.data.names import is_file, registered
from deepscaler.kubernetes.render.pods import CACHE, RUNS
from deepscaler.recipes.own_files import files_of, with_files
from deepscaler.recipes.recipe import Recipe
from deepscaler.recipes.write import whole
from deepscaler.system.errors import UserError

MOUNT = "/inputs"
MOST_BYTES = 1_000_000
"""Most bytes of all files; Kubernetes limits a ConfigMap to 1 MiB in all."""

MOST_ANNOTATED = 250_000
"""Bytes of a manifest that `kubectl apply` can write into an annotation, as it does without --server-side."""

Files = Mapping[str, bytes]


ON_VOLUMES = (f"{RUNS}/", f"{CACHE}/", "/data/")
"""Prefixes of the pods' own paths: the claims of the kit, and data that a place mounts at /data."""


def own_files(recipe: Recipe) -> list[Path]:
    """Returns the files of this machine that a recipe names, without those on the pods' volumes."""
    return [path for path in files_of(recipe) if not str(path).startswith(ON_VOLUMES)]


def registered_by_file(recipe: Recipe) -> Recipe:
    """Returns a recipe that names registered sets by their files, because pods know no registered sets."""
    train, validation = map(datasets_by_file, (recipe.train_dataset, recipe.validation_dataset))
    return replace(recipe, train_dataset=train, validation_dataset=validation)


def datasets_by_file(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of data sets, with a registered one replaced by its file, which has the same name."""
    mine = registered()
    return tuple(str(mine[name] / f"{name}.parquet") if name in mine else name for name in names)


def packed(recipes: Sequence[Recipe], datasets: Sequence[str] = ()) -> tuple[list[Recipe], list[str], list[str], Files]:
    """Returns recipes and data sets that name the pods' copies, the recipes' own paths there, and all files by name.

    Raises UserError for a file that is missing and for too many bytes.
    """
    of_datasets = [Path(name) for name in datasets if is_file(name) and not name.startswith(ON_VOLUMES)]
    copies, files = _pack([*(path for recipe in recipes for path in own_files(recipe)), *of_datasets])
    renamed, own = [with_files(recipe, copies) for recipe in recipes], []
    for recipe in renamed:
        own.append(_free_name(f"{_key(recipe.name)}.toml", files))
        files[own[-1]] = whole(recipe).encode()
    there = [str(copies.get(Path(name), name)) if is_file(name) else name for name in datasets]
    return renamed, [f"{MOUNT}/{name}" for name in own], there, files


def check_model(model: str, told: str) -> None:
    """Raises UserError for a model that is a folder of this machine."""
    if model and Path(model).is_dir() and not model.startswith(ON_VOLUMES):
        raise UserError(
            f"{told} {model} is a folder of this machine, no pod sees it: name a hub id or a path below /runs or /cache"
        )


def _pack(paths: Sequence[Path]) -> tuple[dict[Path, Path], dict[str, bytes]]:
    """Returns the paths of files in the pods, and their contents by name."""
    names: dict[Path, str] = {}
    total = 0
    for source in dict.fromkeys(paths):
        if not source.is_file():
            raise UserError(f"{source}, which the command or its recipe names, is not a file: check the path")
        names[source] = _free_name(_key(source.name), names.values())
        total += source.stat().st_size
        if total > MOST_BYTES:
            raise UserError(
                f"the files that go along have more than {MOST_BYTES:,} bytes with {source}, which is what a ConfigMap"
                " takes: put it on a volume (the claims /runs and /cache, or `data_claim` of the site file at /data)"
                " or into a bucket, and name its path in the pods or hub:ORG/NAME"
            )
    return {source: Path(MOUNT, name) for source, name in names.items()}, {
        name: source.read_bytes() for source, name in names.items()
    }


def map_name(job: str, files: Files) -> str:
    """Returns the name of the ConfigMap that holds some files."""
    # With the lengths, so that no other files give the same bytes in a row.
    digest = hashlib.sha256(b"".join(f"{name}\0{len(files[name])}\0".encode() + files[name] for name in sorted(files)))
    return f"{job}-inputs-{digest.hexdigest()[:8]}"


def config_map(job: str, files: Files, labels: Mapping[str, str]) -> dict[str, Any]:
    """Returns the ConfigMap as a manifest."""
    texts = {name: text for name, content in files.items() if (text := _text(content)) is not None}
    binary = {name: base64.b64encode(files[name]).decode() for name in files if name not in texts}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": map_name(job, files), "labels": dict(labels)},
        # The name holds the hash of the content, so that a changed content is another map.
        "immutable": True,
        **({"data": texts} if texts else {}),
        **({"binaryData": binary} if binary else {}),
    }


def to_yaml(manifest: Mapping[str, Any]) -> str:
    """Returns a ConfigMap as YAML in which files stay readable."""
    text: str = yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf"))
    return text


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Writes texts of several lines as blocks if YAML allows that."""


def _represent(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent)


def _key(name: str) -> str:
    """Returns a file's name as a ConfigMap key of at most 253 characters, with room for a number."""
    # Kubernetes refuses keys that begin with "..": the kubelet keeps links of such names beside the files. The
    # end of a long name stays, for its suffix says what the file is.
    return re.sub(r"^\.\.|[^-._a-zA-Z0-9]", "_", name[-240:])


def _text(content: bytes) -> str | None:
    """Returns a file's text; None if a ConfigMap must hold its bytes."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    # YAML reads every end of a line as \n, and allows no control characters.
    return text if "\r" not in text and all(one.isprintable() or one in "\n\t" for one in text) else None


def _free_name(name: str, taken: Collection[str]) -> str:
    """Returns a name for a copy: the file's own, preceded by a number if another file has it already."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{number}-{name}"
    return free
