"""Records where an evaluation's numbers come from: everything a stranger needs to reproduce them."""

import platform
from typing import Any

from deepscaler import __version__
from deepscaler.models.model import Model
from deepscaler.models.provenance import git_revision, hardware, installed_versions
from deepscaler.system.files import sha256
from evaluation.folder import EvaluationFolder
from evaluation.requests import Engine


def describe(
    folder: EvaluationFolder, config: dict[str, Any], model: Model, engine: Engine, data_sha256: dict[str, str]
) -> dict[str, Any]:
    """Returns the model, prompt template, engine, data, software and hardware of an evaluation."""
    problems = {name: folder.problems_path(name) for name in config["datasets"]}
    return {
        "model": {"name": config["model"], "revision": config["revision"], "weights": model.identity},
        "chat_template_sha256": model.chat_template_sha256 if model.tokenizer else "",
        "engine": engine.describe(),
        "seed": config["seed"],
        "datasets": {
            name: {"problems_sha256": sha256(path), "prepared_sha256": data_sha256.get(name, "")}
            for name, path in problems.items()
            if path.is_file()
        },
        "versions": {"deepscaler": __version__, "python": platform.python_version(), **installed_versions()},
        "git_revision": git_revision(),
        "hardware": hardware() if model.path else {},  # an endpoint does not reveal its hardware
    }
