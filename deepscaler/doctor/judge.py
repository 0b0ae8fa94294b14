"""Finds what only the reports of all nodes together show: which node differs, is cut off, or is slow.

report = {"node": "node1", "versions": {"torch": "2.11.0", ...}, "findings": [...], "alike": {"GPUs": "8 x ..."},
          "saw": ["node1", "node2"], "reach": {"node2": {"error": "", "skew": 0.01}},
          "traffic": [{"pair": "node2", "bits": 9.1e9}, ...], "link": 1e10}
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from deepscaler.doctor.finding import Finding, Status, from_json
from deepscaler.doctor.machine import MOST_SKEW
from deepscaler.doctor.meeting import cut_off
from deepscaler.doctor.pairs import slow_nodes

Report = dict[str, Any]
EXPECTED = 0.25
"""Share of a link's rate that traffic should reach: one TCP stream on a fast link reaches less than half."""

LEAVE_OUT = "leave it out: --exclude-slow"

MOST_TRIES = 4
"""Most examinations in which other nodes replace bad ones."""

SILENT = "answer"
"""Name of the only finding about a node that does not report."""

BETWEEN_NODES = {
    SILENT: ("a node that says nothing, or dies meanwhile", "see its log, or leave it out"),
    "same versions": (
        "a node with another version, or another line of the kit's code, than most",
        "install the same on every node, or take an image by its digest",
    ),
    "same hardware": ("a node whose GPUs, links, cores or limits differ from most", "see why, or leave it out"),
    "shared folder": (
        "a node that does not see the files of the others",
        "give `--output-dir` on a file system that all nodes mount",
    ),
    "same clock": ("a clock that differs from every other node's by more than 2 s", "set it: `chronyc makestep`"),
    "ports between nodes": (
        "a node that others do not reach, on a port of the kernel's choice or on one where Ray's are",
        "open all ports between the nodes of a job, or leave the node out",
    ),
    "bandwidth": (
        "a node whose pairs are 3 times slower than those without it, or that reach a quarter of the link's rate",
        "check its cable, its switch port and its driver, or leave it out",
    ),
    "all-reduce": (
        "an all-reduce over all nodes that fails, or is twice as fast without the slow nodes",
        "leave the slow node out",
    ),
}
"""Findings that need several nodes: the fault and the repair of each, for the documents."""


def among_flags(output: str, meet: str, num_nodes: int) -> tuple[str, ...]:
    """Returns the flags by which each node's `deepscaler doctor` prints the report that `last_report` reads."""
    return ("--output-dir", output, "--meet", meet, "--nodes", str(num_nodes), "--json")


def last_report(lines: Sequence[str]) -> Report | None:
    """Returns the report that a node printed last; None if it printed none."""
    # json.dumps keeps the order of keys, and `among` puts the node first.
    line = next((line for line in reversed(lines) if line.startswith('{"node": ')), None)
    report: Report | None = json.loads(line) if line else None
    return report


def judge(reports: Sequence[Report], nodes: Iterable[str], num_nodes: int) -> dict[str, list[Finding]]:
    """Returns the findings by node: each one's own, and those that follow from the reports of all.

    `nodes` are those that were asked, as far as they are known: one that says nothing fails.
    """
    by_node = {str(report["node"]): report for report in reports}
    silent = [name for name in nodes if name not in by_node]
    found = {name: [from_json(entry) for entry in report["findings"]] for name, report in by_node.items()}
    for name in silent:
        found[name] = [Finding(SILENT, "fail", "it said nothing", f"see its log, then {LEAVE_OUT}")]
    for name, finding in (*_equal(by_node), *_shared(by_node, num_nodes), *_clocks(by_node), *_reached(by_node)):
        found[name].append(finding)
    for name, finding in (*_bandwidth(by_node), *_all_reduce(by_node)):
        found[name].append(finding)
    return dict(sorted(found.items()))


