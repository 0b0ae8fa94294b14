"""Every missing sample is asked for once, with a seed of its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepscaler.system.errors import UserError
from evaluation.requests import context_length, derive_seed, missing_requests

PROMPTS = {"a/1": (1, 2, 3), "a/2": (4, 5)}


def test_a_sample_has_the_same_seed_whatever_else_is_drawn() -> None:
    everything = {(r.problem_id, r.sample): r.seed for r in missing_requests(PROMPTS, 16, 10, 100, 7, set())}
    fewer = missing_requests({"a/2": (4, 5)}, 4, 10, 100, 7, {("a/2", 0)})
    assert [everything[r.problem_id, r.sample] for r in fewer] == [r.seed for r in fewer]
    assert derive_seed(7, "a/2", 1) == 885260889


def test_seeds_differ_between_runs_problems_and_samples() -> None:
    seeds = {derive_seed(run, f"p/{p}", s) for run in range(10) for p in range(30) for s in range(16)}
    assert len(seeds) == 10 * 30 * 16
    assert all(0 <= seed < 1 << 31 for seed in seeds)


@given(st.sets(st.tuples(st.sampled_from(sorted(PROMPTS)), st.integers(0, 5))))
def test_done_and_missing_make_up_the_whole(done: set[tuple[str, int]]) -> None:
    requests = missing_requests(PROMPTS, 6, 10, 100, 0, done)
    asked = [(r.problem_id, r.sample) for r in requests]
    assert len(asked) == len(set(asked))
    assert not done & set(asked)
    assert done | set(asked) == {(p, s) for p in PROMPTS for s in range(6)}


def test_a_response_ends_where_the_context_does() -> None:
    requests = missing_requests(PROMPTS, 1, max_tokens=100, context=50, run_seed=0, done=set())
    assert [len(r.prompt_token_ids) + r.max_tokens for r in requests] == [50, 50]


def test_a_prompt_as_long_as_the_context_is_refused() -> None:
    assert context_length(100, 1000, 4096) == 1100
    assert context_length(100, 8000, 4096) == 4096
    with pytest.raises(UserError, match="longest prompt has 4096 tokens"):
        context_length(4096, 10, 4096)
