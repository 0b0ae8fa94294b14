"""TOML files as frozen dataclasses: an unknown key lists the valid ones, a wrong type says what is wanted.

>>> read_fields(Path("site.toml"), Site)
{"partition": "gpu", "exclusive": True, "mounts": ("/data:/data",)}
"""

import tomllib
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from deepscaler.system.errors import UserError, unknown

_KINDS = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "Path": "a path",
    "tuple": "a list of names",
    "dict": "a table of texts",
}


def read_fields(file: Path, kind: type[Any]) -> dict[str, Any]:
    """The values of a file in the types of a dataclass's fields. Raises UserError."""
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    return typed_fields(values, kind, file)


def typed_fields(values: dict[str, Any], kind: type[Any], file: Path) -> dict[str, Any]:
    """Values that stand in a file in the types of a dataclass's fields. Raises UserError."""
    by_name = {field.name: field for field in fields(kind)}
    for name in values:
        if name not in by_name:
            raise unknown(f"option in {file}", name, by_name)
    return {name: _typed(value, by_name[name], file) for name, value in values.items()}


def _typed(value: Any, field: Field[Any], file: Path) -> Any:
    """A TOML value in its field's type. Raises UserError."""
    wanted = field.type.__name__ if isinstance(field.type, type) else str(field.type)
    kind = next(name for name in ("tuple", "dict", "bool", "Path", "float", "int", "str") if name in wanted)
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind == "Path" and isinstance(value, str):
        return Path(value)
    if kind == "tuple" and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if kind == "dict" and isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
        return value
    if kind == "float" and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if (kind == "int" and type(value) is int) or (kind == "str" and isinstance(value, str)):
        return value
    about = field.metadata.get("help") or field.metadata.get("about", "")
    raise UserError(f"{field.name} = {value!r} in {file}: {_KINDS[kind]} is wanted ({about})")
