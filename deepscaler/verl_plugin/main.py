"""`python -m deepscaler.verl_plugin.main OVERRIDES` is verl's trainer with fewer imports, and with a leaner Ray."""

import os
import runpy
from functools import partial

from deepscaler.runs.moments import note
from deepscaler.system import lean_ray, seldom

PRESTART = "RAY_prestart_worker_first_driver"
"""Variable for workers that a raylet starts in advance: without verl's environment, verl cannot use them."""


def main() -> None:
    """Runs the trainer as if Python had been given it."""
    seldom.postpone()
    if not os.environ.get("RAY_ADDRESS"):
        # Only for a Ray of our own: one that a launcher started has its workers already, and belongs to others, too.
        os.environ[PRESTART] = "0"
        lean_ray.leave_out(begins=partial(note, "verl imported"))
    runpy.run_module("verl.trainer.main_ppo", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
