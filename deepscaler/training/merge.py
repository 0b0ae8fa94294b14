"""Makes a Hugging Face model of the newest or best whole checkpoint: by verl's merger, verified, atomic.

model/{config.json, model.safetensors, tokenizer.json, ..., merged.json}   the adapter, if one was trained, is in it
model/lora_adapter/{adapter_config.json, adapter_model.safetensors}        and beside it
merged.json  {"step": 40, "checkpoint": "9f3c2a1b4be1d0aa", "weights": "sha256:...", ...}     of which checkpoint it is
"""

import logging
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from deepscaler.models.adapter import add_adapters
from deepscaler.runs.checkpoints import MERGED, Checkpoint, holding, is_merged, newest, sealed
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.retention import best_whole, choose_best
from deepscaler.system import seldom
from deepscaler.system.errors import UserError
from deepscaler.system.files import alone, put_folder, sync_tree, write_json
from deepscaler.system.processes import python_command
from deepscaler.training.rewrite import run_apart, seconds_allowed

PREFIX = ".merge-"
MAX_DIFFERENCE = 1.01 * 2**-8
"""Relative tolerance of a weight: the merger rounds to bfloat16, which has 8 bits of precision."""


def merge(run: RunFolder, console: Console, *, of_best: bool = False) -> Path:
    """Returns the folder of the merged model, made unless up to date. Raises UserError if no checkpoint is whole."""
    recipe = run.read_manifest()["recipe"]
    # Both read every file of it: a damaged shard shows before the merge, not after it.
    say = partial(console.print, soft_wrap=True)
    checkpoint = (best_whole if of_best else newest)(run, say)
    if checkpoint is None:
        raise UserError(f"{run.root} has no whole checkpoint to merge; train it first")
    if is_merged(run, checkpoint):
        say(f"The model of step {checkpoint.step} is merged already: {run.model}")
        return run.model
    with alone(run.checkpoints, f"merging a model of {run.root}", say, seconds_allowed(checkpoint)):
        if not is_merged(run, checkpoint):  # asked again, for this may have waited for a process that made it
            _make_model(run, checkpoint, recipe, say)
    return run.model


def _make_model(run: RunFolder, checkpoint: Checkpoint, recipe: dict[str, Any], say: Callable[[str], None]) -> None:
    for left in run.root.glob(f"{PREFIX}*"):  # by a merge that was killed
        shutil.rmtree(left, ignore_errors=True)
    say(f"Merging {checkpoint.world_size} shards of step {checkpoint.step} ...")
    with holding(run, checkpoint), tempfile.TemporaryDirectory(dir=run.root, prefix=PREFIX) as folder:
        made = Path(folder) / "model"
        with ThreadPoolExecutor(max_workers=1) as beside:
            merging = beside.submit(_run_merger, checkpoint, made, Path(folder) / "merge.log")
            _import()  # while the merger does, too; shards are read after it, for both would take twice the memory
            merging.result()
        weights = _read_shards(checkpoint)
        if rank := recipe.get("lora_rank"):
            _add_adapter(made, weights)
            weights = add_adapters(weights, recipe["lora_alpha"] / rank)
        difference = _verify(checkpoint, made, weights)
        from deepscaler.models.model import hash_weights  # noqa: PLC0415

        write_json(
            made / MERGED,
            {
                "step": checkpoint.step,
                "checkpoint": checkpoint.identity,
                "weights": hash_weights(made),
                "largest_relative_difference": difference,
            },
        )
        for file in made.rglob("*"):
            file.chmod(0o755 if file.is_dir() else 0o644)
        sync_tree(made)
        put_folder(made, run.model)
    say(f"Merged and verified against the shards: {run.model}")


def describe_merge(run: RunFolder, console: Console, *, of_best: bool = False) -> None:
    """Prints what `merge` would do (`--dry-run`) and verifies nothing."""
    run.read_manifest()
    checkpoints = sealed(run)
    if not checkpoints:
        raise UserError(f"{run.root} has no whole checkpoint to merge; train it first")
    chosen = choose_best(run, checkpoints) if of_best else checkpoints[0]
    done = " (up to date)" if is_merged(run, chosen) else ""
    console.print(f"{chosen.path} -> {run.model}{done}", soft_wrap=True)


def _import() -> None:
    """Imports what the verification needs: seconds of a processor."""
    seldom.postpone()
    from transformers import AutoModelForCausalLM  # noqa: F401, PLC0415


