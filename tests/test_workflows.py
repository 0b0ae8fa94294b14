"""What GitHub would run: pinned, bounded in time and rights, and about files that are there."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepscaler.kubernetes.cluster.place import load_place
from tests.places import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
MAKE_TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def jobs(file: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load(file.read_text())["jobs"].values())


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_few_rights_and_an_end(file: Path) -> None:
    assert yaml.safe_load(file.read_text())["permissions"] == {"contents": "read"}
    for job in jobs(file):
        assert job["timeout-minutes"] <= 240
        for checkout in (step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@")):
            assert checkout["with"]["persist-credentials"] is False


def test_an_action_is_pinned_by_one_hash_everywhere() -> None:
    pins: dict[str, set[str]] = {}
    for file in WORKFLOWS:
        for action, pin in re.findall(r"uses: ([^@\s]+)@(\S+)", file.read_text()):
            pins.setdefault(action, set()).add(pin)
    assert "actions/checkout" in pins
    assert {name: found for name, found in pins.items() if len(found) > 1} == {}
    assert [pin for found in pins.values() for pin in found if not re.fullmatch(r"[0-9a-f]{40}", pin)] == []


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda path: path.stem)
def test_what_a_workflow_names_is_there(file: Path) -> None:
    text = file.read_text()
    named = re.findall(
        r"(?<![\w/.$-])(?:docker|k8s|tests|tools|deepscaler|evaluation|slurm|\.ci|\.github)/[\w./*-]*", text
    )
    assert named
    assert [path for path in named if not [*ROOT.glob(path)]] == []
    assert set(re.findall(r"^ *(?:- run: |run: )?make ([a-z]+)", text, re.MULTILINE)) <= MAKE_TARGETS


def test_what_is_downloaded_is_checked_before_it_is_used() -> None:
    [kind] = jobs(ROOT / ".github/workflows/kubernetes.yml")
    [step] = [one["run"] for one in kind["steps"] if "curl " in one.get("run", "")]
    assert len(re.findall(r"curl ", step)) == len(re.findall(r"_SHA256 ", step)) == 2
    assert step.rindex("curl ") < step.index("sha256sum --check --strict") < step.index("tar ") < step.index("chmod ")
    assert all(re.fullmatch(r"[0-9a-f]{64}", kind["env"][name]) for name in ("KIND_SHA256", "HELM_SHA256"))
    assert re.search(r"@sha256:[0-9a-f]{64}$", kind["env"]["NODE"])


def test_kind_has_the_operator_and_the_place_that_the_documents_tell() -> None:
    text = (ROOT / ".github/workflows/kubernetes.yml").read_text()
    [kind] = jobs(ROOT / ".github/workflows/kubernetes.yml")
    readme = (ROOT / "docs/kubernetes.md").read_text()
    assert f"--version {kind['env']['KUBERAY']} " in readme
    for option in re.findall(r"--set(?:-string)? '([^']*)'", text):
        assert f"'{option}'" in readme
    site = ROOT / "tests/integration/kubernetes/kind/site.toml"
    assert f"SITE={site.relative_to(ROOT)}" in text
    place = load_place(site)
    assert place.context == "kind-kind"
    assert f"cpu.tags={place.image_of('cpu')} " in text
    volumes = yaml.safe_load_all((Path(place.storage) / "volumes.yaml").read_text())
    assert all(one["spec"]["hostPath"]["path"] in text for one in volumes), "folders that the workflow makes"
