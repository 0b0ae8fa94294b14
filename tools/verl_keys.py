"""Makes deepscaler/verl_plugin/verl_keys.txt from the installed verl: `.venv/bin/python tools/verl_keys.py`.

A line is a key of verl's configuration and the kind of its default, so that a machine without verl can tell a mistyped
key. Kinds: bool, int, float, str, list, dict (free: any key may stand below it), any (null, or taken from another key).
A key that only verl's dataclasses know, which its YAML leaves out, begins with a plus sign, as Hydra wants it.
"""

import importlib
import warnings
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parent.parent / "deepscaler/verl_plugin/verl_keys.txt"
TARGET_KEY = "_target_"


def main() -> None:
    """Writes the file."""
    TARGET.write_text(table(), encoding="utf-8")
    print(f"{TARGET}: {len(TARGET.read_text(encoding='utf-8').splitlines()):,} lines")


def table() -> str:
    """Returns the file's text."""
    from hydra import compose, initialize_config_dir  # noqa: PLC0415
    from omegaconf import OmegaConf  # noqa: PLC0415

    verl = find_spec("verl")
    assert verl is not None, "verl is not installed"
    assert verl.origin is not None
    with initialize_config_dir(str(Path(verl.origin).parent / "trainer/config"), version_base=None):
        config = OmegaConf.to_container(compose("ppo_trainer", []), resolve=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries that verl imports
        # ordered without the plus, so that a key keeps its place when verl's YAML takes it up
        rows = sorted(set(_rows(config, "")), key=lambda row: row[0].lstrip("+"))
    return "\n".join([f"# verl {version('verl')}", *(" ".join(row) for row in rows), ""])


def _rows(node: Any, path: str) -> Iterator[tuple[str, str]]:
    if not isinstance(node, dict) or not node:
        yield path, _kind(node)
        return
    for name, value in node.items():
        if name != TARGET_KEY:
            yield from _rows(value, f"{path}.{name}" if path else str(name))
    if TARGET_KEY in node:
        module, _, kind = node[TARGET_KEY].rpartition(".")
        declared = getattr(importlib.import_module(module), kind)
        if is_dataclass(declared):
            names = [one.name for one in fields(declared) if one.init and not one.name.startswith("_")]
            yield from ((f"+{path}.{name}", "any") for name in names if name not in node)


def _kind(value: Any) -> str:
    # An interpolation has the kind of another key.
    if value is None or (isinstance(value, str) and "${" in value):
        return "any"
    # By the exact type: a bool is an int, too.
    return {bool: "bool", int: "int", float: "float", str: "str", list: "list", dict: "dict"}[type(value)]


if __name__ == "__main__":
    main()
