"""Our networks against other people's figures (tests/fixtures/published.csv, with sources)."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from torch import nn

from convatlas.models.auxiliary import Beside
from convatlas.models.catalogue import list_entries
from convatlas.models.registry import create_model
from convatlas.models.swin import WindowAttention

FIXTURE = Path(__file__).parents[1] / "fixtures" / "published.csv"
ROWS = list(csv.DictReader(FIXTURE.read_text(encoding="utf-8").splitlines()))


def _build(name):
    with torch.device("meta"):
        return create_model(name)


def _macs(model, size):
    """Count multiply-accumulates by hooks, apart from the package's own analysis."""
    total = 0

    def count(module, args, output):
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += output.numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            total += output.numel() * module.in_features
        elif isinstance(module, WindowAttention):  # q·k and weights·v, over a window of 49 pixels
            total += 2 * 49 * output.numel()

    for module in model.modules():
        module.register_forward_hook(count)
    model.eval()(torch.empty(1, model.in_channels, size, size, device="meta"))
    return total


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['name']}-{row['source'][:12]}")
def test_figures_equal_the_published_ones(row):
    model = _build(row["name"])
    params = sum(p.numel() for p in model.parameters())
    if "without batch norms" in row["note"]:
        norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        params -= sum(p.numel() for norm in norms for p in norm.parameters())
    if "without auxiliary classifiers" in row["note"]:
        beside = [m for m in model.modules() if isinstance(m, Beside)]
        params -= sum(p.numel() for m in beside for p in m.parameters())
    assert abs(params - float(row["params"])) <= float(row["params_tolerance"])
    if row["macs"]:
        macs = _macs(model, int(row["input_size"]))
        assert abs(macs - float(row["macs"])) <= float(row["macs_tolerance"])


@pytest.mark.parametrize("entry", list_entries(), ids=lambda entry: entry.name)
def test_the_catalogue_says_what_is_built(entry):
    model = _build(entry.name)
    assert sum(p.numel() for p in model.parameters()) == entry.params
    assert _macs(model, entry.input_size) == entry.macs
    assert model.min_input_size == entry.min_input_size
    assert model.in_channels == entry.in_channels


def test_every_network_is_held_against_somebody_else():
    """The nets nobody publishes are plain twins: their residual nets less the shortcuts."""
    held = {row["name"] for row in ROWS}
    alone = {entry.name for entry in list_entries()} - held
    assert alone == {"plain18", "plain34"} | {f"cifar_plain{n}" for n in (20, 32, 44, 110)}


@pytest.mark.parametrize("depth", [18, 34])
def test_a_plain_net_is_its_residual_net_without_projections(depth):
    projections = sum(c * 2 * c + 2 * 2 * c for c in (64, 128, 256))
    residual, plain = (
        sum(p.numel() for p in _build(f"{k}{depth}").parameters()) for k in ("resnet", "plain")
    )
    assert residual - plain == projections


@pytest.mark.parametrize("depth", [20, 32, 44, 110])
def test_a_cifar_plain_net_counts_as_much_as_its_twin(depth):
    residual, plain = (
        sum(p.numel() for p in _build(f"cifar_{k}{depth}").parameters())
        for k in ("resnet", "plain")
    )
    assert residual == plain
