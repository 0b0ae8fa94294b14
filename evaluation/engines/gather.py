"""Gathers the samples of all shards into the evaluation's folder, each once and with its provenance.

shards/aime-0-of-2/samples/aime.jsonl  shards/aime-1-of-2/samples/aime.jsonl  ->  samples/aime.jsonl

Gathering appends samples exactly as an engine does, so it can be killed and resumed like one.
"""

from typing import Any

from deepscaler.system.errors import UserError
from deepscaler.system.files import sha256, write_json
from evaluation.folder import FREE, EvaluationFolder, differences
from evaluation.requests import Key
from evaluation.samples import SampleStore, read_samples


def gather(folder: EvaluationFolder) -> int:
    """Copies all samples from the shards of a bound folder. Returns how many were new.

    Raises UserError for a shard of another evaluation, before it copies anything.
    """
    shards = folder.shards()
    names = {shard.root: _datasets(folder, shard) for shard in shards}
    for shard in shards:
        _check(folder, shard, names[shard.root])
    _gather_provenance(folder, shards)  # first: a kill must not leave samples without provenance
    num_new = 0
    for name in sorted({name for found in names.values() for name in found}):
        with SampleStore(folder.samples_path(name)) as store:
            done = set(store.done)
            for shard in shards:
                if name not in names[shard.root]:
                    continue
                own = {problem["id"] for problem in shard.read_problems(name)}
                for sample in read_samples(shard.samples_path(name)):
                    if sample.key not in done and sample.problem_id in own:
                        store.append(sample)
                        done.add(sample.key)
                        num_new += 1
    return num_new


def done_keys(folder: EvaluationFolder, dataset: str, *, with_shards: bool = False) -> set[Key]:
    """Returns the keys of one benchmark's samples in a folder, and in its shards if `with_shards`."""
    places = [folder, *(folder.shards() if with_shards else [])]
    return {sample.key for place in places for sample in read_samples(place.samples_path(dataset))}


def require_complete(folder: EvaluationFolder, ids: dict[str, list[str]], samples: dict[str, int]) -> None:
    """Raises UserError if a sample of these problems (by data set) is missing."""
    if found := lacking(folder, ids, samples):
        raise UserError(
            f"{folder.root} and its {len(folder.shards())} shards are not complete: {', '.join(found)}; rerun the lost"
            " shards and then this command, or run it without --gather to draw the missing samples here"
        )


def lacking(folder: EvaluationFolder, ids: dict[str, list[str]], samples: dict[str, int]) -> list[str]:
    """Returns in words the samples of these problems (by data set) that a folder lacks; empty if it is complete."""
    found = []
    for name, problems in ids.items():
        if missing := count_missing(problems, samples[name], done_keys(folder, name)):
            found.append(f"{name} lacks {missing:,} of {len(problems) * samples[name]:,} samples")
    return found


def count_missing(problems: list[str], num_samples: int, done: set[Key]) -> int:
    """Returns how many samples of these problems are missing."""
    return sum((problem_id, sample) not in done for problem_id in problems for sample in range(num_samples))


def _datasets(folder: EvaluationFolder, shard: EvaluationFolder) -> list[str]:
    """Returns the whole evaluation's data sets that a shard has begun."""
    # a shard writes the problems of one set after another, and may have been killed between two
    begun = [name for name in shard.read_config()["datasets"] if shard.problems_path(name).is_file()]
    return [name for name in begun if folder.problems_path(name).is_file()]


def _check(folder: EvaluationFolder, shard: EvaluationFolder, datasets: list[str]) -> None:
    found = differences(folder.read_config(), shard.read_config(), (*FREE, "shard"))
    for name in datasets:
        whole = {problem["id"]: problem for problem in folder.read_problems(name)}
        if any(whole.get(problem["id"]) != problem for problem in shard.read_problems(name)):
            found.append(f"the problems or prompts of {name}")
    if found:
        raise UserError(
            f"{shard.root} is a shard of another evaluation ({'; '.join(found)}); remove it, or give its options and"
            " another --output-dir"
        )


def _gather_provenance(folder: EvaluationFolder, shards: list[EvaluationFolder]) -> None:
    """Records every attempt at a shard as an attempt at the whole evaluation."""
    found = {shard.root.name: provenance for shard in shards if (provenance := shard.read_provenance())}
    if not found:
        return
    told: dict[str, Any] = folder.read_provenance() or next(iter(found.values())) | {"datasets": {}, "attempts": []}
    attempts, datasets = list(told.get("attempts", [])), dict(told.get("datasets", {}))
    for name, provenance in found.items():
        of_shard = [{**attempt, "shard": name} for attempt in provenance.get("attempts", [])]
        # gathering may be repeated, and finds the earlier attempts again
        attempts += [attempt for attempt in of_shard if attempt not in attempts]
        for dataset, hashes in provenance.get("datasets", {}).items():
            if folder.problems_path(dataset).is_file():
                # the shard's own hash is that of its part of the problems
                whole = {**hashes, "problems_sha256": sha256(folder.problems_path(dataset))}
                datasets.setdefault(dataset, whole)
    write_json(folder.provenance_path, {**told, "attempts": attempts, "datasets": datasets})
