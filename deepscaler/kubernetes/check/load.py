"""Loads the objects of a YAML text as strictly as kubectl does: a repeated key is an error."""

from pathlib import Path
from typing import Any

import yaml


class BrokenYamlError(ValueError):
    """Signals a text that is not valid YAML; the message is one line."""


class _Loader(yaml.CSafeLoader):  # type: ignore[misc]
    """Loads YAML strictly, because PyYAML silently uses the last of two equal keys."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Returns a dictionary. Raises ConstructorError for a repeated key."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} stands twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def load_objects(text: str) -> list[Any]:
    """Returns every document, and every item of a List. Raises BrokenYamlError."""
    try:
        trees = [tree for tree in yaml.load_all(text, _Loader) if tree is not None]
    # PyYAML raises ValueError for a date that does not exist (2026-13-01), RecursionError for deep nesting.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BrokenYamlError(" ".join(str(error).split())[:300]) from error
    return [item for tree in trees for item in _items(tree)]


def read_text(file: Path) -> str:
    """Returns a file's text. Raises BrokenYamlError for bytes that are not UTF-8."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BrokenYamlError(f"is not UTF-8: {error}") from error


def _items(tree: Any) -> list[Any]:
    # a kind of a CRD may end in List without having items
    if isinstance(tree, dict) and str(tree.get("kind", "")).endswith("List") and isinstance(tree.get("items"), list):
        return list(tree["items"])
    return [tree]
