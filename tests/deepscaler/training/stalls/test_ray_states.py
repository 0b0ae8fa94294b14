"""The evidence of a stall names those of Ray's tasks that have not ended, from Ray's own messages."""

import pytest

from deepscaler.training.stalls.ray_states import unfinished

common = pytest.importorskip("ray.core.generated.common_pb2")
messages = pytest.importorskip("ray.core.generated.gcs_pb2")
json_format = pytest.importorskip("google.protobuf.json_format")


@pytest.mark.parametrize(
    ("states", "state"),
    [
        (("PENDING_NODE_ASSIGNMENT", "SUBMITTED_TO_WORKER", "GETTING_AND_PINNING_ARGS", "RUNNING"), "RUNNING"),
        (("SUBMITTED_TO_WORKER", "GETTING_AND_PINNING_ARGS"), "GETTING_AND_PINNING_ARGS"),
        (("GETTING_AND_PINNING_ARGS", "RUNNING", "FINISHED"), ""),
        (("GETTING_AND_PINNING_ARGS", "RUNNING", "FAILED"), ""),
        ((), "?"),
    ],
)
def test_a_task_is_in_the_state_that_it_came_to_last(states: tuple[str, ...], state: str) -> None:
    task = messages.TaskEvents()
    task.task_info.name = "WorkerDict.update"
    for moment, name in enumerate(states, start=1_795_500_000_000_000_000):
        task.state_updates.state_ts_ns[common.TaskStatus.Value(name)] = moment
    assert unfinished(json_format.MessageToDict(task)).get("state", "") == state
