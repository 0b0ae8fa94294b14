"""What is committed is what the recipes say, and every launcher starts the same command."""

import json
import os
import re
import shlex
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from deepscaler.cli import main
from deepscaler.commands.parser import parse
from deepscaler.kubernetes.check.check import Report, check_text
from deepscaler.kubernetes.render.emit import to_yaml
from deepscaler.kubernetes.render.plans import committed_plans
from deepscaler.kubernetes.render.pods import literal
from deepscaler.kubernetes.render.rayjob import GATED, RAY_VERSION, to_rayjob
from deepscaler.kubernetes.render.write import committed_files
from deepscaler.recipes.load import recipe_named
from tests.places import ROOT

JOBS = ROOT / "k8s/jobs"
PLANS = {plan.job.name: plan for plan in committed_plans()}
HOSTILE = "a'b\"c $(touch mark) `id` \\ ; & | > é\n- key: value # no comment\n---\n{x: *y}"


def load(name: str) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load((JOBS / name / "rayjob.yaml").read_text())
    return tree


def pods(tree: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = tree["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", [])]
    return [group["template"]["spec"] for group in groups]


def test_what_is_committed_is_what_render_writes() -> None:
    assert {name: (JOBS / name).read_text() for name, _ in committed_files()} == dict(committed_files()), "make render"
    assert {str(path.relative_to(JOBS)) for path in JOBS.rglob("*.yaml")} == {name for name, _ in committed_files()}


