"""Prometheus's rules: the committed ones are those of the table, and promtool makes every one fire."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepscaler.cli import main
from deepscaler.recipes.signs import SIGNS
from deepscaler.runs.rules import DEAD, SEE_STATUS, STALLED, rules
from tests.places import ROOT

COMMITTED = ROOT / "k8s/components/monitoring/prometheusrule.yaml"

RUN = 'run="chain",stage="8k",namespace="maths",instance="1.2.3.4:9095"'
LABELS = {"run": "chain", "stage": "8k", "namespace": "maths", "instance": "1.2.3.4:9095", "severity": "warning"}


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("needs promtool, of Debian's package prometheus: apt-get install prometheus")
    return found


def test_the_committed_rules_are_those_of_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", "--print", "prometheusrule"]) == 0
    assert capsys.readouterr().out == COMMITTED.read_text(), "make render"
    assert main(["metrics", "--print", "rules"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == yaml.safe_load(COMMITTED.read_text())["spec"]


def test_every_sign_has_a_rule_of_its_name_with_its_advice() -> None:
    [group] = yaml.safe_load(rules())["groups"]
    found = {rule["alert"]: rule["annotations"]["description"] for rule in group["rules"]}
    assert found.keys() == {*SIGNS, STALLED, DEAD}
    assert {name: found[name] for name in SIGNS} == {name: sign.advice for name, sign in SIGNS.items()}


def test_every_rule_fires_for_a_run_that_is_at_work_and_for_no_other(promtool: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(rules())
    checked = subprocess.run(
        [promtool, "check", "rules", "rules.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert f"SUCCESS: {len(SIGNS) + 2} rules found" in checked.stdout, checked.stderr
    tests = [*(_sign(name) for name in SIGNS), _stalled(), _stalled_and_restarted(), _dead()]
    cases = {"rule_files": ["rules.yml"], "evaluation_interval": "30s", "tests": tests}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(cases))
    done = subprocess.run(
        [promtool, "test", "rules", "tests.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for test in tests:  # a test that asked for nothing would pass
        test["alert_rule_test"][1]["exp_alerts"] = []
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(cases))
    done = subprocess.run(
        [promtool, "test", "rules", "tests.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout + done.stderr).count("alertname") >= len(tests)


def _sign(name: str) -> dict[str, Any]:
    """Well for two minutes, sick for four, then ended and still showing the sign; beside it a run that is well."""
    well = RUN.replace("chain", "well")
    sick = "deepscaler_sick{%s,sign=%r}"
    return _case(
        {
            sick % (RUN, name): "0x3 1x20",
            sick % (well, name): "0x24",
            f'deepscaler_state{{{RUN},state="running"}}': "1x11 _x12",
            f'deepscaler_state{{{RUN},state="finished"}}': "_x12 1x12",
            f'deepscaler_state{{{well},state="running"}}': "1x24",
        },
        name,
        {"1m": False, "4m": True, "12m": False},
        {"sign": name},
        f"chain, 8k: {SIGNS[name].title}",
        SIGNS[name].advice,
    )


def _stalled() -> dict[str, Any]:
    """Stalled when it is first seen, and until the fourth minute."""
    series = {f"deepscaler_stalled{{{RUN}}}": "1x7 0x40", f"deepscaler_stalls{{{RUN}}}": "1x47"}
    told = "chain, 8k: the training stalled"
    return _case(series, STALLED, {"1m": True, "3m": True, "6m": False}, {}, told, SEE_STATUS)


def _stalled_and_restarted() -> dict[str, Any]:
    """Stalled between two looks of Prometheus, and restarted: the rule fires for ten minutes."""
    series = {f"deepscaler_stalled{{{RUN}}}": "0x47", f"deepscaler_stalls{{{RUN}}}": "0x3 1x43"}
    told = "chain, 8k: the training stalled"
    return _case(series, STALLED, {"1m": False, "3m": True, "15m": False}, {}, told, SEE_STATUS)


def _dead() -> dict[str, Any]:
    """Dead from the third minute on: the rule waits for a requeue."""
    [rule] = [one for one in yaml.safe_load(rules())["groups"][0]["rules"] if one["alert"] == DEAD]
    series = {
        f'deepscaler_state{{{RUN},state="running"}}': "1x5 _x20",
        f'deepscaler_state{{{RUN},state="dead"}}': "_x6 1x20",
    }
    told = rule["annotations"]
    return _case(
        series,
        DEAD,
        {"4m": False, "6m": True, "2m": False},
        {"state": DEAD},
        "chain, 8k: the training is dead",
        told["description"],
    )


def _case(
    series: dict[str, str], name: str, fires: dict[str, bool], more: dict[str, str], summary: str, advice: str
) -> dict[str, Any]:
    expected = [{"exp_labels": {**LABELS, **more}, "exp_annotations": {"summary": summary, "description": advice}}]
    return {
        "interval": "30s",
        "input_series": [{"series": one.replace("'", '"'), "values": values} for one, values in series.items()],
        "alert_rule_test": [
            {"eval_time": at, "alertname": name, "exp_alerts": expected if is_firing else []}
            for at, is_firing in fires.items()
        ],
    }
