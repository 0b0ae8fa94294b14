"""Checks that an object has the fields and types that its kind has: core kinds, and CRDs of what the manifests use.

The CRDs' schemas are in the package (tools/crds.py removes descriptions; 40 kB remain), and kubernetes-validate carries
those of core kinds, so this works without a cluster and without internet. The check is as strict as the API server with
--validate=strict: a field that the kind does not have is an error at any depth.
"""

import gzip
import json
import re
from functools import cache
from importlib import resources
from typing import Any

import jsonschema
import kubernetes_validate
from kubernetes_validate.utils import SchemaNotFoundError
from kubernetes_validate.utils import ValidationError as CoreError

from deepscaler.kubernetes.check.cel import rule_problems
from deepscaler.kubernetes.check.finding import Problem

KUBERNETES = "1.34"
"""Version of the core kinds' schemas; the manifests use only older features."""

CORE_GROUPS = tuple(
    f"{name}.k8s.io" for name in ("networking", "rbac.authorization", "scheduling", "storage", "policy", "coordination")
)
"""API groups of Kubernetes itself that have a dot, as the groups of CRDs do."""

ANY = "x-kubernetes-preserve-unknown-fields"


@cache
def known_kinds() -> dict[str, Any]:
    """Returns the CRDs' schemas: `{"ray.io/v1/RayJob": {"scope": "Namespaced", "schema": {...}}, ...}`."""
    packed = resources.files("deepscaler.kubernetes.check").joinpath("crds.json.gz").read_bytes()
    kinds: dict[str, Any] = json.loads(gzip.decompress(packed))
    return kinds


def problems_of(tree: dict[str, Any]) -> list[Problem] | None:
    """Returns the problems of one object; None if the kit has no schema of its kind."""
    name = f"{tree.get('apiVersion')}/{tree.get('kind')}"
    if name in known_kinds():
        # As texts, because a path holds names and indices, which do not compare with each other.
        errors = sorted(_validator(name).iter_errors(tree), key=lambda error: list(map(str, error.absolute_path)))
        # Rules only where the types are right: their functions read fields without looking.
        return [_problem(error) for error in errors] or list(rule_problems(known_kinds()[name]["schema"], tree))
    group = str(tree.get("apiVersion")).rpartition("/")[0]
    if "." in group and group not in CORE_GROUPS:
        return None
    try:
        kubernetes_validate.validate(tree, KUBERNETES, strict=True)
    except SchemaNotFoundError:
        return [Problem("", f"Kubernetes has no {tree['kind']} in {tree['apiVersion']}", "mind the spelling of both")]
    except CoreError as error:
        return [_problem(error)]
    return []


def _problem(error: jsonschema.ValidationError) -> Problem:
    """Returns a validation error as a problem that names what is allowed."""
    path, shown = _path(error.absolute_path), _shorten(error.instance)
    if error.validator == "additionalProperties":
        valid = sorted(error.schema.get("properties", {}))
        unknown = sorted(set(error.instance) - set(valid))
        return Problem(path, f"unknown field {', '.join(unknown)}", f"valid: {', '.join(valid)}")
    if error.validator == "required":
        missing = sorted(set(error.validator_value) - set(error.instance))
        return Problem(path, f"{', '.join(missing)} is missing", "")
    if error.validator == "type":
        return Problem(path, f"{shown} is not of type {error.validator_value}", "")
    if error.validator == "pattern" and "[KMGTPE]i" in error.validator_value:
        return Problem(path, f"{shown} is not a quantity", "such as 500m, 64, 512Gi or 1e3")
    if error.validator == "enum":
        return Problem(path, f"{shown} is not allowed", f"valid: {', '.join(map(str, error.validator_value))}")
    return Problem(path, " ".join(error.message.split())[:300], "")


def _shorten(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _path(parts: Any) -> str:
    """Returns a path as text: spec.workerGroupSpecs[0].replicas."""
    return re.sub(r"\.\[", "[", ".".join(f"[{part}]" if isinstance(part, int) else str(part) for part in parts))


@cache
def _validator(name: str) -> Any:
    schema = strict(known_kinds()[name]["schema"])
    texts = {"type": "object", "additionalProperties": {"type": "string"}}
    # CRDs leave `metadata` to the API server, so their own schema says only that it is an object.
    metadata = {"type": "object", "required": ["name"], "properties": {"labels": texts, "annotations": texts}}
    schema["properties"]["metadata"] = metadata
    schema["required"] = [*schema.get("required", []), "metadata"]
    return jsonschema.Draft7Validator(schema)


def strict(schema: Any) -> Any:
    """Returns a CRD's schema as JSON schema, in which unknown fields fail and fields with a default are optional."""
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        # The pattern, as of a quantity, is about texts; JSON schema does not apply it to integers.
        return {"type": ["integer", "string"], **({"pattern": schema["pattern"]} if "pattern" in schema else {})}
    properties = {name: strict(value) for name, value in schema.get("properties", {}).items()}
    result = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes-") and key != "format"}
    if properties:
        result["properties"] = properties
        # JSON schema allows what it does not name, a CRD does not.
        result.setdefault("additionalProperties", bool(schema.get(ANY)))
    if isinstance(result.get("additionalProperties"), dict):
        result["additionalProperties"] = strict(result["additionalProperties"])
    if "items" in schema:
        result["items"] = strict(schema["items"])
    if "required" in schema:
        result["required"] = [n for n in schema["required"] if "default" not in schema.get("properties", {}).get(n, {})]
    # OpenAPI's word, which jsonschema ignores.
    if schema.get("nullable") and isinstance(result.get("type"), str):
        result["type"] = [result["type"], "null"]
    return result
