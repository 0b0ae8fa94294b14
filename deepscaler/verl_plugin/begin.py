"""Prepares each of Ray's processes on every machine; Ray calls this first, before verl is imported there.

ray.init(runtime_env={"worker_process_setup_hook": "deepscaler.verl_plugin.begin.begin"})
"""

import os

from deepscaler.models.model import TO_READ_AHEAD, read_ahead
from deepscaler.runs.moments import note
from deepscaler.system import compiled, seldom
from deepscaler.verl_plugin import beats


def begin() -> None:
    """Imports less, gives signs of life, has weights read meanwhile, and compiles where the next start finds it."""
    seldom.postpone()
    beats.begin()  # the processes of verl's queue of data never import verl, and with it the beats
    note("Ray up")
    if model := os.environ.get(TO_READ_AHEAD):
        read_ahead(model)
    compiled.use()
