"""verl's queue between rollout and update starts on the Ray cluster of a RayJob: its head offers no processor."""

import subprocess
import sys

import pytest

from deepscaler.recipes.published import RECIPES
from deepscaler.verl_plugin.overrides import to_overrides
from tests.deepscaler.verl_plugin.test_overrides import PATHS

pytestmark = pytest.mark.slow

KEY = "+transfer_queue.backend.SimpleStorage.required_node_resource"
WAITING = "it still waits"
SCRIPT = """
import sys
from importlib.resources import files

import ray
import transfer_queue
from omegaconf import OmegaConf
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
cluster.add_node(num_cpus=20, num_gpus=1)
ray.init(address=cluster.address)
settings = OmegaConf.load(files("transfer_queue") / "config.yaml")
settings.backend.SimpleStorage.required_node_resource = sys.argv[1] or None
transfer_queue.init(settings)
print("started")
"""


@pytest.mark.parametrize(("resource", "starts"), [(to_overrides(RECIPES["8k"], PATHS)[KEY], True), ("", False)])
def test_the_queue_starts_beside_a_head_without_processors(resource: str, starts: bool) -> None:
    stdout, stderr = _run([sys.executable, "-c", SCRIPT, resource], seconds=600 if starts else 180)
    assert ("started" in stdout) == starts, stdout + stderr
    assert starts or "ActorUnschedulableError" in stderr or stderr == WAITING


def _run(command: list[str], seconds: float) -> tuple[str, str]:
    """Returns what a command printed; Ray says that an actor cannot be placed, or waits for ever."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as waiting:
        return (waiting.stdout or b"").decode(), WAITING
    return done.stdout, done.stderr
