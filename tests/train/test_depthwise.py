from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convatlas.train import depthwise
from convatlas.train.depthwise import QuickDepthwise, depthwise_backward

# kernel, stride, padding, height, width
SHAPES = [
    (3, 1, 1, 7, 9),
    (3, 2, 1, 8, 9),
    (3, 2, 0, 8, 9),
    (5, 1, 2, 6, 7),
    (5, 2, 2, 9, 8),
    (5, 3, 1, 11, 10),
    (7, 1, 3, 8, 8),
    (1, 2, 0, 5, 6),
    (3, (1, 2), (2, 0), 6, 9),
]


def gradients(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: object,
    padding: object,
    y_gradient: Tensor,
) -> list[Tensor]:
    leaves = [each.clone().requires_grad_() for each in (x, weight, bias) if each is not None]
    y = F.conv2d(*leaves, stride=stride, padding=padding, groups=x.shape[1])
    y.backward(y_gradient)
    return [leaf.grad for leaf in leaves if leaf.grad is not None]


@pytest.mark.parametrize(("kernel", "stride", "padding", "height", "width"), SHAPES)
@pytest.mark.parametrize("with_bias", [True, False])
def test_gradients_are_those_of_double_precision(
    kernel: int, stride: int, padding: int, height: int, width: int, with_bias: bool
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 6, height, width).bfloat16().to(memory_format=torch.channels_last)
    weight = torch.randn(6, 1, kernel, kernel).bfloat16()
    bias = torch.randn(6).bfloat16() if with_bias else None
    y = F.conv2d(x, weight, bias, stride, padding, groups=6)
    y_gradient = torch.randn_like(y)
    doubles = [None if each is None else each.double() for each in (x, weight, bias)]
    exact = gradients(*doubles, stride, padding, y_gradient.double())
    with QuickDepthwise():
        got = gradients(x, weight, bias, stride, padding, y_gradient)
    for ours, theirs in zip(got, exact, strict=True):
        assert ours.dtype is torch.bfloat16
        error = (ours.double() - theirs).abs().max() / theirs.abs().max()
        assert error < 2**-7  # two roundings to 8 bits


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((6, 6, 3, 3), {}),
        ((6, 2, 3, 3), {"groups": 3}),
        ((12, 1, 3, 3), {"groups": 6}),
        ((6, 1, 3, 3), {"groups": 6, "dilation": 2}),
        ((6, 1, 3, 3), {"groups": 6, "padding": 3}),
    ],
    ids=["dense", "grouped", "multiplied", "dilated", "padded beyond the kernel"],
)
def test_other_convolutions_go_their_usual_way(
    shape: tuple[int, ...], options: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depthwise, "_backward", lambda *_: pytest.fail("taken for depthwise"))
    x = torch.randn(2, 6, 9, 9).bfloat16().requires_grad_()
    weight = torch.randn(shape).bfloat16().requires_grad_()
    with QuickDepthwise():
        F.conv2d(x, weight, **options).sum().backward()
    fp32 = x.detach().float().requires_grad_()
    with QuickDepthwise():
        F.conv2d(fp32, torch.randn(6, 1, 3, 3), groups=6).sum().backward()
    assert weight.grad is not None


def test_frozen_images_or_weights_get_no_gradient() -> None:
    x, weight = torch.randn(2, 6, 9, 9).bfloat16(), torch.randn(6, 1, 5, 5).bfloat16()
    for learns in ((True, False), (False, True)):
        leaves = [
            each.clone().requires_grad_(wanted)
            for each, wanted in zip((x, weight), learns, strict=True)
        ]
        with QuickDepthwise():
            F.conv2d(*leaves, groups=6).sum().backward()
        assert [leaf.grad is not None for leaf in leaves] == list(learns)


def test_it_is_entered_for_networks_with_depthwise_convolutions_in_bf16_alone() -> None:
    deep, dense = nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 3)
    assert isinstance(depthwise_backward(nn.Sequential(dense, deep), in_bf16=True), QuickDepthwise)
    for model, in_bf16 in ((deep, False), (dense, True), (nn.Conv2d(1, 4, 3), True)):
        assert not isinstance(depthwise_backward(model, in_bf16=in_bf16), QuickDepthwise)
