"""One evaluation drawn by several engines at once: what is missing lies in one queue, and every engine pulls from it.

queue [a, b, c, d, e], 2 engines:  shards/0-of-2 draws a, c, d   shards/1-of-2 draws b (a long one), e

An engine is `deepscaler evaluate --shard` in a folder with `claimed/`: it loads the model once and draws into that
folder until the queue is over. Then, or at the start of the next command, whatever its number of engines, the folders
are gathered and removed.
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
"""Seconds for the engines of a killed command to end."""


def shard_config(config: EvaluationConfig, index: int, count: int) -> EvaluationConfig:
    """Returns what one of `count` engines is to do; paths are absolute, because it may run on another machine."""
    config = with_absolute_paths(config)
    folder = config.output_dir / "shards" / f"{index}-of-{count}"
    return replace(config, engines=0, until=0.0, shard=f"{index}/{count}", output_dir=folder)


def draw_with_engines(inputs: Inputs, folder: EvaluationFolder, console: Console) -> None:
    """Draw every missing sample. Raises UserError where all engines had to be given up; what was drawn is kept."""
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
            f"Drawing {len(missing):,} samples with {num_engines} engines on {place.name}; their logs:"
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
            f"all {num_engines} engines were given up after {STARTS_IN_VAIN} starts without a sample"
            f" ({runs[0].last_words()}); what was drawn is kept, and the same command goes on"
        )


def _engine(inputs: Inputs, folder: EvaluationFolder, index: int, count: int) -> ShardRun:
    """Makes an engine's folder; it draws what it claims there."""
    config = shard_config(inputs.config, index, count)
    shard = EvaluationFolder(config.output_dir)
    shard.claimed_path.mkdir(parents=True)
    return ShardRun(
        index=index,
        arguments=to_arguments(config),
        shard=shard,
        logs=folder.root / "logs",
        files=[shard.samples_path(name) for name in inputs.ids],
    )


def _gather_and_remove(folder: EvaluationFolder, console: Console) -> None:
    """Gather all shards and remove those of engines; an engine that is still alive is waited for."""
    shutil.rmtree(folder.queue_path, ignore_errors=True)
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
