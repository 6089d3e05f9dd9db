"""The design rules: for each a net that breaks it and a twin that does not, and known networks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from convatlas import LintReport, lint
from convatlas.analysis.cost import analyze
from convatlas.analysis.lint.rule import SEVERITIES
from convatlas.analysis.lint.rules import RULES
from convatlas.errors import InputSizeError, OptionError, UnknownNameError
from convatlas.models.catalogue import find_entry
from convatlas.models.registry import create_model
from convatlas.render.lint import finding_text, lint_list, lint_to_json

IDS = [rule.id for rule in RULES]
PAGE = Path(__file__).parents[2] / "docs" / "lint.md"


def conv(before, after, kernel=3, stride=1, *, bias=True, groups=1):
    padding = kernel // 2
    return nn.Conv2d(before, after, kernel, stride, padding, bias=bias, groups=groups)


class Branches(nn.Module):
    """Two branches that read one map and are added."""

    def __init__(self, one, other):
        super().__init__()
        self.one, self.other = one, other

    def forward(self, x):
        return self.one(x) + self.other(x)


def pooled(*body, channels):
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def stages(first):
    """Four poolings in all, with a 3×3 layer behind each, after a first layer."""
    row = [first]
    while len(row) < 8:
        row += [nn.MaxPool2d(2), conv(16, 16)]
    return nn.Sequential(*row)


# Rule → net that breaks it, its sound twin, size of the image for both, layer, facts by hand.
CASES = {
    "tight-bottleneck": (
        nn.Sequential(conv(3, 8), nn.MaxPool2d(4), conv(8, 64)),
        nn.Sequential(conv(3, 16), nn.MaxPool2d(4), conv(16, 64)),  # 3072 → 1024
        32,
        "1",
        {"before": (3, 32, 32), "after": (8, 8, 8), "before_values": 3072, "times": 6.0},
    ),
    "large-filter": (
        nn.Sequential(conv(3, 16), conv(16, 16, 5)),
        nn.Sequential(conv(3, 16), conv(16, 16), conv(16, 16)),
        16,
        "1",  # 25 C² against 18 C²
        {"kernel": (5, 5), "weights": 25 * 256, "chain": 2, "chain_weights": 18 * 256},
    ),
    "coarse-first-filter": (
        nn.Sequential(conv(3, 8, 9), conv(8, 8)),
        nn.Sequential(conv(3, 8, 7), conv(8, 8)),
        16,
        "0",
        {"kernel": (9, 9), "stride": (1, 1), "weights": 81 * 3 * 8},
    ),
    "wide-layer": (
        nn.Sequential(conv(3, 256, 1), conv(256, 256)),
        nn.Sequential(conv(3, 256, 1), conv(256, 64, 1), conv(64, 64), conv(64, 256, 1)),
        8,
        "1",  # 768 products per pixel in the other layer
        {"in_channels": 256, "out_channels": 256, "macs_share": 9 * 256 / (9 * 256 + 3)},
    ),
    "unmixed-groups": (
        nn.Sequential(conv(3, 8), conv(8, 8, groups=2), nn.ReLU(), conv(8, 8, groups=4)),
        nn.Sequential(conv(3, 8), conv(8, 8, groups=2), conv(8, 8, 1), conv(8, 8, groups=4)),
        16,
        "3",
        {"groups": 4, "previous": "1", "previous_groups": 2},
    ),
    "input-beyond-field": (
        pooled(conv(3, 8), conv(8, 8), channels=8),
        pooled(conv(3, 8), conv(8, 8), conv(8, 8), channels=8),
        6,
        "1",
        {"input_px": (6, 6), "field_px": (5, 5)},
    ),
    "input-below-field": (
        nn.Sequential(conv(3, 8), *(conv(8, 8) for _ in range(9))),
        nn.Sequential(conv(3, 8), conv(8, 8), conv(8, 8)),
        3,
        "1",  # the field is 3 after the first layer, 21 after ten
        {"field_px": (21, 21), "times": 7.0, "late_share": 9 * 64 / (9 * 64 + 24)},
    ),
    "fc-params": (
        nn.Sequential(conv(3, 4), nn.Flatten(), nn.Linear(36, 10)),
        pooled(conv(3, 4), channels=4),
        3,
        "2",
        {"fc_params": 370, "params": 482, "fc_share": 370 / 482, "layers": 1},
    ),
    "early-memory": (
        stages(conv(3, 16)),
        nn.Sequential(
            nn.Conv2d(3, 16, 4, 4),
            *(conv(16, 16), nn.MaxPool2d(2), conv(16, 16), nn.MaxPool2d(2), conv(16, 16)),
        ),
        32,
        "0",  # 16 channels of 32, 16, 16, 8, 8, 4, 4, 2, 2 pixels a side, 4 bytes per value
        {"early_bytes": 64 * (32**2 + 2 * 16**2), "activation_bytes": 64 * (1024 + 512 + 168)},
    ),
    "memory-bound-depthwise": (
        nn.Sequential(conv(3, 8, 1), conv(8, 8, groups=8, bias=False), conv(8, 8, 1)),
        nn.Sequential(conv(3, 8, 1), conv(8, 8, bias=False), conv(8, 8, 1)),
        16,
        "1",  # 9 products per pixel, read and written in 4 bytes each, and the weights
        {"intensity": 18 * 8 * 256 / (4 * (2 * 8 * 256 + 72)), "layers": 1, "balance": 12.5},
    ),
    "bias-before-norm": (
        nn.Sequential(conv(3, 8), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Sequential(conv(3, 8, bias=False), nn.BatchNorm2d(8), conv(8, 8), nn.GroupNorm(2, 8)),
        16,
        "0",
        {"biases": 8, "norm": "1"},
    ),
    "skipped-pixels": (
        nn.Sequential(conv(3, 8), conv(8, 16, 1, 2)),
        nn.Sequential(conv(3, 8), Branches(conv(8, 16, 3, 2), conv(8, 16, 1, 2))),
        16,
        "1",
        {"kernel": (1, 1), "stride": (2, 2), "unread_share": 0.75, "map_px": (16, 16)},
    ),
    "lost-resolution": (
        nn.Sequential(conv(3, 16, 3, 2), conv(16, 64, 3, 2), conv(64, 64)),
        nn.Sequential(conv(3, 16, 3, 2), conv(16, 64, 3, 1), conv(64, 64)),
        4,
        "2",  # 8 of its 9 weights, of 448 + 9,280 + 36,928 parameters
        {"layers": 1, "wasted_share": 8 * 64 * 64 / (448 + 9_280 + 36_928)},
    ),
    "stride-burst": (
        nn.Sequential(conv(3, 16, 3, 2), conv(16, 32, 3, 2), conv(32, 64, 3, 2)),
        nn.Sequential(conv(3, 16, 3, 2), conv(16, 32, 3, 2), conv(32, 32), conv(32, 64, 3, 2)),
        32,
        "0",
        {"row": "0, 1, 2", "layers": 3, "total": 8},
    ),
}


def _ids(report):
    return [found.rule.id for found in report.findings]


def _network(name, size=None, **options):
    with torch.device("meta"):
        model = create_model(name)
        return lint(model, size or find_entry(name).input_size, **options)


def _only(report, rule):
    return [found for found in report.findings if found.rule.id == rule]


def test_every_rule_has_a_case():
    assert list(CASES) == IDS


@pytest.mark.parametrize("rule", IDS)
def test_a_net_breaks_exactly_this_rule_and_its_twin_none(rule):
    broken, sound, size, layer, facts = CASES[rule]
    report = lint(broken, size)
    assert _ids(report) == [rule]
    (found,) = report.findings
    assert found.layer == layer
    for name, fact in facts.items():
        assert found.facts[name] == (fact if isinstance(fact, tuple | str) else pytest.approx(fact))
    assert _ids(lint(sound, size)) == []


@pytest.mark.parametrize("rule", IDS)
def test_a_rule_can_be_silenced(rule):
    broken, _, size, *_ = CASES[rule]
    report = lint(broken, size, ignore=[rule])
    assert report.findings == ()
    assert report.ignored == (rule,)
    assert [each.id for each in report.checked] == [each for each in IDS if each != rule]


@pytest.mark.parametrize("rule", RULES, ids=IDS)
def test_a_finding_is_written_with_its_numbers(rule):
    broken, _, size, layer, _ = CASES[rule.id]
    report = lint(broken, size)
    text = finding_text(report.findings[0])
    assert text.endswith(".")
    assert not re.search(r"[{}]|\d{3}\d+\.\d{4}", text)
    assert f'"layer": "{layer}"' in lint_to_json(report)
    assert lint_list(report, 80).row_count == 1


def test_resnet50_is_not_told_anything():
    assert _ids(_network("resnet50", 224)) == []


@pytest.mark.parametrize(
    "name",
    ["resnet18", "resnext50_32x4d", "densenet121", "regnet_y_400mf", "convnext_tiny",
     "efficientnet_b0", "shufflenet_v1_x1_0_g3", "ghostnet_100", "swin_t"],
)  # fmt: skip
def test_proven_networks_get_no_warning_at_their_own_size(name):
    assert _network(name).of_severity("serious", "warning") == ()


def test_vgg16_is_told_the_published_share_of_its_fully_connected_layers():
    (found,) = _only(_network("vgg16"), "fc-params")
    # Lecture tables: 138,357,544 parameters, of which 123,642,856 (89 %) in three FC layers.
    assert (found.layer, found.facts["fc_params"]) == ("head.fc6", 123_642_856)
    assert found.facts["params"] == 138_357_544
    text = "123,642,856 of 138,357,544 parameters (89.4 %) are in 3 fully connected layers."
    assert finding_text(found) == text


def test_vgg16_is_told_about_its_first_layers():
    (found,) = _only(_network("vgg16"), "early-memory")
    assert found.layer.startswith("stages.0.")


def test_alexnet_is_told_about_its_filters_and_fully_connected_layers():
    report = _network("alexnet")
    (fc,) = _only(report, "fc-params")
    assert fc.facts["fc_params"] == 9216 * 4096 + 4096 + 4096**2 + 4096 + 4096 * 1000 + 1000
    (large,) = _only(report, "large-filter")
    assert large.facts["weights"] == 25 * 64 * 192
    assert large.facts["chain_weights"] == 9 * (64 * 64 + 64 * 192)
    (coarse,) = _only(report, "coarse-first-filter")
    assert (coarse.facts["kernel"], coarse.facts["stride"]) == ((11, 11), (4, 4))


def test_the_two_towers_of_alexnet_do_not_talk_between_conv4_and_conv5():
    (found,) = _only(_network("alexnet_2012"), "unmixed-groups")
    assert (found.facts["groups"], found.facts["previous_groups"]) == (2, 2)


def test_mobilenetv2_is_told_that_its_depthwise_layers_wait_for_memory():
    report = _network("mobilenetv2_100")
    assert _ids(report) == ["memory-bound-depthwise"]
    (found,) = report.findings
    assert found.rule.severity == "info"
    assert found.facts["layers"] == 17  # one per inverted residual
    assert found.facts["traffic_share"] > found.facts["macs_share"]
    with torch.device("meta"):
        model = create_model("mobilenetv2_100")
    assert lint(model, machine_balance=0.5).findings == ()


def test_resnet50_on_small_images_is_told_about_resolution():
    report = _network("resnet50", 32)
    assert _ids(report) == ["lost-resolution", "input-below-field"]
    lost, below = report.findings
    assert lost.rule.severity == "serious"
    # The 3×3 layers of the last two blocks; 8 of 9 weights meet only padding.
    assert lost.facts["layers"] == 2
    assert lost.facts["wasted_share"] == pytest.approx(2 * 8 * 512**2 / 25_557_032)
    assert below.facts["field_px"] == (427, 427)  # the lecture's table
    with torch.device("meta"):
        small = create_model("resnet50", stem="small")
    assert _ids(lint(small, 32)) == []


def test_resnet50_on_images_beyond_its_field_is_told_so():
    (found,) = _network("resnet50", 448).findings
    assert (found.rule.id, found.facts["field_px"]) == ("input-beyond-field", (427, 427))


def test_the_first_resnet_skips_three_quarters_of_three_maps():
    found = _only(_network("resnet50_v1"), "skipped-pixels")
    assert [each.facts["map_px"] for each in found] == [(56, 56), (28, 28), (14, 14)]
    assert {each.facts["unread_share"] for each in found} == {0.75}


def test_a_channel_shuffle_mixes_groups_and_a_depthwise_layer_does_not():
    grouped = [conv(3, 8), conv(8, 8, groups=2), conv(8, 8, groups=2)]
    shuffled = nn.Sequential(grouped[0], grouped[1], nn.ChannelShuffle(2), grouped[2])
    assert "unmixed-groups" not in _ids(lint(shuffled, 16))
    apart = nn.Sequential(grouped[0], grouped[1], conv(8, 8, groups=8), grouped[2])
    assert "unmixed-groups" in _ids(lint(apart, 16))


def test_two_depthwise_layers_in_a_row_are_unmixed_unless_they_factorise_one():
    def row(*kernels):
        layers = [nn.Conv2d(8, 8, k, padding=[s // 2 for s in k], groups=8) for k in kernels]
        return _ids(lint(nn.Sequential(conv(3, 8), *layers), 16))

    assert "unmixed-groups" in row((3, 3), (3, 3))
    assert "unmixed-groups" not in row((1, 7), (7, 1))


def test_a_window_that_does_not_divide_the_map_skips_nothing():
    net = nn.Sequential(conv(3, 8), nn.MaxPool2d(2), conv(8, 8))
    assert _ids(lint(net, 13)) == []
    dilated = nn.Sequential(conv(3, 8), nn.Conv2d(8, 8, 3, 2, padding=2, dilation=2))
    (found,) = _only(lint(dilated, 16), "skipped-pixels")  # every tap on an even pixel
    assert found.facts["unread_share"] == 0.75


def test_a_shortcut_carries_what_a_narrow_branch_drops():
    narrow = nn.Sequential(conv(8, 1, 1), conv(1, 8, 1))
    assert _ids(lint(nn.Sequential(conv(1, 8), narrow, conv(8, 8)), (1, 16, 16))) == []
    net = nn.Sequential(conv(8, 1, 1), conv(1, 8, 1), conv(8, 8))
    assert "tight-bottleneck" in _ids(lint(net, (8, 16, 16)))
    shortcut = nn.Sequential(Branches(narrow, nn.Identity()), conv(8, 8))
    assert "tight-bottleneck" not in _ids(lint(shortcut, (8, 16, 16)))


def test_a_layer_that_covers_its_whole_map_loses_no_resolution():
    # LeNet's C5 reads 5×5 maps with 5×5 filters: 400·120 + 120 parameters.
    report = _network("lenet5")
    assert _ids(report) == ["large-filter", "fc-params"]
    assert report.findings[1].facts["fc_params"] == 400 * 120 + 120 + 120 * 84 + 84 + 84 * 10 + 10


def test_what_is_cut_out_of_a_map_is_not_skipped():
    # NASNet's factorised reduction pools a map and, beside it, the map moved by one pixel.
    assert "skipped-pixels" not in _ids(_network("cifar_enas_micro"))


class _Tokens(nn.Module):
    """Two maps, of each of which only one place goes on."""

    def __init__(self):
        super().__init__()
        self.conv, self.classify = conv(3, 8), nn.Linear(8, 4)

    def forward(self, x):
        x = self.conv(x).flatten(2)
        return self.classify(torch.stack([x[..., 0], x[..., 1]], 1)).mean(1)


def test_vectors_put_together_are_no_map():
    assert _ids(lint(_Tokens(), 16)) == []


class _Pyramid(nn.Module):
    """A map that is returned, and what else is made of it."""

    def __init__(self, *rest):
        super().__init__()
        self.conv, self.rest = conv(3, 8), nn.Sequential(*rest)

    def forward(self, x):
        x = self.conv(x)
        return x, self.rest(x)


@pytest.mark.parametrize(
    "rest",
    [
        [nn.MaxPool2d(1, 2)],
        [nn.BatchNorm2d(8)],
        [nn.MaxPool2d(8), conv(8, 8)],
    ],
    ids=["skips", "norm", "narrow"],
)
def test_a_map_that_is_an_output_is_not_lost(rest):
    assert _ids(lint(_Pyramid(*rest), 32)) == []
    assert len(_ids(lint(nn.Sequential(conv(3, 8), *rest), 32))) == 1


def test_few_classes_are_no_bottleneck():
    net = nn.Sequential(conv(8, 8), conv(8, 8), conv(8, 1, 1), nn.AdaptiveAvgPool2d(1))
    assert _ids(lint(net, (8, 5, 5))) == []


class _Strange(nn.Module):
    """Two inputs of different rank, a recurrent cell, a dictionary."""

    def __init__(self):
        super().__init__()
        self.image, self.sound = conv(3, 8), nn.Conv1d(2, 8, 5)
        self.cell = nn.LSTM(8, 8, batch_first=True)

    def forward(self, image, sound):
        line, _ = self.cell(self.sound(sound).transpose(1, 2))
        return {"sum": self.image(image).mean((2, 3)) + line[:, -1]}


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 2)), {"input_size": (7,)}),
        (nn.Sequential(nn.Conv1d(2, 8, 80, 4), nn.AdaptiveAvgPool1d(1)), {"input_size": (2, 80)}),
        (nn.Sequential(conv(3, 8), nn.ConvTranspose2d(8, 3, 2, 2)), {"input_size": 16}),
        (nn.Sequential(nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4)), {"input_size": (1, 8, 8, 8)}),
        (_Strange(), {"inputs": [torch.zeros(2, 3, 8, 8), torch.zeros(2, 2, 30)]}),
        (nn.Identity(), {"input_size": (3, 8, 8)}),
    ],
    ids=["mlp", "1d", "transposed", "3d", "strange", "identity"],
)
def test_any_module_is_read_and_left_as_it_was(model, options):
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    report = lint(model, **options)
    assert isinstance(report, LintReport)
    names = {layer.name for layer in analyze(model, **options).layers}
    assert {found.layer for found in report.findings} <= names
    assert model.training
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


def test_the_worst_comes_first():
    report = _network("vgg16_bn", 32)
    ranks = [SEVERITIES.index(found.rule.severity) for found in report.findings]
    assert ranks == sorted(ranks)
    assert {"serious", "warning", "info"} == {found.rule.severity for found in report.findings}


def test_bad_arguments_are_refused_in_one_line():
    model = conv(3, 8)
    with pytest.raises(UnknownNameError, match=r"^unknown rule 'fc-param'; did you mean fc-params"):
        lint(model, ignore=["fc-param"])
    for balance in (0, -1, float("nan")):
        with pytest.raises(OptionError, match="expected a machine balance above 0"):
            lint(model, machine_balance=balance)
    with pytest.raises(InputSizeError):
        lint(nn.Conv2d(3, 8, 5), 4)


def test_records_are_complete():
    assert len(set(IDS)) == len(IDS)
    for rule in RULES:
        assert rule.severity in SEVERITIES
        assert rule.sources
        assert all(rule.sources)
        assert rule.advice.endswith(".")
        assert all(limit.reason for limit in rule.limits)


@pytest.mark.parametrize("rule", RULES, ids=IDS)
def test_the_page_lists_the_rule_with_its_sources_and_thresholds(rule):
    page = PAGE.read_text(encoding="utf-8")
    assert f"| `{rule.id}` | {rule.severity} | {rule.title} |" in page
    _, _, section = page.partition(f"\n### {rule.id}\n")
    text = " ".join(section.partition("\n### ")[0].split())
    assert rule.advice in text
    assert all(source in text for source in rule.sources)
    for limit in rule.limits:
        assert f"`{limit.name}` = {limit.value:g}: {limit.reason}" in text
