"""Reads the options in a folder's config.json, whichever version or program wrote them."""

import re
from pathlib import Path
from typing import Any

from deepscaler.system.errors import UserError
from deepscaler.system.option import shown_value
from deepscaler.system.options import convert_options
from evaluation.config import EvaluationConfig, bound_options
from evaluation.endpoint_options import OF_AN_ENDPOINT


def check_stored(values: Any, file: Path) -> dict[str, Any]:
    """Returns the options in a folder's config.json; an option newer than the folder has its default.

    Raises UserError if no evaluation wrote them.
    """
    if not isinstance(values, dict):
        raise UserError(f"{file} is not a configuration of `deepscaler evaluate`")
    missing = {"weights", "model", "datasets"} - set(values)
    if missing or values.get("thinking") not in ("yes", "no"):
        told = ", ".join(sorted(missing)) or "thinking"
        raise UserError(f"{file} is not a configuration of `deepscaler evaluate`: it lacks {told}")
    # a data set's name becomes the name of a file in this folder: no slash, no leading dot
    names = values["datasets"] if isinstance(values["datasets"], list) else []
    if not names or not all(isinstance(name, str) and re.fullmatch(r"\w[\w.-]*", name) for name in names):
        given = shown_value(values["datasets"])
        raise UserError(f"{file} is not a configuration of `deepscaler evaluate`: its data sets are {given}")
    numbers = values.get("samples", {})
    if not isinstance(numbers, dict) or not all(type(number) is int and number > 0 for number in numbers.values()):
        given = shown_value(numbers)
        raise UserError(f"{file} is not a configuration of `deepscaler evaluate`: its samples are {given}")
    # the registered data sets may have changed since, and an import knows few options: neither is checked
    apart = {"weights", "datasets", "samples"} | ({"imported", "engine"} if "imported" in values else set())
    bound = {name: value for name, value in values.items() if name not in apart and value is not None}
    settled = EvaluationConfig(**{**convert_options(bound, EvaluationConfig, file), "output_dir": file.parent})
    lacking = set(bound_options()) - {"shard", *OF_AN_ENDPOINT, *values}
    defaults = {name: getattr(settled, name) for name in bound_options() if name in lacking}
    return {**defaults, **values}
