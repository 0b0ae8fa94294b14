"""A rollout server draws a turn in the same batches, whatever order its requests come in: equal to the last digit."""

import asyncio
import random
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the libraries that verl imports
    from verl.workers.rollout.replica import TokenOutput

    from deepscaler.verl_plugin.cpu import server
    from deepscaler.verl_plugin.cpu.turn import KEY, Turn
from tests.integration.toy import save_toy

NUM_REQUESTS, IN_A_BATCH = 12, 8


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    save_toy(folder)
    return folder


def drawn(model: Path, order: list[int], size: int, gap: float = 0.0) -> list[Any]:
    """Returns the tokens and log-probabilities of all requests, which come in some order."""

    async def draw() -> list[Any]:
        one = server.RolloutServer.__ray_metadata__.modified_class(str(model), 16, IN_A_BATCH)
        await one.ready()
        answers: dict[int, asyncio.Task[Any]] = {}
        for place in order:
            common = {"temperature": 1.0, "top_p": 1.0, "logprobs": True, "seed": place}
            asked = {**common, KEY: Turn("train/1/0", 0, place, size)} if size else common
            prompt = [3 + place // 4, *range(10, 20 + place // 4)]
            answers[place] = asyncio.create_task(one.generate("", prompt_ids=prompt, sampling_params=asked))
            await asyncio.sleep(gap)
        outputs = [await answers[place] for place in range(NUM_REQUESTS)]
        one._worker.cancel()
        return [(output.token_ids, output.log_probs) for output in outputs]

    return asyncio.run(draw())


def test_a_turn_is_the_same_in_any_order(model: Path) -> None:
    places = list(range(NUM_REQUESTS))
    shuffled = random.Random(1).sample(places, NUM_REQUESTS)
    expected = drawn(model, places, NUM_REQUESTS)
    assert drawn(model, shuffled, NUM_REQUESTS, gap=0.01) == expected
    assert [tokens for tokens, _ in drawn(model, shuffled, 0)] != [[]] * NUM_REQUESTS
    assert len({tuple(tokens) for tokens, _ in expected}) > NUM_REQUESTS // 2, "every request has a seed of its own"


def test_a_turn_that_never_is_whole_is_drawn_all_the_same(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(server, "PATIENCE", 0.1)
    monkeypatch.setattr(server, "FIRST_PATIENCE", 1.0)
    began = time.monotonic()
    assert len(drawn(model, list(range(NUM_REQUESTS)), NUM_REQUESTS + 1)) == NUM_REQUESTS
    assert time.monotonic() - began >= 1.0, "the first turn waits for agent loops that still start"
    assert "Turn train/1/0 is drawn without the requests that did not come in 1 s." in capsys.readouterr().out


def test_a_response_has_every_attribute_of_verls() -> None:
    ours = server.Output(token_ids=[1], log_probs=[-0.5], stop_reason="completed", extra_fields={"global_steps": 1})
    theirs = TokenOutput.model_validate(ours, from_attributes=True)
    assert theirs.model_dump() == asdict(ours)
