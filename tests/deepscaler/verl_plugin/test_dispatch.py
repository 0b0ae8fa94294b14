"""Prompts are numbered over the refills of a step, and anew in the next step or in a validation."""

import warnings
from typing import Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the libraries that verl imports
    from tensordict import NonTensorData
    from verl.trainer.ppo.v1 import AgentLoopManagerTQ
    from verl.utils.tensordict_utils import get_tensordict

    from deepscaler.verl_plugin.dispatch import FIELD, Dispatched, DispatchingManager


def test_a_prompt_is_numbered_within_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Dispatched] = []
    manager = DispatchingManager.__new__(DispatchingManager)

    def send(self: Any, prompts: Any) -> None:
        for chunk in prompts.chunk(2):
            fields = dict(chunk.items())  # as its workers read them
            sent.extend(Dispatched(**fields[FIELD][index].data) for index in range(len(chunk)))

    monkeypatch.setattr(AgentLoopManagerTQ, "generate_sequences", send)

    def generate(step: int, *ids: str, validate: bool = False) -> list[Dispatched]:
        sent.clear()
        prompts = get_tensordict({"extra_info": [{"id": one} for one in ids]})
        prompts["global_steps"] = NonTensorData(step)
        if validate:
            prompts["validate"] = NonTensorData(True)
        manager.generate_sequences(prompts)
        return list(sent)

    assert generate(1, "a", "b", "c") == [Dispatched(place, 0, 3, 0) for place in range(3)]
    assert generate(1, "d", "a") == [Dispatched(3, 3, 2, 0), Dispatched(4, 3, 2, 1)], "a refill"
    assert generate(1, "a", "b", validate=True) == [Dispatched(0, 0, 2, 0), Dispatched(1, 0, 2, 0)]
    assert generate(2, "a", "b") == [Dispatched(0, 0, 2, 0), Dispatched(1, 0, 2, 0)]
