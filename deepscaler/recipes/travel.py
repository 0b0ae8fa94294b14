"""Takes the files that a recipe names into the folder of its run, which no later change of them reaches.

<run>/inputs/sums.jsonl, my_reward.py    copies
<run>/inputs/files.json                  {"/home/me/sums.jsonl": {"copy": "sums.jsonl", "sha256": "...", "bytes": 21}}
"""

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepscaler.data.names import is_file
from deepscaler.recipes.recipe import Recipe
from deepscaler.system.errors import UserError
from deepscaler.system.files import atomic_path, read_json, sha256, write_json

INPUTS = "inputs"
MANIFEST = "files.json"

MOST_BYTES = 20 * 10**9
"""Of the files of one recipe; more of them belong to where all machines see them, under a path without a copy."""

LARGE = 10**8
"""Bytes of a file whose copying is worth a line."""

Say = Callable[[str], object]


def files_of(recipe: Recipe) -> list[Path]:
    """Returns the files of a user's own that a recipe names: data sets and the reward function's. Each only once."""
    names = [name for name in recipe.datasets if is_file(name)]
    if recipe.reward.function:
        names.append(recipe.reward.function.rpartition(":")[0])
    return [Path(name) for name in dict.fromkeys(names)]


def with_files(recipe: Recipe, copies: Mapping[Path, Path]) -> Recipe:
    """Returns a recipe that names copies of its files."""

    def renamed(name: str) -> str:
        return str(copies.get(Path(name), name)) if is_file(name) else name

    file, _, function = recipe.reward.function.rpartition(":")
    return replace(
        recipe,
        train_dataset=tuple(map(renamed, recipe.train_dataset)),
        validation_dataset=tuple(map(renamed, recipe.validation_dataset)),
        reward=replace(recipe.reward, function=f"{copies.get(Path(file), file)}:{function}" if file else ""),
    )


def taken_along(recipe: Recipe, folder: Path, say: Say, *, dry_run: bool) -> Recipe:
    """Copies what a recipe names into a run's folder, and returns the recipe that names the copies.

    A copy that is there stays: a run goes on with what it began with. Raises UserError for a file that is missing, and
    for too many bytes. A dry run copies nothing.
    """
    inputs = folder / INPUTS
    manifest = inputs / MANIFEST
    known: dict[str, Any] = read_json(manifest) if manifest.is_file() else {}
    sources = [path for path in files_of(recipe) if path.parent != inputs]
    _check(sources)
    copies: dict[Path, Path] = {}
    for source in sources:
        taken = {entry["copy"] for name, entry in known.items() if name != str(source)}
        entry = known.get(str(source)) or {"copy": free_name(source.name, taken), "sha256": ""}
        copies[source] = inputs / entry["copy"]
        if dry_run:
            known[str(source)] = entry
            continue
        digest = sha256(source)
        if entry["sha256"] and copies[source].is_file():
            if entry["sha256"] != digest:
                say(f"{source} has changed since this run began; the run goes on with its copy {copies[source]}")
            continue
        size = source.stat().st_size
        if size > LARGE:
            say(f"Copying {source} ({size / 1e9:.1f} GB) to {copies[source]}")
        with atomic_path(copies[source]) as temporary:
            shutil.copyfile(source, temporary)
            if sha256(temporary) != digest:
                raise UserError(f"{source} changed while it was copied: run this again when nothing writes to it")
        known[str(source)] = {"copy": entry["copy"], "sha256": digest, "bytes": size}
        write_json(manifest, known)
    return with_files(recipe, copies)


def _check(sources: list[Path]) -> None:
    for source in sources:
        if not source.is_file():
            raise UserError(f"the recipe names {source}, which is not there: check the path")
    if (total := sum(source.stat().st_size for source in sources)) > MOST_BYTES:
        raise UserError(
            f"the recipe's files have {total / 1e9:.0f} GB, at most {MOST_BYTES / 1e9:.0f} go along with a run:"
            " register them with `deepscaler data prepare FILE --name NAME`, and name that"
        )


def free_name(name: str, taken: Iterable[str]) -> str:
    """Returns a name for a copy: the file's own, with a number before it where another has that already."""
    taken, number, free = {*taken, MANIFEST}, 1, name
    while free in taken:
        number += 1
        free = f"{number}-{name}"
    return free
