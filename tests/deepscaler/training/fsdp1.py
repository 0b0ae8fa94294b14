"""FSDP1 on gloo ranks, one process each, forked: a model of layers makes steps, from a checkpoint or from the start.

python -m tests.deepscaler.training.fsdp1 FOLDER FROM NUM_RANKS NUM_STEPS     writes FOLDER/NUM_RANKS, as verl does

The seed of a step is what the schedule counts, and every rank has the whole batch, so that any number of ranks does the
same. Prints the loss of each step.
"""

import json
import multiprocessing
import os
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    FullyShardedDataParallel,
    ShardedOptimStateDictConfig,
    ShardedStateDictConfig,
    StateDictType,
)
from torch.distributed.fsdp.wrap import transformer_auto_wrap_policy

from tests.integration.processes import free_port


class Layer(nn.Module):
    """Odd sizes, which no number of ranks divides."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(7, 13), nn.Linear(13, 7, bias=False)

    def forward(self, x: Any) -> Any:
        return x + self.down(torch.tanh(self.up(x)))


class Model(nn.Module):
    """Named as Hugging Face's."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens, self.norm = nn.Embedding(11, 7), nn.LayerNorm(7)
        self.layers = nn.ModuleList(Layer() for _ in range(2))
        self.lm_head = nn.Linear(7, 11, bias=False)

    def forward(self, tokens: Any) -> Any:
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(self.norm(x))


def be_rank(rank: int, num_ranks: int, port: int, folder: Path, begin: str, num_steps: int) -> None:
    """Is one rank: loads as verl's checkpoint manager does, makes steps, and saves as that does."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=num_ranks)
    torch.manual_seed(0)
    mesh = init_device_mesh("cpu", (num_ranks,), mesh_dim_names=("fsdp",))
    policy = partial(transformer_auto_wrap_policy, transformer_layer_cls={Layer})
    model = FullyShardedDataParallel(Model(), auto_wrap_policy=policy, device_id=torch.device("cpu"), device_mesh=mesh)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    kind = (StateDictType.SHARDED_STATE_DICT, ShardedStateDictConfig(), ShardedOptimStateDictConfig())

    def file(of: str, part: str) -> Path:
        return Path(of) / f"actor/{part}_world_size_{num_ranks}_rank_{rank}.pt"

    if begin != "-":
        saved = {name: torch.load(file(begin, name), weights_only=False) for name in ("model", "optim", "extra_state")}
        with FullyShardedDataParallel.state_dict_type(model, *kind):
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optim"])
        schedule.load_state_dict(saved["extra_state"]["lr_scheduler"])
    losses = []
    for _ in range(num_steps):
        torch.manual_seed(schedule.last_epoch)
        tokens = torch.randint(11, (5, 9))
        loss = nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.roll(1, 1).flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        losses.append(loss.item())
    target = str(folder / str(num_ranks))
    file(target, "model").parent.mkdir(parents=True, exist_ok=True)
    with FullyShardedDataParallel.state_dict_type(model, *kind):
        torch.save(model.state_dict(), file(target, "model"))
    torch.save(optimizer.state_dict(), file(target, "optim"))
    extra = {"lr_scheduler": schedule.state_dict(), "rng": {"cpu": torch.get_rng_state()}}
    torch.save(extra, file(target, "extra_state"))
    if rank == 0:
        config = {"FSDP_version": 1, "world_size": num_ranks}
        (folder / str(num_ranks) / "actor/fsdp_config.json").write_text(json.dumps(config))
        print(json.dumps(losses))
    dist.destroy_process_group()


def main() -> None:
    folder, begin, num_ranks, port = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), free_port()
    context = multiprocessing.get_context("fork")
    arguments = [(rank, num_ranks, port, folder, begin, int(sys.argv[4])) for rank in range(num_ranks)]
    started = [context.Process(target=be_rank, args=one, daemon=True) for one in arguments]
    for process in started:
        process.start()
    for process in started:
        process.join(240)
    sys.exit(any(process.exitcode for process in started))


if __name__ == "__main__":
    main()
