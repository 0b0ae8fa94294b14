"""From the newest or best whole checkpoint to a Hugging Face model: verl's merger, verified against the shards, atomic.

model/{config.json, model.safetensors, tokenizer.json, ..., merged.json}   the adapter, if one was trained, is in it
model/lora_adapter/{adapter_config.json, adapter_model.safetensors}        and beside it
merged.json  {"step": 40, "weights": "sha256:...", "largest_difference": 0.0078}
"""

import logging
import os
import shutil
import tempfile
from functools import partial
from pathlib import Path
from subprocess import STDOUT
from subprocess import run as run_command
from typing import Any

from rich.console import Console

from deepscaler.models.adapter import add_adapters
from deepscaler.runs.checkpoints import MERGED, Checkpoint, merged_step, newest, sealed
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.holds import held
from deepscaler.runs.retention import best_whole, choose_best
from deepscaler.system.errors import UserError
from deepscaler.system.files import sync_directory, sync_tree, write_json
from deepscaler.system.processes import python_command

PREFIX = ".merge-"
MAX_DIFFERENCE = 1.01 * 2**-8
"""Of a weight, relative to it: the merger rounds to bfloat16, which has 8 bits of precision."""

DEADLINE = 3600
"""Seconds for the merger."""


def merge(run: RunFolder, console: Console, *, of_best: bool = False) -> Path:
    """The folder of the merged model, made unless it is up to date. Raises UserError where no checkpoint is whole."""
    recipe = run.read_manifest()["recipe"]
    checkpoint = (best_whole if of_best else newest)(run, partial(console.print, soft_wrap=True))
    if checkpoint is None:
        raise UserError(f"{run.root} has no whole checkpoint to merge; train it first")
    if merged_step(run) == checkpoint.step:
        console.print(f"The model of step {checkpoint.step} is merged already: {run.model}", soft_wrap=True)
        return run.model
    for left in run.root.glob(f"{PREFIX}*"):  # by a merge that was killed; attempts are fenced, merges are quick
        shutil.rmtree(left, ignore_errors=True)
    console.print(f"Merging {checkpoint.world_size} shards of step {checkpoint.step} ...")
    with held(run, checkpoint.step), tempfile.TemporaryDirectory(dir=run.root, prefix=PREFIX) as folder:
        made = Path(folder) / "model"
        _run_merger(checkpoint, made, Path(folder) / "merge.log")
        weights = _read_shards(checkpoint)
        if rank := recipe.get("lora_rank"):
            _add_adapter(made, weights)
            weights = add_adapters(weights, recipe["lora_alpha"] / rank)
        difference = _verify(checkpoint, made, weights)
        from deepscaler.models.model import hash_weights  # noqa: PLC0415

        write_json(
            made / MERGED,
            {"step": checkpoint.step, "weights": hash_weights(made), "largest_relative_difference": difference},
        )
        for file in made.rglob("*"):
            file.chmod(0o755 if file.is_dir() else 0o644)
        sync_tree(made)
        _swap(made, run.model)
    console.print(f"Merged and verified against the shards: {run.model}", soft_wrap=True)
    return run.model


def describe_merge(run: RunFolder, console: Console, *, of_best: bool = False) -> None:
    """What `merge` would do (`--dry-run`); nothing is verified."""
    run.read_manifest()
    checkpoints = sealed(run)
    if not checkpoints:
        raise UserError(f"{run.root} has no whole checkpoint to merge; train it first")
    chosen = choose_best(run, checkpoints) if of_best else checkpoints[0]
    done = merged_step(run) == chosen.step
    console.print(f"{chosen.path} -> {run.model}{' (up to date)' if done else ''}", soft_wrap=True)


def _run_merger(checkpoint: Checkpoint, target: Path, log: Path) -> None:
    command = python_command("-m", "verl.model_merger", "merge", "--backend", "fsdp")
    command += ["--local_dir", str(checkpoint.path / "actor"), "--target_dir", str(target)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false"}
    with log.open("wb") as output:
        done = run_command(command, stdout=output, stderr=STDOUT, env=environment, timeout=DEADLINE, check=False)
    if done.returncode or not (target / "config.json").is_file():
        end = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-3:])
        raise UserError(f"verl's merger failed on {checkpoint.path}: {end}")


def _add_adapter(made: Path, weights: dict[str, Any]) -> None:
    """Has peft add the adapter to the model, both from the shards: verl's merger has rounded its copies."""
    from peft import PeftModel  # noqa: PLC0415

    model = PeftModel.from_pretrained(_load(made), made / "lora_adapter")
    model.load_state_dict(weights, strict=False)
    merged = model.merge_and_unload(safe_merge=True)
    for file in made.glob("*.safetensors*"):
        file.unlink()
    merged.bfloat16().save_pretrained(made)


def _verify(checkpoint: Checkpoint, made: Path, weights: dict[str, Any]) -> float:
    """Load the model as a user would, and compare its logits with those of the weights (float32) of the checkpoint.

    Returns the largest relative difference of a weight. Raises UserError if the model does not load, lacks a weight, or
    computes something else.
    """
    import torch  # noqa: PLC0415

    model = _load(made)
    tokens = torch.arange(16).unsqueeze(0) % model.config.vocab_size
    with torch.inference_mode():
        logits = model(input_ids=tokens).logits
        difference = _put(weights, model, checkpoint)
        wanted = model(input_ids=tokens).logits
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
        whole = given[: len(state[name])].float() if given.dim() else given.float()
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
            map_location="cpu",
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


def _swap(made: Path, target: Path) -> None:
    """Put a folder in the place of another; at no moment is there half a model."""
    old = made.with_name("old")
    if target.exists():
        target.rename(old)
    made.rename(target)
    sync_directory(target.parent)
    shutil.rmtree(old, ignore_errors=True)
