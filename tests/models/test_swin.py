"""Swin: windows by what reaches what, equations 2 and 4 by hand, maps of any size."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from convatlas.analysis.cost import analyze
from convatlas.models.pretrained.alignment import align
from convatlas.models.registry import create_model
from convatlas.models.swin import PatchMerging, WindowAttention


def _attention(channels=32, shift=0):
    torch.manual_seed(0)
    module = WindowAttention(channels, shift)
    torch.nn.init.normal_(module.relative_position_bias_table)
    return module


def _reached(module, row, column, size=14):
    """Return the (rows, columns) that a change of one pixel reaches, as half-open ranges."""
    x = torch.randn(1, size, size, 32)
    changed = x.clone()
    changed[0, row, column] += 1
    with torch.no_grad():
        rows, columns = (module(x) - module(changed)).abs().sum(-1)[0].gt(1e-6).nonzero().T
    assert len(rows) == len(rows.unique()) * len(columns.unique())
    return (int(rows.min()), int(rows.max()) + 1), (int(columns.min()), int(columns.max()) + 1)


@pytest.mark.parametrize(
    ("shift", "pixel", "rows", "columns"),
    [
        (0, (0, 0), (0, 7), (0, 7)),
        (0, (6, 7), (0, 7), (7, 14)),
        (3, (3, 3), (3, 10), (3, 10)),
        (3, (0, 0), (0, 3), (0, 3)),
        (3, (2, 5), (0, 3), (3, 10)),
        (3, (13, 13), (10, 14), (10, 14)),
    ],
)
def test_a_pixel_is_seen_by_its_window_alone(shift, pixel, rows, columns):
    """Figure 4: the windows at the border of a shifted map are cut, not wrapped around."""
    assert _reached(_attention(shift=shift), *pixel) == (rows, columns)


def test_a_map_of_one_window_is_not_shifted():
    assert _reached(_attention(shift=3), 0, 0, size=7) == ((0, 7), (0, 7))
    assert _reached(_attention(shift=3), 1, 1, size=5) == ((0, 5), (0, 5))


def test_attention_is_equation_4():
    """One window of two heads, computed pixel by pixel."""
    module = _attention(channels=64)
    x = torch.randn(1, 7, 7, 64)
    q, k, v = module.qkv(x.view(49, 64)).view(49, 3, 2, 32).unbind(1)
    expected = torch.empty(49, 2, 32)
    for i in range(49):
        for head in range(2):
            scores = torch.empty(49)
            for j in range(49):
                down, right = i // 7 - j // 7, i % 7 - j % 7
                bias = module.relative_position_bias_table[(down + 6) * 13 + right + 6, head]
                scores[j] = q[i, head] @ k[j, head] / math.sqrt(32) + bias
            expected[i, head] = scores.softmax(0) @ v[:, head]
    torch.testing.assert_close(module(x).view(49, 64), module.project(expected.flatten(1)))


def test_merging_puts_the_four_pixels_side_by_side():
    module = PatchMerging(1)
    x = torch.tensor([[[[1.0, 2.0, 5.0], [3.0, 4.0, 6.0]]]])
    # Down first, then right; the third column is padded.
    patches = torch.tensor([[1.0, 3.0, 2.0, 4.0], [5.0, 6.0, 0.0, 0.0]])
    expected = module.reduction(F.layer_norm(patches, (4,)))
    torch.testing.assert_close(module(x)[0].flatten(1).T, expected)


@pytest.mark.parametrize(
    ("name", "c", "depths"), [("swin_t", 96, (2, 2, 6, 2)), ("swin_b", 128, (2, 2, 18, 2))]
)
def test_the_cost_is_equation_2(name, c, depths):
    """4hwC² + 2M²hwC for the attention, 8hwC² for the two linear layers after it."""
    macs = 3 * 16 * c * 56**2 + 8 * c * 1000
    for i, depth in enumerate(depths):
        pixels, width = (56 >> i) ** 2, c << i
        macs += depth * (4 * pixels * width**2 + 2 * 49 * pixels * width + 8 * pixels * width**2)
        if i:
            macs += pixels * 2 * width * width
    with torch.device("meta"):
        assert analyze(create_model(name), 224).macs == macs


def test_sizes_that_windows_do_not_divide():
    model = create_model("swin_t", num_classes=3).eval()
    with torch.no_grad():
        maps = model.forward_features(torch.randn(1, 3, 50, 70))
    sizes = [(96, 12, 17), (192, 6, 9), (384, 3, 5), (768, 2, 3)]
    assert [tuple(x.shape[1:]) for x in maps] == sizes


def test_places_in_the_bias_table_need_not_be_stored():
    ours = create_model("swin_t", num_classes=3).state_dict()
    assert not any(name.endswith("index") for name in ours)
    public = {}
    for name, value in ours.items():
        public[f"theirs.{name}"] = value
        if name.endswith("relative_position_bias_table"):
            public[f"theirs.{name.replace('bias_table', 'index')}"] = torch.zeros(49 * 49).long()
    assert align(public, ours).keys() == ours.keys()
