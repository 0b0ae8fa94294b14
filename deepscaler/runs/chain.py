"""Describes a chain of stages: each starts from the merged model of the one before. A rerun resumes at the exact step.

chain.json              {"base": {...}, "stages": [{"name": "8k", "directory": "1-8k", "state": "done"}, ...]}
0-base/evaluation/      the start model, evaluated
1-8k/                   a run (see runs.folder), with model/ and evaluation/
2-16k/                  ...

Every step is a command of this kit in a process of its own, so that it holds a GPU no longer than it needs it, and so
that any launcher can do the same: `commands` lists them all.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from deepscaler.recipes.recipe import Recipe
from deepscaler.runs.checkpoints import is_merged, sealed
from deepscaler.runs.finished import is_finished
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.mirror_state import is_complete
from deepscaler.runs.outputs import CHAIN, EVALUATION
from deepscaler.system.errors import UserError
from deepscaler.system.files import read_json, write_json

StepKind = Literal["train", "merge", "evaluate"]
OnDoubt = Literal["stop", "go-on"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainOptions:
    """Options for everything around the stages."""

    datasets: tuple[str, ...] = ()
    """Benchmarks to evaluate on before the first stage and after each; none for no evaluation."""
    evaluation_options: tuple[str, ...] = ()
    """Further flags of `deepscaler evaluate`."""
    gate: bool = False
    """Stop where a stage is worse than the one before, by a paired one-sided test (`evaluation.compare.gate`)."""
    gate_on_doubt: OnDoubt = "go-on"
    """Action of the gate if a drop is neither shown nor ruled out."""
    train_options: tuple[str, ...] = ()
    """Further flags of `deepscaler train`, such as --device cpu."""


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One stage of a chain, or the start model (number 0, without a recipe)."""

    number: int
    name: str
    folder: Path
    model: str
    """Model that it starts from."""
    settings: tuple[str, ...] = ()
    recipe: Recipe | None = None
    """Recipe that it trains; None for the start model."""
    given: str = ""
    """The published name, or the absolute path of the file, that `deepscaler train` is given for the recipe."""

    @property
    def run(self) -> RunFolder:
        """Its training run."""
        return RunFolder(self.folder)

    @property
    def result(self) -> str:
        """Returns the model that it leads to."""
        return str(self.run.model) if self.number else self.model

    @property
    def evaluation(self) -> Path:
        """Returns the folder of the evaluation of its result."""
        return self.folder / EVALUATION


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a stage."""

    kind: StepKind
    """`train`, `merge`, `evaluate`."""
    stage: StagePlan
    command: tuple[str, ...]
    """Arguments of `deepscaler`."""

    @property
    def name(self) -> str:
        """Returns a name such as `8k:train` or `start:evaluate`."""
        return f"{self.stage.name}:{self.kind}"


@dataclass(frozen=True, slots=True)
class Chain:
    """Stages in order, below one folder."""

    root: Path
    stages: tuple[StagePlan, ...]
    options: ChainOptions = field(default_factory=ChainOptions)

    def steps(self) -> list[Step]:
        """Returns every command in order; each does nothing if it was done before."""
        return [step for stage in self.stages for step in self.steps_of(stage)]

    def steps_of(self, stage: StagePlan) -> list[Step]:
        """Returns the commands of one stage."""
        steps = []
        if stage.number:
            settings = [part for setting in stage.settings for part in ("--set", setting)]
            train = ("train", stage.given, "--output-dir", str(stage.folder), *settings)
            # After the user's settings, because the last --set counts, and a stage starts from the one before.
            train = (*train, "--set", f"model={stage.model}", *_options_of(stage, self.options.train_options))
            steps.append(Step("train", stage, train))
            steps.append(Step("merge", stage, ("merge", str(stage.folder))))
        if self.options.datasets:
            evaluate: tuple[str, ...] = ("evaluate", "--model", stage.result, "--output-dir", str(stage.evaluation))
            evaluate += ("--datasets", *self.options.datasets, *self.options.evaluation_options)
            steps.append(Step("evaluate", stage, evaluate))
        return steps


def _options_of(stage: StagePlan, options: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the options of `deepscaler train` for a stage, which has a mirror of its own below the chain's."""
    if "--mirror" not in options:
        return options
    place = options.index("--mirror") + 1
    return (*options[:place], f"{options[place]}/{stage.folder.name}", *options[place + 1 :])


