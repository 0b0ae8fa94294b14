"""Judges the reports of all nodes together: who is odd by majority, who is cut off, who is slow."""

import io
import os
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from rich.console import Console

from deepscaler.doctor.checks import CHECKS
from deepscaler.doctor.finding import Finding
from deepscaler.doctor.judge import BETWEEN_NODES, bad_nodes, judge
from deepscaler.doctor.meeting import Meeting, cut_off
from deepscaler.doctor.pairs import rounds, slow_nodes
from deepscaler.doctor.table import print_nodes
from deepscaler.system.errors import UserError

NODES = ("a", "b", "c", "d")
FAST, SLOW = 9e9, 4e7


def report(node: str, nodes: tuple[str, ...] = NODES, **more: Any) -> dict[str, Any]:
    """Returns what a sound node reports among others."""
    others = [name for name in nodes if name != node]
    return {
        "node": node,
        "versions": {"torch": "2.11.0", "code": "888b"},
        "findings": [Finding("GPUs", "pass", "8 x H100").to_json()],
        "alike": {"GPUs": "8 x H100"},
        "saw": list(nodes),
        "reach": {name: {"error": "", "skew": 0.01} for name in others},
        "traffic": [{"pair": name, "bits": FAST} for name in others] + [{"all_reduce": list(nodes), "bits": FAST}],
        "link": 1e10,
        **more,
    }


def found(*changed: dict[str, Any], nodes: tuple[str, ...] = NODES) -> dict[str, dict[str, Finding]]:
    """Returns the findings by node and name, where some nodes report otherwise."""
    reports = {name: report(name, nodes) for name in nodes} | {one["node"]: one for one in changed}
    told = judge(list(reports.values()), nodes, len(nodes))
    return {node: {finding.name: finding for finding in findings} for node, findings in told.items()}


def failing(told: dict[str, dict[str, Finding]]) -> set[tuple[str, str, str]]:
    return {(node, one.name, one.status) for node, of in told.items() for one in of.values() if one.status != "pass"}


def test_sound_nodes_pass_and_every_finding_is_in_the_documents() -> None:
    told = found()
    assert failing(told) == set()
    names = {name for of in told.values() for name in of} - {check.name for check in CHECKS}
    assert names == set(BETWEEN_NODES) - {"answer"}


def test_the_odd_one_is_told_by_the_majority() -> None:
    odd = report("c", versions={"torch": "2.10.0", "code": "888b"}, alike={"GPUs": "7 x H100"})
    told = found(odd)
    assert failing(told) == {("c", "same versions", "fail"), ("c", "same hardware", "warn")}
    assert told["c"]["same versions"].evidence == "torch 2.10.0 (3 nodes have 2.11.0)"
    assert told["c"]["same hardware"].evidence == "GPUs 7 x H100 (3 nodes have 8 x H100)"


def test_a_clock_that_is_far_from_all_others_is_odd() -> None:
    changed = [report(name) for name in NODES]
    for one in changed:
        for name, reached in one["reach"].items():
            reached["skew"] = 60.0 if name == "b" else -60.0 if one["node"] == "b" else 0.0
    assert failing(found(*changed)) == {("b", "same clock", "warn")}


def test_a_node_that_nobody_reaches_is_named_alone() -> None:
    changed = [report(name) for name in NODES]
    for one in changed:
        if one["node"] != "d":
            one["reach"]["d"] = {"error": "10.0.0.4:40213: timed out", "skew": None}
    told = found(*changed)
    assert failing(told) == {("d", "ports between nodes", "fail")}
    assert told["d"]["ports between nodes"].evidence.startswith("a -> 10.0.0.4:40213: timed out; b ->")


def test_a_slow_node_is_named_against_the_pairs_without_it() -> None:
    changed = [report(name) for name in NODES]
    for one in changed:
        for pair in one["traffic"]:
            if "pair" in pair and "b" in (one["node"], pair["pair"]):
                pair["bits"] = SLOW
        one["traffic"][-1] = {"all_reduce": list(NODES), "bits": SLOW}
        if one["node"] != "b":
            one["traffic"].append({"all_reduce": ["a", "c", "d"], "bits": FAST})
    told = found(*changed)
    assert told["b"]["bandwidth"].status == "fail"
    assert "the other nodes reach 9 Gbit/s" in told["b"]["bandwidth"].evidence
    assert told["a"]["bandwidth"].status == "pass"
    assert told["a"]["all-reduce"].evidence == "0.04 Gbit/s over 4 nodes, 9 Gbit/s without b"
    findings = {node: list(of.values()) for node, of in told.items()}
    assert bad_nodes(findings) == ["b"]
    shown = io.StringIO()
    print_nodes(findings, Console(file=shown, width=200))
    [line] = [line for line in shown.getvalue().splitlines() if "FAIL" in line]
    assert line.split()[0] == "b"
    assert line.endswith("<- odd")


