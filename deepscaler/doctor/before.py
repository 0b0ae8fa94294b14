"""Examines the machine before a training starts: a failure ends it at once, a warning is printed and kept."""

import time
from collections.abc import Callable
from typing import Any

from deepscaler.doctor.examine import examine_fast
from deepscaler.doctor.finding import Finding
from deepscaler.doctor.subject import Subject
from deepscaler.system.errors import UserError

SKIP = "--skip-doctor starts anyway"


def examine_before(subject: Subject, say: Callable[[str], None]) -> dict[str, Any]:
    """Runs the fast checks; returns the findings to record. Raises UserError for failures, with their fixes."""
    # checks then wait for what an attempt before has left, such as memory of a GPU
    subject.starts_training = True
    started = time.monotonic()
    found = examine_fast(subject)
    seconds = time.monotonic() - started
    for finding in found:
        if finding.status == "warn":
            say(f"Doctor: {finding.name}: {finding.evidence} ({finding.fix}).")
    if failed := [finding for finding in found if not finding.ok]:
        raise UserError(f"{told(failed)}; {SKIP}")
    passed = sum(finding.status == "pass" for finding in found)
    warned = [finding.to_json() for finding in found if finding.status == "warn"]
    say(f"Doctor: {passed} checks passed, {len(warned)} warned, in {seconds:.1f} s.")
    return {"seconds": round(seconds, 2), "warnings": warned}


def told(failed: list[Finding]) -> str:
    """Returns failures in one line: each with its evidence and fix."""
    return "doctor: " + "; ".join(f"{one.name}: {one.evidence}: {one.fix}" for one in failed)
