"""Reads the inputs of an evaluation before any engine is loaded: the problems, their prompts, the model."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from deepscaler.data import Problem, load_problems
from deepscaler.data.names import is_file, is_hub, label
from deepscaler.data.own import OwnOptions, keep_own, prepare_own, told
from deepscaler.data.prepare import parquet_path, present_problems, read_manifest
from deepscaler.data.problem import ask_by
from deepscaler.data.sources import SOURCES
from deepscaler.data.table import problems_of
from deepscaler.models.model import Model, open_endpoint, open_model
from deepscaler.system.errors import UserError
from deepscaler.system.paths import data_dir as default_data_dir
from evaluation.config import EvaluationConfig, own_data, parse_shard, with_thinking
from evaluation.folder import EvaluationFolder
from evaluation.requests import Prompt, context_length, tokenize

Prompts = dict[str, dict[str, Prompt]]
"""Prompts by data set and problem id."""


OWN = OwnOptions(split="test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Holds the options of an evaluation or a shard, and all that follows from them."""

    config: EvaluationConfig
    """The options, with `thinking` resolved to yes or no where the chat template shows it."""
    model: Model
    problems: dict[str, list[Problem]]
    """Problems by data set; a shard has only its own."""
    prompts: Prompts
    context: int
    """Most tokens of a sequence, prompt included; the same for all shards."""

    @property
    def ids(self) -> dict[str, list[str]]:
        """Returns the ids of the problems by data set."""
        return {name: [problem.id for problem in chosen] for name, chosen in self.problems.items()}

    def bind(self, folder: EvaluationFolder) -> None:
        """Binds a folder to these options, weights, problems and prompts, or checks that it is bound to them."""
        bound = {**self.config.result_fields(), "thinking": self.config.thinking, "weights": self.model.identity}
        folder.bind(bound)
        for name, chosen in self.problems.items():
            folder.write_problems(name, chosen, self.prompts[name])


def read_inputs(config: EvaluationConfig, folder: EvaluationFolder, console: Console) -> Inputs:
    """Reads the data, the model's tokenizer and the identity of its weights."""
    problems = {}
    for short, name in config.labels.items():
        problems[short] = [ask_by(problem, config.prompt) for problem in all_problems(name, config, console)]
    model = _open(config)
    # of all problems, before a shard keeps its own: a context that depended on the shard would make samples differ
    prompts = {name: _prompts(chosen, model) for name, chosen in problems.items()}
    context = _context(config, model, prompts, console)
    for name, chosen in problems.items():
        own = set(own_ids([problem.id for problem in chosen], config.shard, folder))
        problems[name] = [problem for problem in chosen if problem.id in own]
    prompts = {name: {p.id: prompts[name][p.id] for p in chosen} for name, chosen in problems.items()}
    config = with_thinking(config, model.chat_template)
    return Inputs(config=config, model=model, problems=problems, prompts=prompts, context=context)


def _open(config: EvaluationConfig) -> Model:
    if config.engine != "openai":
        return open_model(config.model, config.revision)
    # only the completions API takes tokens; a chat endpoint applies the template of its own model
    tokenizer = (config.tokenizer or config.model) if config.api == "completions" else ""
    return open_endpoint(config.model, config.base_url, tokenizer, config.revision)


def _prompts(problems: list[Problem], model: Model) -> dict[str, Prompt]:
    if model.tokenizer is None:
        return {problem.id: problem.prompt for problem in problems}
    return dict(tokenize(problems, model.tokenizer))


def all_problems(name: str, config: EvaluationConfig, console: Console | None = None) -> list[Problem]:
    """Returns a data set's problems, or only the first ones; prepares the set if necessary.

    Raises UserError if a user's own set has changed since the evaluation copied it.
    """
    data_dir = config.data_dir or default_data_dir()
    if name in SOURCES:
        problems = load_problems(name, data_dir, config.source)
    else:
        is_new = not (config.own_data / "manifest.json").is_file()
        path, entry, changed = keep_own(name, config.own_data, OWN, data_dir, renew=False)
        # with the changed set, the folder's samples would belong to two different sets
        if changed:
            raise UserError(f"{changed} this evaluation began: put it back, or give another --output-dir")
        # a resumed evaluation said this when it began
        if console and is_new:
            for line in told(name, entry):
                console.print(line, soft_wrap=True)
        problems = list(problems_of(path))
    return problems[: config.limit] if config.limit else problems


def keep_datasets(names: Iterable[str], folder: Path, data_dir: Path | None) -> None:
    """Copies the user's own data sets into an evaluation's folder, which need not exist yet.

    Raises UserError for a set that cannot be used.
    """
    for name in names:
        if name not in SOURCES:
            # before a launcher submits: its jobs read no other folder of the user's
            keep_own(name, own_data(folder), OWN, data_dir or default_data_dir(), renew=False)


def planned_ids(name: str, config: EvaluationConfig) -> tuple[list[str], bool]:
    """Returns the ids of a data set's problems, and whether the set is on this machine; writes nothing.

    A set that is missing has an id for each of its published rows; a hub set that was never fetched has none.
    """
    data_dir = config.data_dir or default_data_dir()
    if name not in SOURCES:
        found = _planned_own(name, config, data_dir)
        ids = [problem.id for problem in found or ()]
        return ids[: config.limit] if config.limit else ids, found is not None
    present = present_problems(name, data_dir, config.source)
    rows = range(SOURCES[name].num_rows)
    ids = [f"{name}/{row}" for row in rows] if present is None else [problem.id for problem in present]
    return ids[: config.limit] if config.limit else ids, present is not None


def _planned_own(name: str, config: EvaluationConfig, data_dir: Path) -> list[Problem] | None:
    """Returns the problems of a user's own set as preparing it would yield them; None if it has to be fetched."""
    folder, short = config.own_data, label(name)
    # the evaluation's own copy counts before the cache's, which may have been prepared again since
    for kept in (folder, data_dir):
        entry = read_manifest(kept).get(short, {})
        if entry.get("name", entry.get("given")) == name and parquet_path(short, kept).is_file():
            return list(problems_of(parquet_path(short, kept)))
    if is_hub(name):
        return None
    if not is_file(name):
        return load_problems(name, data_dir)
    # its ids are known only once it is prepared, since rows may be dropped, and a dry run leaves no file behind
    with TemporaryDirectory() as temporary:
        prepare_own(name, Path(temporary), OWN)
        return list(problems_of(parquet_path(short, Path(temporary))))


def own_ids(ids: list[str], shard: str, folder: EvaluationFolder) -> list[str]:
    """Returns the problems that a shard may draw: every N-th one, or all if it pulls from a queue."""
    if not shard or folder.claimed_path.is_dir():
        return ids
    index, count = parse_shard(shard)
    return ids[index::count]


def _context(config: EvaluationConfig, model: Model, prompts: Prompts, console: Console) -> int:
    longest = max(len(prompt) for by_id in prompts.values() for prompt in by_id.values())
    context = context_length(longest, config.max_tokens, model.context)
    if context < longest + config.max_tokens:
        console.print(
            f"The model's context of {model.context:,} tokens ends responses before --max-tokens {config.max_tokens:,}."
        )
    return context
