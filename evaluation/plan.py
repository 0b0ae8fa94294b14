"""Tells what an evaluation would draw (`--dry-run`): nothing is fetched or written, in the cache neither."""

import json
import shlex

from rich.console import Console

from evaluation.config import EvaluationConfig, to_arguments
from evaluation.engines.gather import count_missing, done_keys
from evaluation.engines.rounds import shard_config, split
from evaluation.folder import EvaluationFolder
from evaluation.inputs import own_ids, planned_ids


def describe_plan(config: EvaluationConfig, console: Console) -> None:
    """Prints the options, what is drawn of each data set, and what each engine is given."""
    folder = EvaluationFolder(config.output_dir)
    folder.check(config.result_fields())
    gathers = config.gather or config.engines > 0
    if gathers:
        folder.check_shards(config.result_fields())
    console.print_json(json.dumps(config.result_fields()))
    problems, done = {}, {}
    for name, given in config.labels.items():
        ids, is_here = planned_ids(given, config)
        problems[name] = own_ids(ids, config.shard, folder, name)
        done[name] = done_keys(folder, name, with_shards=gathers)
        total, num_done = len(problems[name]) * config.samples[name], len(done[name])
        console.print(
            f"{name}: {len(problems[name])} problems x {config.samples[name]} samples = {total:,}, {num_done:,} of them"
            f" done; at most {max(0, total - num_done) * config.max_tokens:,} tokens"
            + (
                "" if is_here else f"; to be fetched first{', the number is that of its published rows' if ids else ''}"
            ),
            soft_wrap=True,
        )
    if config.engine == "openai":
        num_missing = sum(count_missing(ids, config.samples[name], done[name]) for name, ids in problems.items())
        bound = f", at most {config.max_requests:,} by this command" if config.max_requests else ""
        console.print(
            f"{num_missing:,} requests to {config.base_url}, {config.concurrency} at once; failed ones are sent"
            f" again{bound}",
            soft_wrap=True,
        )
    if config.engines:
        parts = split(problems, done, config.samples, config.engines)
        for index, part in enumerate(parts):
            sizes = ", ".join(f"{len(ids)} of {name}" for name, ids in part.items() if ids)
            console.print(f"Engine {index}: {sizes}")
            command = shlex.join(["deepscaler", *to_arguments(shard_config(config, index, len(parts)))])
            console.print(f"  {command}", soft_wrap=True)
