"""A training's ranks without GPUs and without Ray: verl's workers, one process each, joined by gloo on this machine.

python -m tests.integration.mesh FOLDER NUM_NODES GPUS_PER_NODE

FOLDER/toy                               the model, which is there before
FOLDER/run/checkpoints/global_step_1     what verl saved, published as after a save
FOLDER/train    two steps of all ranks, saved after the first
FOLDER/resume   new processes: what they loaded (as step 1), and the second step again
FOLDER/alone    the first step by one rank

Each of the three holds step_1/rank_3.pt (weights, moments and schedule of rank 3 after the step), step_1.json (rank 0's
log-probabilities and metrics), weights_1.pt (whole ones) and memory.json (bytes of all ranks).

The configuration is what the kit composes of a recipe of so many nodes for GPUs, with what it says of FSDP for a CPU.
verl, torch and Ray are imported once; ranks are forked from that, and share its memory.
"""

import gc
import json
import multiprocessing.connection
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ |= {
    "VERL_PLATFORM": "cpu",
    "VERL_USE_EXTERNAL_MODULES": "deepscaler.verl_plugin.cpu.platform",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}

import torch
import torch.distributed as dist
import verl
from hydra import compose, initialize_config_dir
from verl.utils import tensordict_utils
from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead
from verl.workers.engine_workers import ActorRolloutRefWorker
from verl.workers.utils.padding import response_from_nested

from deepscaler.recipes.published import RECIPES
from deepscaler.recipes.recipe import Recipe
from deepscaler.runs.checkpoints import publish
from deepscaler.runs.folder import RunFolder
from deepscaler.verl_plugin.cpu.engine import CpuEngine
from deepscaler.verl_plugin.engine import prepare
from deepscaler.verl_plugin.overrides import RunPaths, to_arguments, to_overrides
from tests.integration.processes import free_port
from tests.integration.toy import VOCABULARY

STEP_1 = "global_step_1"
DEADLINE = 900
"""Seconds without any rank ending."""


@EngineRegistry.register(model_type="language_model", backend="fsdp2", device="cpu", vendor="cpu")
class RankEngine(CpuEngine):
    """What the kit makes of verl's engine on GPUs, with nothing offloaded: packed attention, chunked log-probs."""

    def _build_module(self) -> Any:
        return prepare(FSDPEngineWithLMHead._build_module(self), self.model_config, self.engine_config)


def recipe_of(num_nodes: int, gpus_per_node: int) -> Recipe:
    """Returns recipe 16k, made small: 64 short sequences a step and update, two ranks to a sequence."""
    return replace(
        RECIPES["16k"],
        num_nodes=num_nodes,
        gpus_per_node=gpus_per_node,
        sequence_parallel_size=min(2, gpus_per_node),
        train_batch_size=16,
        mini_batch_size=16,
        group_size=4,
        max_prompt_length=8,
        max_response_length=24,
        max_tokens_per_gpu=32,
        learning_rate=1e-3,
    )


def configuration(recipe: Recipe, model: Path, run_dir: Path) -> Any:
    """Returns the part of verl's configuration that its workers read."""
    paths = RunPaths(
        model=str(model), train_files=(), validation_files=(), run_dir=run_dir, checkpoint_dir=run_dir / "checkpoints"
    )
    on_cpu = to_overrides(recipe, paths, "cpu")
    of_engine = {key: value for key, value in on_cpu.items() if "fsdp_config" in key or key.endswith(".strategy")}
    with initialize_config_dir(str(Path(verl.__file__).parent / "trainer/config"), version_base=None):
        composed = compose("ppo_trainer", to_arguments({**to_overrides(recipe, paths), **of_engine}))
    return composed.actor_rollout_ref


def batch_of(recipe: Recipe, step: int) -> Any:
    """Returns a step's sequences as verl's trainer has them: responses of all lengths, GRPO's advantages."""
    torch.manual_seed(step)
    fields: dict[str, list[torch.Tensor]] = {}
    for _ in range(recipe.train_batch_size * recipe.group_size):
        of_prompt, of_response = (int(torch.randint(2, most, ())) for most in (recipe.max_prompt_length + 1, 25))
        tokens = torch.randint(3, VOCABULARY, (of_prompt + of_response,))
        row = {
            "input_ids": tokens,
            "position_ids": torch.arange(len(tokens)),
            "prompts": tokens[:of_prompt],
            "responses": tokens[of_prompt:],
            "response_mask": torch.ones(of_response, dtype=torch.long),
            "loss_mask": torch.ones(of_response, dtype=torch.long),
            "advantages": torch.randn(()).expand(of_response).contiguous(),
        }
        for name, values in row.items():
            fields.setdefault(name, []).append(values)
    return tensordict_utils.get_tensordict({name: _nested(rows) for name, rows in fields.items()})


