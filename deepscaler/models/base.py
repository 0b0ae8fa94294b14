"""Identifies the hub model that a training started from, and its license, as far as local files show them.

base_of("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B")           that name; the license of the card in the hub's cache
base_of(".../models--ORG--NAME/snapshots/3f1c...")             ORG/NAME
base_of("/home/me/my-model")                                   my-model, which is not a name on the hub
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepscaler.models.present import is_hub_id
from deepscaler.models.smollm import HUB_ID, LICENSE, is_small_model
from deepscaler.system.paths import snapshot_of

UNKNOWN = "unknown"
"""The hub's own word for an unknown license."""

_CACHED = re.compile(r"models--(?P<owner>[\w.-]+)--(?P<name>[\w.-]+)/snapshots/[0-9a-f]+")
_LICENSE_KEYS = ("license", "license_name", "license_link")
MAX_CARD = 4 << 20
"""Most bytes of a card; a larger one is ignored, because only the head matters."""


@dataclass(frozen=True, slots=True)
class Base:
    """Holds the model that a training started from."""

    name: str
    """Id on the hub, or the name of its folder."""
    license: dict[str, str] = field(default_factory=lambda: {"license": UNKNOWN})
    """License in the form of model cards: `license`, and for `other` its name and link."""

    @property
    def is_of_hub(self) -> bool:
        """Returns whether the name is an id on the hub."""
        return is_hub_id(self.name)


def base_of(name: str) -> Base:
    """Returns the base of a hub id or a folder, wherever it was; without a card here its license is `unknown`."""
    if is_small_model(name):
        return Base(HUB_ID, {"license": LICENSE})
    if cached := _CACHED.search(name):
        return Base(f"{cached['owner']}/{cached['name']}", _license(Path(name)))
    # A folder `org/model` below the working directory has the form of a hub id.
    if is_hub_id(name) and not Path(name).is_dir():
        folder = snapshot_of(name, "main")
        return Base(name, _license(folder) if folder else {"license": UNKNOWN})
    return Base(Path(name).name, _license(Path(name)))


def license_of_set(repository: str) -> str:
    """Returns the license of a hub data set from its card in the cache; `unknown` without a card."""
    try:
        from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415

        card = try_to_load_from_cache(repository, "README.md", repo_type="dataset")
    except (ImportError, ValueError):
        return UNKNOWN
    return _license(Path(card).parent)["license"] if isinstance(card, str) else UNKNOWN


def _license(folder: Path) -> dict[str, str]:
    card = folder / "README.md"
    if not card.is_file() or card.stat().st_size > MAX_CARD:
        return {"license": UNKNOWN}
    try:
        from huggingface_hub import metadata_load  # noqa: PLC0415

        found: Any = metadata_load(card) or {}
    except Exception:  # people write cards by hand, and the YAML parser raises errors of its own
        return {"license": UNKNOWN}
    values = {key: found[key] for key in _LICENSE_KEYS if isinstance(found, dict) and isinstance(found.get(key), str)}
    return values if "license" in values else {"license": UNKNOWN}
