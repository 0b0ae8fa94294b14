"""Draws one evaluation with several engines at once. Every engine pulls missing samples from one queue.

queue [a, b, c, d, e], 2 engines:  shards/0-of-2 draws a, c, d   shards/1-of-2 draws b (a long one), e

An engine is the command `deepscaler evaluate --shard` in a folder with `claimed/`. It loads the model once and draws
into that folder until the queue is over. Being an ordinary evaluation, it is killed, resumed and checked like any
other. Afterwards, or at the start of the next command with any number of engines, the folders are gathered and removed.
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
from evaluation.engines.gather import gather
from evaluation.engines.queue import Queue
from evaluation.engines.shard_run import STARTS_IN_VAIN, ShardRun, run_shards
from evaluation.folder import EvaluationFolder, FolderBusyError
from evaluation.inputs import Inputs
from evaluation.progress import show_progress
from evaluation.requests import Key
from evaluation.rounds import Rounds

PLAIN_INTERVAL = 60.0
"""Seconds between two lines in a log."""
END_DEADLINE = 60.0
"""Seconds to wait for the engines of a killed command to end."""


def shard_config(config: EvaluationConfig, index: int, count: int) -> EvaluationConfig:
    """Returns the options of one of `count` engines, with absolute paths because it may run on another machine."""
    config = with_absolute_paths(config)
    folder = config.output_dir / "shards" / f"{index}-of-{count}"
    return replace(config, engines=0, until=0.0, shard=f"{index}/{count}", output_dir=folder)


def draw_with_engines(inputs: Inputs, folder: EvaluationFolder, console: Console) -> None:
    """Draws every missing sample. Raises UserError if all engines were abandoned; drawn samples are kept."""
    _gather_and_remove(folder, console)
    rounds = Rounds(inputs, folder)
    missing = rounds.next()
    if not missing:
        return
    num_engines = min(inputs.config.engines, len(missing))
    with open_place(inputs.config, num_engines, console) as place:
        queue = Queue(folder.queue_path, num_engines)
        runs = [_engine(inputs, folder, index, num_engines) for index in range(num_engines)]
        console.print(
            f"Drawing {len(missing):,} samples with {num_engines} engines on {place.name}; logs are in"
            f" {folder.root}/logs",
            soft_wrap=True,
        )
        with show_progress(console, interval=PLAIN_INTERVAL) as progress:

            def next_round() -> list[Key]:
                if not inputs.config.until:
                    return []
                gather(folder)
                keys = rounds.next()
                progress.expect(len(rounds.lengths), len(keys))
                return keys

            progress.expect(len(rounds.lengths), len(missing))
            queue.learn(rounds.lengths)
            queue.add(missing)
            run_shards(runs, place, queue, next_round, progress, console)
    _gather_and_remove(folder, console)
    if queue.unseen:
        raise UserError(
            f"all {num_engines} engines were abandoned after {STARTS_IN_VAIN} starts without a new sample"
            f" ({runs[0].last_words()}); drawn samples are saved, so rerun the same command to resume"
        )


def _engine(inputs: Inputs, folder: EvaluationFolder, index: int, count: int) -> ShardRun:
    """Creates an engine's folder, into which it draws the samples that it claims."""
    config = shard_config(inputs.config, index, count)
    shard = EvaluationFolder(config.output_dir)
    # It must not exist: claims of an earlier engine would count as this one's.
    shard.claimed_path.mkdir(parents=True)
    return ShardRun(
        index=index,
        arguments=to_arguments(config),
        shard=shard,
        logs=folder.root / "logs",
        files=[shard.samples_path(name) for name in inputs.ids],
    )


def _gather_and_remove(folder: EvaluationFolder, console: Console) -> None:
    """Gathers all shards and removes those of engines, after waiting for engines that are still alive."""
    # First: an engine of a killed command that still lives ends once its queue is gone.
    shutil.rmtree(folder.queue_path, ignore_errors=True)
    # Shards of a user or of SLURM's arrays have a benchmark in their names, and stay.
    given = [path for path in sorted(folder.root.glob("shards/*")) if re.fullmatch(r"\d+-of-\d+", path.name)]
    with ExitStack() as held:
        for path in given:
            held.enter_context(_held(EvaluationFolder(path), console))
        if num_new := gather(folder):
            console.print(f"Gathered {num_new:,} samples of {len(folder.shards())} shards.")
        if given and (folder.root / "samples").is_dir():
            sync_directory(folder.root / "samples")
        for path in given:  # a folder without this file is not a shard, so a kill during rmtree leaves no half one
            EvaluationFolder(path).config_path.unlink(missing_ok=True)
    for path in given:
        shutil.rmtree(path)
    with suppress(OSError):  # it may hold shards that a user made, such as aime-1-of-2
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
                console.print(f"Waiting up to {END_DEADLINE:.0f} s for an earlier engine to end: {shard.root}")
                told = True
            time.sleep(0.5)
        yield