def bad_nodes(found: Mapping[str, Sequence[Finding]]) -> list[str]:
    """Returns the nodes to leave out: those that fail where others pass, or that are slow."""
    failed = {name: {one.name for one in findings if one.status == "fail"} for name, findings in found.items()}
    # Nobody knows what fails on a silent node, so it has no say in what fails everywhere.
    reported = [names for names in failed.values() if SILENT not in names]
    of_all = set.intersection(*reported) if reported else {SILENT}
    return [name for name, names in failed.items() if names - of_all - {"all-reduce"}]  # no single node's fault


def _equal(by_node: dict[str, Report]) -> Iterator[tuple[str, Finding]]:
    """Yields where a node differs from the majority, in versions and in what its checks saw."""
    for name, odd in odd_ones({node: report["versions"] for node, report in by_node.items()}).items():
        fix = "install the same everywhere: a job's processes send each other objects"
        if odd:
            yield name, Finding("same versions", "fail", "; ".join(odd), fix)
        elif len(by_node) > 1:
            yield name, Finding("same versions", "pass", "as on most nodes")
    seen = {node: report["alike"] for node, report in by_node.items()}
    for name, odd in odd_ones(seen).items():
        if odd:
            yield name, Finding("same hardware", "warn", "; ".join(odd), f"see why it differs, or {LEAVE_OUT}")
        elif len(by_node) > 1:
            yield name, Finding("same hardware", "pass", "as most nodes")


def odd_ones(values: dict[str, dict[str, str]]) -> dict[str, list[str]]:
    """Returns for each node where it differs from what most nodes have; two against two have no majority."""
    odd: dict[str, list[str]] = {node: [] for node in values}
    for key in dict.fromkeys(key for one in values.values() for key in one):
        counts = Counter(one.get(key, "none") for one in values.values())
        # Counter keeps the order of insertion among equals: of two halves the first node's value is the usual
        # one.
        [(usual, most)] = counts.most_common(1)
        for node, one in values.items():
            if one.get(key, "none") != usual:
                others = f"{most} nodes have" if 2 * most > len(values) else "another has"
                odd[node].append(f"{key} {one.get(key, 'none')} ({others} {usual})")
    return odd


def _shared(by_node: dict[str, Report], num_nodes: int) -> Iterator[tuple[str, Finding]]:
    """Yields whether each node saw the files of the others in the folder that all should see."""
    seen = [set(report["saw"]) for report in by_node.values()]
    all_seen = set.union(*seen) if seen else set()
    for name, report in by_node.items():
        missing = sorted(all_seen - set(report["saw"]))
        number = f"{len(report['saw'])} of {num_nodes} nodes' files"
        if missing or (len(report["saw"]) == 1 and num_nodes > 1 and len(by_node) > 1):
            shown = f"{number}: not those of {', '.join(missing) or 'others'}"
            fix = "give --output-dir on a file system that all nodes mount"
            yield name, Finding("shared folder", "fail", shown, fix)
        elif num_nodes > 1:
            yield name, Finding("shared folder", "pass", number)


def _clocks(by_node: dict[str, Report]) -> Iterator[tuple[str, Finding]]:
    """Yields how far each clock is from the nearest of the others': a clock that is odd is far from all."""
    for name in by_node:
        skews = [
            float(report["reach"][name]["skew"])
            for report in by_node.values()
            if report["reach"].get(name, {}).get("skew") is not None
        ]
        if skews:
            skew = min(skews, key=abs)
            shown = f"{skew:+.2f} s from the nearest other's"
            status: Status = "warn" if abs(skew) > MOST_SKEW else "pass"
            yield name, Finding("same clock", status, shown, "set the clock: chronyc makestep")


