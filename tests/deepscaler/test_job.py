"""An evaluation's job asks for the machines its engines need, and for nothing else."""

from pathlib import Path

import pytest

from deepscaler.commands.given import options_given
from deepscaler.commands.parser import parse
from deepscaler.job import evaluate_job
from deepscaler.system.errors import UserError
from evaluation.config import EvaluationConfig, config_of


def config(**options: object) -> EvaluationConfig:
    given = {"model": "agentica-org/DeepScaleR-1.5B-Preview", "output_dir": Path("/runs/e"), **options}
    return EvaluationConfig(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gather": True},
        {"shard": "3/8", "datasets": ("aime", "amc"), "temperature": 1.0},
        {"engines": 2, "device": "cpu", "source": Path("a b"), "limit": 5},
    ],
)
def test_the_command_gives_the_same_evaluation(options: dict[str, object]) -> None:
    wanted = config(**options)
    parsed = parse(evaluate_job(wanted, gpus_per_node=1).arguments)
    assert config_of(options_given(parsed)) == wanted


def test_engines_need_a_cluster_and_one_engine_does_not() -> None:
    many = evaluate_job(config(engines=16), num_nodes=2, gpus_per_node=8)
    assert (many.name, many.num_gpus, many.image, many.ray) == (
        "evaluate-deepscaler-1-5b-preview",
        16,
        "eval",
        True,
    )
    assert not evaluate_job(config(shard="0/4"), gpus_per_node=1).ray
    assert evaluate_job(config(gather=True)).num_gpus == 0
    assert evaluate_job(config(engines=4, device="cpu"), num_nodes=2).image == "cpu"


@pytest.mark.parametrize(
    ("options", "num_nodes", "gpus_per_node"),
    [
        ({}, 1, 0),
        ({}, 2, 8),
        ({"engines": 17}, 2, 8),
        ({"engines": 4, "tensor_parallel_size": 3}, 2, 4),
        ({"gather": True}, 2, 8),
    ],
)
def test_machines_that_do_not_suit_are_refused(options: dict[str, object], num_nodes: int, gpus_per_node: int) -> None:
    with pytest.raises(UserError, match=f"{num_nodes} machines with {gpus_per_node} GPUs"):
        evaluate_job(config(**options), num_nodes=num_nodes, gpus_per_node=gpus_per_node)
