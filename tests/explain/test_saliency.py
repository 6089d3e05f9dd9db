"""Gradient saliency against networks whose gradient is known in closed form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from convatlas.errors import OptionError
from convatlas.explain.saliency import gradient_saliency, input_gradient, smooth_grad


class Squares(nn.Module):
    """Logit k is (k + 1) · Σ x², so its gradient is 2 (k + 1) x."""

    def forward(self, x: Tensor) -> Tensor:
        total = x.square().sum((1, 2, 3))
        return torch.stack([total, 2 * total], dim=1)


def images() -> Tensor:
    return torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(3))


def test_the_gradient_of_a_linear_net_is_its_weight() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(60, 3))
    gradient = input_gradient(net, images(), torch.tensor([2, 0]))
    weight = net[1].weight.detach().reshape(3, 3, 4, 5)
    torch.testing.assert_close(gradient, weight[[2, 0]])
    assert all(p.grad is None for p in net.parameters())
    assert net.training


def test_the_gradient_of_squares() -> None:
    torch.testing.assert_close(input_gradient(Squares(), images(), 0), 2 * images())
    torch.testing.assert_close(input_gradient(Squares(), images()), 4 * images())


def test_saliency_is_the_largest_channel_over_its_maximum() -> None:
    largest = images().abs().amax(1)
    expected = largest / largest.amax((1, 2), keepdim=True)
    torch.testing.assert_close(gradient_saliency(Squares(), images(), 0), expected)


def test_smooth_grad_without_noise_is_saliency() -> None:
    plain = gradient_saliency(Squares(), images())
    torch.testing.assert_close(smooth_grad(Squares(), images(), samples=2, noise=0), plain)


def test_smooth_grad_averages_the_noise_away() -> None:
    plain = gradient_saliency(Squares(), images(), 1)
    few, many = (smooth_grad(Squares(), images(), 1, samples=n, noise=0.2) for n in (1, 400))
    assert (many - plain).abs().mean() < (few - plain).abs().mean() / 4


def test_smooth_grad_is_decided_by_its_seed_alone() -> None:
    state = torch.get_rng_state()
    first, again = (smooth_grad(Squares(), images(), samples=3, seed=7) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, smooth_grad(Squares(), images(), samples=3, seed=8))
    assert torch.equal(torch.get_rng_state(), state)


def test_impossible_options() -> None:
    with pytest.raises(OptionError, match="samples=0"):
        smooth_grad(Squares(), images(), samples=0)
    with pytest.raises(OptionError, match="noise=-1"):
        smooth_grad(Squares(), images(), noise=-1)
    with pytest.raises(OptionError, match="0…1"):
        gradient_saliency(Squares(), images(), 2)
