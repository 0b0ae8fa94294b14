"""Writes readable YAML: block style, no anchors, the order of the tree, and comments.

The emitter is the kit's own because PyYAML writes no comments; PyYAML still decides how every text is quoted.

>>> print(to_yaml({"spec": {"backoffLimit": 6}}, {"spec.backoffLimit": "starts"}))
spec:
  # starts
  backoffLimit: 6
"""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

INDENT = "  "


def to_yaml(tree: Mapping[str, Any], comments: Mapping[str, str]) -> str:
    """Returns a mapping as YAML; `comments` has dotted paths as keys, to which list items add nothing."""
    return "\n".join(_mapping(tree, "", comments)) + "\n"


def _mapping(tree: Mapping[str, Any], path: str, comments: Mapping[str, str]) -> Iterator[str]:
    for key, value in tree.items():
        below = f"{path}.{key}" if path else str(key)
        if below in comments:
            yield f"# {comments[below]}"
        yield from _entry(f"{scalar(key)}:", value, below, comments)


def _entry(head: str, value: Any, path: str, comments: Mapping[str, str]) -> Iterator[str]:
    """Yields `key: value`, or the key and the lines below it."""
    if isinstance(value, Mapping) and value:
        yield head
        yield from (INDENT + line for line in _mapping(value, path, comments))
    elif isinstance(value, list | tuple) and value:
        yield head
        yield from (INDENT + line for item in value for line in _item(item, path, comments))
    else:
        yield f"{head} {scalar(value)}"


def _item(item: Any, path: str, comments: Mapping[str, str]) -> Iterator[str]:
    if isinstance(item, Mapping) and item:
        lines = _mapping(item, path, comments)
        yield f"- {next(lines)}"
        yield from (INDENT + line for line in lines)
    else:
        yield f"- {scalar(item)}"


def scalar(value: Any) -> str:
    """Returns one value on one line; PyYAML decides whether it must be quoted."""
    if isinstance(value, dict | list | tuple):
        return "{}" if isinstance(value, dict) else "[]"
    text = _dump(value, None)
    # PyYAML would take single quotes, and two of them for one within: YAML's other style is also JSON's.
    return _dump(value, '"') if isinstance(value, str) and text != value else text


def _dump(value: Any, style: str | None) -> str:
    # an endless width, because PyYAML would break long texts into lines, and a value has one here
    text: str = yaml.safe_dump(value, default_style=style, width=float("inf"), allow_unicode=True)
    # PyYAML ends a document that is one plain scalar by "...".
    return text.removesuffix("\n").removesuffix("\n...")
