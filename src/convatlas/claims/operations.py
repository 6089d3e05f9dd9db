"""Claims about multiply-accumulates: Inception, ResNet, grouped and separable convolution."""

from __future__ import annotations

from functools import partial

from torch import nn

from convatlas.claims.measuring import Measured, activations, macs_step, measure, network
from convatlas.claims.verdicts import Computed, Reading, Step
from convatlas.layers.conv import named
from convatlas.layers.inception import inception, naive_inception
from convatlas.models.resnet import BasicBlock, Bottleneck, PaddedShortcut

__all__ = [
    "grouped",
    "halve_double",
    "inception_operations",
    "resnet_cost",
    "same_compute",
    "se_overhead",
    "separable",
]

_SIDE = 56  # of the map on which blocks are compared; it cancels out


def inception_operations() -> Computed:
    """Count both Inception modules of the lecture on a map of 28×28×256."""
    naive = measure(partial(naive_inception, 256, 128, 192, 96), (256, 28, 28))
    reduced = measure(partial(inception, 256, 128, (64, 192), (64, 96), 64), (256, 28, 28))
    steps = []
    for name, net in (("naive", naive), ("reduced", reduced)):
        for row in net.rows("conv2d"):
            step = macs_step(net, row)
            steps.append(Step(f"{name}: {step.name}", step.how, step.value))
        steps.append(Step(f"{name}: all", "sum", net.report.macs))
    (three,) = reduced.rows("conv2d", prefix="three.conv")
    twice = reduced.report.macs + three.macs
    steps.append(
        Step("reduced: its 3×3 counted twice", f"{reduced.report.macs} + {three.macs}", twice)
    )
    return Computed(
        {"naive": naive.report.macs, "reduced": reduced.report.macs},
        steps,
        [
            Reading(
                "reduced",
                twice,
                "the 3×3 convolution reads 128 channels although the 1×1 before it makes 64, "
                "which counts it twice",
            )
        ],
    )


def resnet_cost() -> Computed:
    """Count ResNet-18 and ResNet-34, with both kinds of shortcut."""
    nets = {n: network(f"resnet{n}") for n in (18, 34)}
    padded = partial(BasicBlock, shortcut=PaddedShortcut)
    without = {n: network(f"resnet{n}", block=padded) for n in (18, 34)}
    convs = {n: sum([row.macs for row in net.rows("conv2d")]) for n, net in nets.items()}
    return Computed(
        {f"r{n}": net.report.macs for n, net in nets.items()},
        [
            *(Step(f"ResNet-{n}: convolutions", "sum", convs[n]) for n in nets),
            *(Step(f"ResNet-{n}: all", f"{convs[n]} + 512·1000", nets[n].report.macs)
              for n in nets),
            *(Step(f"ResNet-{n} without projections", "counted", without[n].report.macs)
              for n in nets),
        ],
        [
            Reading(
                f"r{n}",
                net.report.macs,
                "the shortcuts have no parameters (the paper's option A)",
                is_fair=True,
            )
            for n, net in without.items()
        ],
    )  # fmt: skip


def same_compute() -> Computed:
    """Compare what ResNets and VGG-16 cost."""
    vgg = network("vgg16").report
    resnets = {n: network(f"resnet{n}").report for n in (50, 101, 152)}
    mixed = 2 * resnets[101].macs / vgg.macs
    return Computed(
        {"ratio": resnets[101].macs / vgg.macs},
        [
            Step("VGG-16: MACs", "counted", vgg.macs),
            *(Step(f"ResNet-{n}: MACs", "counted", net.macs) for n, net in resnets.items()),
            *(
                Step(f"ResNet-{n} / VGG-16", f"{net.macs}/{vgg.macs}", net.macs / vgg.macs)
                for n, net in resnets.items()
            ),
            Step(
                "ResNet-101 at two operations per MAC", f"2·{resnets[101].macs}/{vgg.macs}", mixed
            ),
        ],
        [
            Reading(
                "ratio",
                mixed,
                "ResNet-101 is counted with two operations per multiply-add and VGG-16 with one",
            )
        ],
        [
            "What it is to show holds all the more: 101 layers cost "
            f"{resnets[101].macs / vgg.macs:.2f} of VGG-16's 16, and 152 layers "
            f"{resnets[152].macs / vgg.macs:.2f}."
        ],
    )


def halve_double() -> Computed:
    """Compare a 3×3 convolution with one on half the side and twice the channels."""
    wide = measure(partial(nn.Conv2d, 64, 64, 3, padding=1, bias=False), (64, 56, 56))
    deep = measure(partial(nn.Conv2d, 128, 128, 3, padding=1, bias=False), (128, 28, 28))
    (first,), (second,) = wide.report.layers, deep.report.layers
    maps = activations([first]), activations([second])
    steps = [
        Step("56×56×64: MACs", "56·56·64·3·3·64", first.macs),
        Step("28×28×128: MACs", "28·28·128·3·3·128", second.macs),
        Step("56×56×64: values", "56·56·64", maps[0]),
        Step("28×28×128: values", "28·28·128", maps[1]),
        Step("64 channels: parameters", "3·3·64·64", first.params),
        Step("128 channels: parameters", "3·3·128·128", second.params),
    ]
    figures = {
        "macs": second.macs / first.macs,
        "memory": maps[1] / maps[0],
        "params": second.params / first.params,
    }
    return Computed(figures, steps)


