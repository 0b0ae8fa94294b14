"""Log-probabilities and entropies without logits are those with logits, gradients included."""

from typing import Any

import pytest
import torch

from deepscaler.verl_plugin import log_probs
from deepscaler.verl_plugin.log_probs import log_probs_of_logits, scores


def by_logits(
    hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    distribution = torch.log_softmax(hidden @ weight.t() / temperature, dim=-1)
    return distribution.gather(-1, labels[:, None])[:, 0], -(distribution.exp() * distribution).sum(-1)


@pytest.fixture(params=[1, 7, 64])
def chunk(request: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_probs, "CHUNK", request.param)


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("of_entropy", [0.0, 1.0, 1e-3])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_values_and_gradients_are_those_by_logits(of_entropy: float, temperature: float) -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(50, 16, requires_grad=True), torch.randn(300, 16, requires_grad=True)
    labels, weights = torch.randint(300, (50,)), torch.randn(2, 50)
    results = []
    for function in (scores, by_logits):
        got, entropy = function(hidden, weight, labels, temperature)
        loss = (got * weights[0]).sum() + of_entropy * (entropy * weights[1]).sum()
        results.append([got, entropy, *torch.autograd.grad(loss, [hidden, weight])])
    for ours, theirs in zip(*results, strict=True):
        assert (ours - theirs).abs().max() <= 1e-5 * max(1, theirs.abs().max())


def test_a_frozen_last_layer_gets_no_gradient_and_hidden_states_do() -> None:
    hidden, weight = torch.randn(5, 4, requires_grad=True), torch.randn(9, 4)
    scores(hidden, weight, torch.arange(5))[0].sum().backward()
    assert hidden.grad is not None


def test_no_tensor_of_all_logits_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.utils._python_dispatch import TorchDispatchMode  # noqa: PLC0415

    largest = 0

    class Watch(TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            for one in result if isinstance(result, tuple) else (result,):
                is_table = isinstance(one, torch.Tensor) and one.dim() == 2 and one.shape[-1] == 300
                if is_table and len(one) != 16:  # 16: the weight
                    largest = max(largest, len(one))
            return result

    monkeypatch.setattr(log_probs, "CHUNK", 10)
    hidden, weight = torch.randn(50, 16, requires_grad=True), torch.randn(300, 16, requires_grad=True)
    with Watch():
        log_prob, entropy = scores(hidden, weight, torch.randint(300, (50,)))
        (log_prob.sum() + entropy.sum()).backward()
    assert largest == 10


@pytest.mark.usefixtures("chunk")
def test_logits_that_something_holds_are_not_looped_over() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 20, 30, requires_grad=True), torch.randint(30, (3, 20))
    ours, theirs = (
        log_probs_of_logits(logits, labels),
        torch.log_softmax(logits, -1).gather(-1, labels[..., None])[..., 0],
    )
    assert torch.allclose(ours, theirs, atol=1e-6)
    gradients = [torch.autograd.grad(one.square().sum(), logits)[0] for one in (ours, theirs)]
    assert torch.allclose(*gradients, atol=1e-6)