def test_rendering_again_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "--output", str(tmp_path)]) == 0
    assert len(list(tmp_path.rglob("*.yaml"))) == 2 * len(PLANS)
    capsys.readouterr()
    assert main(["render", "--output", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "Nothing differs.\n"


@pytest.mark.parametrize("name", PLANS)
def test_the_yaml_is_the_tree(name: str) -> None:
    assert load(name) == to_rayjob(PLANS[name])


def understood(command: str) -> dict[str, Any]:
    """What the parser makes of a command, save the folder it writes to."""
    parsed = vars(parse(shlex.split(command)[1:]))
    return {name: value for name, value in parsed.items() if name not in ("output_dir", "on", "site", "given")}


@pytest.mark.parametrize("name", ["2k", "4k", "8k", "16k", "24k"])
def test_a_recipe_starts_the_same_command_with_the_same_gpus_everywhere(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")  # a dry run asks SLURM where there is one
    recipe = recipe_named(name)
    tree = load(f"train-{name}")
    [workers] = tree["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    gpus = int(workers["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"])

    site, folder = tmp_path / "site.toml", str(tmp_path / name)
    site.write_text(f'gpus = "gres"\ncache = "{tmp_path}/cache"\n')
    command = ["train", name, "--on", "slurm", "--site", str(site), "--output-dir", folder, "--dry-run=full"]
    assert main(command) == 0
    batch = " ".join(capsys.readouterr().out.split("#SBATCH "))
    on_slurm = re.search(r"at once: (deepscaler train .*)\n", batch)
    nodes, gpus_of_each = re.search(r"--nodes=(\d+)", batch), re.search(r"--gres=gpu:(\d+)", batch)
    assert on_slurm
    assert nodes
    assert gpus_of_each

    wanted = understood(f"deepscaler train {name}")
    assert understood(command_in(tree)) == wanted
    assert understood(on_slurm[1]) == wanted
    assert workers["replicas"] * gpus == int(nodes[1]) * int(gpus_of_each[1]) == recipe.world_size


def command_in(tree: dict[str, Any]) -> str:
    """What a RayJob runs, without what is for its shell."""
    before, after = GATED.split("{command}")
    return str(tree["spec"]["entrypoint"]).removeprefix("exec ").removeprefix(before).removesuffix(after)


def test_the_manifests_ask_for_the_published_numbers_of_gpus() -> None:
    sizes = {"train-8k": (1, 8), "train-16k": (4, 8), "train-24k": (4, 8), "chain": (4, 8), "evaluate": (2, 8)}
    for name, size in sizes.items():
        [workers] = load(name)["spec"]["rayClusterSpec"]["workerGroupSpecs"]
        gpus = workers["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
        assert (workers["replicas"], int(gpus)) == size


@pytest.mark.parametrize("name", PLANS)
def test_every_command_in_a_manifest_is_understood(name: str) -> None:
    tree = load(name)
    commands = [shlex.split(command_in(tree))]
    commands += [container["command"] for pod in pods(tree) for container in pod["initContainers"]]
    stops = [pod["containers"][0].get("lifecycle") for pod in pods(tree)]
    commands += [stop["preStop"]["exec"]["command"] for stop in stops if stop]
    for command in commands:
        if command[0] == "deepscaler":
            parse(command[1:])


def test_the_operator_is_told_the_ray_version_of_both_images() -> None:
    for name in ("cpu", "eval"):
        lock = (ROOT / f"docker/requirements/{name}.txt").read_text()
        found = re.search(r"^ray==(\S+)", lock, re.MULTILINE)
        assert found
        assert found[1] == RAY_VERSION


def test_the_head_offers_ray_no_processors_and_no_gpus() -> None:
    for name in set(PLANS) - {"quickstart"}:
        head = load(name)["spec"]["rayClusterSpec"]["headGroupSpec"]
        assert head["rayStartParams"]["num-cpus"] == "0"
        assert "nvidia.com/gpu" not in json.dumps(head["template"]["spec"]["containers"])


def test_the_quickstart_needs_no_volume_no_gpu_and_no_hub() -> None:
    text = (JOBS / "quickstart/rayjob.yaml").read_text()
    assert not re.search("persistentVolumeClaim|nvidia.com|workerGroupSpecs|name: prepare", text)
    assert "deepscaler-cache" not in (JOBS / "quickstart/kustomization.yaml").read_text()


@pytest.mark.parametrize("name", PLANS)
def test_every_head_stays_until_the_operator_has_seen_the_end(name: str) -> None:
    for number, pod in enumerate(pods(load(name))):
        command = pod["containers"][0].get("lifecycle", {"preStop": {"exec": {"command": []}}})["preStop"]["exec"][
            "command"
        ]
        assert ("--head" in command) == (number == 0)
        if number == 0:
            assert command[-2:] == ["--grace", str(pod["terminationGracePeriodSeconds"])]


def test_a_head_goes_anywhere_and_a_finished_job_frees_its_gpus() -> None:
    for name in set(PLANS) - {"quickstart"}:
        tree = load(name)
        assert tree["spec"]["shutdownAfterJobFinishes"]  # suspend and Kueue need it
        assert tree["spec"]["ttlSecondsAfterFinished"] == 0
        for pod in pods(tree):
            assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def test_a_worker_is_examined_before_it_joins_unless_the_doctor_is_skipped() -> None:
    plan = PLANS["train-16k"]
    skipping = replace(plan, job=replace(plan.job, arguments=(*plan.job.arguments, "--skip-doctor")))
    for one, expected in ((plan, ["tini", "--", "deepscaler", "doctor"]), (skipping, ["true"])):
        preflight = pods(to_rayjob(one))[1]["initContainers"][0]
        assert (preflight["name"], preflight["command"]) == ("preflight", expected)


def test_a_training_is_given_time_to_save_wherever_it_is_stopped_from() -> None:
    for name in ("train-8k", "chain"):
        tree = load(name)
        for pod in pods(tree):
            assert pod["terminationGracePeriodSeconds"] == 900
            assert pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][:3] == ["deepscaler", "k8s", "stop"]
        head = pods(tree)[0]["containers"][0]
        assert {"name": "RAY_JOB_STOP_WAIT_TIME_S", "value": "900"} in head["env"]


@pytest.mark.parametrize("name", PLANS)
def test_no_pod_has_a_right_that_it_does_not_need(name: str) -> None:
    for pod in pods(load(name)):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"]
        for container in pod["initContainers"] + pod["containers"]:
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            for variable in container.get("env", []):
                if variable["name"] in ("HF_TOKEN", "WANDB_API_KEY"):
                    assert variable["valueFrom"]["secretKeyRef"]["optional"]


def render(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["render", *arguments]) == 0
    text = capsys.readouterr().out
    report = Report()
    check_text(text, "rendered", report)
    assert [str(finding) for finding in report.findings] == []
    [tree] = yaml.safe_load_all(text)
    assert isinstance(tree, dict)
    return tree


@pytest.mark.parametrize("value", [HOSTILE, "$(HF_TOKEN)", "x\ny", "'", "\u2028\x7f\x85", "🙂", "- a", "yes", " "])
def test_a_hostile_model_is_one_argument_wherever_it_goes(
    value: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tree = render(capsys, "train", "16k", "--set", f"model={value}")
    entrypoint = command_in(tree)
    assert shlex.split(entrypoint)[1:5] == ["train", "16k", "--set", f"model={value}"]
    told = "for argument; do printf '%s\\0' \"$argument\"; done"
    script = f"deepscaler() {{ {told}; }}; {entrypoint}"
    shell = subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=True, cwd=tmp_path)
    assert shell.stdout.decode().split("\0")[3] == f"model={value}"
    [prepare] = [c for pod in pods(tree) for c in pod["initContainers"] if c["name"] == "prepare"]
    assert prepare["command"][-1] == literal(f"--model={value}")
    assert list(tmp_path.iterdir()) == []


@given(value=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_survives_the_yaml(value: str) -> None:
    tree = {"a": [{"b": value, "c": 1}, value], "d": {"e": {"f": value}}, value: "key"}
    assert yaml.safe_load(to_yaml(tree, {"a.b": "comment", "d": "comment"})) == tree


def test_the_kubelet_expands_nothing() -> None:
    def expanded(text: str) -> str:  # third_party/forked/golang/expansion: `$$` is `$`, `$(NAME)` is looked up
        return re.sub(r"\$(\$|\([^)]*\))", lambda found: "$" if found[1] == "$" else "LOOKED UP", text)

    for text in ("$(HF_TOKEN)", "$$(HF_TOKEN)", "$", "$$", "a$b$(c", HOSTILE):
        assert expanded(literal(text)) == text


def test_a_command_is_rendered_with_its_own_options(capsys: pytest.CaptureFixture[str]) -> None:
    tree = render(capsys, "--name", "mine", "--image", "r/d:v1", "train", "16k", "--set", "num_nodes=2")
    assert tree["metadata"]["name"] == "mine"
    assert tree["spec"]["entrypoint"] == "exec deepscaler train 16k --set num_nodes=2 --output-dir /runs/16k"
    assert tree["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replicas"] == 2
    assert {container["image"] for pod in pods(tree) for container in pod["containers"]} == {"r/d:v1"}


def test_an_evaluation_has_an_engine_on_every_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("evaluate", "--model", "/runs/8k/model", "--nodes", "3", "--gpus", "4", "--tensor-parallel-size", "2")
    tree = render(capsys, "--name", "mine", *arguments)
    assert tree["spec"]["entrypoint"].startswith("exec deepscaler evaluate --model /runs/8k/model --output-dir /runs/")
    assert "--engines 6" in tree["spec"]["entrypoint"]
    [workers] = tree["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    gpus = workers["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]
    assert (workers["replicas"], gpus) == (3, "4")


@pytest.mark.parametrize("name", ["train-8k", "chain"])
def test_the_shell_of_a_job_that_is_stopped_waits_for_the_command(name: str, tmp_path: Path) -> None:
    ends_late = "trap 'sleep 0.5; touch ended; exit 143' TERM; touch begun; while sleep 0.05; do :; done"
    (tmp_path / "deepscaler").write_text(f"#!/bin/sh\n{ends_late}\n")
    (tmp_path / "deepscaler").chmod(0o755)
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    shell = subprocess.Popen(
        load(name)["spec"]["entrypoint"], shell=True, cwd=tmp_path, env=path, start_new_session=True
    )
    while not (tmp_path / "begun").exists():
        time.sleep(0.02)
    os.killpg(shell.pid, signal.SIGTERM)  # as Ray does: to every process of the job
    assert shell.wait(120) in (143, 1)
    assert (tmp_path / "ended").exists(), "who dies before the command leaves it to the pod's first process"


def test_one_stage_of_a_chain_has_its_own_machines(capsys: pytest.CaptureFixture[str]) -> None:
    for stage, num_workers, fetched in (("8k", 1, True), ("16k", 4, False)):
        tree = render(capsys, "run", "8k", "16k", "24k", "--output-dir", "/runs/chain", "--only", f"{stage}:train")
        assert tree["metadata"]["name"] == f"chain-{stage}"
        assert tree["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replicas"] == num_workers
        [prepare] = [c for c in pods(tree)[0]["initContainers"] if c["name"] == "prepare"]
        assert prepare["command"][-1].startswith("--model=") == fetched  # the later ones start from the stage before


def test_a_head_fills_the_cache_while_it_waits_for_the_attempt_before() -> None:
    def before(name: str) -> list[tuple[str, list[str]]]:
        [head, *_] = pods(load(name))
        return [(one["name"], one["command"]) for one in head["initContainers"] if "restartPolicy" not in one]

    fill = ["deepscaler", "data", "prepare", "--missing"]
    [(name, command)] = before("train-8k")
    assert (name, command[:9]) == ("prepare", ["deepscaler", "k8s", "wait", "/runs/8k", "--", *fill])
    [(name, command)] = before("evaluate")
    assert (name, command[:4]) == ("prepare", fill)


def test_compiled_kernels_outlive_a_worker_in_a_folder_of_its_node() -> None:
    [head, worker] = (pod["containers"][0]["env"] for pod in pods(load("train-8k")))
    told = {one["name"]: one.get("value") for one in worker}
    assert told["COMPILED"] == "/cache/compiled/$(NODE_NAME)"
    assert [one["name"] for one in worker].index("NODE_NAME") < [one["name"] for one in worker].index("COMPILED")
    for name in ("TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "VLLM_CACHE_ROOT"):
        assert told[name].startswith("$(COMPILED)/")
        assert name in {one["name"] for one in head}, "or the command would tell all workers one folder"


def test_a_training_on_cpus_has_pretended_gpus(capsys: pytest.CaptureFixture[str]) -> None:
    tree = render(capsys, "train", "quickstart", "--device", "cpu", "--set", "num_nodes=2")
    cluster = tree["spec"]["rayClusterSpec"]
    [workers] = cluster["workerGroupSpecs"]
    assert workers["replicas"] == 1  # the head is the first machine
    for group in (cluster["headGroupSpec"], workers):
        assert group["rayStartParams"]["num-gpus"] == "1"
        assert "nvidia.com/gpu" not in group["template"]["spec"]["containers"][0]["resources"]["limits"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "8k", "--output-dir", "/tmp/8k"], "must be below /runs"),
        (["--name", "Train_8k", "train", "8k"], "the name 'Train_8k' is not valid for a RayJob"),
        (["--name", "x" * 48, "train", "8k"], "1 to 47"),
        (["run", "8k", "16k"], "--set num_nodes=4, or render a stage at a time"),
        (["trian", "8k"], "did you mean 'train'"),
        (["train", "8k", "--on", "slurm"], "--on is for what submits"),
        (["evaluate", "--model", "m/m", "--output-dir", "here"], "must be below /runs"),
        (["evaluate", "--model", "m/m", "--engines", "99"], "do not suit 99 engines"),
        (["--output", "/nowhere"], "there is no folder"),
        (["--output", "/nowhere/at/all"], "there is no folder"),
    ],
)
def test_a_mistake_is_told_in_one_line(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_what_the_documents_render_is_rendered(tmp_path: Path) -> None:
    pages = ("README.md", "docs/kubernetes.md", "docs/kubernetes-overlays.md")
    text = "".join((ROOT / page).read_text() for page in pages)
    commands = re.findall(r"^deepscaler render --output \w+\.yaml (.*)$", text, re.MULTILINE)
    assert len(commands) > 3
    for command in commands:
        assert main(["render", "--output", str(tmp_path / "mine.yaml"), *shlex.split(command)]) == 0
        report = Report()
        check_text((tmp_path / "mine.yaml").read_text(), command, report)
        assert [str(finding) for finding in report.findings] == []
