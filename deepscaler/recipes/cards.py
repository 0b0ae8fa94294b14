"""Lists GPUs and networks between machines as their makers rate them, and what software achieves on them.

A100-80GB    80 GB, 312 TFLOP/s, 2.04 TB/s, 600 GB/s over NVLink
efa          4 x 100 Gb/s between machines
"""

from dataclasses import dataclass

from deepscaler.system.errors import unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One GPU, by its data sheet."""

    memory: int
    """Bytes, nominal."""
    flops: float
    """Dense bfloat16 operations a second."""
    memory_bandwidth: float
    """Bytes a second."""
    nvlink: float
    """Bytes a second and direction that a ring of all GPUs of a machine moves: NCCL's bus bandwidth."""
    pcie: float
    """Bytes a second from host memory: an assumption, about 0.8 of the rated 32 (generation 4) and 64 GB/s (5)."""


CARDS = {
    "A100-40GB": Card(memory=40 * 10**9, flops=312e12, memory_bandwidth=1.555e12, nvlink=235e9, pcie=25e9),
    "A100-80GB": Card(memory=80 * 10**9, flops=312e12, memory_bandwidth=2.039e12, nvlink=235e9, pcie=25e9),
    "H100-80GB": Card(memory=80 * 10**9, flops=989e12, memory_bandwidth=3.35e12, nvlink=370e9, pcie=50e9),
    "H800-80GB": Card(memory=80 * 10**9, flops=989e12, memory_bandwidth=3.35e12, nvlink=160e9, pcie=50e9),
    "H200-141GB": Card(memory=141 * 10**9, flops=989e12, memory_bandwidth=4.8e12, nvlink=370e9, pcie=50e9),
}
"""SXM modules, NVIDIA's data sheets. Bus bandwidths are about 0.8 of NVLink's rated half (300, 450, 200 GB/s): not
measured here."""

NOMINAL = 0.1
"""Share by which a GPU's memory may differ from the gigabytes in its name."""

NETWORK_SHARE = 0.8
"""Share of a network's rated speed that a ring reaches: an assumption."""

FABRICS = {"ib": 8 * 25e9, "roce": 8 * 25e9, "efa": 4 * 12.5e9, "none": 12.5e9}
"""Rated bytes a second and direction of one machine: 8 x 200 Gb/s InfiniBand (DGX A100) and RoCE, 4 x 100 Gb/s EFA (AWS
p4d), or one 100 Gb/s card without RDMA."""


def card_named(gpu: str) -> Card:
    """Returns a kind of GPU. Raises UserError that lists the known ones."""
    if gpu not in CARDS:
        raise unknown("GPU", gpu, CARDS)
    return CARDS[gpu]


def card_of(device: str, memory: int = 0) -> str | None:
    """Returns the kind of GPU of a name as the driver gives it (`NVIDIA A100-SXM4-80GB`); None for another one.

    `memory` is the GPU's in bytes, if known: it decides where the name has no size, and a part of a GPU fits none.
    """
    words = device.upper().replace("-", " ").replace("_", " ").split()
    # Whole words: a GH200's name holds `H200`, and it is another card.
    kinds = [name for name in CARDS if name.partition("-")[0] in words]
    if memory:
        kinds = [name for name in kinds if abs(memory / CARDS[name].memory - 1) < NOMINAL]
    sized = [name for name in kinds if name.partition("-")[2] in words]
    # An A100 whose name gives no size could be either; no estimate is better than one for the wrong card.
    return (sized or kinds)[0] if len(sized or kinds) == 1 else None


def ring_bandwidth(gpu: str, fabric: str, num_nodes: int) -> float:
    """Returns bytes a second that each GPU of a ring passes on: the slower of NVLink and the network, if it crosses it.

    Raises UserError for an unknown kind of GPU or network.
    """
    if fabric not in FABRICS:
        raise unknown("fabric", fabric, FABRICS)
    nvlink = card_named(gpu).nvlink
    # The slowest link sets the pace of a ring, and each machine's cards share its load among them.
    return nvlink if num_nodes == 1 else min(nvlink, NETWORK_SHARE * FABRICS[fabric])


@dataclass(frozen=True, slots=True, kw_only=True)
class Software:
    """Speed of the programs: measured on one H200 with the 1.5B's shape (docs/cost.md), where not said."""

    forward: float = 0.365
    """Share of a card's rated operations in log-probabilities: 105,200 tokens/s x 3.44e9 operations / 989e12.

    That other cards reach the same share is an assumption.
    """
    update: float = 0.384
    """The same in an update: 27,600 tokens/s x 4 x 3.44e9 operations / 989e12, activations computed again."""
    kept_activations: float = 1.24
    """So many times as fast is an update that keeps its activations."""
    decode: float = 1.0e-3
    """Seconds of a decoding step beside reading memory and computing.

    64 sequences of 4,096 tokens took 14.1 s, 3.44 ms a token. Weights take 0.64 of it, keys and values 0.82: that
    leaves 1.98 ms = decode + 64 x decode_sequence. The split in two is an assumption: an H100 drew 22,600 tokens/s from
    256 samples (docs/evaluate.md), which allows 12 to 23 microseconds a sequence, depending on their length.
    """
    decode_sequence: float = 15e-6
    """Seconds of a decoding step for each sequence in it: sampling, scheduling."""
    most_sequences: int = 256
    """Sequences that an engine decodes at once: verl's default of max_num_seqs."""
    one_pass: float = 0.4
    """Seconds of a pass beside its computation: 2.9 s measured in a step, 2.5 in the engine alone."""
    between: float = 0.6
    """Seconds of a step outside its phases: weights to the rollout engine, rewards, advantages."""
    start: float = 136
    """Seconds from a cold start to the first step: 188 to its end, of which it took 52."""
    storage: float = 1e9
    """Bytes a second that one machine writes to a checkpoint: an assumption."""