def _run_merger(checkpoint: Checkpoint, target: Path, log: Path) -> None:
    command = python_command("-m", "deepscaler.system.seldom", "verl.model_merger", "merge", "--backend", "fsdp")
    command += ["--local_dir", str(checkpoint.path / "actor"), "--target_dir", str(target)]
    if run_apart(command, log, checkpoint, "merging") or not (target / "config.json").is_file():
        end = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-3:])
        raise UserError(f"verl's merger failed on {checkpoint.path}: {end}")


def _add_adapter(made: Path, weights: dict[str, Any]) -> None:
    """Has peft add the adapter to the model, both from the shards: verl's merger has rounded its copies."""
    from peft import PeftModel  # noqa: PLC0415

    model = PeftModel.from_pretrained(_load(made), made / "lora_adapter")
    # Not strict, because a tied head may be in one of the two only.
    model.load_state_dict(weights, strict=False)
    merged = model.merge_and_unload(safe_merge=True)
    # Before saving: another number of files would leave the merger's old ones beside the new index.
    for file in made.glob("*.safetensors*"):
        file.unlink()
    merged.bfloat16().save_pretrained(made)


def _verify(checkpoint: Checkpoint, made: Path, weights: dict[str, Any]) -> float:
    """Loads the model as a user would, and compares its logits with those of the checkpoint's float32 weights.

    Returns the largest relative difference of a weight. Raises UserError if the model does not load, lacks a weight, or
    computes something else.
    """
    import torch  # noqa: PLC0415

    model = _load(made)
    # Any tokens do: equal weights give equal logits, and the first rows of the vocabulary exist in every model.
    tokens = torch.arange(16).unsqueeze(0) % model.config.vocab_size
    with torch.inference_mode():
        logits = model(input_ids=tokens).logits
        difference = _put(weights, model, checkpoint)
        wanted = model(input_ids=tokens).logits
    # Relative to the largest logit, whose size differs by model.
    close = (logits - wanted).abs().max() <= 1e-3 * wanted.abs().max()
    if difference > MAX_DIFFERENCE or not bool(close):
        raise UserError(
            f"the merged model is not the checkpoint {checkpoint.path}: its logits differ by"
            f" {float((logits - wanted).abs().max()):.3g}, a weight by {difference:.2g} of itself"
        )
    return difference


def _load(folder: Path) -> Any:
    """Returns a model in float32."""
    import torch  # noqa: PLC0415
    from transformers import AutoModelForCausalLM  # noqa: PLC0415
    from transformers.utils import logging as transformers_logging  # noqa: PLC0415

    transformers_logging.disable_progress_bar()
    try:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    except Exception as error:  # transformers raises anything
        raise UserError(f"the merged model does not load: {error}") from error


def _put(weights: dict[str, Any], model: Any, checkpoint: Checkpoint) -> float:
    """Puts weights into a model; returns the largest relative difference from those it had."""
    state, largest = model.state_dict(), 0.0
    for name, given in weights.items():
        if name not in state:
            raise UserError(f"the merged model has no weight {name}, the checkpoint {checkpoint.path} has")
        # FSDP pads the rows of a weight that the ranks do not divide.
        whole = given[: len(state[name])].float() if given.dim() else given.float()
        # A weight near 0 would make any rounding a large share of itself.
        scale = whole.abs().clamp(min=1e-6)
        largest = max(largest, float(((state[name] - whole).abs() / scale).max()))
        state[name].copy_(whole.bfloat16())  # as the merger rounds, so that the logits must be the same
    return largest


def _read_shards(checkpoint: Checkpoint) -> dict[str, Any]:
    """Returns the weights of all ranks put together, as verl names and pads them."""
    import torch  # noqa: PLC0415

    logging.getLogger("torch.distributed.device_mesh").setLevel(logging.ERROR)  # shards are read without their group
    shards = [
        torch.load(
            checkpoint.path / f"actor/model_world_size_{checkpoint.world_size}_rank_{rank}.pt",
            # A shard names the device that saved it, which this machine need not have.
            map_location="cpu",
            # As verl loads them: they hold classes of torch's, and are the run's own files.
            weights_only=False,
        )
        for rank in range(checkpoint.world_size)
    ]
    return {
        name: torch.cat([_local(shard[name]) for shard in shards]) if hasattr(first, "to_local") else first
        for name, first in shards[0].items()
    }


def _local(part: Any) -> Any:
    return part._local_tensor
