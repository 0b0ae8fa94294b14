"""The kit's sampler for vLLM on a CPU: the same tokens as vLLM's own, and vLLM's own for whatever it does not do."""

from typing import Any

import pytest

torch = pytest.importorskip("torch")
ops = pytest.importorskip("vllm.v1.sample.ops.topk_topp_sampler")

from evaluation.engines.cpu_sampling import keep_nucleus, replace_sampler  # noqa: E402

ROWS, VOCABULARY = 16, 49152


def rows_of_logits() -> Any:
    """Flat and peaked ones, one with a single token, and one as a grammar leaves it."""
    heat = torch.logspace(-1, 1, ROWS).unsqueeze(1)
    logits = torch.randn(ROWS, VOCABULARY, generator=torch.Generator().manual_seed(7)) * heat
    logits[3, 5] += 200
    logits[4, 1000:] = -float("inf")
    return logits


def generators() -> dict[int, Any]:
    return {row: torch.Generator().manual_seed(100 + row) for row in range(ROWS)}


@pytest.mark.parametrize("top_p", [0.01, 0.95, 1.0])
def test_the_nucleus_is_vllms(top_p: float) -> None:
    p = torch.full((ROWS,), top_p)
    ours = keep_nucleus(rows_of_logits(), p)
    assert torch.equal(ours, ops.apply_top_k_top_p_pytorch(rows_of_logits(), None, p))


def test_the_tokens_are_vllms_and_whatever_is_not_replaced_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    own = ops.TopKTopPSampler.forward_cpu
    monkeypatch.setattr(ops.TopKTopPSampler, "forward_cpu", own)  # put back at the end
    replace_sampler()
    sampler = ops.TopKTopPSampler()
    mixed = torch.linspace(0.05, 0.999, ROWS)
    for k, p in ((None, mixed), (None, None), (torch.full((ROWS,), 40), mixed)):
        drawn = []
        for forward in (ops.TopKTopPSampler.forward_cpu, own):
            drawn.append(forward(sampler, rows_of_logits(), generators(), k, p)[0])
        assert torch.equal(*drawn)
