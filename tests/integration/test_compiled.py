"""Inductor's kernels in Ray's processes: the second machine finds what the first has compiled."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deepscaler.system import compiled
from deepscaler.system.paths import compiled_caches
from tests.integration.processes import deepscaler

pytestmark = pytest.mark.slow

START = """
import json, os, ray
ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level="error",
         runtime_env={"worker_process_setup_hook": "deepscaler.system.compiled.use"})

@ray.remote
def compute():
    import time, torch
    from torch._dynamo.utils import counters

    @torch.compile
    def step(values, weights):
        return torch.softmax(torch.nn.functional.gelu(values @ weights), -1).logsumexp(-1).sin().sum()

    begun = time.process_time() + sum(os.times()[2:4])
    torch.manual_seed(0)
    value = float(step(torch.randn(64, 64), torch.randn(64, 64)))
    return {
        "value": value,
        "cpu_seconds": time.process_time() + sum(os.times()[2:4]) - begun,
        "hits": counters["inductor"]["fxgraph_cache_hit"],
        "misses": counters["inductor"]["fxgraph_cache_miss"],
        "folder": os.environ["TORCHINDUCTOR_CACHE_DIR"],
    }

print(json.dumps(ray.get(compute.remote())))
"""


def start(machine: Path, cache: Path) -> dict[str, Any]:
    variables = compiled_caches(str(machine)) | {"DEEPSCALER_CACHE": str(cache), "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-P", "-c", START]
    done = subprocess.run(command, env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_second_machine_compiles_nothing_again(tmp_path: Path) -> None:
    cache, key = tmp_path / "cache", compiled.key()
    first = start(tmp_path / "node1", cache)
    assert (first["hits"], first["misses"]) == (0, 1)
    assert first["folder"] == str(tmp_path / "node1" / key / "inductor"), "what arrives in Ray's processes"
    compiled.publish(tmp_path / "node1" / key, cache / "compiled" / f"{key}.tar")
    second = start(tmp_path / "node2", cache)
    print(f"\ncompiled in {first['cpu_seconds']:.1f} s of a processor, found in {second['cpu_seconds']:.1f} s")
    assert (second["hits"], second["misses"]) == (1, 0)
    assert second["folder"] == str(tmp_path / "node2" / key / "inductor")
    assert second["value"] == first["value"]
    assert second["cpu_seconds"] < 0.7 * first["cpu_seconds"]


RECIPE = """
extends = "quickstart"
name = "tiny"
model = "{model}"
train_batch_size = 2
mini_batch_size = 2
group_size = 2
max_response_length = 8
"""

COMPILES = """
import json, os
from contextlib import suppress
from pathlib import Path

if "DEEPSCALER_COMPILED" in os.environ:  # not before: the folder is chosen when a process begins
    with suppress(FileExistsError):
        Path(os.environ["DEEPSCALER_RUN_DIR"], "compiling").mkdir()  # one process compiles
        import torch
        from torch._dynamo.utils import counters

        step = torch.compile(lambda values: torch.nn.functional.gelu(values @ values).logsumexp(-1).sin().sum())
        step(torch.ones(64, 64))
        Path(os.environ["COUNTED"]).write_text(json.dumps(counters["inductor"]))
"""


@pytest.mark.usefixtures("training")
def test_what_prepare_compiles_is_there_for_the_first_training_of_another_machine(
    tiny_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "compiles.py").write_text(COMPILES)
    recipe, cache = tmp_path / "tiny.toml", tmp_path / "cache"
    recipe.write_text(RECIPE.format(model=tiny_model))

    def run(machine: str, *arguments: object) -> tuple[int, int]:
        """Returns the hits and misses of a command on a machine of its own."""
        counted, path = tmp_path / f"{machine}.json", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        variables = compiled_caches(str(tmp_path / machine)) | {"DEEPSCALER_CACHE": str(cache), "PYTHONPATH": path}
        variables |= {"VERL_USE_EXTERNAL_MODULES": "compiles", "COUNTED": str(counted)}
        done = subprocess.run(
            deepscaler(*arguments), check=False, env={**os.environ, **variables}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        found = json.loads(counted.read_text())
        return found.get("fxgraph_cache_hit", 0), found.get("fxgraph_cache_miss", 0)

    prepare = ("data", "prepare", "arithmetic", "arithmetic_train", "--compile", recipe, "--device", "cpu")
    assert run("node1", *prepare) == (0, 1)
    assert (cache / "compiled" / f"{compiled.key()}.tar").is_file()
    assert not list(cache.glob(".first-*")), "its run is thrown away"
    train = ("train", recipe, "--device", "cpu", "--set", "num_steps=1", "--output-dir", tmp_path / "run")
    assert run("node2", *train) == (1, 0)
