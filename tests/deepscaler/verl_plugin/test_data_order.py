"""verl's data loader goes on in the same order from any checkpoint: within an epoch, at its end, after it."""

import io
import warnings
from typing import Any

import pytest
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the libraries that verl imports
    from omegaconf import OmegaConf
    from torchdata.stateful_dataloader import StatefulDataLoader
    from verl.trainer.ppo.utils import create_rl_sampler
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer

pytestmark = pytest.mark.filterwarnings(
    "ignore:'set_vital' is deprecated:UserWarning"
)  # torch's loader warns of itself


class Loading:
    """As much of verl's trainer as fetches prompts: its own method, and a loader that is made as it makes one."""

    def __init__(self, size: int, batch: int) -> None:
        data = [{"raw_prompt": index} for index in range(size)]
        sampler = create_rl_sampler(OmegaConf.create({"shuffle": True, "seed": 42}), data)
        self.train_dataloader = StatefulDataLoader(
            data, batch_size=batch, num_workers=0, drop_last=True, sampler=sampler, collate_fn=collate
        )
        self.train_dataloader_it = None

    def fetch(self) -> list[int]:
        fetched: Any = PPOTrainer._fetch_one_gen_batch(self)
        return [int(one) for one in fetched["raw_prompt"]]

    def state(self) -> bytes:
        file = io.BytesIO()
        torch.save(self.train_dataloader.state_dict(), file)
        return file.getvalue()


def collate(rows: list[dict[str, int]]) -> dict[str, Any]:
    return {"raw_prompt": torch.tensor([row["raw_prompt"] for row in rows])}


@pytest.mark.parametrize(("size", "batch"), [(8, 4), (7, 2), (4, 4), (10, 1)])
def test_a_loader_goes_on_where_it_was_saved(size: int, batch: int) -> None:
    epoch = size // batch
    whole, states, order = Loading(size, batch), [], []
    for _ in range(3 * epoch + 1):
        order.append(whole.fetch())
        states.append(whole.state())
    for first in range(0, 3 * epoch, epoch):
        asked = [one for batches in order[first : first + epoch] for one in batches]
        assert len(set(asked)) == len(asked) == epoch * batch
    for done, state in enumerate(states, start=1):
        resumed = Loading(size, batch)
        resumed.train_dataloader.load_state_dict(torch.load(io.BytesIO(state), weights_only=False))
        assert [resumed.fetch() for _ in order[done:]] == order[done:], f"after batch {done} of epochs of {epoch}"
