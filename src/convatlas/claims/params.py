"""Claims about parameters: VGG-16, GoogLeNet, and two small nets given layer by layer."""

from __future__ import annotations

from functools import partial

from torch import nn

from convatlas.claims.measuring import (
    WEIGHTED,
    Measured,
    measure,
    network,
    params_step,
    path_length,
)
from convatlas.claims.verdicts import Computed, Reading, Step
from convatlas.layers.branches import Branches
from convatlas.layers.conv import named

__all__ = ["gap_shift", "googlenet_size", "keras_inception", "vgg16_blocks", "vgg16_params"]


def vgg16_params() -> Computed:
    """Count VGG-16's parameters layer by layer."""
    vgg = network("vgg16")
    conv, full = _split(vgg)
    rows = vgg.rows(*WEIGHTED)
    return Computed(
        {
            "params": vgg.report.params,
            "full": full,
            "share": 100 * full / vgg.report.params,
            "first": rows[0].params,
            "fc6": rows[13].params,
        },
        [
            *(params_step(vgg, row) for row in rows),
            Step("convolutions", "sum of the first 13", conv),
            Step("fully connected", "sum of the last 3", full),
            Step("all", f"{conv} + {full}", vgg.report.params),
        ],
    )


def vgg16_blocks() -> Computed:
    """Share VGG-16's parameters out between convolutions and fully connected layers."""
    vgg = network("vgg16")
    conv, full = _split(vgg)
    total = vgg.report.params
    shares = {"conv": 100 * conv / total, "full": 100 * full / total}
    stages = [group for group in vgg.report.by_stage() if group.params]
    return Computed(
        shares,
        [
            *(Step(group.name, f"{group.layers} operations", group.params) for group in stages),
            Step("convolutions, %", f"100·{conv}/{total}", shares["conv"]),
            Step("fully connected, %", f"100·{full}/{total}", shares["full"]),
        ],
    )


def _split(measured: Measured) -> tuple[int, int]:
    """Return the parameters of the convolutions and of the fully connected layers."""
    conv = sum([row.params for row in measured.rows("conv2d")])
    return conv, sum([row.params for row in measured.rows("linear")])


def googlenet_size() -> Computed:
    """Count GoogLeNet's parameters, and its layers along the longest way."""
    net = network("googlenet_2014", auxiliary=False)
    layers = path_length(net.model, 224, *WEIGHTED)
    pools = "max_pool2d", "adaptive_avg_pool2d"
    with_pools = path_length(net.model, 224, *WEIGHTED, *pools)
    (classifier,) = net.rows("linear")
    alexnet = network("alexnet_2012").report.params
    body = net.report.params - classifier.params
    return Computed(
        {"params": net.report.params, "layers": layers, "with_pools": with_pools},
        [
            *(
                Step(group.name, f"{group.layers} operations", group.params)
                for group in net.report.by_stage()
            ),
            Step("all, without auxiliary classifiers", "counted", net.report.params),
            Step("without the classifier", f"{net.report.params} - {classifier.params}", body),
            Step("AlexNet of 2012", "counted", alexnet),
            Step("a twelfth of it", f"{alexnet}/12", alexnet / 12),
            Step("layers with weights on the longest way", "counted", layers),
            Step("the same with poolings", "counted", with_pools),
        ],
        [
            Reading(
                "params",
                alexnet / 12,
                "the paper's “12 times fewer than AlexNet” is taken as the count",
            )
        ],
    )


def gap_shift() -> Computed:
    """Count the parameters of the two nets for shifted digits, layer by layer."""
    flatten = measure(partial(_digit_net, nn.Identity(), 128 * 6 * 6), (1, 64, 64))
    gap = measure(partial(_digit_net, nn.AdaptiveAvgPool2d(1), 128), (1, 64, 64))
    steps = []
    for name, net in (("flatten", flatten), ("GAP", gap)):
        for row in net.rows(*WEIGHTED):
            step = params_step(net, row)
            steps.append(Step(f"{name}: {step.name}", step.how, step.value))
        steps.append(Step(f"{name}: all", "sum", net.report.params))
    return Computed({"flatten": flatten.report.params, "gap": gap.report.params}, steps)


def _digit_net(pool: nn.Module, features: int) -> nn.Sequential:
    """Return three unpadded 3×3 convolutions, each pooled 2×2, and two fully connected layers."""
    return named(
        conv1=nn.Conv2d(1, 32, 3),
        act1=nn.ReLU(),
        pool1=nn.MaxPool2d(2),
        conv2=nn.Conv2d(32, 64, 3),
        act2=nn.ReLU(),
        pool2=nn.MaxPool2d(2),
        conv3=nn.Conv2d(64, 128, 3),
        act3=nn.ReLU(),
        pool3=nn.MaxPool2d(2),
        gather=pool,
        flatten=nn.Flatten(),
        hidden=nn.Linear(features, 64),
        act=nn.ReLU(),
        classifier=nn.Linear(64, 10),
    )


# In the order of the lecture's summary.
_SUMMARY = ("stem", "three.reduce", "five.reduce", "pool.pool", "one", "three.conv", "five.conv",
            "pool.project", "classifier")  # fmt: skip


def keras_inception() -> Computed:
    """Count the parameters of a net with one Inception module, layer by layer."""
    net = measure(_small_inception, (3, 32, 32))
    rows = {row.name.removeprefix("module."): row for row in net.report.layers}
    ordered = [rows[name] for name in _SUMMARY]
    return Computed(
        {"layers": [row.params for row in ordered]},
        [
            *(params_step(net, row) for row in ordered),
            Step("all", "sum", net.report.params),
        ],
    )


def _small_inception() -> nn.Sequential:
    """Return a 3×3 convolution, one Inception module, global average pooling and a classifier."""
    module = Branches(
        one=nn.Conv2d(32, 32, 1),
        three=named(reduce=nn.Conv2d(32, 64, 1), conv=nn.Conv2d(64, 32, 3, padding=1)),
        five=named(reduce=nn.Conv2d(32, 64, 1), conv=nn.Conv2d(64, 32, 5, padding=2)),
        pool=named(pool=nn.MaxPool2d(3, 1, padding=1), project=nn.Conv2d(32, 32, 1)),
    )
    return named(
        stem=nn.Conv2d(3, 32, 3, padding=1),
        module=module,
        gap=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        classifier=nn.Linear(128, 10),
    )
