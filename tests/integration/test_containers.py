"""The cpu image is really built and run: contained, offline, as any user; two containers train as a cluster."""

import json
import re
import subprocess
import uuid
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.integration.containers import BUILD_DEADLINE, build, copy_of_the_project, docker
from tests.integration.processes import SHARING
from tests.places import ROOT

pytestmark = pytest.mark.slow

MODEL = "/opt/models/SmolLM2-135M-Instruct"
CONTAINED = (
    "--rm",
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--network=none",
    "--tmpfs=/tmp",
    *(f"--env={name}={value}" for name, value in SHARING.items()),
)
SECRET = "hf_0123456789abcdef0123456789abcdef"
KIT_LAYERS = 2
"""Of our package, and of the self-test that follows it."""


@pytest.fixture(scope="session")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_the_project(tmp_path_factory.mktemp("context"))


@pytest.fixture(scope="session")
def image(context: Path) -> str:
    """Returns the image. `.ci/run` builds it in the background; the same script waits for that and finds it made."""
    docker("version")
    script = ROOT / ".ci/image"
    assert SECRET in script.read_text()
    command = [script, "deepscaler:test-cpu", context]
    built = subprocess.run(command, capture_output=True, text=True, timeout=2 * BUILD_DEADLINE, check=False)
    assert built.returncode == 0, built.stdout[-6000:] + built.stderr[-6000:]
    return "deepscaler:test-cpu"


@pytest.fixture
def runs() -> Iterator[str]:
    """A volume for results."""
    name = f"deepscaler-test-{uuid.uuid4().hex[:8]}"
    docker("volume", "create", name)
    yield name
    docker("volume", "rm", "--force", name)


def test_any_user_evaluates_in_a_sealed_container(image: str, runs: str) -> None:
    volume = f"--volume={runs}:/runs"
    sealed = (*CONTAINED, "--user=4242:0", "--tmpfs=/cache:mode=1777", "--shm-size=1g", volume)
    options = ("--datasets", "arithmetic", "--limit", 4, "--num-samples", 2, "--max-tokens", 32, "--dtype", "float32")
    command = ("deepscaler", "evaluate", "--model", MODEL, *options, "--output-dir", "/runs/evaluation")
    shown = docker("run", *sealed, image, *command, seconds=900).stdout
    assert "arithmetic" in shown
    report = docker("run", *CONTAINED, volume, image, "cat", "/runs/evaluation/report.json").stdout
    assert json.loads(report)["benchmarks"]["arithmetic"]["samples"] == 8


def test_the_image_examines_itself_and_runs_without_its_entrypoint_or_home(image: str) -> None:
    memory = ("--tmpfs=/cache:mode=1777", "--shm-size=1g")
    examined = docker("run", *CONTAINED, *memory, image, "deepscaler", "doctor").stdout
    assert "Checking for: cpu" in examined
    assert "as locked" in examined
    assert "Nothing is missing." in examined
    bare = docker(
        "run", *CONTAINED, "--entrypoint=", "--env=HOME=/nowhere", image, "deepscaler", "recipes", "8k"
    ).stdout
    assert "learning_rate" in bare
    login = docker("run", *CONTAINED, image, "bash", "-lc", "command -v deepscaler").stdout  # as enroot starts commands
    assert login.strip() == "/opt/venv/bin/deepscaler"
    starved = docker("run", *CONTAINED, image, "deepscaler", "doctor", "--for", "login", check=False)
    assert (starved.returncode, "cannot be written" in starved.stdout) == (1, True)
    assert docker("run", *CONTAINED, image, "id", "--user").stdout.strip() == "1000"


def test_a_change_of_our_code_makes_only_our_layer_anew(image: str, context: Path) -> None:
    def layers(tag: str) -> list[str]:
        found: list[str] = json.loads(docker("image", "inspect", "--format={{json .RootFS.Layers}}", tag).stdout)
        return found

    recipes = context / "deepscaler/recipes/published.py"
    recipes.write_text(recipes.read_text() + "\nCHANGED = True\n")
    progress = build(context, "deepscaler:test-changed", "cpu")
    steps = dict(re.findall(r"^#(\d+) \[(.+?)\] (?!FROM)", progress, re.MULTILINE))
    cached = set(re.findall(r"^#(\d+) CACHED", progress, re.MULTILINE))
    for name in ("base", "builder", "cpu-packages", "model", "runtime"):
        numbers = [number for number, step in steps.items() if step.startswith(f"{name} ")]
        assert set(numbers) <= cached, f"{name} was built again"
    before, after = layers(image), layers("deepscaler:test-changed")
    assert len(before) == len(after)
    assert before[:-KIT_LAYERS] == after[:-KIT_LAYERS]
    assert before[-KIT_LAYERS] != after[-KIT_LAYERS]
    history = docker("history", "--human=false", "--no-trunc", "--format={{.Size}}\t{{.CreatedBy}}", image).stdout
    sizes = [(int(size), made_by) for size, _, made_by in (line.partition("\t") for line in history.splitlines())]
    kit = next(size for size, made_by in sizes if "/kit" in made_by)
    assert kit < 8e6, f"our layer has {kit} bytes"
    assert sum(size for size, _ in sizes) > 100 * kit
    docker("image", "rm", "deepscaler:test-changed")