class Rank:
    """An actor and a reference, and the controller's part, which every rank does for itself."""

    def __init__(self, recipe: Recipe, config: Any) -> None:
        self._recipe, self._config = recipe, config
        self._actor, self._ref = (ActorRolloutRefWorker(deepcopy(config), role=role) for role in ("actor", "ref"))
        for worker in (self._actor, self._ref):
            worker.init_model()
        self.engine = self._actor.actor.engine

    def step(self, number: int) -> dict[str, Any]:
        """Does what verl's trainer does with a batch. Returns old log-probabilities and the update's metrics."""
        data = batch_of(self._recipe, number)
        asked = {"compute_loss": False, "temperature": self._recipe.temperature}
        old = self._everywhere(self._actor.compute_log_prob(self._mine(data, **asked, calculate_entropy=True)))
        ref = self._everywhere(self._ref.compute_ref_log_prob(self._mine(data, **asked, calculate_entropy=False)))
        data["old_log_probs"] = response_from_nested(_nested(old), data["response_mask"])
        data["ref_log_prob"] = response_from_nested(_nested(ref), data["response_mask"])
        size = self._config.actor.ppo_mini_batch_size * self._config.rollout.n
        output = self._actor.update_actor(
            self._mine(
                data,
                calculate_entropy=True,
                global_batch_size=size,
                mini_batch_size=size,
                epochs=1,
                seed=self._config.actor.data_loader_seed,
                dataloader_kwargs={"shuffle": False},
                temperature=self._recipe.temperature,
            )
        )
        metrics = tensordict_utils.get(output, "metrics") if output is not None else {}
        return {
            "log_probs": [one.tolist() for one in data["old_log_probs"].unbind()],
            "reference": [one.tolist() for one in data["ref_log_prob"].unbind()],
            **{name: metrics.get(name) for name in ("grad_norm", "lr", "actor/pg_loss", "actor/kl_loss")},
        }

    def save(self, folder: Path) -> None:
        """Has verl save a checkpoint."""
        self._actor.save_checkpoint(str(folder), global_step=1)

    def load(self, folder: Path) -> None:
        """Has verl load a checkpoint."""
        self._actor.load_checkpoint(str(folder))

    def state(self) -> dict[str, Any]:
        """Returns this rank's part of what a checkpoint holds."""
        moments = self.engine.optimizer.state_dict()["state"]
        return {
            "weights": {name: _local(one) for name, one in self.engine.module.state_dict().items()},
            "moments": {
                f"{number}.{name}": _local(one) for number, state in moments.items() for name, one in state.items()
            },
            "schedule": self.engine.lr_scheduler.state_dict()["last_epoch"],
        }

    def whole_weights(self) -> dict[str, torch.Tensor]:
        """Returns every weight, put together from all ranks."""
        return {name: one.full_tensor() for name, one in self.engine.module.state_dict().items()}

    def _mine(self, data: Any, **settings: Any) -> Any:
        """Returns this rank's part of a batch, as verl's dispatch deals it."""
        part = tensordict_utils.chunk_tensordict(data, self.engine.get_data_parallel_size())
        mine = part[self.engine.get_data_parallel_rank()].copy()
        tensordict_utils.assign_non_tensor(mine, **settings)
        return mine

    def _everywhere(self, output: Any) -> list[torch.Tensor]:
        """Returns all ranks' log-probabilities in the batch's order, as verl collects them: one of those that share."""
        rows = None if output is None else [row.clone() for row in output["log_probs"].unbind()]
        every: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(every, (self.engine.get_data_parallel_rank(), rows))
        parts = dict(part for part in every if part[1] is not None)
        return [row for place in sorted(parts) for row in parts[place]]


def be_rank(recipe: Recipe, port: int, number: int) -> None:
    """Makes this process one of a recipe's ranks: the environment is what verl's controller gives its workers."""
    torch.set_num_threads(1)
    places = {"RANK": number, "WORLD_SIZE": recipe.world_size, "LOCAL_RANK": number % recipe.gpus_per_node}
    places |= {"LOCAL_WORLD_SIZE": recipe.gpus_per_node, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in places.items()}


