"""The loss that keeps scores alone against fairseq's."""

from __future__ import annotations

import pytest
import torch
from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss
from torch.nn import functional as F

from fairseq_mos.criterions import smoothed

PAD = 1


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("block", [1, 30, 10**6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_fairseq_s(monkeypatch, epsilon, block, dtype):
    monkeypatch.setattr(smoothed, "_CPU", block)
    torch.manual_seed(1)
    scores = (3 * torch.randn(7, 11)).to(dtype).requires_grad_()
    target = torch.tensor([3, PAD, 4, 10, 0, PAD, 3])
    loss, nll = smoothed.label_smoothed_loss(scores, target, epsilon, PAD)
    (128 * loss).backward()
    other = scores.detach().clone().requires_grad_()
    lprobs = torch.log_softmax(other, -1, dtype=torch.float32)
    expected, expected_nll = label_smoothed_nll_loss(lprobs, target, epsilon, PAD)
    (128 * expected).backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(nll, expected_nll)
    torch.testing.assert_close(scores.grad, other.grad, rtol=2e-5 if dtype == torch.float32 else 1e-2, atol=1e-4)
    assert not nll.requires_grad and scores.grad[target.eq(PAD)].abs().max() == 0


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("block", [1, 30, 10**6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("of_features", [False, True])
def test_soft_targets(monkeypatch, weight, block, dtype, of_features):
    monkeypatch.setattr(smoothed, "_CPU", block)
    torch.manual_seed(1)
    scores = (3 * torch.randn(7, 11)).to(dtype).requires_grad_()
    states, projection, bias = (torch.randn(*size).to(dtype) for size in ((7, 4), (11, 4), (11,)))
    target = torch.tensor([3, PAD, 4, 10, 0, PAD, 3])
    soft = torch.log_softmax(F.linear(states, projection, bias), -1, dtype=torch.float32)
    teacher = smoothed.Features(states, projection, bias) if of_features else soft
    loss, nll = smoothed.label_smoothed_loss(scores, target, 0.1, PAD, teacher, weight)
    (128 * loss).backward()
    other = scores.detach().clone().requires_grad_()
    lprobs = torch.log_softmax(other, -1, dtype=torch.float32)
    labels, expected_nll = label_smoothed_nll_loss(lprobs, target, 0.1, PAD)
    apart = (soft.exp() * (soft - lprobs)).sum(-1)[target.ne(PAD)].sum()
    expected = (1 - weight) * labels + weight * apart
    (128 * expected).backward()
    # Products of a block may round otherwise than those of all rows.
    exact = dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=1e-5 if exact else 1e-2, atol=1e-5)
    torch.testing.assert_close(nll, expected_nll)
    torch.testing.assert_close(scores.grad, other.grad, rtol=2e-5 if exact else 2e-2, atol=1e-4 if exact else 0.5)


def test_a_scaled_loss_does_not_underflow():
    # Gradients of improbable words, below what half precision can hold, times a loss scale.
    scores = torch.tensor([[20.0] + [0.0] * 9], dtype=torch.float16, requires_grad=True)
    loss, _ = smoothed.label_smoothed_loss(scores, torch.tensor([0]), 0.0, PAD)
    (2.0**16 * loss).backward()
    torch.testing.assert_close(scores.grad[0, 1].float(), torch.tensor(2.0**16 * 2.0611536e-09), rtol=1e-2, atol=0)
