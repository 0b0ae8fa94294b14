"""Describes what ranks hold of a checkpoint, by rows: DTensors, ShardedTensors, and FSDP1's flat optimizer states.

Split(parts=[rank 0's 24 rows, rank 1's 24 rows], num_rows=47).rows(12, 36)  ->  a tensor of 24 rows from both

Parts are mapped from their files, so memory holds what is read of them and no more.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed._shard.sharded_tensor import ShardedTensor
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.testing._internal.distributed.fake_pg import FakeStore

LAYER = re.compile(r"^(.*\.)?layers\.[0-9]+\.")
"""Beginning of the names of a layer's weights: what FSDP wraps as one unit."""

TIED = "lm_head.weight"
"""The embedding's second name where a model ties both."""


class ForeignError(Exception):
    """Signals a checkpoint in a form that cannot be split again; the message names the form."""


@dataclass(frozen=True, slots=True)
class Split:
    """A tensor that ranks share by rows."""

    parts: Sequence[torch.Tensor]
    """One of each rank, in order; the last may have rows of padding."""
    num_rows: int
    """Size of the whole tensor, without padding."""
    is_flat: bool = False
    """True for FSDP1's form: the weights of a unit one after another, padded so that all ranks hold as many."""

    @property
    def shape(self) -> torch.Size:
        """Returns the shape of the whole tensor."""
        return torch.Size((self.num_rows, *self.parts[0].shape[1:]))

    def share(self, rank: int, num_ranks: int) -> torch.Tensor:
        """Returns the rows that one of so many ranks holds, dealt as torch.chunk does."""
        # Rounded up, so that the last ranks may have fewer rows, or none, as FSDP2 has it.
        most = -(-self.num_rows // num_ranks)
        begin = min(rank * most, self.num_rows)
        end = min(begin + most, self.num_rows)
        return self.rows(begin, end, most if self.is_flat else end - begin)

    def rows(self, begin: int, end: int, size: int | None = None) -> torch.Tensor:
        """Returns a copy of some rows, with zeros behind them where `size` is larger."""
        made = self.parts[0].new_zeros((end - begin if size is None else size, *self.parts[0].shape[1:]))
        first = 0
        for part in self.parts:
            last = min(first + len(part), self.num_rows)
            low, high = max(begin, first), min(end, last)
            if low < high:
                made[low - begin : high - begin] = part[low - first : high - first]
            # By the part's own length, padding included; `last` leaves the padding out.
            first += len(part)
        return made


@contextmanager
def as_rank(rank: int, num_ranks: int) -> Iterator[None]:
    """Lets this process pass for one of so many ranks: shards name their ranks, and torch looks for itself there."""
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=num_ranks)
    try:
        yield
    finally:
        dist.destroy_process_group()


def read_ranks(actor: Path, part: str, num_ranks: int) -> list[dict[Any, Any]]:
    """Returns what every rank saved of a part (`model`, `optim`, `extra_state`), with tensors mapped from the files."""
    found = []
    for rank in range(num_ranks):
        with as_rank(rank, num_ranks):
            path = actor / f"{part}_world_size_{num_ranks}_rank_{rank}.pt"
            # Mapped: an optimizer has 8 bytes a parameter, and all ranks' files are open at once.
            found.append(torch.load(path, map_location="cpu", mmap=True, weights_only=False))
    return found


def join(ranks: list[dict[Any, Any]], what: str) -> dict[Any, Any]:
    """Returns the entries of all ranks by name: a Split where they share a tensor, else what each of them has.

    Raises ForeignError if ranks have different names, or share a tensor in another way.
    """
    if any(one.keys() != ranks[0].keys() for one in ranks):
        raise ForeignError(f"ranks have different entries of {what}")
    return {name: _join_one([one[name] for one in ranks], f"{what}.{name}") for name in ranks[0]}