def run_rank(folder: Path, what: str, recipe: Recipe, config: Any, port: int, number: int) -> None:
    """Is one rank of them."""
    be_rank(recipe, port, number)
    rank, output, run = Rank(recipe, config), folder / what, RunFolder(folder / "run")
    if what == "resume":
        rank.load(run.checkpoints / STEP_1 / "actor")
        _write(rank, output, 1, {})
    else:
        _write(rank, output, 1, rank.step(1))
    if what == "train":
        rank.save(run.attempt(1).checkpoints / STEP_1 / "actor")
    if what != "alone":
        _write(rank, output, 2, rank.step(2))
    memory: list[Any] = [None] * recipe.world_size
    dist.all_gather_object(memory, _memory())
    if number == 0:
        (output / "memory.json").write_text(json.dumps(sum(memory)))
    dist.destroy_process_group()


def _write(rank: Rank, output: Path, step: int, seen: dict[str, Any]) -> None:
    number, folder = dist.get_rank(), output / f"step_{step}"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(rank.state(), folder / f"rank_{number}.pt")
    whole = rank.whole_weights()
    if number == 0:
        torch.save(whole, output / f"weights_{step}.pt")
        (output / f"step_{step}.json").write_text(json.dumps(seen))


def _memory() -> int:
    """Returns the bytes of this process; a page that n processes share counts as an n-th."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _local(tensor: Any) -> Any:
    return (tensor.to_local() if hasattr(tensor, "to_local") else tensor).clone()


def _nested(rows: list[torch.Tensor]) -> torch.Tensor:
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


@contextmanager
def forked(target: Callable[..., None], *arguments: Any, num: int) -> Iterator[list[Any]]:
    """Forks that many ranks; whatever happens, none of them is left."""
    threads = set[str]()
    for task in Path("/proc/self/task").glob("[0-9]*"):
        with suppress(FileNotFoundError):  # it has just ended
            threads.add((task / "comm").read_text().strip())
    own = Path("/proc/self/comm").read_text().strip()
    assert threads - {own} <= {"jemalloc_bg_thd"}, f"{threads}: a fork takes one along, and the locks of all"
    gc.freeze()  # or each rank's collector writes to every object that was imported, and shares no page of them
    context = multiprocessing.get_context("fork")
    started = [context.Process(target=target, args=(*arguments, number), daemon=True) for number in range(num)]
    for process in started:
        process.start()
    try:
        yield started
    finally:
        for process in started:
            process.kill()


def run_all(target: Callable[..., None], *arguments: Any, num: int) -> None:
    """Runs all ranks, and ends them as soon as one fails: the others would wait for it."""
    with forked(target, *arguments, num=num) as processes:
        left = {process.sentinel: process for process in processes}
        while left:
            for sentinel in multiprocessing.connection.wait(left, DEADLINE):
                process = left.pop(sentinel)
                process.join()
                assert process.exitcode == 0, f"{process.name} ended with {process.exitcode}"


def run_ranks(folder: Path, what: str, num_nodes: int, gpus_per_node: int) -> None:
    """Runs all ranks, and says how long that took."""
    recipe, started = recipe_of(num_nodes, gpus_per_node), time.monotonic()
    config = configuration(recipe, folder / "toy", folder / "run")
    run_all(run_rank, folder, what, recipe, config, free_port(), num=recipe.world_size)
    gigabytes = json.loads((folder / what / "memory.json").read_text()) / 1e9
    print(f"{what}: {recipe.world_size} ranks, {time.monotonic() - started:.0f} s, {gigabytes:.1f} GB", flush=True)


def main(folder: Path, num_nodes: int, gpus_per_node: int) -> None:
    """Trains, publishes what was saved as the kit's callback does, resumes, and lets one rank make the same step."""
    run_ranks(folder, "train", num_nodes, gpus_per_node)
    run = RunFolder(folder / "run")
    saved = run.attempt(1).checkpoints / STEP_1
    torch.save({}, saved / "data.pt")  # where the data loader is: the trainer's own part
    publish(run, saved, step=1, verl_step=1)
    run_ranks(folder, "resume", num_nodes, gpus_per_node)
    run_ranks(folder, "alone", 1, 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
