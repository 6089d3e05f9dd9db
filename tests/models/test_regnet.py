"""RegNet's rule against widths worked by hand, and both roundings against their owners' counts."""

from __future__ import annotations

import pytest
import torch

from convatlas.errors import OptionError
from convatlas.models.anynet import Design, anynet
from convatlas.models.registry import Common, create_model
from convatlas.models.regnet import VARIANTS, Variant, design


def test_a_line_of_widths_becomes_stages():
    """w_0 = 8, w_a = 8, w_m = 2: widths 8, 16, 24, 32 are 8 times 2 to the 0, 1, 1.58, 2."""
    assert design(Variant(4, 8, 8.0, 2.0, 8)) == Design(
        (1, 1, 2), (8, 16, 32), (8, 8, 8), (1.0, 1.0, 1.0)
    )


def test_a_stage_narrower_than_its_groups_is_one_group():
    made = design(VARIANTS["regnet_x_16gf"])
    assert made.depths == (2, 6, 13, 1)
    assert made.widths == (256, 512, 896, 2048)
    assert design(VARIANTS["regnet_x_8gf"]).group_widths == (80, 120, 120, 120)


# pycls dev/model_complexity.json @ 5719de641657c251f807c20a1fcf8ef6f4b60144; torchvision 0.28.0
ROUNDED = [
    ("regnet_x_400mf", 5157512, 5495976),
    ("regnet_y_800mf", 6263168, 6432512),
    ("regnet_y_8gf", 39180068, 39381472),
]


@pytest.mark.parametrize(("name", "pycls", "torchvision"), ROUNDED)
def test_both_roundings_give_their_owners_counts(name, pycls, torchvision):
    for rounding, expected in (("pycls", pycls), ("torchvision", torchvision)):
        with torch.device("meta"):
            model = create_model(name, rounding=rounding)
        assert sum(p.numel() for p in model.parameters()) == expected


def test_an_anynet_needs_no_rule():
    """Two stages of one block, worked by hand from figure 4 with b = 2 and no attention."""
    net = anynet(Design((1, 1), (16, 32), (4, 8), (2.0, 2.0)), Common(num_classes=10))
    stem = 3 * 32 * 9 + 64
    first = 32 * 16 + 32 + 32 * 8 + 16 + 8 * 4 * 9 + 16 + 8 * 16 + 32
    second = 16 * 32 + 64 + 16 * 16 + 32 + 16 * 8 * 9 + 32 + 16 * 32 + 64
    assert sum(p.numel() for p in net.parameters()) == stem + first + second + 32 * 10 + 10
    assert [f.stride for f in net.feature_info] == [4, 8]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Design((1, 1), (16,), (8,), (1.0,)), r"as many values in each row, got \[2, 1"),
        (lambda: Design((1,), (20,), (8,), (1.0,)), "groups of 8 divide, got 20"),
        (lambda: create_model("regnet_x_400mf", rounding="timm"), "\"torchvision\", got 'timm'"),
    ],
)
def test_impossible_designs_are_refused(make, message):
    with pytest.raises(OptionError, match=message):
        make()
