"""What our code computes, held against numbers worked by hand and published ones."""

from __future__ import annotations

import re
from itertools import product
from math import prod

import pytest
from torch import nn

from convatlas.claims.check import COMPUTATIONS, check
from convatlas.claims.measuring import path_length
from convatlas.claims.records import LECTURES, find_claim, list_claims
from convatlas.claims.spaces import non_decreasing
from convatlas.claims.verdicts import Verdict

# Source: the claims of five lectures, L0 Comenius 2022, L1 Hyderabad 2023, L2 Milano 2023,
# L3 Stanford 2024, L4 Hacettepe 2024.
IDS = {
    "vgg16-params": "L0 L2 L3 L4",
    "vgg16-memory": "L0 L3 L4",
    "vgg16-blockparams": "L2",
    "alexnet-shapes": "L3 L4",
    "alexnet-vgg-cost": "L1",
    "googlenet-stem": "L1",
    "inception-ops": "L2",
    "googlenet-size": "L2",
    "resnet-cost": "L1",
    "resnet-rf": "L0",
    "chain-3x3": "L0 L2 L3",
    "halve-double": "L1",
    "grouped": "L4",
    "separable": "L2",
    "same-compute": "L4",
    "design-space-size": "L0",
    "se-overhead": "L4",
    "gap-shift": "L2",
    "nin-gap": "L2",
    "plain-vs-residual": "L0 L1 L2 L3 L4",
    "depth-layers": "L3",
    "keras-inception-summary": "L2",
    "transfer-small": "L0 L4",
    "roialign": "L4",
    "ensemble": "L1 L3",
}
TRAINED = {"nin-gap", "plain-vs-residual", "transfer-small", "roialign", "ensemble"}

# Convolutions of VGG-16: (side of the map, channels in, channels out), from the paper's table 1.
VGG = [
    *((224, 3, 64), (224, 64, 64), (112, 64, 128), (112, 128, 128)),
    *((56, 128, 256), (56, 256, 256), (56, 256, 256)),
    *((28, 256, 512), (28, 512, 512), (28, 512, 512), *[(14, 512, 512)] * 3),
]
FULL = [(25088, 4096), (4096, 4096), (4096, 1000)]
VGG_CONV_PARAMS = sum((9 * c_in + 1) * c_out for _, c_in, c_out in VGG)
VGG_FULL_PARAMS = sum((c_in + 1) * c_out for c_in, c_out in FULL)
VGG_MACS = sum(9 * s * s * a * b for s, a, b in VGG) + sum(a * b for a, b in FULL)
VGG_MAPS = sum(side * side * out for side, _, out in VGG)
VGG_POOLS = sum(s * s * c for s, c in ((112, 64), (56, 128), (28, 256), (14, 512), (7, 512)))
CONV3_3 = 9 * 56 * 56 * 256 * 256
RATIO_1, RATIO_2 = 69_888 / 69_632, 70_144 / 69_632  # G(8Cc + 9c²) over 17C², C = 64

