"""Class activation maps against hand-worked numbers and the identities of the papers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convatlas.errors import InputSizeError, OptionError
from convatlas.explain.cam import (
    class_activation_map,
    class_activation_scores,
    grad_cam,
    grad_cam_scores,
)
from convatlas.layers.conv import ConvNormAct
from convatlas.layers.head import pooled_classifier
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import create_model


def pooled_linear(stage: nn.Module, weight: list[list[float]], stride: int = 1) -> ConvNet:
    """A net whose map is known, with global average pooling and a linear layer without bias."""
    classes, channels = len(weight), len(weight[0])
    net = ConvNet(
        nn.Identity(),
        [stage],
        pooled_classifier(channels, classes),
        channels=[channels],
        strides=[stride],
        in_channels=channels,
    )
    with torch.no_grad():
        net.head.classifier.weight.copy_(torch.tensor(weight))
        net.head.classifier.bias.zero_()
    return net


def random_net(seed: int = 0) -> ConvNet:
    torch.manual_seed(seed)
    net = ConvNet(
        ConvNormAct(3, 8, 3, 2),
        [ConvNormAct(8, 12, 3, 1), ConvNormAct(12, 16, 3, 2)],
        pooled_classifier(16, 5, dropout=0.5),
        channels=[12, 16],
        strides=[2, 2],
    )
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return net


def images(count: int = 3, size: int = 32) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_grad_cam_worked_by_hand() -> None:
    # A₁ has 4 in the first corner, A₂ has 8 in the last; y₀ = mean A₁ - 0.5 · mean A₂, so
    # α = (1/4, -1/8) and Σ α A = 1 in the first corner, -1 in the last.
    net = pooled_linear(nn.Identity(), [[1.0, -0.5], [-1.0, 0.5]])
    image = torch.tensor([[[[4.0, 0], [0, 0]], [[0, 0], [0, 8.0]]]])
    torch.testing.assert_close(grad_cam_scores(net, image, 0), torch.tensor([[[1.0, 0], [0, -1]]]))
    torch.testing.assert_close(grad_cam(net, image, 0), torch.tensor([[[1.0, 0], [0, 0]]]))
    torch.testing.assert_close(grad_cam(net, image, 1), torch.tensor([[[0.0, 0], [0, 1]]]))


def test_the_map_is_enlarged_bilinearly() -> None:
    # A 1×2 map (1, 0) on four pixels: centres at 1/4 and 3/4 give 1, 3/4, 1/4, 0.
    net = pooled_linear(nn.AvgPool2d(2), [[1.0]], stride=2)
    image = torch.tensor([[[[2.0, 2, 0, 0], [2, 2, 0, 0]]]])
    expected = torch.tensor([[[1, 0.75, 0.25, 0], [1, 0.75, 0.25, 0]]])
    torch.testing.assert_close(grad_cam(net, image, 0), expected)


def test_grad_cam_is_cam_up_to_the_number_of_positions() -> None:
    # α = ∂y/∂A averaged over Z positions is w / Z for pooling and a linear layer.
    net, x = random_net(), images()
    cam = class_activation_scores(net, x)
    gradient = grad_cam_scores(net, x, stage="stages.1")
    torch.testing.assert_close(gradient * cam[0].numel(), cam, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        grad_cam(net, x, stage="stages.1"), class_activation_map(net, x), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_035"])
def test_the_mean_of_cam_and_the_bias_make_the_logit(name: str) -> None:
    torch.manual_seed(0)
    net, x = create_model(name, num_classes=4, stem="small").eval(), images(2)
    nn.init.normal_(net.head.classifier.bias)
    with torch.no_grad():
        logits = net(x)
    for target in range(4):
        mean = class_activation_scores(net, x, target).mean((1, 2))
        torch.testing.assert_close(mean + net.head.classifier.bias[target], logits[:, target])


def test_the_default_is_the_prediction() -> None:
    net, x = random_net().eval(), images()
    predicted = net(x).argmax(1)
    torch.testing.assert_close(grad_cam(net, x), grad_cam(net, x, predicted))
    one_by_one = torch.cat([grad_cam(net, x[i : i + 1], int(predicted[i])) for i in range(3)])
    torch.testing.assert_close(grad_cam(net, x), one_by_one, rtol=1e-4, atol=1e-5)


def test_maps_lie_between_0_and_1_at_the_size_of_the_images() -> None:
    maps = grad_cam(random_net(), images(2, 40)[:, :, :, :36])
    assert maps.shape == (2, 40, 36)
    assert maps.min() >= 0
    torch.testing.assert_close(maps.amax((1, 2)), torch.ones(2))


def test_no_positive_evidence_is_zero_everywhere() -> None:
    net = pooled_linear(nn.Identity(), [[-1.0]])
    assert grad_cam(net, torch.ones(1, 1, 4, 4), 0).eq(0).all()
    assert class_activation_map(net, torch.ones(1, 1, 4, 4), 0).eq(0).all()


def test_the_default_stage_is_the_last_with_a_map_of_4_by_4() -> None:
    torch.manual_seed(0)
    net = create_model("resnet18", num_classes=3)
    large, small = images(1, 128), images(1, 32)
    torch.testing.assert_close(grad_cam(net, large), grad_cam(net, large, stage="stages.3"))
    torch.testing.assert_close(grad_cam(net, small), grad_cam(net, small, stage="stages.1"))
    tiny = pooled_linear(nn.Identity(), [[1.0]])
    assert grad_cam(tiny, torch.ones(1, 1, 2, 2), 0).shape == (1, 2, 2)


@pytest.mark.parametrize("explain", [grad_cam, class_activation_map])
def test_the_model_is_left_as_it_was(explain: Any) -> None:
    net = random_net().train()
    net.stem.eval()
    net.stages[0].conv.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    random = torch.get_rng_state()
    x = images()
    explain(net, x)
    assert [module.training for module in net.modules()] == modes
    assert all(p.grad is None for p in net.parameters())
    assert [n for n, p in net.named_parameters() if not p.requires_grad] == ["stages.0.conv.weight"]
    assert all(torch.equal(before[n], v) for n, v in net.state_dict().items())
    assert not any(m._forward_hooks or m._backward_hooks for m in net.modules())
    assert torch.equal(torch.get_rng_state(), random)
    assert x.grad is None
    assert not x.requires_grad


def test_the_mode_comes_back_after_an_error() -> None:
    net = random_net().train()
    with pytest.raises(OptionError):
        grad_cam(net, images(), 5)
    assert all(module.training for module in net.modules())


def test_frozen_networks_and_callers_without_gradients() -> None:
    net, x = random_net().requires_grad_(False), images()
    expected = grad_cam(net, x)
    with torch.no_grad():
        torch.testing.assert_close(grad_cam(net, x), expected)
    with torch.inference_mode():
        torch.testing.assert_close(grad_cam(net, x.clone()), expected)
        assert class_activation_map(net, x.clone()).shape == (3, 32, 32)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (5, "0…4"),
        (-1, "0…4"),
        (torch.tensor([0, 1]), "3 images"),
        (torch.tensor([0.0, 1, 2]), "float"),
    ],
)
def test_impossible_targets(target: Any, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        grad_cam(random_net(), images(), target)


def test_other_bad_input_teaches() -> None:
    net, x = random_net(), images()
    with pytest.raises(OptionError, match=r"stages\.0, stages\.1, got 'layer4'"):
        grad_cam(net, x, stage="layer4")
    with pytest.raises(InputSizeError):
        grad_cam(net, x[:, :1])
    with pytest.raises(OptionError, match="finite"):
        grad_cam(net, x * float("nan"))
    with pytest.raises(OptionError, match="use grad_cam"):
        class_activation_map(create_model("vgg11", num_classes=2, stem="small"), x)
    with pytest.raises(OptionError, match="use grad_cam"):
        class_activation_map(create_model("resnet18", num_classes=0), x)
