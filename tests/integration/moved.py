"""Real ranks of verl that train three steps: as two all the time, or moved to one rank and back to two in between.

python -m tests.integration.moved FOLDER fsdp|fsdp2 LORA_RANK

FOLDER/toy                    the model, which is there before
FOLDER/stayed.json            log-probabilities, loss and norm of each of three steps of two ranks
FOLDER/moved.json             the same, where the second step was made by one rank, and each was resumed from a file
FOLDER/stayed.pt, moved.pt    the weights after the third step
FOLDER/run                    checkpoints after each step, and their copies
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.integration import mesh  # isort: skip  it has verl take the CPU for a platform

import torch
import torch.distributed as dist
from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp import transformer_impl

from deepscaler.recipes.recipe import Recipe
from deepscaler.runs.checkpoints import PREFIX, publish
from deepscaler.runs.folder import RunFolder
from deepscaler.training.resharding.reshard import reshard
from tests.integration.processes import free_port


class CpuFSDP(transformer_impl.FSDP):  # type: ignore[misc]
    """FSDP1 as it is, with rank 0's weights sent to the others beforehand: by itself it wants a GPU for that."""

    def __init__(self, module: Any, **settings: Any) -> None:
        if dist.get_rank():
            module.to_empty(device="cpu")
        for tensor in (*module.parameters(), *module.buffers()):
            dist.broadcast(tensor.detach(), 0)
        settings |= {"sync_module_states": False, "device_id": torch.device("cpu"), "param_init_fn": None}
        super().__init__(module, **settings)


@EngineRegistry.register(model_type="language_model", backend="fsdp", device="cpu", vendor="cpu")
class FirstEngine(mesh.RankEngine):
    """The engine of recipes for GPUs, whose FSDP is the first."""

    def _build_fsdp_module(self, module: Any) -> Any:
        with_gpu, transformer_impl.FSDP = transformer_impl.FSDP, CpuFSDP
        try:
            return super()._build_fsdp_module(module)
        finally:
            transformer_impl.FSDP = with_gpu

    def save_checkpoint(self, local_path: str, *_: Any, **__: Any) -> None:
        """Has the weights saved from where they are: verl would send them to a GPU first."""
        self.checkpoint_manager.save_checkpoint(local_path=local_path)

    def load_checkpoint(self, local_path: str, *_: Any, **__: Any) -> None:
        """Has the weights loaded to where they are."""
        self.checkpoint_manager.load_checkpoint(local_path=local_path, del_local_after_load=False)


def recipe_of(num_ranks: int, lora_rank: int) -> Recipe:
    """Returns recipe 16k, made small, its sequences shared by no two ranks."""
    small = mesh.recipe_of(1, num_ranks)
    profile = "fast" if lora_rank else small.profile
    lora = {"lora_rank": lora_rank, "lora_alpha": 16.0} if lora_rank else {}
    return replace(small, profile=profile, sequence_parallel_size=1, max_tokens_per_gpu=64, **lora)


def run_rank(folder: Path, what: str, strategy: str, recipe: Recipe, config: Any, port: int, number: int) -> None:
    """Is one rank: makes steps, from a checkpoint or not, and saves after each."""
    mesh.be_rank(recipe, port, number)
    rank, run = mesh.Rank(recipe, config), RunFolder(folder / "run")
    first, last = {"stayed": (1, 3), "second": (2, 2), "third": (3, 3)}[what]
    if first > 1:
        rank.load(load_from(run, recipe.world_size) / "actor")
    seen = []
    for step in range(first, last + 1):
        seen.append(rank.step(step))
        if what == "second" or step == 1:
            rank.save(run.attempt(1).checkpoints / f"{PREFIX}{step}/actor")
    weights = rank.whole_weights() if recipe.world_size > 1 or strategy == "fsdp2" else {}
    if number == 0:
        (folder / f"{what}.json").write_text(json.dumps(seen))
        torch.save(weights, folder / f"{what}.pt")
    dist.destroy_process_group()


def load_from(run: RunFolder, num_ranks: int) -> Path:
    """Returns the folder that these ranks resume from."""
    return reshard(run, num_ranks, print).path


def run_ranks(folder: Path, what: str, strategy: str, num_ranks: int, lora_rank: int) -> None:
    """Runs all ranks, then publishes what they saved, as the kit's callback does."""
    recipe, run = recipe_of(num_ranks, lora_rank), RunFolder(folder / "run")
    config = mesh.configuration(recipe, folder / "toy", run.root)
    config.actor.strategy = config.ref.strategy = strategy
    config.actor.fsdp_config.strategy = config.ref.fsdp_config.strategy = strategy
    for engine in (config.actor, config.ref):  # which takes a GPU
        engine.fsdp_config.param_offload = engine.fsdp_config.optimizer_offload = False
    if what != "stayed":
        load_from(run, num_ranks)
    mesh.run_all(run_rank, folder, what, strategy, recipe, config, free_port(), num=num_ranks)
    for path in run.attempt(1).checkpoints.glob(f"{PREFIX}*"):
        torch.save({}, path / "data.pt")  # where the data loader is: the trainer's own part
        step = int(path.name.removeprefix(PREFIX))
        publish(run, path, step=step, verl_step=step)


def main(folder: Path, strategy: str, lora_rank: int) -> None:
    run_ranks(folder, "stayed", strategy, 2, lora_rank)
    run_ranks(folder, "second", strategy, 1, lora_rank)
    run_ranks(folder, "third", strategy, 2, lora_rank)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