def build_chain(
    root: Path, recipes: Sequence[Recipe], settings: Sequence[str], options: ChainOptions, given: Sequence[str] = ()
) -> Chain:
    """Returns the chain of some recipes, whose own names were `given`, or names and files.

    Raises UserError for none, a repeated one, or a gate without benchmarks.
    """
    names = [recipe.name for recipe in recipes]
    # Two stages of one name would have one state in chain.json, which goes by the name.
    if not names or len(set(names)) < len(names):
        raise UserError(f"invalid stages {' '.join(names) or '(none)'}: give one or more different recipes")
    if options.gate and not options.datasets:
        raise UserError("--gate compares evaluations: give --eval BENCHMARK ... too")
    base = StagePlan(0, "start", root / "0-base", recipes[0].model)
    stages = [base]
    for number, (recipe, text) in enumerate(zip(recipes, given or names, strict=True), start=1):
        folder = root / f"{number}-{recipe.name}"
        stages.append(StagePlan(number, recipe.name, folder, stages[-1].result, tuple(settings), recipe, text))
    return Chain(root, tuple(stages), options)


def write_state(chain: Chain, states: dict[str, str]) -> None:
    """Writes chain.json: what the chain is, and how far each stage is."""
    write_json(
        chain.root / CHAIN,
        {
            "base": {"directory": chain.stages[0].folder.name, "model": chain.stages[0].model},
            "stages": [
                {
                    "name": stage.name,
                    "directory": stage.folder.name,
                    "settings": list(stage.settings),
                    "state": states.get(stage.name, "waiting"),
                }
                for stage in chain.stages[1:]
            ],
            "options": asdict(chain.options),
        },
    )


def read_states(chain: Chain) -> dict[str, str]:
    """Returns how far each stage is, from chain.json; empty if the chain has not begun."""
    path = chain.root / CHAIN
    stored: dict[str, Any] = read_json(path) if path.is_file() else {"stages": []}
    return {stage["name"]: stage["state"] for stage in stored["stages"]}


def check_state(chain: Chain) -> None:
    """Raises UserError if the folder holds a chain of other stages; stages may be added at the end."""
    path = chain.root / CHAIN
    if not path.is_file():
        return
    stored: dict[str, Any] = read_json(path)
    before = [(stage["name"], tuple(stage["settings"])) for stage in stored["stages"]]
    now = [(stage.name, stage.settings) for stage in chain.stages[1:]]
    # A prefix, so that a chain can be prolonged: folders of finished stages keep their numbers and their models.
    if now[: len(before)] != before or stored["base"]["model"] != chain.stages[0].model:
        told = " ".join(name for name, _ in before)
        raise UserError(
            f"{chain.root} holds the chain {told} from {stored['base']['model']} with --set"
            f" {sorted({s for _, settings in before for s in settings}) or 'nothing'}; give the same, or another"
            " --output-dir"
        )


def is_done(step: Step) -> bool:
    """Returns whether a step is done, without loading anything heavy."""
    run, recipe = step.stage.run, step.stage.recipe
    if step.kind == "evaluate":
        return False  # it tells by itself, and may have been given more to do
    if recipe is None or not is_finished(run, recipe):
        return False
    if step.kind == "train":
        # What a stage had no time to upload is uploaded by its own command, which therefore runs once more.
        return not (mirror := _mirror_of(step.command)) or is_complete(run, mirror)
    return is_merged(run, sealed(run)[0])


def _mirror_of(command: Sequence[str]) -> str:
    """Returns the place that a stage is mirrored to; empty if it is not."""
    return command[command.index("--mirror") + 1] if "--mirror" in command else ""
