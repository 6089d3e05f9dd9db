"""NASNet-A and ENAS against the papers' figures, the authors' shapes and sums worked by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convatlas.errors import OptionError
from convatlas.layers.cell_operations import FactorisedReduction, operation
from convatlas.layers.cell_stages import CellStage
from convatlas.layers.cells import Cell, Map, Wiring
from convatlas.layers.residual import DropPath
from convatlas.models.enas import wiring_of
from convatlas.models.registry import create_model

# Channels and side of what the stem and the stages give, from the tests of the authors' code.
SHAPES = {
    "nasnet_a_large": (331, [(168, 83), (1008, 42), (2016, 21), (4032, 11)]),
    "nasnet_a_mobile": (224, [(44, 56), (264, 28), (528, 14), (1056, 7)]),
    "cifar_nasnet_a_6_768": (32, [(192, 32), (384, 16), (768, 8)]),
}


def _meta(name, **options):
    with torch.device("meta"):
        return create_model(name, **options)


def _params(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", SHAPES)
def test_the_stages_are_the_authors(name):
    size, expected = SHAPES[name]
    features = _meta(name).forward_features(torch.empty(2, 3, size, size, device="meta"))
    assert [(f.shape[1], f.shape[2]) for f in features] == expected


def test_a_reduction_cell_gives_four_states_of_its_width():
    """Reduction_Cell_0 and _1 of the authors' test: 21×21×1344 and 11×11×2688."""
    model, seen = _meta("nasnet_a_large"), []
    for i in (2, 3):
        cell = model.stages[i].cells[0]
        cell.register_forward_hook(lambda module, args, output: seen.append(tuple(output.shape)))
    model(torch.empty(2, 3, 331, 331, device="meta"))
    assert seen == [(2, 1344, 21, 21), (2, 2688, 11, 11)]


def _separable(channels, out, kernel):
    """Weights of ReLU → depthwise → 1×1 → norm, twice."""
    return kernel**2 * (channels + out) + channels * out + out * out + 4 * out


def test_a_normal_cell_counts_what_its_five_blocks_count():
    """Cell 2 of NASNet-A large: both inputs 1008 channels, states 168; figure 4, left."""
    c = 168
    projections = 2 * (1008 * c + 2 * c)
    blocks = 2 * _separable(c, c, 5) + 3 * _separable(c, c, 3)
    assert _params(_meta("nasnet_a_large").stages[1].cells[3]) == projections + blocks


def test_the_enas_net_counts_what_the_released_arcs_count():
    """All 17 cells: inputs are projected to the width, the newer one twice; 36 channels."""
    older = newer = 108
    total = 3 * 108 * 9 + 2 * 108
    for i in range(17):
        reduction = i in (5, 11)
        c = 36 * (1 + (i >= 5) + 2 * (i >= 11))
        total += older * c + 2 * c  # a plain projection or two halves of one
        total += newer * c + 2 * c + c * c + 2 * c
        three, five = (3, 3) if reduction else (2, 4)
        total += three * _separable(c, c, 3) + five * _separable(c, c, 5)
        total += (c * c + 2 * c) if reduction else 0  # the identity that halves
        older, newer = newer, (4 if reduction else 5) * c
    total += 720 * 10 + 10
    assert _params(_meta("cifar_enas_micro")) == total


def test_an_arc_reads_as_its_figure():
    arc = wiring_of("1 0 1 0  0 3 0 2  1 1 3 1  1 0 0 4  0 3 1 1")
    assert arc.blocks[2] == (("sep5", 1), ("sep5", 3))
    assert arc.blocks[3] == (("sep3", 1), ("identity", 0))
    assert arc.output == (2, 4, 5, 6)


def test_a_cell_adds_what_its_wiring_says():
    """Identities alone: s2 = x + y, s3 = s2 + x, out = (s2, s3)."""
    blocks = ((("identity", 0), ("identity", 1)), (("identity", 2), ("identity", 0)))
    cell = Cell(
        Wiring(blocks, output=(2, 3)),
        Map(4, 1),
        Map(4, 1),
        4,
        norm=nn.BatchNorm2d,
        fit=lambda *_: nn.Identity(),
    )
    x, y = torch.randn(2, 4, 5, 5), torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(cell(x, y), torch.cat([x + y, 2 * x + y], dim=1))
    assert _params(cell) == 0


def test_a_stage_remembers_two_maps():
    """Each cell adds its inputs: Fibonacci's numbers; with a skip the first input stays."""

    class Sum(nn.Module):
        def forward(self, older, newer):
            return older + newer

    one, two = torch.tensor(1), torch.tensor(2)
    assert CellStage([Sum(), Sum(), Sum()], skip=False)(one, two) == (5, 8)
    assert CellStage([Sum(), Sum(), Sum()], skip=True)(one, two) == (4, 7)


def test_a_factorised_reduction_loses_no_pixel():
    """Even pixels go to the first half, the pixels diagonally after them to the second."""
    reduction = FactorisedReduction(1, 2, lambda _: nn.Identity())
    for conv in (reduction.even, reduction.odd):
        nn.init.ones_(conv.weight)
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    even, odd = reduction(x)[0]
    assert even.tolist() == [[0, 2], [8, 10]]
    assert odd.tolist() == [[5, 7], [13, 15]]


@pytest.mark.parametrize("size", [1, 2, 7, 8])
def test_a_halving_pooling_takes_the_maximum_of_tensorflows_windows(size):
    pool = operation("max3", 2, 2, 2, nn.BatchNorm2d)
    x = -torch.rand(1, 2, size, size) - 1
    before = ((size + 1) // 2 * 2 + 1 - size) // 2
    spans = [slice(max(0, 2 * i - before), 2 * i - before + 3) for i in range((size + 1) // 2)]
    rows = [torch.stack([x[..., r, c].amax((2, 3)) for c in spans], -1) for r in spans]
    assert torch.equal(pool(x), torch.stack(rows, -2))


def test_drop_path_grows_to_the_papers_rate():
    chances = [m.probability for m in _meta("nasnet_a_large").modules() if isinstance(m, DropPath)]
    assert sorted(chances) == chances
    assert chances[-1] == pytest.approx(0.3)
    assert chances[0] == pytest.approx(0.3 / 22)  # 18 cells, two reductions, two in the stem
    assert not any(isinstance(m, DropPath) for m in _meta("nasnet_a_mobile").modules())


@pytest.mark.parametrize("output_stride", [8, 16])
def test_average_poolings_forbid_an_output_stride(output_stride):
    with pytest.raises(OptionError, match=r"average pooling.*use output_stride=32"):
        _meta("nasnet_a_mobile", output_stride=output_stride)
