"""The objects of a YAML text, read as strictly as kubectl reads it: a key that stands twice is an error."""

from pathlib import Path
from typing import Any

import yaml


class BrokenYamlError(ValueError):
    """A text that is no YAML; the message is one line."""


class _Loader(yaml.CSafeLoader):  # type: ignore[misc]
    """PyYAML would take the last of two equal keys."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """A dictionary; raises on a repeated key."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} stands twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def load_objects(text: str) -> list[Any]:
    """Every document, and every item of a List. Raises BrokenYamlError."""
    try:
        trees = [tree for tree in yaml.load_all(text, _Loader) if tree is not None]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BrokenYamlError(" ".join(str(error).split())[:300]) from error
    return [item for tree in trees for item in _items(tree)]


def read_text(file: Path) -> str:
    """A file's text. Raises BrokenYamlError for bytes that are none."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BrokenYamlError(f"is no UTF-8: {error}") from error


def _items(tree: Any) -> list[Any]:
    if isinstance(tree, dict) and str(tree.get("kind", "")).endswith("List") and isinstance(tree.get("items"), list):
        return list(tree["items"])
    return [tree]
