"""Shows what a model's folder lacks that an engine would look for.

lacks(folder)     "holds no weights", "lacks 1 of 2 shards (model-00002-of-00002.safetensors)", or nothing
"""

import json
import re
from pathlib import Path

from deepscaler.system.files import file_size

WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")

_INDEXES = {
    ".safetensors": "model.safetensors.index.json",
    ".bin": "pytorch_model.bin.index.json",
    ".gguf": "",
}
"""Forms of weights in the order in which transformers looks for them, with the file that names their shards."""

_BESIDE = ("adapter_model.safetensors", "adapter_model.bin", "training_args.bin", "optimizer.bin", "scheduler.bin")
"""Files that look like weights and are none of a model."""

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_SHARD = re.compile(r"(?P<stem>.+-)\d{5}-of-(?P<number>\d{5})(?P<suffix>\.\w+)")


def is_hub_id(name: str) -> bool:
    """Returns whether a text has the form ORG/NAME."""
    return _HUB_ID.fullmatch(name) is not None


def lacks(folder: Path) -> str:
    """Returns why a model's folder cannot be loaded; empty if it has its config and all of its weights."""
    return lacks_weights(folder) or ("" if (folder / "config.json").is_file() else "holds no config.json")


def lacks_weights(folder: Path) -> str:
    """Returns which weights a model's folder lacks; empty if it has all.

    Reading a tokenizer leaves a snapshot without weights, and a killed download one without some shards; the hub's
    client returns either as the model if it may not ask the hub.
    """
    # An empty file, or a link into the cache whose file is gone, holds no weights.
    files = {path.name for pattern in WEIGHTS for path in folder.glob(pattern) if file_size(path)} - {*_BESIDE}
    for suffix, index in _INDEXES.items():
        here = {name for name in files if name.endswith(suffix)}
        is_indexed = bool(index) and (folder / index).is_file()
        # The first form that is there decides: transformers tries no other one when shards of it are missing.
        if here or is_indexed:
            wanted = _indexed(folder / index) if is_indexed else _numbered(here)
            if not wanted and is_indexed:
                return f"holds an index of shards that cannot be read ({index})"
            missing = sorted(wanted - here)
            return f"lacks {len(missing)} of {len(wanted)} shards ({missing[0]})" if missing else ""
    return "holds no weights"


def _indexed(index: Path) -> set[str]:
    """Returns the shards that an index names; none if it cannot be read."""
    try:
        return {str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return set()


def _numbered(names: set[str]) -> set[str]:
    """Returns the names, and those of all other shards that they count: model-00001-of-00003.safetensors."""
    wanted = set(names)
    for found in filter(None, map(_SHARD.fullmatch, names)):
        number = int(found["number"])
        wanted |= {f"{found['stem']}{at:05}-of-{number:05}{found['suffix']}" for at in range(1, number + 1)}
    return wanted