@pytest.mark.long
def test_train_is_eval_and_a_layer_of_megabytes(context: Path) -> None:
    layers, sizes = {}, {}
    for target in ("eval", "train"):
        tag = f"deepscaler:test-{target}"
        build(context, tag, target)  # its last step is `deepscaler doctor --image-only`
        found = docker("image", "inspect", "--format={{.Size}} {{json .RootFS.Layers}}", tag).stdout
        size, _, digests = found.partition(" ")
        layers[target], sizes[target] = json.loads(digests), int(size)
        examined = docker("run", *CONTAINED, "--tmpfs=/cache:mode=1777", "--shm-size=1g", tag, "deepscaler", "doctor")
        assert f"Checking for: {target}" in examined.stdout
        shown = docker("history", "--human=false", "--no-trunc", "--format={{.Size}}\t{{.CreatedBy}}", tag).stdout
        steps = [(int(size), step) for size, _, step in (line.partition("\t") for line in shown.splitlines())]
        told = [
            step.startswith("LABEL layer.") for size, step in steps if size > 1e6 or step.startswith("LABEL layer.")
        ]
        assert (False, False) not in pairwise(told[:-1]), (
            f"a label tells what a layer is for; the last is BASE_IMAGE: {shown}"
        )
    added = 2 + KIT_LAYERS  # first the packages of training and their lock
    assert layers["train"][:-added] == layers["eval"][:-KIT_LAYERS]
    assert sizes["train"] - sizes["eval"] < 400e6
    docker("image", "rm", "deepscaler:test-eval", "deepscaler:test-train")


def test_no_secret_is_in_the_image(image: str) -> None:
    history = docker("history", "--no-trunc", "--format={{.CreatedBy}}", image).stdout
    configuration = docker("image", "inspect", "--format={{json .Config}}", image).stdout
    for text in (history, configuration):
        assert SECRET not in text
        assert not re.search(r"(token|password|secret|api_key)\s*=\s*\S", text, re.IGNORECASE)
    assert json.loads(configuration)["User"] == "1000:0"


@pytest.mark.usefixtures("training")
def test_two_containers_train_as_a_cluster(image: str, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSCALER_CPU_IMAGE", image)
    project = f"deepscaler-test-{uuid.uuid4().hex[:8]}"

    def compose(*arguments: object, seconds: float = 900, check: bool = True) -> subprocess.CompletedProcess[str]:
        place = ("--project-name", project, "--file", ROOT / "docker/compose.yaml", "--profile", "cluster")
        return docker("compose", *place, *arguments, seconds=seconds, check=check)

    sizes = ("num_nodes=2", "num_steps=2", "train_batch_size=2", "mini_batch_size=2", "group_size=2")
    settings = [part for size in (*sizes, "max_response_length=8", "save_every=2") for part in ("--set", size)]
    train = ("deepscaler", "train", "quickstart", "--device", "cpu", "--output-dir", "/runs/quickstart")
    try:
        compose("up", "--detach", "--wait", "--wait-timeout", 600)
        compose("cp", tiny_model, "head:/runs/tiny")
        trained = compose("exec", "--no-TTY", "head", *train, *settings, "--set", "model=/runs/tiny", seconds=1500)
        assert "step 2/2" in trained.stdout
        shards = compose("exec", "--no-TTY", "worker", "ls", "/runs/quickstart/checkpoints/global_step_2/actor").stdout
        assert {f"model_world_size_2_rank_{rank}.pt" for rank in (0, 1)} <= set(shards.split())
        refused = compose(
            "exec", "--no-TTY", "--env", "RAY_AUTH_TOKEN_PATH=/nowhere", "head", "ray", "status", check=False
        )
        assert refused.returncode != 0
    finally:
        logs = compose("logs", "--no-color", "--tail=60", check=False).stdout
        compose("down", "--volumes", "--timeout=5", check=False)
        print(logs)
