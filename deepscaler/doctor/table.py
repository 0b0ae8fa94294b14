"""Shows the findings of all nodes in one table: a row for each check and each result, with the odd ones marked.

check          nodes    status  evidence
GPUs           all 4    ok      8 x NVIDIA H100 80GB HBM3
throttling     3 nodes  ok      clocks are not lowered
               node3    WARN    GPU 5: hw_thermal_slowdown             <- odd
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from rich.console import Console

from deepscaler.doctor.finding import LABELS, Finding, Status
from deepscaler.doctor.judge import bad_nodes
from deepscaler.output.terminal import add_row, new_table, print_table, printable
from deepscaler.system.errors import UserError
from deepscaler.system.exit_codes import DONE, FAILED

STYLES: dict[Status, str] = {"pass": "", "warn": "yellow", "fail": "bold red", "skip": "dim"}
NAMED = 4
"""Most nodes that a row names; of more it shows the number."""


def conclude(found: Mapping[str, Sequence[Finding]], num_nodes: int, console: Console, *, as_json: bool = False) -> int:
    """Prints what was judged of all nodes, as a table or as JSON; returns 1 if one failed or did not answer."""
    bad = bad_nodes(found)
    silent = max(0, num_nodes - len(found))  # a job that ends early may leave no report, not even its nodes' names
    if as_json:
        told = {node: [one.to_json() for one in findings] for node, findings in found.items()}
        print(json.dumps({"nodes": told, "leave_out": bad}, indent=2))
    else:
        print_nodes(found, console)
        failed = [node for node, findings in found.items() if any(not one.ok for one in findings)]
        if failed:
            console.print(f"Something is missing on {', '.join(failed)}.")
        elif silent:
            console.print(f"{silent} of {num_nodes} nodes did not answer: see the log of the job.")
        else:
            console.print("Nothing is missing on any node.")
    return FAILED if silent or any(not one.ok for findings in found.values() for one in findings) else DONE


def conclude_earlier(
    error: BaseException,
    without: Sequence[str],
    found: Mapping[str, Sequence[Finding]],
    num_nodes: int,
    console: Console,
    *,
    as_json: bool,
) -> int:
    """Prints what was found before others could not be examined in the place of some nodes; returns its exit code.

    Raises the error where no node was left out yet, and afterwards where it is the user who ended the examination.
    """
    if not without:
        raise error
    # It has not been printed yet, since only the last findings count, and must not be lost.
    code = conclude(found, num_nodes, console, as_json=as_json)
    if not isinstance(error, UserError):
        raise error
    told = printable(f"No spare node was examined in the place of {', '.join(without)}: {error}")
    if as_json:  # beside the one document on standard output
        print(told, file=sys.stderr)
    else:
        console.print(told, soft_wrap=True)
    return code


def print_nodes(found: Mapping[str, Sequence[Finding]], console: Console) -> None:
    """Prints the table, and below it what to do about each thing that does not pass."""
    table = new_table(["check", "nodes", "status", "evidence"], text_columns=range(4))
    fixes: dict[str, str] = {}
    for name in dict.fromkeys(one.name for findings in found.values() for one in findings):
        for nodes, finding, is_odd in _answers(name, found):
            cells = [name if nodes[1] else "", nodes[0], LABELS[finding.status], finding.evidence]
            shown = [printable(cell) for cell in cells]
            shown[-1] += "  <- odd" if is_odd else ""
            add_row(table, shown, style=STYLES[finding.status])
            if finding.status in ("warn", "fail") and finding.fix:
                fixes.setdefault(f"{name}: {finding.fix}", finding.link)
    print_table(console, f"{len(found)} nodes", table)
    for fix, link in fixes.items():
        console.print(printable(f"{fix} ({link})"), soft_wrap=True)


def _answers(name: str, found: Mapping[str, Sequence[Finding]]) -> Iterator[tuple[tuple[str, bool], Finding, bool]]:
    """Yields (nodes, whether it is the first row), a finding that stands for theirs, and whether they are odd.

    What most nodes say comes first; nodes of one status share a row unless their evidence differs in a failure. A check
    that is skipped everywhere has no row.
    """
    groups: dict[tuple[Status, str], list[str]] = {}
    stands_for: dict[tuple[Status, str], Finding] = {}
    for node, findings in found.items():
        for one in (finding for finding in findings if finding.name == name):
            key = (one.status, one.evidence if one.status in ("warn", "fail") else "")
            groups.setdefault(key, []).append(node)
            same = stands_for.setdefault(key, one)
            if same.evidence != one.evidence and not same.evidence.startswith("e.g. "):
                stands_for[key] = replace(same, evidence=f"e.g. {same.evidence}")
    if {status for status, _ in groups} == {"skip"}:
        return
    ordered = sorted(groups, key=lambda key: -len(groups[key]))
    # Without a majority nobody is odd.
    usual = ordered[0] if 2 * len(groups[ordered[0]]) > len(found) else None
    for key in ordered:
        yield (
            (_named(groups[key], len(found)), key == ordered[0]),
            stands_for[key],
            usual is not None and key != usual,
        )


def _named(nodes: Sequence[str], whole: int) -> str:
    if len(nodes) == whole:
        return f"all {whole}"
    return ", ".join(nodes) if len(nodes) <= NAMED else f"{len(nodes)} nodes"
