"""What an evaluation would draw (`--dry-run`): reads the data, writes nothing to the output folder."""

import json
import shlex

from rich.console import Console

from evaluation.config import EvaluationConfig, to_arguments
from evaluation.engines.gather import done_keys
from evaluation.engines.rounds import shard_config, split
from evaluation.folder import EvaluationFolder
from evaluation.inputs import all_problems, own_problems


def describe_plan(config: EvaluationConfig, console: Console) -> None:
    """Print the options, what is drawn of each data set, and what each engine is given."""
    folder = EvaluationFolder(config.output_dir)
    folder.check(config.result_fields())
    gathers = config.gather or config.engines > 0
    if gathers:
        folder.check_shards(config.result_fields())
    console.print_json(json.dumps(config.result_fields()))
    problems, done = {}, {}
    for name in config.datasets:
        chosen = own_problems(all_problems(name, config), config.shard, folder, name)
        problems[name] = [problem.id for problem in chosen]
        done[name] = done_keys(folder, name, with_shards=gathers)
        total, num_done = len(chosen) * config.num_samples, len(done[name])
        console.print(
            f"{name}: {len(chosen)} problems x {config.num_samples} samples = {total:,}, {num_done:,} of them done;"
            f" at most {max(0, total - num_done) * config.max_tokens:,} tokens",
        )
    if config.engines:
        parts = split(problems, done, config.num_samples, config.engines)
        for index, part in enumerate(parts):
            sizes = ", ".join(f"{len(ids)} of {name}" for name, ids in part.items() if ids)
            console.print(f"Engine {index}: {sizes}")
            command = shlex.join(["deepscaler", *to_arguments(shard_config(config, index, len(parts)))])
            console.print(f"  {command}", soft_wrap=True)
