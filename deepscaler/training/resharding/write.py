"""Splits the files of a checkpoint's ranks again; a process of its own, because torch has to take it for each rank.

python -P -m deepscaler.training.resharding.write SOURCE/actor TARGET/actor NUM_RANKS cuda|cpu
    prints {"foreign": ""} last; the reason where the checkpoint has a form that is not known

Weights and optimizer are dealt by rows as FSDP deals them. The schedule is the same on all ranks. The generators of a
rank that was there stay; those of another one are seeded by rank 0's and its number.
"""

import gc
import hashlib
import json
import logging
import random
import shutil
import struct
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Shard

from deepscaler.training.resharding.splits import ForeignError, Split, as_rank, join, join_optimizer, read_ranks

CONFIG = "fsdp_config.json"
MESH = ("fsdp",)
"""The name of verl's mesh of all ranks."""


def reshard(source: Path, target: Path, num_ranks: int, device: str) -> None:
    """Writes a folder `actor` for another number of ranks. Raises ForeignError if a form is not known.

    Memory: a share of the optimizer (8 bytes a parameter in float32, over the new ranks) at a time, which that rank
    has to hold anyway; what is mapped of the old files can be dropped by the kernel at any moment.
    """
    config = json.loads((source / CONFIG).read_text(encoding="utf-8"))
    version, old = config["FSDP_version"], config["world_size"]
    models, optimizers = read_ranks(source, "model", old), read_ranks(source, "optim", old)
    model = join(models, "model")
    # FSDP1 on one rank does not shard (NO_SHARD) and saves plain tensors; scalars have no rows to deal.
    if version == 1 and old == 1:  # saved whole
        model = {name: Split([value], len(value)) for name, value in model.items() if value.dim()}
    states = join_optimizer(optimizers, model, version)
    extra = read_ranks(source, "extra_state", old)
    _copy_rest(source, target, old)
    splits_weights = version != 1 or num_ranks > 1
    for rank in range(num_ranks):
        with as_rank(rank, num_ranks):
            mesh = init_device_mesh("cpu", (num_ranks,), mesh_dim_names=MESH)
            place = mesh if splits_weights else None

            def save(part: str, content: dict[Any, Any], rank: int = rank, mesh: DeviceMesh = mesh) -> None:
                _name_device(mesh, device)
                torch.save(content, target / f"{part}_world_size_{num_ranks}_rank_{rank}.pt")
                _name_device(mesh, "cpu")

            save("model", {name: _share(value, rank, num_ranks, place) for name, value in model.items()})
            shares = {
                key: {name: _share(value, rank, num_ranks, mesh) for name, value in state.items()}
                for key, state in states.items()
            }
            save("optim", {**optimizers[0], "state": shares})
            save("extra_state", {**extra[0], "rng": _generators([one["rng"] for one in extra], rank)})
            del shares
        # What reference cycles keep of this rank's share would otherwise stand beside the next one's.
        gc.collect()
    # Last, as verl does: without it a checkpoint does not count as finished.
    (target / CONFIG).write_text(json.dumps({**config, "world_size": num_ranks}, indent=4), encoding="utf-8")


def verify(source: Path, target: Path) -> None:
    """Raises AssertionError unless both folders hold the same weights and optimizer, to the last bit.

    One tensor at a time is put together.
    """
    old, new = (_read_whole(folder) for folder in (source, target))
    assert old.keys() == new.keys(), "the new checkpoint has other entries"
    for name, value in old.items():
        one, other = (_whole(given) for given in (value, new[name]))
        same = torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
        assert same, f"{name} is not what it was"


def _read_whole(actor: Path) -> dict[str, Any]:
    config = json.loads((actor / CONFIG).read_text(encoding="utf-8"))
    model = join(read_ranks(actor, "model", config["world_size"]), "model")
    optimizers = read_ranks(actor, "optim", config["world_size"])
    states = join_optimizer(optimizers, model, config["FSDP_version"])
    found = {f"optimizer.{key}.{name}": value for key, state in states.items() for name, value in state.items()}
    return {"groups": optimizers[0]["param_groups"], **model, **found}


def _whole(value: Any) -> Any:
    return value.rows(0, value.num_rows) if isinstance(value, Split) else value


def _share(value: Any, rank: int, num_ranks: int, mesh: DeviceMesh | None) -> Any:
    """Returns a rank's part of an entry, in the form in which FSDP saves it; without a mesh the whole tensor."""
    if not isinstance(value, Split):
        return value
    local = value.share(rank, num_ranks)
    if mesh is None or value.is_flat:
        return local
    # from_local cannot infer the whole shape where ranks have different numbers of rows.
    stride = torch.empty(value.shape, device="meta").stride()
    return DTensor.from_local(local, mesh, [Shard(0)], run_check=False, shape=value.shape, stride=stride)


def _name_device(mesh: DeviceMesh, device: str) -> None:
    """Gives a mesh the device that trains, which this machine need not have, because verl compares it with its own."""
    mesh._device_type = device
    # The hash is cached, and would still be that of a mesh on the CPU.
    mesh._hash = None
    if mesh.device_type != device:
        raise ForeignError(f"torch {torch.__version__} names the device of a mesh in another way")


def _generators(old: list[dict[str, Any]], rank: int) -> dict[str, Any]:
    """Returns the state of a rank's random generators."""
    if rank < len(old):
        return old[rank]
    # From rank 0's state and not from the clock: resharding twice gives the same training.
    first = old[0]["cpu"].numpy().tobytes()
    seed = int.from_bytes(hashlib.sha256(first + rank.to_bytes(4)).digest()[:4])
    made: dict[str, Any] = {
        "cpu": torch.Generator().manual_seed(seed).get_state(),
        "numpy": np.random.RandomState(seed).get_state(),
        "random": random.Random(seed).getstate(),
    }
    for name, state in old[0].items():
        if name not in made:  # a GPU's: seed and offset, eight bytes each
            if state.numel() != 16:
                raise ForeignError(f"the generator of {name} has a state of {state.numel()} bytes")
            # A CUDA generator's state in torch 2.11: seed and Philox offset, little-endian.
            made[name] = torch.frombuffer(bytearray(struct.pack("<qq", seed, 0)), dtype=torch.uint8)
    return made


def _copy_rest(source: Path, target: Path, old: int) -> None:
    """Copies what does not depend on ranks: the configuration of the model, its tokenizer, an adapter's sizes."""
    ignored = shutil.ignore_patterns(f"*_world_size_{old}_rank_*.pt", CONFIG)
    shutil.copytree(source, target, ignore=ignored, dirs_exist_ok=True)


def main() -> None:
    """Reshards, verifies, and prints why not where the checkpoint's form is not known."""
    logging.getLogger("torch.distributed.device_mesh").setLevel(logging.ERROR)  # of groups that are not there
    warnings.simplefilter("ignore")
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    foreign = ""
    try:
        reshard(source, target, int(sys.argv[3]), sys.argv[4])
        verify(source, target)
    except ForeignError as error:
        foreign = str(error)
    print(json.dumps({"foreign": foreign}))


if __name__ == "__main__":
    main()
