"""Reads what an evaluation draws from, before any engine is loaded: the problems, their prompts, the model."""

from dataclasses import dataclass

from rich.console import Console

from deepscaler.data import Problem, load_problems
from deepscaler.data.prepare import present_problems, source_named
from deepscaler.models.model import Model, open_model
from deepscaler.system.paths import data_dir as default_data_dir
from evaluation.config import EvaluationConfig, parse_shard, with_thinking
from evaluation.folder import EvaluationFolder
from evaluation.requests import context_length, tokenize

Prompts = dict[str, dict[str, tuple[int, ...]]]
"""Token ids by data set and problem id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """An evaluation's options, or its shard's, and all that follows from them."""

    config: EvaluationConfig
    """With `thinking` settled."""
    model: Model
    problems: dict[str, list[Problem]]
    """By data set; only its own ones for a shard."""
    prompts: Prompts
    context: int
    """Tokens a sequence may grow to; the same for all shards."""

    @property
    def ids(self) -> dict[str, list[str]]:
        """Of the problems, by data set."""
        return {name: [problem.id for problem in chosen] for name, chosen in self.problems.items()}

    def bind(self, folder: EvaluationFolder) -> None:
        """Ties a folder to these options, weights, problems and prompts; or checks that it is tied to them."""
        bound = {**self.config.result_fields(), "thinking": self.config.thinking, "weights": self.model.identity}
        folder.bind(bound)
        for name, chosen in self.problems.items():
            folder.write_problems(name, chosen, self.prompts[name])


def read_inputs(config: EvaluationConfig, folder: EvaluationFolder, console: Console) -> Inputs:
    """Reads the data, the model's tokenizer and the identity of its weights."""
    problems = {name: all_problems(name, config) for name in config.datasets}
    model = open_model(config.model, config.revision)
    prompts = {name: tokenize(chosen, model.tokenizer) for name, chosen in problems.items()}
    context = _context(config, model, prompts, console)
    for name, chosen in problems.items():
        own = set(own_ids([problem.id for problem in chosen], config.shard, folder, name))
        problems[name] = [problem for problem in chosen if problem.id in own]
    prompts = {name: {p.id: prompts[name][p.id] for p in chosen} for name, chosen in problems.items()}
    config = with_thinking(config, model.chat_template)
    return Inputs(config=config, model=model, problems=problems, prompts=prompts, context=context)


def all_problems(name: str, config: EvaluationConfig) -> list[Problem]:
    """Returns a data set's problems, or its first ones; it is prepared first, if necessary."""
    problems = load_problems(name, config.data_dir or default_data_dir(), config.source)
    return problems[: config.limit] if config.limit else problems


def planned_ids(name: str, config: EvaluationConfig) -> tuple[list[str], bool]:
    """Returns the ids of a data set's problems, and whether it is on this machine; else there is one for each row."""
    present = present_problems(name, config.data_dir or default_data_dir(), config.source)
    rows = range(source_named(name).num_rows)
    ids = [f"{name}/{row}" for row in rows] if present is None else [problem.id for problem in present]
    return ids[: config.limit] if config.limit else ids, present is not None


def own_ids(ids: list[str], shard: str, folder: EvaluationFolder, dataset: str) -> list[str]:
    """Returns a shard's part: the problems it began with, which --engines may have chosen; at first every N-th one."""
    if not shard:
        return ids
    if folder.problems_path(dataset).is_file():
        begun = {problem["id"] for problem in folder.read_problems(dataset)}
        return [problem_id for problem_id in ids if problem_id in begun]
    index, count = parse_shard(shard)
    return ids[index::count]


def _context(config: EvaluationConfig, model: Model, prompts: Prompts, console: Console) -> int:
    longest = max(len(ids) for by_id in prompts.values() for ids in by_id.values())
    context = context_length(longest, config.max_tokens, model.context)
    if context < longest + config.max_tokens:
        console.print(
            f"The model's context is {model.context:,} tokens: responses end there, not at {config.max_tokens:,}."
        )
    return context
