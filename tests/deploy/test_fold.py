"""Folding batch normalisation: exact where it applies, and left alone where it does not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from convatlas.deploy.fold import fold_batch_norm
from convatlas.layers.conv import ConvNormAct
from convatlas.layers.head import pooled_classifier
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import create_model


def net_of(stage: nn.Module, channels: int = 4) -> ConvNet:
    head = pooled_classifier(channels, 3)
    return ConvNet(nn.Identity(), [stage], head, channels=[channels], strides=[1])


def with_statistics(net: ConvNet, seed: int = 0) -> ConvNet:
    """Give every normalisation statistics and parameters that matter."""
    torch.manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.3, 3)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 2)
                nn.init.normal_(module.bias)
    return net


def norms(net: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())


def assert_same(net: ConvNet, folded: ConvNet, size: int = 32) -> None:
    x = torch.randn(2, net.in_channels, size, size, generator=torch.Generator().manual_seed(5))
    net = net.eval()
    with torch.no_grad():
        for a, b in zip(net.forward_features(x), folded.forward_features(x), strict=True):
            torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-5 * float(a.abs().max()))
        a, b = net(x), folded(x)
    torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-5 * float(a.abs().max()))


def test_worked_by_hand() -> None:
    # γ = 3, β = 1, μ = 2, σ² + ε = 4, so s = 3/2: W = 5 becomes 7.5, b = 0 becomes 1 - 3 = -2.
    conv, norm = nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4, eps=1.0)
    nn.init.constant_(conv.weight, 5)
    nn.init.constant_(norm.weight, 3)
    nn.init.constant_(norm.bias, 1)
    norm.running_mean.fill_(2)
    norm.running_var.fill_(3)
    folded = fold_batch_norm(net_of(nn.Sequential(conv, norm)))
    stage = folded.stages[0]
    assert isinstance(stage[1], nn.Identity)
    assert stage[0].weight.unique().tolist() == [7.5]
    assert stage[0].bias.unique().tolist() == [-2.0]


@pytest.mark.parametrize(
    "name", ["resnet18", "vgg11_bn", "mobilenetv2_035", "efficientnet_lite0", "cifar_resnet20"]
)
def test_every_normalisation_of_a_conv_norm_net_goes(name: str) -> None:
    net = with_statistics(create_model(name, num_classes=5, stem="small"))
    folded = fold_batch_norm(net, (32, 32))
    assert norms(net) > 0
    assert norms(folded) == 0
    assert_same(net, folded)


def test_the_model_is_left_as_it_was() -> None:
    net = with_statistics(net_of(ConvNormAct(3, 4, 3))).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    folded = fold_batch_norm(net)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())
    assert all(module.training for module in net.modules())
    assert not any(module.training for module in folded.modules())
    assert {p.data_ptr() for p in net.parameters()}.isdisjoint(
        p.data_ptr() for p in folded.parameters()
    )


def test_bias_groups_and_a_norm_without_parameters() -> None:
    stage = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, padding_mode="reflect"),
        nn.BatchNorm2d(6, affine=False),
        nn.Conv2d(6, 4, 3, groups=2),
        nn.BatchNorm2d(4),
    )
    net = with_statistics(net_of(stage))
    folded = fold_batch_norm(net)
    assert norms(folded) == 0
    assert_same(net, folded)


class Branching(nn.Module):
    """The convolution's output is read by the normalisation and by the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return y + self.norm(y)


class Reversed(Branching):
    """Registered as convolution, norm; run as norm after an activation."""

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(torch.relu(self.conv(x)))


class Repeated(Branching):
    """One convolution for two inputs, one of them normalised."""

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)) + self.conv(-x)


class TwiceNormalised(Branching):
    """One normalisation for a convolution and for its own output."""

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.norm(self.conv(x)))


class Standardised(nn.Conv2d):
    """A convolution that scales its weight to length 1, so that a scaled weight does nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight / self.weight.norm(), self.bias)


@pytest.mark.parametrize(
    "stage",
    [
        Branching(),
        Reversed(),
        Repeated(),
        TwiceNormalised(),
        nn.Sequential(Standardised(3, 4, 1), nn.BatchNorm2d(4)),
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)),
        nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1)),
    ],
    ids=lambda stage: type(stage).__name__,
)
def test_what_cannot_be_folded_stays(stage: nn.Module) -> None:
    net = with_statistics(net_of(stage))
    folded = fold_batch_norm(net)
    assert norms(folded) == 1
    assert_same(net, folded)


def test_a_stage_that_ends_before_its_norm_keeps_its_features() -> None:
    stages = [nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU())]
    net = with_statistics(
        ConvNet(nn.Identity(), stages, pooled_classifier(4, 3), channels=[4, 4], strides=[1, 1])
    )
    folded = fold_batch_norm(net)
    assert norms(folded) == 1
    assert_same(net, folded)
