"""Evidence leads to a sentence that names who it is, where, and what is likely wrong."""

from typing import Any

from deepscaler.runs.beats import Beat
from deepscaler.runs.phases import Moment
from deepscaler.system.stacks import Seen
from deepscaler.training.stalls.cause import Silence, likely_cause
from deepscaler.training.stalls.ray_states import gone

NODES = ("node1", "node2")
ROLES = ("trainer", "model worker", "rollout worker", "reward worker")


def processes(**silent: float) -> list[tuple[Beat, float]]:
    """Each role on each machine; those named (`reward_worker_node2`) are silent for so many seconds."""
    found = []
    for rank, host in enumerate(NODES):
        for number, role in enumerate(ROLES):
            seconds = silent.get(f"{role.replace(' ', '_')}_{host}", 1.0)
            found.append((Beat(beat=1, role=role, host=host, pid=100 + number, rank=str(rank)), seconds))
    return found


def seen(**states: str) -> dict[str, list[Seen]]:
    """Every process sleeps but those with another state (`node2_102="T"`)."""
    return {
        host: [
            Seen(pid=pid, name="ray::", state=state, waits_in="", stack=True)
            for pid in range(100, 104)
            if (state := states.get(f"{host}_{pid}", "S"))
        ]
        for host in NODES
    }


def silence(phase: str, beats: list[tuple[Beat, float]]) -> Silence:
    return Silence(moment=Moment(phase=phase, step=12, told="1 of 2 prompts"), seconds=63.2, usual=2.1, beats=beats)


def test_the_sentence_begins_with_the_phase_and_what_is_usual() -> None:
    text = str(silence("generate", []))
    assert text == "no progress for 63 s in generate at step 12, which takes 2.1 s otherwise (1 of 2 prompts)"


def test_a_stopped_process_is_named_with_rank_and_machine() -> None:
    stopped = silence("generate", processes(rollout_worker_node2=70.0))
    told = "the rollout worker of rank 1 on node2 (pid 102) is stopped by a signal (SIGSTOP) or a debugger"
    assert likely_cause(stopped, seen(node2_102="T")) == told


def test_a_process_that_is_gone_waits_or_is_out_of_reach_is_told_apart() -> None:
    one = silence("update", processes(model_worker_node1=70.0))
    assert "(pid 101) is gone" in likely_cause(one, seen(node1_101=""))
    assert "(pid 101) waits for a disk" in likely_cause(one, seen(node1_101="D"))
    assert "(pid 101) is without a sign of life: stuck in native code" in likely_cause(one, seen())
    assert "(pid 101) is without a sign of life" in likely_cause(one, {})


def test_a_machine_all_of_whose_processes_are_silent_is_lost() -> None:
    all_of_it = {f"{role.replace(' ', '_')}_node2": 70.0 for role in ROLES}
    assert likely_cause(silence("update", processes(**all_of_it)), {}) == (
        "node2 is lost, or cut off from the others and the run's folder"
    )


def test_a_stopped_process_that_never_gave_a_sign_is_found_by_looking() -> None:
    assert "ray:: on node1 (pid 103) is stopped" in likely_cause(silence("update", processes()), seen(node1_103="T"))
    queue = Seen(pid=7, name="ray::TransferQueueController", state="T", waits_in="", stack=True)
    told = "the transfer queue on node1 (pid 7) is stopped by a signal (SIGSTOP) or a debugger"
    assert likely_cause(silence("update", processes()), {"node1": [queue]}) == told


def test_with_all_alive_what_is_in_flight_tells() -> None:
    held = [
        (Beat(beat=1, role="agent loop", host=host, pid=pid, doing=(("prompt", seconds),)), 1.0)
        for host, pid, seconds in (("node1", 7, 64.0), ("node2", 8, 66.0))
    ]
    told = "a prompt has been in progress for 66 s at the agent loop on node2 (pid 8)"
    assert likely_cause(silence("generate", [*processes(), *held]), seen()) == told
    for role, what in (("rollout worker", "response"), ("reward worker", "reward")):
        held.append((Beat(beat=1, role=role, host="node2", pid=9, doing=((what, 63.0),)), 1.0))
        told = f"a {what} has been in progress for 63 s at the {role} on node2 (pid 9)"
        assert likely_cause(silence("validate", [*processes(), *held]), seen()) == told
    assert "a prompt was lost" in likely_cause(silence("validate", processes()), seen())
    assert "wait for each other or for Ray in update" in likely_cause(silence("update", processes()), seen())
    assert "to come up" in likely_cause(silence("start", processes()), seen())


def test_an_actor_that_was_replaced_is_not_blamed() -> None:
    named: Any = {"role": "reward worker", "host": "node1", "name": "reward_loop_worker_0", "beat": 1}
    beats = [*processes(), (Beat(pid=7, **named), 90.0), (Beat(pid=8, **named), 1.0)]
    assert "a prompt was lost" in likely_cause(silence("generate", beats), seen())
    assert "(pid 7) is gone" in likely_cause(silence("generate", beats[:-1]), seen())


def test_an_actor_that_gives_no_sign_of_life_is_known_to_be_gone_by_ray() -> None:
    actors = [
        {
            "name": "TransferQueueController",
            "className": "TransferQueueController",
            "state": "DEAD",
            "pid": 7,
            "address": {"ipAddress": "10.0.0.2"},
            "deathCause": {"actorDiedErrorContext": {"reason": "WORKER_DIED"}},
        },
        {
            "className": "make.<locals>.WorkerDict",
            "state": "DEAD",
            "pid": 8,
            "deathCause": {"actorDiedErrorContext": {"reason": "RAY_KILL"}},
        },
        {
            "name": "reward_loop_worker_0",
            "className": "RewardLoopWorker",
            "state": "DEAD",
            "pid": 9,
            "deathCause": {"actorDiedErrorContext": {"reason": "WORKER_DIED"}},
        },
        {"name": "reward_loop_worker_0", "className": "RewardLoopWorker", "state": "ALIVE", "pid": 10},
    ]
    found = gone({"actors": actors})
    assert found == ["the transfer queue TransferQueueController on 10.0.0.2 (pid 7)"]
    told = f"{found[0]} is gone: killed, often for lack of memory"
    assert likely_cause(silence("generate", processes()), seen(), gone=found) == told
    assert "is stopped" in likely_cause(silence("generate", processes()), seen(node1_103="T"), gone=found)


def test_a_gcs_that_nobody_listens_for_any_more_is_gone_and_a_slow_one_is_not() -> None:
    refused = "no answer: failed to connect to all addresses; last error: UNKNOWN: ipv4:1: Connection refused"
    assert gone({"ray": "10.0.0.1:6379", "actors": refused}) == ["Ray's GCS at 10.0.0.1:6379"]
    assert gone({"ray": "10.0.0.1:6379", "actors": "no answer: Deadline Exceeded"}) == []
    assert gone({}) == []


def test_a_machine_that_takes_no_connection_is_named() -> None:
    told = "the network between the head and node2 is cut, one way or both"
    assert likely_cause(silence("update", processes()), seen(), ["node2"]) == told
