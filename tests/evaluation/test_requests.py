"""Every sample is asked for with a seed of its own."""

import pytest

from deepscaler.system.errors import UserError
from evaluation.requests import context_length, derive_seed, to_request


def test_a_sample_has_the_same_seed_whatever_else_is_drawn() -> None:
    requests = [to_request(("a/2", sample), (4, 5), max_tokens=10, context=100, run_seed=7) for sample in range(3)]
    assert [one.seed for one in requests] == [derive_seed(7, "a/2", sample) for sample in range(3)]
    assert derive_seed(7, "a/2", 1) == 885260889


def test_seeds_differ_between_runs_problems_and_samples() -> None:
    seeds = {derive_seed(run, f"p/{p}", s) for run in range(10) for p in range(30) for s in range(16)}
    assert len(seeds) == 10 * 30 * 16
    assert all(0 <= seed < 1 << 31 for seed in seeds)


def test_a_response_ends_where_the_context_does() -> None:
    prompts = [(1, 2, 3), (4, 5)]
    requests = [to_request(("a/1", 0), ids, max_tokens=100, context=50, run_seed=0) for ids in prompts]
    assert [len(r.prompt_token_ids) + r.max_tokens for r in requests] == [50, 50]


def test_a_prompt_as_long_as_the_context_is_refused() -> None:
    assert context_length(100, 1000, 4096) == 1100
    assert context_length(100, 8000, 4096) == 4096
    with pytest.raises(UserError, match="longest prompt has 4096 tokens"):
        context_length(4096, 10, 4096)
