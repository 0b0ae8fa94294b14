"""Adapters are added to their weights as peft adds them; test_merge.py merges a checkpoint of verl's with one."""

import torch

from deepscaler.models.adapter import add_adapters, has_adapters
from tests.deepscaler.models.adapted import ALPHA, RANK, adapted_model


def test_the_sum_is_pefts() -> None:
    adapted = adapted_model(deviation=0.02)
    state = adapted.state_dict()
    assert has_adapters(state)
    merged = add_adapters(state, scale=ALPHA / RANK)
    assert not has_adapters(merged)
    wanted = adapted.merge_and_unload().state_dict()
    assert merged.keys() == wanted.keys()
    for name, weight in merged.items():
        torch.testing.assert_close(weight, wanted[name])