def grouped() -> Computed:
    """Count grouped convolutions, and ResNeXt's blocks beside the bottleneck."""
    convs = {g: _conv(64, 3, g) for g in (1, 2, 4, 8)}
    plain = _block()
    blocks = {"4x24": _block(4, 24), "32x4": _block(32, 4)}
    full, unit = convs[1].report.macs, _SIDE * _SIDE * 64 * 64
    return Computed(
        {
            "groups": [full / convs[g].report.macs for g in (2, 4, 8)],
            "bottleneck": plain.report.macs / unit,
            **{name: block.report.macs / plain.report.macs for name, block in blocks.items()},
        },
        [
            *(
                Step(f"3×3, 64 channels, {g} groups: MACs", f"{_SIDE}·{_SIDE}·64·{64 // g}·3·3",
                     net.report.macs)
                for g, net in convs.items()
            ),
            *(macs_step(plain, row) for row in plain.rows("conv2d")),
            Step("bottleneck: MACs", f"17·{_SIDE}·{_SIDE}·64·64", plain.report.macs),
            *(
                Step(f"ResNeXt {name}: MACs", f"{_SIDE}·{_SIDE}·{g}·(8·64·{c} + 9·{c}·{c})",
                     blocks[name].report.macs)
                for name, g, c in (("4x24", 4, 24), ("32x4", 32, 4))
            ),
        ],
    )  # fmt: skip


def _conv(channels: int, kernel_size: int, groups: int) -> Measured:
    conv = partial(
        nn.Conv2d, channels, channels, kernel_size, padding=kernel_size // 2, groups=groups
    )
    return measure(conv, (channels, _SIDE, _SIDE))


def _block(paths: int = 1, width: int = 64) -> Measured:
    """Return the bottleneck on 256 channels, its 3×3 in so many paths of so many channels."""
    block = partial(Bottleneck, 256, 256, 1, width_ratio=paths * width / 256, groups=paths)
    return measure(block, (256, _SIDE, _SIDE))


_SEPARABLE = ((64, 3), (128, 5), (256, 7))  # channels N, side of the kernel D


def separable() -> Computed:
    """Compare depthwise separable convolutions with full ones, and both with the formula."""
    ratios, steps = [], []
    for channels, side in _SEPARABLE:
        full = _conv(channels, side, 1).report.macs
        split = measure(partial(_separated, channels, side), (channels, _SIDE, _SIDE)).report.macs
        formula = 1 / channels + 1 / side**2
        ratios.append(split / full / formula)
        name = f"N = {channels}, D = {side}"
        steps += [
            Step(f"{name}: full", f"{_SIDE}·{_SIDE}·{channels}·{channels}·{side}·{side}", full),
            Step(
                f"{name}: separable",
                f"{_SIDE}·{_SIDE}·{channels}·({side}·{side} + {channels})",
                split,
            ),
            Step(f"{name}: separable / full", f"1/{channels} + 1/{side * side}", split / full),
        ]
    return Computed({"ratio": ratios}, steps)  # fmt: skip


def _separated(channels: int, side: int) -> nn.Sequential:
    return named(
        depthwise=nn.Conv2d(channels, channels, side, padding=side // 2, groups=channels),
        pointwise=nn.Conv2d(channels, channels, 1),
    )


def se_overhead() -> Computed:
    """Compare ResNet-50 with and without squeeze-and-excitation."""
    plain, gated = network("resnet50").report, network("seresnet50").report
    ratios = {
        "MACs": gated.macs / plain.macs,
        "FLOPs of all operators": gated.flops / plain.flops,
        "parameters": gated.params / plain.params,
        "bytes of activations": gated.activation_bytes / plain.activation_bytes,
    }
    steps = []
    for name, net in (("ResNet-50", plain), ("SE-ResNet-50", gated)):
        steps += [
            Step(f"{name}: MACs", "counted", net.macs),
            Step(f"{name}: FLOPs of all operators", "counted", net.flops),
            Step(f"{name}: parameters", "counted", net.params),
            Step(f"{name}: bytes of activations", "counted", net.activation_bytes),
        ]
    more = {name: f"{100 * (ratio - 1):.1f} %" for name, ratio in ratios.items()}
    return Computed(
        {"macs": ratios["MACs"], "flops": ratios["FLOPs of all operators"]},
        [*steps, *(Step(f"{name}: ratio", "with / without", r) for name, r in ratios.items())],
        remarks=[
            f"The cost is tiny in operations only: {more['parameters']} more parameters and "
            f"{more['bytes of activations']} more bytes of activations."
        ],
    )
