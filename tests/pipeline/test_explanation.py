"""Pictures that a run leaves: what is in the files is what the network has."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from convatlas.analysis.cost import analyze
from convatlas.explain.effective_field import effective_field
from convatlas.explain.filters import first_layer_filters
from convatlas.models.anatomy import ConvNet
from convatlas.pipeline.explanation import explain
from convatlas.pipeline.preparation import build, prepare
from convatlas.pipeline.train import find_candidate
from convatlas.pipeline.training import make_job
from convatlas.render.filter_sheet import filter_sheet
from convatlas.train.recipe import Recipe
from small_digits import CLASSES, write_digits


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    prepared = prepare(str(write_digits(tmp_path_factory.mktemp("digits"))))
    return make_job(find_candidate(prepared, "cifar_resnet20", None), prepared, Recipe())


@pytest.fixture(scope="module")
def model(job):
    return build(job.candidate, CLASSES, 0).eval()


@pytest.fixture(scope="module")
def explained(job, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, explain(model, job, folder)


def _pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_the_sheet_shows_the_first_layer(explained, model):
    folder, record = explained
    filters = record["filters"]
    assert (filters["layer"], filters["count"], filters["shown"]) == ("stem.conv.conv", 16, 16)
    assert (filters["size_px"], filters["channels"]) == ([3, 3], 1)
    expected = filter_sheet(first_layer_filters(model))
    assert (_pixels(folder / filters["image"]) == expected[..., 0]).all()
    assert filters["alt"].startswith("16 filters of stem.conv.conv as tiles of 3 × 3 weights")


def test_the_fields_are_those_of_the_last_stage(explained, model, job):
    folder, record = explained
    field = record["field"]
    layer = model.feature_info[-1].name
    assert field["layer"] == layer
    rows = [row for row in analyze(model, 8, in_channels=1).layers if layer in row.name]
    assert field["theoretical_size_px"] == list(rows[-1].receptive_field.size)
    sources = job.prepared.splits.validation
    (index,) = (n for n in range(len(sources)) if sources.describe(n) == field["source"])
    images = job.images.preprocessing.tensor(job.images.validation[np.array([index])])
    measured = effective_field(model, images, layer).size
    assert field["effective_size_px"] == pytest.approx(measured, abs=0.06)
    assert max(_pixels(folder / field["image"]).shape) == 640
    assert field["source"] in field["alt"]


def test_the_record_is_json_and_the_network_is_left_as_found(explained, model):
    _, record = explained
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert {each["kind"] for each in record["pictures"]} <= {"mistake", "right"}
    assert all(parameter.grad is None for parameter in model.parameters())


def test_many_filters_are_not_all_drawn(job, tmp_path):
    torch.manual_seed(0)
    model = ConvNet(
        nn.Conv2d(1, 130, 3, padding=1),
        [nn.Conv2d(130, 4, 3, padding=1)],
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES)),
        channels=[4],
        strides=[1],
        in_channels=1,
    )
    filters = explain(model.eval(), job, tmp_path)["filters"]
    assert (filters["count"], filters["shown"]) == (130, 128)
    assert filters["alt"].startswith("128 of 130 filters of stem as tiles")


def test_what_is_no_picture_is_left_out(job, tmp_path):
    """Filters of patches have 4 channels here, and a last stage of zeros hears nothing."""
    last = nn.Conv2d(6, 4, 3, padding=1)
    nn.init.zeros_(last.weight)
    model = ConvNet(
        nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4, 6, 3, padding=1)),
        [last],
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES)),
        channels=[4],
        strides=[2],
        in_channels=1,
    )
    record = explain(model.eval(), job, tmp_path)
    assert record["filters"] is None
    assert record["field"] is None
    assert record["pictures"]
