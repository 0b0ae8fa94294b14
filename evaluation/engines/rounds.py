"""One evaluation drawn by several engines at once: what is missing is dealt out, drawn in shards, and gathered.

missing problems [a, b, c, d, e], 2 engines:  shards/0-of-2 [a, c, e]   shards/1-of-2 [b, d]

An engine is `deepscaler evaluate --shard`, which goes on from the folder that it is given here. A round ends with its
shards gathered and removed; one that was killed is gathered at the start of the next, whatever its number of engines.
"""

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

from rich.console import Console

from deepscaler.system.errors import UserError
from deepscaler.system.files import sync_directory
from evaluation.config import EvaluationConfig, to_arguments, with_absolute_paths
from evaluation.engines.executors import open_place
from evaluation.engines.gather import count_missing, done_keys, gather
from evaluation.engines.shard_run import STARTS_IN_VAIN, ShardRun, run_shards
from evaluation.folder import EvaluationFolder, FolderBusyError
from evaluation.inputs import Inputs
from evaluation.progress import show_progress
from evaluation.requests import Key
from evaluation.samples import SampleStore, read_samples

PLAIN_INTERVAL = 60.0
"""Seconds between two lines in a log."""
END_DEADLINE = 60.0
"""Seconds for the engines of a killed command to end."""

Part = dict[str, list[str]]
"""Problem ids by data set."""


def split(problems: Part, done: dict[str, set[Key]], samples: dict[str, int], num_engines: int) -> list[Part]:
    """Deal out the problems that lack a sample, in turn, so that each engine has as many and a mix of all data sets."""
    lacking = [
        (name, problem_id)
        for name, ids in problems.items()
        for problem_id in ids
        if any((problem_id, sample) not in done[name] for sample in range(samples[name]))
    ]
    num_parts = min(num_engines, len(lacking))
    dealt = [lacking[index::num_parts] for index in range(num_parts)]
    return [{name: [problem_id for of, problem_id in part if of == name] for name in problems} for part in dealt]


def shard_config(config: EvaluationConfig, index: int, count: int) -> EvaluationConfig:
    """Returns what one of `count` engines is to do; paths are absolute, because it may run on another machine."""
    config = with_absolute_paths(config)
    folder = config.output_dir / "shards" / f"{index}-of-{count}"
    return replace(config, engines=0, shard=f"{index}/{count}", output_dir=folder)


def draw_with_engines(inputs: Inputs, folder: EvaluationFolder, console: Console) -> None:
    """Draw every missing sample. Raises UserError where an engine had to be given up; what was drawn is kept."""
    samples = inputs.config.samples
    _finish_round(folder, console)
    done = {name: done_keys(folder, name) for name in inputs.ids}
    parts = split(inputs.ids, done, samples, inputs.config.engines)
    if not parts:
        return
    total = sum(len(ids) * samples[name] for name, ids in inputs.ids.items())
    missing = sum(count_missing(ids, samples[name], done[name]) for name, ids in inputs.ids.items())
    with open_place(inputs.config, len(parts), console) as place:
        runs = _begin_round(inputs, folder, parts)
        console.print(
            f"Drawing {missing:,} samples with {len(parts)} engines on {place.name}; their logs: {folder.root}/logs",
            soft_wrap=True,
        )
        with show_progress(console, total - missing, total, PLAIN_INTERVAL) as progress:
            run_shards(runs, place, progress, console)
    _finish_round(folder, console)
    if given_up := [run for run in runs if not run.is_complete]:
        raise UserError(
            f"{len(given_up)} of {len(runs)} engines were given up after {STARTS_IN_VAIN} starts without a sample"
            f" ({given_up[0].last_words()}); what was drawn is kept, and the same command goes on"
        )


def _begin_round(inputs: Inputs, folder: EvaluationFolder, parts: list[Part]) -> list[ShardRun]:
    """Write each shard's folder as if it had been begun: its problems, and those of their samples that are there."""
    runs = []
    for index, part in enumerate(parts):
        config = shard_config(inputs.config, index, len(parts))
        own = {problem_id for ids in part.values() for problem_id in ids}
        problems = {name: [p for p in chosen if p.id in own] for name, chosen in inputs.problems.items()}
        shard = EvaluationFolder(config.output_dir)
        replace(inputs, config=config, problems=problems).bind(shard)
        runs.append(ShardRun(index=index, arguments=to_arguments(config), shard=shard, logs=folder.root / "logs"))
    for name in inputs.problems:
        with ExitStack() as opened:
            stores = [opened.enter_context(SampleStore(run.shard.samples_path(name))) for run in runs]
            store_of = {problem_id: stores[index] for index, part in enumerate(parts) for problem_id in part[name]}
            for sample in read_samples(folder.samples_path(name)):
                if sample.problem_id in store_of:
                    store_of[sample.problem_id].append(sample)
        for run in runs:
            run.follow(run.shard.samples_path(name))
    return runs


def _finish_round(folder: EvaluationFolder, console: Console) -> None:
    """Gather all shards and remove those that engines were given; an engine that is still alive is waited for."""
    given = [path for path in sorted(folder.root.glob("shards/*")) if re.fullmatch(r"\d+-of-\d+", path.name)]
    with ExitStack() as held:
        for path in given:
            held.enter_context(_held(EvaluationFolder(path), console))
        if num_new := gather(folder):
            console.print(f"Gathered {num_new:,} samples of {len(folder.shards())} shards.")
        if given and (folder.root / "samples").is_dir():
            sync_directory(folder.root / "samples")
        for path in given:  # without this file it is no shard: a kill meanwhile leaves no half one
            EvaluationFolder(path).config_path.unlink(missing_ok=True)
    for path in given:
        shutil.rmtree(path)
    with suppress(OSError):  # other shards
        (folder.root / "shards").rmdir()


@contextmanager
def _held(shard: EvaluationFolder, console: Console) -> Iterator[None]:
    deadline = time.monotonic() + END_DEADLINE
    told = False
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(shard.held())
                break
            except FolderBusyError:
                if time.monotonic() > deadline:
                    raise
            if not told:
                console.print(f"Waiting up to {END_DEADLINE:.0f} s for an engine of before to end: {shard.root}")
                told = True
            time.sleep(0.5)
        yield
