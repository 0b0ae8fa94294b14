"""Examines one node among others: runs its own checks, tries to reach the others, then measures traffic with each."""

from collections.abc import Callable
from typing import Any

from deepscaler.doctor.checks import CHECKS
from deepscaler.doctor.examine import examine, examine_fast
from deepscaler.doctor.meeting import Meeting, cut_off
from deepscaler.doctor.network import adapter_ports, link_rate
from deepscaler.doctor.software import versions_here
from deepscaler.doctor.subject import Subject
from deepscaler.doctor.traffic import traffic
from deepscaler.system.addresses import interface_of

ARRIVE, REACH = 120.0, 60.0
"""Seconds for the others' cards once this node's own checks are done, and for what they reach."""

ALIKE = {check.name for check in CHECKS if check.alike}
"""Checks whose evidence should be the same on all nodes."""


def examine_among(subject: Subject, meeting: Meeting, say: Callable[[str], object], *, fast: bool) -> dict[str, Any]:
    """Returns this node's report (see judge.py); prints which nodes it waits for, and for how long at most."""
    meeting.join()
    try:
        findings = examine_fast(subject) if fast else list(examine(subject))
        cards = meeting.cards(ARRIVE, say)
        report: dict[str, Any] = {
            "node": meeting.name,
            "versions": versions_here(),
            "findings": [finding.to_json() for finding in findings],
            "alike": {finding.name: finding.evidence for finding in findings if finding.name in ALIKE},
            "saw": sorted(cards),
            "link": rated(meeting.address),
            "reach": {},
            "traffic": [],
        }
        if len(cards) > 1:
            report["reach"] = meeting.reach(cards)
            meeting.put("reach", report["reach"])
            say(f"Trying the network between {len(cards)} nodes: {', '.join(cards)}.")
            reach = meeting.gather("reach", cards, REACH)
            # By what all nodes have said, so that all come to the same members, and to the same first one, who
            # keeps the store.
            members = [name for name in sorted(cards) if name not in cut_off(reach, cards)]
            if meeting.name in members and len(members) > 1 and subject.purpose != "login":
                first = cards[members[0]]
                store = (str(first["address"]), int(first["store"]))
                report["traffic"] = traffic(meeting.name, members, store, interface_of(meeting.address))
        meeting.put("report", report)
        return report
    finally:
        # Only now: others may still try to reach this node while it measures.
        meeting.leave()


def rated(address: str) -> float:
    """Returns the bits a second that this node's network is rated at: its fastest RDMA port, else the interface."""
    fastest = max((rate for _, rate in adapter_ports().values()), default=0.0)
    return fastest * 1e9 or link_rate(interface_of(address))