def _reached(by_node: dict[str, Report]) -> Iterator[tuple[str, Finding]]:
    """Yields whether each node is reached by the others, and reaches them."""
    reach = {name: report["reach"] for name, report in by_node.items()}
    cut = cut_off(reach, reach)
    for name, report in by_node.items():
        others = [other for other in reach if other != name]
        if not others:
            continue
        errors = [f"{other} -> {one[name]['error']}" for other, one in reach.items() if one.get(name, {}).get("error")]
        errors += [f"-> {other}: {one['error']}" for other, one in report["reach"].items() if one["error"]]
        if name in cut:
            fix = "open the ports between nodes (all of them: Ray, NCCL and gloo choose), or " + LEAVE_OUT
            yield name, Finding("ports between nodes", "fail", "; ".join(errors[:3]) or "it tried nobody", fix)
        else:
            num = len(others) - len(cut)
            yield name, Finding("ports between nodes", "pass", f"{num} other{'s' * (num != 1)}, both ways")


def _bandwidth(by_node: dict[str, Report]) -> Iterator[tuple[str, Finding]]:
    """Yields what each node's pairs carry; a slow node is the one whose pairs are slow against those without it."""
    rates: dict[tuple[str, str], float] = {}
    for name, report in by_node.items():
        for one in report["traffic"]:
            if "pair" in one and one["pair"] in by_node:
                pair = (min(name, one["pair"]), max(name, one["pair"]))
                # Both ends report a pair; what one of them lost must not make it slow.
                rates[pair] = max(rates.get(pair, 0.0), one.get("bits", 0.0))
    slow = slow_nodes(rates)
    for name, report in by_node.items():
        own = {pair: rate for pair, rate in rates.items() if name in pair}
        errors = [f"{one.get('pair', '')} {one['error']}".strip() for one in report["traffic"] if "error" in one]
        if not own and not errors:
            continue
        typical = median(own.values()) if own else 0.0
        link = float(report["link"])
        shown = f"{gbit(typical)} with each other node" + (f", the link is rated at {gbit(link)}" if link else "")
        if name in slow or not typical:
            others = median(rate for pair, rate in rates.items() if not set(pair) & set(slow)) if slow else 0.0
            against = f"; the other nodes reach {gbit(others)}" if others else "; ".join(["", *errors[:2]])
            fix = "check its cable, its switch port and its driver, or " + LEAVE_OUT
            yield name, Finding("bandwidth", "fail", f"{shown}{against}", fix)
        elif link and typical < EXPECTED * link:
            yield name, Finding("bandwidth", "warn", shown, "check the interface, MTU and switches, or use the fabric")
        else:
            yield name, Finding("bandwidth", "pass", shown)


def _all_reduce(by_node: dict[str, Report]) -> Iterator[tuple[str, Finding]]:
    """Yields what an all-reduce over all nodes carries, and over those that are left without slow ones."""
    for name, report in by_node.items():
        results = [one for one in report["traffic"] if "all_reduce" in one]
        for one in results[:1]:
            size, rest = len(one["all_reduce"]), results[1:]
            if "error" in one:
                fix = f"see the pairs above; {LEAVE_OUT}"
                yield name, Finding("all-reduce", "fail", f"over {size} nodes: {one['error']}", fix)
                continue
            shown = f"{gbit(one['bits'])} over {size} nodes"
            for other in rest:
                without = ", ".join(sorted(set(one["all_reduce"]) - set(other["all_reduce"])))
                shown += f", {gbit(other['bits'])} without {without}" if "bits" in other else ""
            # A ring is as fast as its slowest node, so leaving that one out shows what it costs.
            slow = bool(rest) and "bits" in rest[0] and 2 * one["bits"] < rest[0]["bits"]
            yield name, Finding("all-reduce", "warn" if slow else "pass", shown, f"the slow node: {LEAVE_OUT}")


def gbit(bits: float) -> str:
    """Returns a rate for people: `9.4 Gbit/s`, `0.012 Gbit/s`."""
    return f"{bits / 1e9:.2g} Gbit/s" if bits < 1e11 else f"{bits / 1e9:.0f} Gbit/s"
