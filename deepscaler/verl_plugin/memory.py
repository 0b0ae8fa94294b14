"""Samples the memory of a node that runs ranks, in a thread of its first rank, while the training lasts.

The node of `deepscaler train` is sampled by that; here are the others.
"""

import os
from contextlib import suppress
from functools import partial

from deepscaler.runs.folder import own_attempt
from deepscaler.runs.memory_samples import EVERY, claim, sample_node
from deepscaler.system.repeat import repeat_always


def sample_this_node() -> None:
    """Begins to sample where this process is a node's first rank of a run and nobody else does it."""
    own = own_attempt()
    if not own or os.environ.get("LOCAL_RANK", "0") != "0":
        return
    with suppress(OSError):  # a training does not end by not being measured
        if path := claim(own[1]):
            repeat_always(partial(sample_node, *own, path), EVERY, "memory")