def test_of_two_nodes_nobody_is_slow_but_both_are_below_the_link() -> None:
    pair = ("a", "b")
    changed = [
        report(name, pair, traffic=[{"pair": other, "bits": SLOW}]) for name, other in (pair, tuple(reversed(pair)))
    ]
    assert failing(found(*changed, nodes=pair)) == {("a", "bandwidth", "warn"), ("b", "bandwidth", "warn")}


def test_what_fails_everywhere_is_no_single_nodes_fault() -> None:
    lacking = Finding("shared memory", "fail", "64 MB").to_json()
    changed = [report(name, findings=[lacking]) for name in NODES]
    told = found(*changed)
    assert bad_nodes({node: list(of.values()) for node, of in told.items()}) == []


def test_a_node_that_says_nothing_fails() -> None:
    told = judge([report("a", ("a", "b"))], ("a", "b"), 2)
    assert [finding.evidence for finding in told["b"]] == ["it said nothing"]


def test_a_silent_node_does_not_make_a_fault_of_all_the_fault_of_each() -> None:
    refused = Finding("hub token", "fail", "the hub answers 401").to_json()
    reports = [report(name, NODES[:3], findings=[refused]) for name in NODES[:3]]
    assert bad_nodes(judge(reports, NODES, 4)) == ["d"]
    assert bad_nodes(judge(reports[:1], NODES[:2], 2)) == ["b"], "nobody passes what the only one that reports fails"
    assert bad_nodes(judge([], NODES, 4)) == [], "nobody answers: that is no single node's fault"


def test_every_pair_meets_once_and_no_node_twice_in_a_round() -> None:
    for number in range(2, 9):
        names = [f"n{index}" for index in range(number)]
        met = []
        for pairs in rounds(names):
            in_round = [name for pair in pairs for name in pair]
            assert len(set(in_round)) == len(in_round)
            met += pairs
        assert sorted(met) == sorted({(a, b) for a in names for b in names if a < b})


def test_several_slow_nodes_are_found_one_after_the_other() -> None:
    names = "abcdef"
    rates = {(a, b): SLOW if {a, b} & {"b", "e"} else FAST for a in names for b in names if a < b}
    assert sorted(slow_nodes(rates)) == ["b", "e"]
    assert slow_nodes(dict.fromkeys(rates, FAST)) == []


def test_the_fewest_nodes_are_cut_off() -> None:
    reach = {a: {b: {"error": "" if "c" not in (a, b) else "timed out"} for b in NODES if a != b} for a in NODES}
    assert cut_off(reach, NODES) == ["c"]
    assert cut_off({name: reach[name] for name in "ab"}, "ab") == []


@pytest.mark.parametrize("num_nodes", [3])
def test_nodes_find_each_other_and_try_real_ports(num_nodes: int, tmp_path: Path) -> None:
    meetings = [Meeting(tmp_path, num_nodes, name, "127.0.0.1") for name in NODES[:num_nodes]]
    said: list[str] = []
    meetings[0].join()
    waiting = Thread(target=meetings[0].cards, args=(5.0, said.append))
    waiting.start()
    while not said and waiting.is_alive():
        waiting.join(0.01)
    assert said == [f"Waiting up to 5 s for 2 of 3 nodes in {tmp_path}; here: a."]
    threads = [Thread(target=meeting.join) for meeting in meetings[1:]]
    for thread in threads:
        thread.start()
    for thread in (*threads, waiting):
        thread.join()
    cards = meetings[0].cards(5.0, said.append)
    assert sorted(cards) == ["a", "b", "c"]
    meetings[2].leave()
    reached = meetings[0].reach(cards)
    assert reached["b"]["error"] == ""
    assert abs(reached["b"]["skew"]) < 60, "the same clock, looked at on a machine that may be busy"
    assert "Connection refused" in reached["c"]["error"]
    for meeting in meetings[:2]:
        meeting.leave()
    assert meetings[0].gather("report", ["a"], 0.0) == {}


def test_a_folder_is_for_one_meeting(tmp_path: Path) -> None:
    """Else the card of a node that has left would make every other one fail at its ports."""
    first = Meeting(tmp_path, 2, "a", "127.0.0.1")
    first.join()
    first.leave()
    with pytest.raises(UserError, match=r"holds files of an earlier meeting \(a.card.json\): .* a new folder$"):
        Meeting(tmp_path, 2, "a", "127.0.0.1").join()
    late = Meeting(tmp_path, 2, "b", "127.0.0.1")
    late.join()
    late.leave()
    first.put("report", {})
    with pytest.raises(UserError, match=r"a.report.json"):
        Meeting(tmp_path, 2, "c", "127.0.0.1").join()
    killed = tmp_path / "killed"
    killed.mkdir()
    (killed / "a.card.json").write_text("{}")
    os.utime(killed / "a.card.json", (1, 1))
    with pytest.raises(UserError, match=r"a.card.json"):
        Meeting(killed, 2, "c", "127.0.0.1").join()
