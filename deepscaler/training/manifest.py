"""What a run is bound to: its recipe, the weights it starts from, its data; and what made it: versions, command.

run.json  {"recipe": {...}, "device": "cuda", "model": {"name", "identity"}, "data": {"aime": "sha256..."}, ...}
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from deepscaler.data.prepare import load_problems, parquet_path
from deepscaler.models.model import find_model, open_model
from deepscaler.models.provenance import git_revision, installed_versions
from deepscaler.recipes.recipe import Device, Recipe
from deepscaler.recipes.stored import stored_options
from deepscaler.runs.folder import RunFolder
from deepscaler.system.errors import UserError
from deepscaler.system.files import sha256
from deepscaler.system.paths import data_dir as default_data_dir

FREE = (
    *("name", "model", "num_steps", "save_every", "validate_every", "num_nodes", "gpus_per_node", "max_tokens_per_gpu"),
    *("tensor_parallel_size", "sequence_parallel_size", "gpu_memory_utilization", "offload_actor"),
    "checkpoint_activations",
)
"""Fields that may change between attempts: the place, the pace, the end. A model is its weights, not its name."""


REVISION = "main"
"""The revision of a hub model that training starts from."""


WandbMode = Literal["off", "offline", "online"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """The options of one run that its recipe does not have."""

    run_dir: Path
    device: Device = "cuda"
    """`cuda`, or `cpu` for machines without one (see deepscaler.verl_plugin.cpu)."""
    data_dir: Path | None = None
    keep_checkpoints: int = 2
    """The newest ones; each holds weights and optimiser, 12 bytes a parameter."""
    deadline: float | None = None
    """Unix seconds at which the machine will be taken away."""
    wandb: WandbMode = "off"
    """`off`, `offline` or `online`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Where a run reads from."""

    model: str
    """A folder."""
    train_files: tuple[Path, ...]
    validation_files: tuple[Path, ...]


def check_recipe(run: RunFolder, recipe: Recipe, options: TrainOptions) -> None:
    """Raises UserError if the run's folder is tied to another recipe, with the differences; reads run.json alone."""
    if run.is_run:
        _check_stored(run, recipe, options)
    if options.device == "cpu" and recipe.entropy_coefficient:
        raise UserError("--device cpu has no gradient of the entropy: --set entropy_coefficient=0")


def find_inputs(recipe: Recipe, options: TrainOptions) -> tuple[Inputs, str]:
    """Returns where a run reads from, and a note on what is not there yet; nothing is fetched or written.

    A hub model that is not on this machine goes by its hub id: the name of its folder comes with it.
    """
    model = find_model(recipe.model, REVISION)
    note = "" if model else f"{recipe.model} is not on this machine: `train` fetches it, and gives verl its folder"
    return _inputs(recipe, options, model or recipe.model), note


def check_inputs(run: RunFolder, recipe: Recipe, options: TrainOptions) -> tuple[Inputs, dict[str, Any]]:
    """Prepares and checks what a run reads; returns it, and what run.json will hold once this process owns the run.

    Raises UserError if its folder is tied to another run, with the differences.
    """
    check_recipe(run, recipe, options)
    for name in recipe.datasets:
        load_problems(name, options.data_dir or default_data_dir())
    model = open_model(recipe.model, REVISION)
    if model.context < recipe.max_length:
        raise UserError(
            f"the context of {recipe.model} is {model.context} tokens, the recipe's prompt and response have"
            f" {recipe.max_length}: lower max_response_length"
        )
    bound = {
        "model": {"name": recipe.model, "identity": model.identity},
        "data": {name: sha256(_parquet(name, options)) for name in recipe.datasets},
        "device": options.device,
    }
    if run.is_run:
        _check_bound(run, bound)
    versions, revision = installed_versions(), git_revision()
    manifest = {"recipe": asdict(recipe), **bound, "versions": versions, "git_revision": revision}
    return _inputs(recipe, options, model.path), manifest


def _inputs(recipe: Recipe, options: TrainOptions, model: str) -> Inputs:
    return Inputs(
        model=str(Path(model).resolve()) if Path(model).is_dir() else model,
        train_files=tuple(_parquet(name, options) for name in recipe.train_dataset),
        validation_files=tuple(_parquet(name, options) for name in recipe.validation_dataset),
    )


def _parquet(dataset: str, options: TrainOptions) -> Path:
    return parquet_path(dataset, options.data_dir or default_data_dir()).resolve()


def _check_stored(run: RunFolder, recipe: Recipe, options: TrainOptions) -> None:
    manifest = run.read_manifest()
    stored, given = stored_options(manifest["recipe"]), stored_options(asdict(recipe))
    differences = [
        f"{name}: {stored.get(name)!r} -> {value!r}"
        for name, value in given.items()
        if name not in FREE and stored.get(name) != value
    ]
    if manifest.get("device") != options.device:
        differences.append(f"device: {manifest.get('device')!r} -> {options.device!r}")
    _refuse(run, differences)


def _check_bound(run: RunFolder, bound: dict[str, Any]) -> None:
    manifest = run.read_manifest()
    stored = {"the weights it starts from": manifest["model"]["identity"], **manifest["data"]}
    given = {"the weights it starts from": bound["model"]["identity"], **bound["data"]}
    _refuse(run, [f"{name} changed" for name, value in given.items() if stored.get(name) != value])


def _refuse(run: RunFolder, differences: list[str]) -> None:
    if differences:
        raise UserError(
            f"{run.root} holds another run ({'; '.join(differences)}); give its options, or another --output-dir"
        )
