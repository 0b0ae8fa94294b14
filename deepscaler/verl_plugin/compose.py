"""Composes a recipe's configuration with the installed verl, in a process of its own, and reports verl's complaint.

python -P -m deepscaler.verl_plugin.compose   reads Hydra's arguments as a JSON list, prints {"complaint": ""} last
"""

import json
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from deepscaler.recipes.recipe import Device, Recipe
from deepscaler.system.processes import python_command
from deepscaler.verl_plugin.overrides import to_arguments, to_overrides
from deepscaler.verl_plugin.user_keys import PATHS

PATIENCE = 300
"""Seconds for verl, which imports torch and Ray; on a busy machine that takes a minute."""

MOST_SHOWN = 300
"""Characters of a complaint."""

LATER = "verl is not installed here: its own check of [verl] follows where the training starts"
TOO_SLOW = f"verl did not check [verl] within {PATIENCE} s; its own check follows where the training starts"


def is_installed() -> bool:
    """Returns whether this environment has verl; imports nothing of it."""
    return find_spec("verl") is not None


def complaint_of_verl(recipe: Recipe, device: Device = "cuda") -> tuple[str, str]:
    """Returns what verl refuses in a recipe's configuration, and a note where verl could not be asked."""
    if not is_installed():
        return "", LATER
    arguments = to_arguments(to_overrides(recipe, PATHS, device))
    try:
        done = subprocess.run(
            python_command("-m", "deepscaler.verl_plugin.compose"),
            input=json.dumps(arguments),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "", TOO_SLOW
    try:
        # The last line only: libraries that verl imports print banners to standard output.
        answer = json.loads(done.stdout.splitlines()[-1])["complaint"]
    except (ValueError, LookupError, TypeError):
        last = " ".join(done.stderr.strip().splitlines()[-1:])[:MOST_SHOWN]
        return "", f"verl could not check [verl] here ({last or done.returncode}); its own check follows at the start"
    return (f"verl refuses this configuration: {answer}" if answer else ""), ""


def main() -> None:
    """Composes what standard input holds, checks it as verl's trainer would, and prints the complaint as JSON."""
    arguments = json.load(sys.stdin)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries that verl imports
        try:
            _check(arguments)
            complaint = ""
        except Exception as error:
            complaint = " ".join(str(error).split())[:MOST_SHOWN] or type(error).__name__
    print(json.dumps({"complaint": complaint}))


def _check(arguments: list[str]) -> None:
    from hydra import compose, initialize_config_dir  # noqa: PLC0415
    from verl.trainer.ppo.utils import need_critic, need_reference_policy  # noqa: PLC0415
    from verl.utils.config import omega_conf_to_dataclass, validate_config  # noqa: PLC0415

    verl = find_spec("verl")
    assert verl is not None
    assert verl.origin is not None
    with initialize_config_dir(str(Path(verl.origin).parent / "trainer/config"), version_base=None):
        config: Any = compose("ppo_trainer", arguments)
    validate_config(config, need_reference_policy(config), need_critic(config))
    for part in (config.actor_rollout_ref.rollout, config.algorithm):
        omega_conf_to_dataclass(part)  # verl's dataclasses refuse what the trainer would find minutes later


if __name__ == "__main__":
    main()
