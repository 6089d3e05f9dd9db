"""Published numbers of whole networks, written here in plain torch, and a second counter."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from convatlas.analysis.cost import analyze
from convatlas.models.registry import create_model


def vgg16():
    layers, channels = [], 3
    for width in (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", *(512, 512, 512, "M") * 2):
        if width == "M":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
    head = [nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(512 * 7 * 7, 4096), nn.ReLU()]
    head += [nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 1000)]
    return nn.Sequential(*layers, *head)


def alexnet():
    features = [
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
    ]
    head = [nn.Flatten(), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(), nn.Linear(4096, 4096)]
    return nn.Sequential(*features, *head, nn.ReLU(), nn.Linear(4096, 1000))


def conv_norm(in_channels, out_channels, kernel, stride=1, groups=1):
    conv = nn.Conv2d(
        in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False
    )
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


class Residual(nn.Module):
    def __init__(self, path, shortcut, act):
        super().__init__()
        self.path, self.shortcut, self.act = path, shortcut, act

    def forward(self, x):
        return self.act(self.path(x) + self.shortcut(x))


def basic(channels, width, stride):
    path = nn.Sequential(
        conv_norm(channels, width, 3, stride), nn.ReLU(), conv_norm(width, width, 3)
    )
    return path, width


def bottleneck(channels, width, stride):
    path = nn.Sequential(
        *(conv_norm(channels, width, 1), nn.ReLU()),
        *(conv_norm(width, width, 3, stride), nn.ReLU()),
        conv_norm(width, 4 * width, 1),
    )
    return path, 4 * width


class ResNet(nn.Module):
    def __init__(self, block, depths):
        super().__init__()
        self.conv1, self.relu, self.maxpool = (
            conv_norm(3, 64, 7, 2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        )
        channels = 64
        for stage, depth in enumerate(depths):
            blocks = []
            for place in range(depth):
                stride = 2 if stage and not place else 1
                path, out = block(channels, 64 * 2**stage, stride)
                same = stride == 1 and channels == out
                shortcut = nn.Identity() if same else conv_norm(channels, out, 1, stride)
                blocks.append(Residual(path, shortcut, nn.ReLU()))
                channels = out
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, 1000)

    def forward(self, x):
        x = self.maxpool(self.relu(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


def mobilenet_v2():
    layers, channels = [conv_norm(3, 32, 3, 2), nn.ReLU6()], 32
    table = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)]
    for t, c, n, s in [*table, (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]:
        for place in range(n):
            width, stride = channels * t, s if place == 0 else 1
            expand = [conv_norm(channels, width, 1), nn.ReLU6()] if t != 1 else []
            depthwise = conv_norm(width, width, 3, stride, groups=width)
            path = nn.Sequential(*expand, depthwise, nn.ReLU6(), conv_norm(width, c, 1))
            identity = stride == 1 and channels == c
            layers.append(Residual(path, nn.Identity(), nn.Identity()) if identity else path)
            channels = c
    layers += [conv_norm(channels, 1280, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Dropout(0.2), nn.Linear(1280, 1000))


DEPTHS = {
    "resnet18": (basic, (2, 2, 2, 2)),
    "resnet34": (basic, (3, 4, 6, 3)),
    "resnet50": (bottleneck, (3, 4, 6, 3)),
    "resnet101": (bottleneck, (3, 4, 23, 3)),
}


def build(name):
    with torch.device("meta"):
        if name in DEPTHS:
            return ResNet(*DEPTHS[name])
        return {"vgg16": vgg16, "alexnet": alexnet, "mobilenet_v2": mobilenet_v2}[name]()


@pytest.mark.parametrize(
    ("name", "macs", "params"),
    [
        ("alexnet", 714_188_480, 61_100_840),
        ("vgg16", 15_470_264_320, 138_357_544),
        ("resnet18", 1_814_073_344, 11_689_512),
        ("resnet50", 4_089_184_256, 25_557_032),
        ("mobilenet_v2", 300_774_272, 3_504_872),
    ],
)
def test_published_macs_and_params(name, macs, params):
    report = analyze(build(name))
    assert (report.macs, report.params, report.trainable_params) == (macs, params, params)
    assert report.input_shape == (1, 3, 224, 224)
    assert report.output_shape == (1, 1000)
    assert not report.is_lower_bound
    assert report.params == sum(layer.params for layer in report.layers)


@pytest.mark.parametrize("name", ["resnet34", "mobilenet_v2", "vgg16"])
def test_flop_counter_mode_counts_the_same_products(name):
    model = build(name).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.empty(2, 3, 128, 96, device="meta"))
    report = analyze(model, (128, 96), batch=2)
    assert 2 * report.macs == counter.get_total_flops()


def test_vgg16_layer_by_layer():
    report = analyze(build("vgg16"))
    params = [layer.params for layer in report.layers if layer.params]
    assert params == [
        *(1_792, 36_928, 73_856, 147_584, 295_168, 590_080, 590_080, 1_180_160),
        *[2_359_808] * 5,
        *(102_764_544, 16_781_312, 4_097_000),
    ]
    convolutions = [layer for layer in report.layers if layer.operator == "conv2d"]
    assert convolutions[0].macs == 224 * 224 * 64 * 27
    assert convolutions[-1].output_shape == (1, 512, 14, 14)
    assert sum(layer.macs for layer in convolutions) == 15_346_630_656
    assert convolutions[0].activation_bytes == 4 * 64 * 224 * 224
    relu = report.layers[1]
    assert (relu.operator, relu.activation_bytes, relu.flops) == ("relu", 0, 64 * 224 * 224)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("resnet18", (7, 11, 43, 99, 211, 435)),
        ("resnet34", (7, 11, 59, 179, 547, 899)),
        ("resnet50", (7, 11, 35, 91, 267, 427)),
        ("resnet101", (7, 11, 35, 91, 811, 971)),
    ],
)
def test_receptive_fields_of_the_resnet_stages(name, sizes):
    report = analyze(build(name))
    stages = {}
    for layer in report.layers:
        if layer.receptive_field is not None:
            stages[layer.name.split(".")[0]] = layer.receptive_field
    order = ("conv1", "maxpool", "layer1", "layer2", "layer3", "layer4")
    assert tuple(stages[stage].size for stage in order) == tuple((n, n) for n in sizes)
    assert [stages[stage].stride[0] for stage in order] == [2, 4, 4, 8, 16, 32]
    last = stages["layer4"]
    assert last.start == (-(sizes[-1] - 1) // 2,) * 2, "the first field is centred on pixel 0"
    assert report.receptive_field == last


def test_vgg16_and_alexnet_receptive_fields():
    """The table of Araujo, Norris and Sim (2019): 212 and 195 pixels after the last pooling."""
    assert analyze(build("vgg16")).receptive_field.size == (212, 212)
    assert analyze(build("alexnet")).receptive_field.size == (195, 195)


def test_groups_add_up_to_the_totals():
    report = analyze(build("resnet18"))
    for groups in (report.by_prefix(1), report.by_prefix(3), report.by_operator()):
        for total in ("params", "macs", "flops", "activation_bytes"):
            assert sum(getattr(group, total) for group in groups) == getattr(report, total)
        assert sum(group.layers for group in groups) == len(report.layers)
    names = [group.name for group in report.by_prefix(1)]
    assert names[:4] == ["conv1", "relu", "maxpool", "layer1"]
    assert report.by_prefix(1)[3].output_shape == (1, 64, 56, 56)
    assert {group.name: group.layers for group in report.by_operator()}["conv2d"] == 20


def test_stages_of_the_common_anatomy():
    class Anatomy(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 3)
            self.stages = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Conv2d(8, 8, 3))
            self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))

        def forward(self, x):
            return self.head(self.stages(self.stem(x)))

    stages = analyze(Anatomy(), 16).by_stage()
    assert [stage.name for stage in stages] == ["stem", "stages.0", "stages.1", "head"]
    assert [stage.params for stage in stages] == [112, 296, 584, 18]


@pytest.mark.parametrize("name", ["vgg16", "resnet18", "efficientnet_b0"])
def test_the_strides_that_our_backbones_declare(name):
    with torch.device("meta"):
        model = create_model(name)
    report = analyze(model)
    strides = {}
    for layer in report.layers:
        if layer.receptive_field is not None:
            strides[".".join(layer.name.split(".")[:2])] = layer.receptive_field.stride[0]
    assert [strides[feature.name] for feature in model.feature_info] == [
        feature.stride for feature in model.feature_info
    ]
    stages = [stage.name for stage in report.by_stage()]
    assert stages[-1] == "head"
    assert [stage for stage in stages if "." in stage] == [f.name for f in model.feature_info]


def test_names_are_unique_and_types_tell_modules_from_functions():
    report = analyze(build("resnet18"))
    by_name = {layer.name: layer for layer in report.layers}
    assert len(by_name) == len(report.layers)
    assert by_name["layer1.0.path.0.0"].module_type == "Conv2d"
    assert by_name["layer1.0.add"].module_type == ""
    assert by_name["adaptive_avg_pool2d"].output_shape == (1, 512, 1, 1)


def test_batch_and_dtype_scale_what_they_should():
    one, model = analyze(build("resnet18")), build("resnet18").half()
    four = analyze(model, batch=4)
    assert (four.macs, four.flops) == (4 * one.macs, 4 * one.flops)
    assert four.params == one.params
    assert four.activation_bytes == 2 * one.activation_bytes


def test_stages_of_alexnet_normalise_for_themselves():
    """5 + 4 operations per value of the two maps of 2012: 96 × 55 × 55 and 256 × 27 × 27."""
    with torch.device("meta"):
        model = create_model("alexnet_2012")
    norms = [layer for layer in analyze(model, 227).layers if "response" in layer.operator]
    assert [layer.name for layer in norms] == ["stages.0.2", "stages.1.2"]
    assert [layer.flops for layer in norms] == [9 * 96 * 55 * 55, 9 * 256 * 27 * 27]
