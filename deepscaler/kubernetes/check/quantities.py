"""Computes the resources that pods request, as numbers: `500m` of cpu, `2Ti` of memory.

{"cpu": Fraction(801, 100), "memory": Fraction(34426847232)}   8 processors and a sidecar's 10m, 32 GiB and its 64 MiB
"""

from collections import defaultdict
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from deepscaler.system.errors import UserError

BINARY: dict[str, int] = {f"{letter}i": 1024**power for power, letter in enumerate("KMGTPE", start=1)}
DECIMAL: dict[str, int | Fraction] = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "P": 10**15,
    "E": 10**18,
}


def pod_requests(spec: Mapping[str, Any]) -> dict[str, Fraction]:
    """Returns the requests of one pod: its containers and sidecars, or the largest init container if that is more."""
    running: dict[str, Fraction] = defaultdict(Fraction)
    most: dict[str, Fraction] = defaultdict(Fraction)
    for container in spec.get("initContainers") or []:
        # The scheduler's own rule (KEP-753): an init container that restarts always is a sidecar. It stays, so
        # later init containers need their room in addition to its own.
        stays = container.get("restartPolicy") == "Always"
        for name, amount in _requests(container).items():
            running[name] += amount if stays else 0
            most[name] = max(most[name], running[name] + (0 if stays else amount))
    for container in spec.get("containers") or []:
        for name, amount in _requests(container).items():
            running[name] += amount
    return {name: max(running[name], most[name]) for name in {*running, *most}}


def quantity(text: Any) -> Fraction:
    """Returns the number of a Kubernetes quantity: `500m`, `2Ti`, `32`, `1e3`. Raises UserError for another text."""
    try:
        return _quantity(str(text))
    except (ValueError, ZeroDivisionError) as error:
        raise UserError(f"{text!r} is not a quantity: expected a number with a unit, such as 500m or 512Gi") from error


def _quantity(text: str) -> Fraction:
    for suffix, factor in BINARY.items():
        if text.endswith(suffix):
            return Fraction(text.removesuffix(suffix)) * factor
    # An E at the end means exa; in 1e3 it is an exponent, which Fraction reads itself.
    suffix = text[-1:] if text[-1:] in DECIMAL else ""
    # Fractions, because sums of floats such as 0.1 + 0.2 exceed a quota of 0.3.
    return Fraction(text.removesuffix(suffix)) * DECIMAL[suffix]


def shown(amount: Fraction) -> str:
    """Returns a number as a quantity: `255.9`, `2048Gi`."""
    return f"{float(amount):g}" if amount < BINARY["Gi"] else f"{float(amount / BINARY['Gi']):.6g}Gi"


def _requests(container: Mapping[str, Any]) -> dict[str, Fraction]:
    resources = container.get("resources") or {}
    # Kubernetes takes the limit for a request that is not given.
    asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {name: quantity(amount) for name, amount in asked.items()}
