"""Records what a run is bound to (its recipe, start weights and data) and what made it (versions, command).

run.json  {"recipe": {...}, "device": "cuda", "model": {"name", "identity"},
           "data": {"train.parquet": "sha256...", "validation.parquet": "sha256...", "aime": "sha256...", ...},
           "sets": {"aime": {"sha256", "rows", "source", "revision", "input_sha256"}, ...}, "reward": {...},
           "kit": "0.1.0", "versions": {...}, "git_revision": "...", "hardware": {"gpus": [...], "cpu", "cores"}}
"""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from deepscaler import __version__
from deepscaler.data.columns import Columns
from deepscaler.data.compose import TRAIN, VALIDATION, Mixture, RunData, compose, data_folder, planned, take_sources
from deepscaler.data.own import OwnOptions
from deepscaler.models.model import find_model, open_model
from deepscaler.models.provenance import git_revision, installed_versions, machine
from deepscaler.recipes.recipe import Device, Recipe
from deepscaler.recipes.stored import stored_options
from deepscaler.rewards.function import UserFunction
from deepscaler.runs.folder import OWNER, RunFolder
from deepscaler.runs.phases import CEILING, FLOOR
from deepscaler.runs.reward_file import called_file, check_called
from deepscaler.system.errors import UserError
from deepscaler.system.paths import data_dir as default_data_dir
from deepscaler.training.prompts import check_prompts

FREE = (
    *("name", "model", "num_steps", "save_every", "validate_every", "num_nodes", "gpus_per_node", "max_tokens_per_gpu"),
    *("tensor_parallel_size", "sequence_parallel_size", "gpu_memory_utilization", "offload_actor"),
    *("reward.function", "reward.timeout", "reward.memory", "reward.num_workers"),
    *("checkpoint_activations", "keep", "keep_every", "keep_best", "signs"),
)
"""Fields that may change between attempts: the place, the pace, the end.

A model is its weights, not its name; a reward function is the run's own copy of its file.
"""


REVISION = "main"
"""The revision of a hub model that training starts from."""


