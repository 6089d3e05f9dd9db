"""Tables at several widths: nothing is wider than the terminal, nothing is lost silently."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from convatlas.analysis.receptive_field import ReceptiveField
from convatlas.analysis.report import CostReport, LayerCost, Uncounted
from convatlas.models.catalogue import find_entry, list_entries
from convatlas.render.tables import choice_table, cost_table, models_table, predictions_table

CHOICE = {
    "chosen": {"name": "net_a"},
    "reason": "net_a has the highest published accuracy.",
    "candidates": [
        {"name": "net_a", "params": 3_000_000, "macs": 3e8, "top1": 74.8, "kept": True,
         "reason": "within the budget", "latency_ms": 21.4},
        {"name": "net_b", "params": 25_557_032, "macs": 4_089_184_256, "top1": None, "kept": False,
         "reason": "needs 4.09 G MACs, which is far more than the budget of 400 M MACs allows",
         "latency_ms": None},
    ],
}  # fmt: skip


def _layer(name, macs, *, params=0, counted=True, field=None):
    return LayerCost(
        name=name,
        operator="conv2d",
        module_type="Conv2d",
        output_shape=(1, 16, 48, 48),
        params=params,
        macs=macs,
        flops=2 * macs,
        backward_macs=2 * macs,
        read_bytes=147_456,
        written_bytes=147_456,
        activation_bytes=147_456,
        receptive_field=ReceptiveField(field, (1.0, 1.0), (0, 0)) if field else None,
        receptive_field_note="",
        is_counted=counted,
    )


def _report(uncounted=()):
    layers = (
        _layer("stem.conv", 995_328, params=432, field=(3, 3)),
        _layer("stages.0.0.a_module_with_a_long_name.conv", 2_000_000, params=568, field=(1, 7)),
        _layer("head.odd", 0, counted=not uncounted),
    )
    return CostReport(
        layers=layers,
        input_shape=(1, 3, 96, 96),
        output_shape=(1, 10),
        params=1_000,
        trainable_params=1_000,
        macs=2_995_328,
        flops=5_990_656,
        backward_macs=5_990_656,
        read_bytes=442_368,
        written_bytes=442_368,
        activation_bytes=442_368,
        receptive_field=None,
        uncounted=tuple(uncounted),
    )


def _lines(table, width):
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def _text(table, width):
    return "\n".join(_lines(table, width))


@pytest.mark.parametrize("width", [40, 80, 120, 200])
@pytest.mark.parametrize(
    "make",
    [
        lambda width: models_table(list_entries(), width),
        lambda width: cost_table(_report(), width),
        lambda width: choice_table(CHOICE, width),
    ],
    ids=["models", "cost", "choice"],
)
def test_no_line_is_wider_than_the_terminal(make, width):
    assert max(map(len, _lines(make(width), width))) <= width


def test_a_network_with_all_its_figures_on_one_line():
    text = _text(models_table([find_entry("resnet50")], 120), 120)
    row = next(line for line in text.splitlines() if line.startswith("resnet50"))
    figures = "resnet50 resnet 2015 ImageNet-1k 224 25.56 M 4.09 G 76.1 torchvision, timm"
    assert " ".join(row.split()) == figures
    assert "1 network." in text
    assert "No room" not in text


def test_at_80_columns_the_least_important_columns_go_and_are_named():
    lines = _lines(models_table(list_entries(), 80), 80)
    assert {"name", "params", "MACs", "top-1"} <= set(lines[0].split())
    assert any(line.startswith("No room for: family, year") for line in lines)
    entries = {line.split()[0] for line in lines if line}
    assert {entry.name for entry in list_entries()} <= entries  # every name whole, one per line


def test_the_last_row_holds_the_totals():
    lines = _lines(cost_table(_report(), 120), 120)
    total = next(line for line in lines if line.startswith("total"))
    assert " ".join(total.split()) == "total 1.00 k 3.00 M 5.99 M 442.4 kB"
    assert "1 MAC = one multiply and one add; 1 FLOP = one operation" in " ".join(lines)


def test_a_receptive_field_that_is_no_square_is_written_out():
    lines = _lines(cost_table(_report(), 120), 120)
    assert lines[2].split()[-1] == "3"
    assert lines[3].split()[-1] == "1×7"
    assert lines[4].split()[-1] == "–"


def test_what_was_not_counted_is_no_zero():
    text = _text(cost_table(_report([Uncounted("grid_sample", 2)]), 120), 120)
    row = next(line for line in text.splitlines() if line.startswith("head.odd"))
    assert row.split().count("?") == 2
    assert "≥ 3.00 M" in text
    assert "no formula: grid_sample (2×)" in text.replace("\n", " ")


def test_long_layer_names_are_cut_in_their_middle_when_nothing_else_can_go():
    text = _text(cost_table(_report(), 48), 48)
    assert any(line.startswith("stages.") and "…" in line for line in text.splitlines())
    assert "operator, output shape, FLOPs, activation, RF px" in text.replace("\n", " ")


def test_verdicts_and_reasons():
    lines = _lines(choice_table(CHOICE, 120), 120)
    assert lines[2].split()[:2] == ["net_a", "chosen"]
    assert lines[3].split()[:2] == ["net_b", "dropped"]
    assert CHOICE["reason"] in "\n".join(lines)


def test_a_choice_without_latencies_has_no_such_column():
    rows = [{**row, "latency_ms": None} for row in CHOICE["candidates"]]
    assert "latency" not in _text(choice_table({**CHOICE, "candidates": rows}, 200), 200)


def test_names_neither_style_nor_steer_the_terminal():
    prediction = SimpleNamespace(
        path="photo\x1b[31m.jpg",
        model="net",
        classes=("[red]cat[/red]", "two\nlines", "byte\udcff"),
        probabilities=(0.7, 0.29, 0.00001),
    )
    text = _text(predictions_table(prediction, 80), 80)
    assert "[red]cat[/red]" in text
    assert "two?lines" in text
    assert "byte?" in text
    assert "\x1b" not in text
    assert "< 0.1 %" in text