HAND_WORKED = {
    "vgg16-params": {
        "params": VGG_CONV_PARAMS + VGG_FULL_PARAMS,
        "full": VGG_FULL_PARAMS,
        "share": 100 * 123_642_856 / 138_357_544,
        "first": 28 * 64,
        "fc6": 25089 * 4096,
    },
    "vgg16-memory": {
        "values": 224 * 224 * 3 + VGG_MAPS + VGG_POOLS + 4096 + 4096 + 1000,
        "bytes": 4 * 15_237_608,
    },
    "vgg16-blockparams": {
        "conv": 100 * 14_714_688 / 138_357_544,
        "full": 100 * 123_642_856 / 138_357_544,
    },
    "alexnet-shapes": {
        "conv1": 34_944,
        "conv": 34_944 + 614_656 + 885_120 + 1_327_488 + 884_992,
        "full": 9217 * 4096 + 4097 * 4096 + 4097 * 1000,
        "params": 62_378_344,
    },
    "alexnet-vgg-cost": {
        "alexnet_maps": 4 * (56 * 56 * 64 + 27 * 27 * 192 + 13 * 13 * (384 + 256 + 256)),
        "alexnet_params": 61_100_840,  # torchvision's
        "vgg_maps": 4 * VGG_MAPS,
        "vgg_params": 138_357_544,
        "vgg_macs": VGG_MACS,
    },
    "googlenet-stem": {
        "google_maps": 4 * (64 * (112**2 + 2 * 56**2) + 192 * (56**2 + 28**2)),
        "google_params": 64 * 148 + 64 * 65 + 192 * 577,
        "google_macs": 112**2 * 64 * 147 + 56**2 * 64 * 64 + 56**2 * 192 * 576,
        "vgg_maps": 4 * sum(s * s * out for s, _, out in VGG[:7]),
        "vgg_params": sum((9 * a + 1) * b for _, a, b in VGG[:7]),
        "vgg_macs": sum(9 * s * s * a * b for s, a, b in VGG[:7]),
    },
    "inception-ops": {
        "naive": 28 * 28 * 256 * (128 + 9 * 192 + 25 * 96),
        "reduced": 28 * 28 * (256 * (128 + 3 * 64) + 64 * (9 * 192 + 25 * 96)),
    },
    # Caffe's bvlc_googlenet without auxiliary classifiers, its layers summed by hand
    "googlenet-size": {"params": 6_998_552, "layers": 22, "with_pools": 27},
    "resnet-cost": {"r18": 1_814_073_344, "r34": 3_663_761_408},  # torchvision's
    "chain-3x3": {
        "field2": 5,
        "weights2": (18, 25),
        "acts2": 2,
        "field3": 7,
        "weights3": (27, 49),
        "acts3": 3,
    },
    "halve-double": {"macs": 1, "memory": 0.5, "params": 4},
    "grouped": {"groups": (2, 4, 8), "bottleneck": 17, "4x24": RATIO_1, "32x4": RATIO_2},
    "separable": {"ratio": (1, 1, 1)},
    "same-compute": {"ratio": 7_801_405_440 / 15_470_264_320},  # torchvision's
    "design-space-size": {
        "a": 36864**4,
        "b": 3 * 12288**4,
        "c": 18 * 2048**4,
        "d": 18 * 16**4 * 11_716_640,
        "e": 18 * 3876 * 11_716_640,
        "regnet": 301_989_888,
    },
    # one gate per block: two 1×1 convolutions between C and C / 16 channels
    "se-overhead": {
        "macs": 1
        + sum(n * 2 * c * (c // 16) for n, c in ((3, 256), (4, 512), (6, 1024), (3, 2048)))
        / 4_089_184_256
    },
    "gap-shift": {
        "flatten": 320 + 18_496 + 73_856 + 64 * 4609 + 650,
        "gap": 320 + 18_496 + 73_856 + 64 * 129 + 650,
    },
    "depth-layers": {"resnet152": 152, "cifar_resnet1202": 1202},
}


@pytest.fixture(scope="module")
def outcomes():
    return {outcome.claim.id: outcome for outcome in check()}


def test_every_claim_of_the_lectures_is_there():
    assert {claim.id: " ".join(claim.lectures) for claim in list_claims()} == IDS
    assert set(LECTURES) == {lecture for names in IDS.values() for lecture in names.split()}


def test_what_needs_no_training_is_computed():
    assert set(COMPUTATIONS) == set(IDS) - TRAINED
    assert {claim.id for claim in list_claims() if claim.figures} == set(COMPUTATIONS)


@pytest.mark.parametrize("name", sorted(TRAINED))
def test_what_needs_training_does_not_count_as_held(name, outcomes):
    outcome = outcomes[name]
    assert outcome.verdict is Verdict.OPEN
    assert not outcome.comparisons
    assert outcome.remarks == (find_claim(name).training,)


@pytest.mark.parametrize(
    ("name", "key"), [(name, key) for name, row in HAND_WORKED.items() for key in row]
)
def test_a_figure_is_the_one_worked_by_hand(name, key, outcomes):
    (compared,) = [c for c in outcomes[name].comparisons if c.figure.key == key]
    expected = HAND_WORKED[name][key]
    expected = expected if isinstance(expected, tuple) else (expected,)
    assert compared.got == pytest.approx(expected, rel=1e-12)


def test_the_hand_worked_table_of_vgg16_is_the_published_one():
    assert VGG_CONV_PARAMS + VGG_FULL_PARAMS == 138_357_544
    assert VGG_MACS == 15_470_264_320
    assert HAND_WORKED["vgg16-memory"]["values"] == 15_237_608


VERDICTS = {
    Verdict.HOLDS: "vgg16-params vgg16-blockparams chain-3x3 halve-double grouped separable "
    "keras-inception-summary",
    Verdict.REMARK: "alexnet-shapes resnet-cost resnet-rf design-space-size se-overhead gap-shift "
    "depth-layers",
    Verdict.FAILS: "vgg16-memory alexnet-vgg-cost googlenet-stem inception-ops googlenet-size "
    "same-compute",
}


@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_verdicts(verdict, outcomes):
    found = {name for name, outcome in outcomes.items() if outcome.verdict is verdict}
    assert found == set(VERDICTS[verdict].split())


# What comes out under the assumption that gives the lecture's figure, worked by hand.
TRAPS = {
    ("vgg16-memory", "values"): 15_237_608
    + sum(s * s * c for s, c, _ in VGG)
    + sum(c for c, _ in FULL),
    ("vgg16-memory", "bytes"): 96e6,
    ("alexnet-vgg-cost", "vgg_maps"): 4 * (VGG_MAPS - 56 * 56 * 256),
    ("alexnet-vgg-cost", "vgg_macs"): VGG_MACS - CONV3_3,
    ("googlenet-stem", "google_macs"): 418e6,
    ("googlenet-stem", "vgg_maps"): 4 * sum(s * s * c for s, _, c in VGG[:6]),
    ("googlenet-stem", "vgg_params"): sum((9 * a + 1) * b for _, a, b in VGG[:6]),
    ("googlenet-stem", "vgg_macs"): sum(9 * s * s * a * b for s, a, b in VGG[:6]),
    ("inception-ops", "reduced"): 271_351_808 + 28 * 28 * 9 * 64 * 192,
    ("googlenet-size", "params"): 60_965_224 / 12,
    ("same-compute", "ratio"): 2 * 7_801_405_440 / 15_470_264_320,
    ("alexnet-shapes", "params"): 60_965_224,
    ("resnet-cost", "r34"): 3_644_493_824,
    ("design-space-size", "d"): 18 * 2048**4 / 24,
    ("design-space-size", "e"): 18 * 2048**4 / 576,
}
FAIR = {"alexnet-shapes", "resnet-cost", "design-space-size"}


@pytest.mark.parametrize(("name", "key"), TRAPS)
def test_a_figure_that_does_not_add_up_does_so_under_an_assumption(name, key, outcomes):
    (compared,) = [c for c in outcomes[name].comparisons if c.figure.key == key]
    assert not compared.agrees
    assert compared.reading_got == pytest.approx((TRAPS[name, key],), rel=1e-12)
    assert compared.reading.is_fair == (name in FAIR)


def test_no_other_figure_disagrees(outcomes):
    disagreeing = {
        (name, c.figure.key) for name, o in outcomes.items() for c in o.comparisons if not c.agrees
    }
    assert disagreeing == set(TRAPS)


def test_the_sum_of_convolutions_and_poolings_that_418_was_read_from(outcomes):
    poolings = 9 * (56 * 56 * 64 + 28 * 28 * 192)
    (step,) = [s for s in outcomes["googlenet-stem"].working if "comparisons" in s.name]
    assert step.value == 477_675_520 + poolings
    assert round(step.value / 1e6) == 481


def test_shapes_and_fields_are_compared_number_by_number(outcomes):
    (maps,) = [c for c in outcomes["alexnet-shapes"].comparisons if c.figure.key == "shapes"]
    assert len(maps.got) == 8 * 3
    assert maps.got[:3] == (55, 55, 96)
    assert [len(c.got) for c in outcomes["resnet-rf"].comparisons] == [6] * 4
    assert outcomes["resnet-rf"].comparisons[0].got == (7, 11, 43, 99, 211, 435)


def test_the_papers_resnet50_sees_483_pixels(outcomes):
    # Araujo, Norris, Sim, Distill 2019, table of receptive fields: resnet_v1_50
    assert "483 pixels" in outcomes["resnet-rf"].remarks[0]


@pytest.mark.parametrize("name", sorted(COMPUTATIONS))
def test_arithmetic_in_the_working_gives_what_the_engine_counted(name, outcomes):
    for step in outcomes[name].working:
        arithmetic = step.how.replace("·", "*")
        if re.fullmatch(r"[\d\s*+()/.-]+", arithmetic):
            assert eval(arithmetic) == pytest.approx(step.value, rel=1e-12), step  # noqa: S307


def test_the_working_shows_each_layer_of_vgg16_with_its_formula(outcomes):
    steps = outcomes["vgg16-params"].working
    assert [step.how for step in steps][:2] == ["(3·3·3 + 1)·64", "(64·3·3 + 1)·64"]
    assert sum(step.value for step in steps[:16]) == 138_357_544


@pytest.mark.parametrize(("values", "stages"), [(1, 4), (4, 1), (5, 3), (6, 4)])
def test_rising_stages_are_as_many_as_enumeration_finds(values, stages):
    found = [c for c in product(range(values), repeat=stages) if list(c) == sorted(c)]
    assert non_decreasing(values, stages) == len(found)


def test_the_longest_way_goes_through_the_longer_branch():
    class Fork(nn.Module):
        def __init__(self):
            super().__init__()
            self.long = nn.Sequential(*[nn.Conv2d(3, 3, 1) for _ in range(3)])
            self.short, self.pool = nn.Conv2d(3, 3, 1), nn.MaxPool2d(2)

        def forward(self, x):
            return self.pool(self.long(x) + self.short(x))

    assert path_length(Fork(), 8, "conv2d") == 3
    assert path_length(Fork(), 8, "conv2d", "max_pool2d") == 4


def test_se_costs_a_tenth_of_the_parameters(outcomes):
    # Hu et al. 2017, section 6.4: about 2.5 million more for ResNet-50
    steps = {step.name: step.value for step in outcomes["se-overhead"].working}
    more = steps["SE-ResNet-50: parameters"] - steps["ResNet-50: parameters"]
    gates = sum(
        n * prod((2, c, c // 16)) + n * (c + c // 16)
        for n, c in ((3, 256), (4, 512), (6, 1024), (3, 2048))
    )
    assert more == gates
    assert " 9.9 % more parameters" in outcomes["se-overhead"].remarks[0]