WandbMode = Literal["off", "offline", "online"]
OnStall = Literal["", "report", "restart"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """The options of one run that its recipe does not have."""

    run_dir: Path
    device: Device = "cuda"
    """`cuda`, or `cpu` for machines without one (see deepscaler.verl_plugin.cpu)."""
    data_dir: Path | None = None
    mirror: str = ""
    """URL of a place in a bucket that gets what the run writes; empty for none."""
    mirror_bandwidth: float = 0.0
    """Megabytes a second; 0 for no limit."""
    deadline: float | None = None
    """Unix seconds at which the machine will be taken away."""
    wandb: WandbMode = "off"
    """`off`, `offline` or `online`."""
    skip_doctor: bool = False
    """True to start without the doctor's fast checks of this machine."""
    on_stall: OnStall = ""
    """Action after a stall; empty for `restart` where a launcher gave the Ray cluster, else `report`."""
    stall_after: float = FLOOR
    """Seconds without progress that are always allowed."""
    stall_ceiling: float = CEILING
    """Seconds without progress that are allowed in a phase that the run has not shown yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Inputs of a run: the folders and files that it reads."""

    model: str
    """A folder."""
    train_files: tuple[Path, ...]
    validation_files: tuple[Path, ...]


def check_recipe(run: RunFolder, recipe: Recipe, options: TrainOptions) -> None:
    """Raises UserError if the run's folder is tied to another recipe or person, with what differs; writes nothing.

    Reads run.json, and the user's reward file as text.
    """
    if run.is_run:
        _check_stored(run, recipe, options)
    check_called(run, recipe.reward.function)
    # The kit's forward pass on a CPU gives entropies no gradient (verl_plugin/cpu/forward.py).
    if options.device == "cpu" and recipe.entropy_coefficient:
        raise UserError("--device cpu has no gradient of the entropy: --set entropy_coefficient=0")
    if options.device == "cpu" and recipe.sequence_parallel_size > 1:
        raise UserError("--device cpu does not share a sequence between ranks: --set sequence_parallel_size=1")


def find_inputs(recipe: Recipe, options: TrainOptions) -> tuple[Inputs, str]:
    """Returns where a run reads from, and a note on what is not there yet; nothing is fetched or written.

    A hub model that is not on this machine goes by its hub id: the name of its folder comes with it. Sets of one's
    own are read, so errors in them appear now.
    """
    planned(mixture_of(recipe), options.run_dir.resolve(), options.data_dir or default_data_dir())
    model = find_model(recipe.model, REVISION)
    note = "" if model else f"{recipe.model} is not on this machine: `train` fetches it, and gives verl its folder"
    return _inputs(options, model or recipe.model), note


def check_inputs(
    run: RunFolder, recipe: Recipe, options: TrainOptions, say: Callable[[str], None] = lambda _: None
) -> tuple[Inputs, dict[str, Any]]:
    """Prepares and checks what a run reads; returns it, and what run.json will hold once this process owns the run.

    Raises UserError if its folder is tied to another run, with the differences.
    """
    check_recipe(run, recipe, options)
    model = open_model(recipe.model, REVISION)
    # vLLM refuses this too, minutes later and inside an actor.
    if model.context < recipe.max_length:
        raise UserError(
            f"the context of {recipe.model} is {model.context} tokens, the recipe's prompt and response have"
            f" {recipe.max_length}: lower max_response_length"
        )
    data = compose(mixture_of(recipe), run.root, options.data_dir or default_data_dir())
    for note in data.notes:
        say(f"Data: {note}.")
    bound = {
        "model": {"name": recipe.model, "identity": model.identity},
        "data": data.hashes,
        "device": options.device,
    }
    if run.is_run:
        _check_bound(run, bound, data)
    else:
        assert model.tokenizer  # only an endpoint's model has none
        # Once a run: verl tokenizes all prompts again at each start, and the files are bound by their hashes.
        for note in check_prompts(data.train, recipe, model.tokenizer):
            say(f"Data: {note}.")
    if recipe.reward.function:
        _import_function(run, recipe)
    versions, revision = installed_versions(), git_revision()
    manifest = {
        "recipe": asdict(recipe),
        **bound,
        "sets": data.record["sets"],
        "kit": __version__,
        "versions": versions,
        "git_revision": revision,
        "hardware": machine(),
    }
    # The owner of the first start stays, also where a resume names none.
    if owner := run.read_manifest().get("owner") if run.is_run else os.environ.get(OWNER):
        manifest["owner"] = owner
    return _inputs(options, model.path), manifest


def _import_function(run: RunFolder, recipe: Recipe) -> None:
    """Has a child import the reward file on the machine that trains. Raises UserError if it cannot."""
    file, name = called_file(run, recipe.reward.function)
    function = UserFunction(file, name, memory=recipe.reward.memory, num_workers=1)
    function.start()
    function.close()


def take_data(recipe: Recipe, run_dir: Path, data_dir: Path | None, *, dry_run: bool) -> list[str]:
    """Copies a recipe's own files, registered sets and sets of the hub into a run's folder; returns lines to print.

    Whatever submits a training calls this first, for the folder that the training will have (for a chain, once for
    each stage's): jobs read nothing of the user's beside that folder. With `dry_run` the sets are only checked.
    Raises UserError in one line for what cannot be used, before anything is submitted.
    """
    return take_sources(mixture_of(recipe), run_dir, data_dir or default_data_dir(), dry_run=dry_run)


def mixture_of(recipe: Recipe) -> Mixture:
    """Returns what a recipe says about its data."""
    options, needs_answers = recipe.data, bool(recipe.reward.parts.get("grader"))
    return Mixture(
        train=recipe.train_dataset,
        validation=recipe.validation_dataset,
        weights=options.weights,
        prompt_suffix=options.prompt_suffix,
        own=OwnOptions(
            columns=Columns(options.problem, options.answer, options.id),
            answers=needs_answers,
        ),
        seed=recipe.seed,
    )


def _inputs(options: TrainOptions, model: str) -> Inputs:
    folder = data_folder(options.run_dir.resolve())
    return Inputs(
        # Absolute, because verl's processes work in the attempt's folder.
        model=str(Path(model).resolve()) if Path(model).is_dir() else model,
        train_files=(folder / TRAIN,),
        validation_files=(folder / VALIDATION,),
    )


def _check_stored(run: RunFolder, recipe: Recipe, options: TrainOptions) -> None:
    manifest = run.read_manifest()
    theirs, mine = manifest.get("owner", ""), os.environ.get(OWNER, "")
    if theirs and mine and theirs != mine:
        raise UserError(f"{run.root} is a run of {theirs}, and this job is of {mine}: give another --output-dir")
    stored, given = stored_options(manifest["recipe"]), stored_options(asdict(recipe))
    differences = [
        f"{name}: {stored.get(name)!r} -> {value!r}"
        # A key of [verl] that was taken out is a difference, too, and only the stored recipe still has its name.
        for name, value in ({name: None for name in stored if name.startswith("verl.")} | given).items()
        if name not in FREE and stored.get(name) != value
    ]
    if manifest.get("device") != options.device:
        differences.append(f"device: {manifest.get('device')!r} -> {options.device!r}")
    _refuse(run, differences)


def _check_bound(run: RunFolder, bound: dict[str, Any], data: RunData) -> None:
    """Compares with run.json: the run's own files, or the sets they were made of where it began without such files."""
    manifest = run.read_manifest()
    stored = {"the weights it starts from": manifest["model"]["identity"], **manifest["data"]}
    names = data.record["files"] if TRAIN in stored else data.record["sets"]
    given = {"the weights it starts from": bound["model"]["identity"], **{name: data.hashes[name] for name in names}}
    _refuse(run, [f"{name} changed" for name, value in given.items() if stored.get(name) != value])


def _refuse(run: RunFolder, differences: list[str]) -> None:
    if differences:
        raise UserError(
            f"{run.root} holds another run ({'; '.join(differences)}); give its options, or another --output-dir"
        )
