"""Describes what a check found: pass, warn, fail or skip, the evidence, and the fix.

Finding("throttling", "warn", "GPU 3: hw_thermal_slowdown", "check its cooling, ...")
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["pass", "warn", "fail", "skip"]
LABELS: dict[Status, str] = {"pass": "ok", "warn": "WARN", "fail": "FAIL", "skip": "skip"}
PAGE = "docs/reference/checks.md"


@dataclass(frozen=True, slots=True)
class Finding:
    """A check's outcome; the fix counts for warnings and failures."""

    name: str
    status: Status
    evidence: str
    fix: str = ""

    @property
    def ok(self) -> bool:
        """Returns whether the check did not fail."""
        return self.status != "fail"

    @property
    def link(self) -> str:
        """Returns the place in the documents that describes the check: `docs/reference/checks.md#gpu-memory`."""
        return f"{PAGE}#{anchor(self.name)}"

    def __str__(self) -> str:
        """Returns a line for people, with the fix where one is needed."""
        fix = f" ({self.fix})" if self.fix and self.status in ("warn", "fail") else ""
        return f"{LABELS[self.status]:4}  {self.name:22}  {self.evidence}{fix}"

    def to_json(self) -> dict[str, Any]:
        """Returns the finding with its link, as plain values."""
        return {**asdict(self), "link": self.link}


def anchor(name: str) -> str:
    """Returns the anchor of a check in the documents, also of a part of it such as `imports: torch`."""
    return "-".join(name.partition(":")[0].lower().split())


def judged(name: str, ok: bool, evidence: str, fix: str = "", *, otherwise: Status = "fail") -> Finding:
    """Returns a finding that passes, or fails (or only warns)."""
    return Finding(name, "pass" if ok else otherwise, evidence, fix)


def from_json(entry: dict[str, Any]) -> Finding:
    """Returns the finding that another process has written as JSON."""
    return Finding(entry["name"], entry["status"], entry["evidence"], entry.get("fix", ""))