def _join_one(values: list[Any], name: str) -> Any:
    first = values[0]
    if isinstance(first, DTensor):
        if first.device_mesh.ndim != 1:
            raise ForeignError(f"{name} is on a mesh of {first.device_mesh.ndim} dimensions")
        # One placement for one dimension of the mesh, which was checked above.
        [placement] = first.placements
        if isinstance(placement, Replicate):
            return first.to_local()
        if type(placement) is not Shard or placement.dim != 0:
            raise ForeignError(f"{name} is placed as {placement}")
        return Split([value._local_tensor for value in values], len(first))
    if isinstance(first, ShardedTensor):
        parts = [[shard.tensor for shard in value.local_shards()] for value in values]
        if any(len(shards) > 1 for shards in parts) or not parts[0]:
            raise ForeignError(f"{name} is a ShardedTensor of several shards to a rank")
        # A rank that got no rows has no shard at all, and an empty one with the same columns stands for it.
        return Split([shards[0] if shards else parts[0][0][:0] for shards in parts], first.size(0))
    if isinstance(first, torch.Tensor):
        return _same_on_all(values, name)
    # Step counts, flags and settings, which are the same on all ranks.
    return first


def _same_on_all(values: list[Any], name: str) -> torch.Tensor:
    first: torch.Tensor = values[0]
    if any(value.shape != first.shape or not torch.equal(value, first) for value in values[1:]):
        raise ForeignError(f"{name} differs between ranks, and does not show how it is shared")
    return first


def join_optimizer(ranks: list[dict[Any, Any]], model: Mapping[str, Any], version: int) -> dict[int, dict[str, Any]]:
    """Returns the optimizer's states by parameter and name. Raises ForeignError as `join`.

    `model` holds the weights, for FSDP1, whose optimizer knows one flat parameter for each unit: the weights of a
    layer, those outside of all layers, and each adapter. Nothing in a rank's part shows what is padding, but the
    number of weights does.
    """
    states = [one["state"] for one in ranks]
    if any(one.keys() != states[0].keys() for one in states):
        raise ForeignError("ranks have optimizer states of different parameters")
    if version != 1:
        return {key: join([one[key] for one in states], f"optimizer.{key}") for key in states[0]}
    sizes = flat_sizes(model)
    return {key: _join_flat([one[key] for one in states], sizes, key) for key in states[0]}


def _join_flat(values: list[dict[str, Any]], sizes: list[set[int]], key: int) -> dict[str, Any]:
    if key >= len(sizes):
        raise ForeignError(f"the optimizer has a parameter {key}, the model {len(sizes)} units")
    joined: dict[str, Any] = {}
    for name, first in values[0].items():
        parts = [value[name] for value in values]
        if isinstance(first, torch.Tensor) and first.dim() == 1:
            length = sum(map(len, parts))
            # Padding is less than one number for each rank, so the size that fits is the true one.
            fitting = [size for size in sizes[key] if 0 <= length - size < len(parts)]
            if len(fitting) != 1 or any(len(part) != len(first) for part in parts):
                raise ForeignError(
                    f"optimizer.{key}.{name} of {length} numbers fits no unit of the model: {sizes[key]}"
                )
            joined[name] = Split(parts, fitting[0], is_flat=True)
        else:
            joined[name] = _join_one(parts, f"optimizer.{key}.{name}")
    return joined


def flat_sizes(model: Mapping[str, Any]) -> list[set[int]]:
    """Returns how many weights FSDP1's units have, in the optimizer's order, as far as names tell.

    What lies outside of all layers is first, then each layer, followed by its adapters, which are units of their own.
    A tied head has a second name for the same weights: with it and without are both given.
    """
    units: dict[str, int] = {"": 0}
    for name, value in model.items():
        found = LAYER.match(name)
        layer = found[0] if found else ""
        units.setdefault(layer, 0)
        unit = name if ".lora_" in name else layer
        units[unit] = units.get(unit, 0) + math.prod(value.shape)
    sizes = [{size} for size in units.values()]
    for name, value in model.items():
        if name.endswith(TIED):
            sizes[0].add(units[""] - math.prod(value.shape))
    return sizes
