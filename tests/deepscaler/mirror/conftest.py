"""A run that is mirrored to a real S3 server, and to a hub on this machine."""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from deepscaler.recipes.published import RECIPES
from deepscaler.runs.checkpoints import PARTS, PREFIX, publish
from deepscaler.runs.folder import RunFolder
from deepscaler.system.files import write_json
from tests.deepscaler.mirror.server import Proxy, environment, s3_server
from tests.deepscaler.publish.hub import TOKEN, Hub, running_hub

pytest.importorskip("s3fs", reason="needs s3fs and moto, of the group dev")
pytest.importorskip("moto", reason="needs s3fs and moto, of the group dev")

Save = Callable[..., None]
numbers = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[int]:
    with s3_server() as port:
        yield port


@pytest.fixture
def proxy(server: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """What stands before the server; every client goes through it."""
    made = Proxy(server)
    for name, value in environment(made.port).items():
        monkeypatch.setenv(name, value)
    yield made
    made.close()


@pytest.fixture
def url(proxy: Proxy) -> str:
    """A place of this test's own, in a bucket that is there."""
    import s3fs  # noqa: PLC0415

    bucket = f"runs-{next(numbers)}"
    s3fs.S3FileSystem(skip_instance_cache=True).mkdir(bucket)
    return f"s3://{bucket}/team/8k"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that this process and those that it starts take for the real one."""
    from huggingface_hub import constants  # noqa: PLC0415

    with running_hub() as made:
        # As this process would have it with the variables below, which huggingface_hub reads when it is imported.
        address = f"{made.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        read = {"ENDPOINT": made.url, "HUGGINGFACE_CO_URL_TEMPLATE": address, "HF_HUB_OFFLINE": False}
        for name, value in {**read, "HF_HUB_DISABLE_XET": True}.items():
            monkeypatch.setattr(constants, name, value)
        settings = {"HF_ENDPOINT": made.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": TOKEN}
        for name, text in settings.items():
            monkeypatch.setenv(name, text)
        yield made


@pytest.fixture(params=["s3", "hf"])
def anywhere(request: pytest.FixtureRequest) -> str:
    """A place of each kind: in a bucket, and in a repository of the hub that is not there yet."""
    if request.param == "s3":
        return str(request.getfixturevalue("url"))
    request.getfixturevalue("hub")
    return "hf://datasets/lab/runs/team/8k"


def start_attempt(run: RunFolder, number: int, resumed_step: int = 0) -> RunFolder:
    """Makes a run's folder as a supervisor does."""
    attempt = run.attempt(number)
    attempt.root.mkdir(parents=True)
    attempt.update_record(host="here", resumed_step=resumed_step, step_offset=0)
    write_json(run.manifest_path, {"recipe": asdict(RECIPES["8k"]), "model": {}, "data": {}, "device": "cpu"})
    return run


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return start_attempt(RunFolder(tmp_path / "run"), 1)


@pytest.fixture
def save() -> Save:
    """Publishes a checkpoint in verl's form whose content is its step's, and logs the step."""

    def write(run: RunFolder, step: int, size: int = 40_000) -> None:
        attempt = run.attempts()[-1]
        path = attempt.checkpoints / f"{PREFIX}{step}"
        (path / "actor").mkdir(parents=True)
        for part in PARTS:
            torch.save({part: torch.arange(step, step + size)}, path / f"actor/{part}_world_size_1_rank_0.pt")
        (path / "actor/fsdp_config.json").write_text('{"FSDP_version": 2, "world_size": 1}')
        torch.save({"step": step}, path / "data.pt")
        publish(run, path, step=step, verl_step=step)
        with attempt.metrics_path.open("a") as file:
            file.write(json.dumps({"step": step, "data": {"val-core/aime/acc/mean@8": step / 1000}}) + "\n")
        rollouts = run.root / "rollouts"
        rollouts.mkdir(exist_ok=True)
        (rollouts / f"{step}.jsonl").write_text(json.dumps({"step": step}) + "\n")

    return write
