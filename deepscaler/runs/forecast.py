"""Keeps the estimate of a run in its folder, and compares it with the steps once they are logged.

estimate.json   {"gpu": "A100-80GB", "num_gpus": 8, "num_steps": 1040, "price": 1.8,
                 "step_seconds": {"low": 130.1, "middle": 316.4, "high": 823.0}, "gpu_hours": {...}, ...}
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepscaler.recipes.cost import StageCost
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.metrics import Metrics, mean, quantity
from deepscaler.system.errors import UserError
from deepscaler.system.files import read_json, write_json

FILE = "estimate.json"
ENOUGH = 5
"""Steps after which a run says how far off its estimate was; the first, which compiles and warms up, is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """An estimate beside what the run takes; hours and money for all of its steps."""

    times: float
    """Ratio of a step's time to the estimate's middle."""
    inside: bool
    """True if it lies between the estimate's ends."""
    estimated_step_seconds: float
    step_seconds: float
    """Seconds of a mean step, with its share of saves and validations."""
    mean_response: float
    """Tokens that the estimate was made with."""
    estimated_gpu_hours: float
    gpu_hours: float
    """GPU-hours of the whole run at the pace until now."""
    hours: float
    price: float
    """Price of a GPU-hour; 0 if none was given."""


def keep_estimate(folder: Path, cost: StageCost, price: float = 0.0) -> None:
    """Writes an estimate into a run's folder, which may not have begun."""
    write_json(
        folder / FILE,
        {
            "gpu": cost.gpu,
            "num_gpus": cost.num_gpus,
            "num_steps": cost.num_steps,
            "price": price,
            "mean_response": asdict(cost.mean_response),
            "step_seconds": asdict(cost.step_seconds),
            "gpu_hours": asdict(cost.gpu_hours),
            "told": list(cost.told),
        },
    )


def compared(run: RunFolder, metrics: Metrics, recipe: Mapping[str, Any]) -> Comparison | None:
    """Returns how far off the estimate was; None without one, before five steps, or on another number of GPUs.

    Raises UserError for a file that does not hold an estimate.
    """
    path = run.root / FILE
    steps = quantity(metrics, "step_seconds")
    if not path.is_file() or len(steps) < ENOUGH:
        return None
    stored = read_json(path)
    try:
        num_gpus, price = int(stored["num_gpus"]), float(stored["price"])
        low, middle, high = (float(stored["step_seconds"][end]) for end in ("low", "middle", "high"))
        gpu_hours, response = float(stored["gpu_hours"]["middle"]), float(stored["mean_response"]["middle"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} does not hold an estimate ({error!r}): remove it, or write it again by deepscaler"
            " estimate --run-dir"
        ) from error
    # num_nodes and gpus_per_node may change between attempts, and then the estimate is of another run.
    if num_gpus != recipe.get("num_nodes", 0) * recipe.get("gpus_per_node", 0) or middle <= 0:
        return None
    saving = dict(quantity(metrics, "checkpoint_seconds"))
    # verl's seconds of a step include its save, which comes back below with the share that every step has of it.
    pace = mean([(step, seconds - saving.get(step, 0.0)) for step, seconds in steps[1:]]) or 0.0
    pace += (mean(list(saving.items())) or 0.0) / int(recipe.get("save_every") or 1)
    pace += (mean(quantity(metrics, "validation_seconds")) or 0.0) / int(recipe.get("validate_every") or 1)
    hours = pace * int(recipe["num_steps"]) / 3600
    return Comparison(
        times=pace / middle,
        inside=low <= pace <= high,
        estimated_step_seconds=middle,
        step_seconds=pace,
        mean_response=response,
        estimated_gpu_hours=gpu_hours,
        gpu_hours=hours * num_gpus,
        hours=hours,
        price=price,
    )
