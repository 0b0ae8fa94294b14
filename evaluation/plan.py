"""Prints what an evaluation would draw (`--dry-run`) without fetching or writing anything, even in the cache."""

import json
import shlex

from rich.console import Console

from evaluation.config import EvaluationConfig, to_arguments
from evaluation.engines.coordinator import shard_config
from evaluation.engines.gather import done_keys
from evaluation.folder import EvaluationFolder
from evaluation.inputs import own_ids, planned_ids
from evaluation.until import first_samples


def describe_plan(config: EvaluationConfig, console: Console) -> None:
    """Prints the options, the samples to draw from each data set, and the command of each engine."""
    folder = EvaluationFolder(config.output_dir)
    folder.check(config.result_fields())
    gathers = config.gather or config.engines > 0
    if gathers:
        folder.check_shards(config.result_fields())
    console.print_json(json.dumps(config.result_fields()))
    num_missing = 0
    for name, given in config.labels.items():
        ids, is_here = planned_ids(given, config)
        num_problems = len(own_ids(ids, config.shard, folder))
        num_done = len(done_keys(folder, name, with_shards=gathers))
        total = num_problems * config.samples[name]
        num_missing += max(0, total - num_done)
        sizes = f"{num_problems} problems x {config.samples[name]} samples = {total:,}"
        if config.until:
            least = (
                min(2 * first_samples(num_problems, config.until / 100), config.samples[name]) if num_problems else 0
            )
            sizes = f"{num_problems} problems x {least} to {config.samples[name]} samples"
            sizes += f" = {num_problems * least:,} to {total:,}"
        fetched = "" if is_here else "; must be fetched first"
        # a set of the hub that is not here has no ids, because nobody knows its rows yet
        if fetched and ids:
            fetched += ", so the number of problems is that of its published rows"
        console.print(
            f"{name}: {sizes}, {num_done:,} of them done; at most"
            f" {max(0, total - num_done) * config.max_tokens:,} tokens{fetched}",
            soft_wrap=True,
        )
    if config.engine == "openai":
        bound = f", at most {config.max_requests:,} from this command" if config.max_requests else ""
        console.print(
            f"{'at most ' if config.until else ''}{num_missing:,} requests to {config.base_url}, {config.concurrency}"
            f" at once; failed ones are retried{bound}",
            soft_wrap=True,
        )
    num_engines = min(config.engines, num_missing)
    for index in range(num_engines):
        command = shlex.join(["deepscaler", *to_arguments(shard_config(config, index, num_engines))])
        console.print(f"Engine {index}: {command}", soft_wrap=True)
    if num_engines > 1:
        console.print("The engines pull their samples from one queue.")
