"""Two files on the same images, with logits worked by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from convatlas.data.preprocess import Preprocessing
from convatlas.deploy.precision import PrecisionReport, compare_precision
from convatlas.deploy.record import METADATA_KEY, ExportRecord
from convatlas.errors import DataError, ExportError

ONE_PIXEL = Preprocessing(
    input_size=1,
    channels=1,
    mean=(0.0,),
    std=(1.0,),
    interpolation="nearest",
    resize_mode="stretch",
)
IMAGES = np.array([2, 1, 0.25, -1], np.float32).reshape(4, 1, 1, 1)
LABELS = [0, 0, 0, 1]


def written(path: Path, shift: float) -> Path:
    """Write a file with the logits x - shift and shift - x of a pixel x."""
    values = {
        "weight": np.array([[1, -1]], np.float32),
        "bias": np.array([-shift, shift], np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["images"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"]),
        ],
        "net",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 1, 1, 1])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    record = ExportRecord("net", ("plus", "minus"), ONE_PIXEL)
    model.metadata_props.add(key=METADATA_KEY, value=record.to_json())
    onnx.save(model, path)
    return path


def test_worked_by_hand(tmp_path: Path) -> None:
    # Shifted by a half, the third image changes sides; its probability of "plus" goes from
    # σ(0.5) to σ(-0.5), further than any other's.
    exact, coarse = written(tmp_path / "a.onnx", 0), written(tmp_path / "b.onnx", 0.5)
    report = compare_precision(exact, coarse, IMAGES, LABELS, batch_size=3, latency_rounds=1)
    assert (report.images, report.lost, report.threads) == (4, 1, 1)
    assert (report.fp32_accuracy, report.accuracy, report.top1_agreement) == (1, 0.75, 0.75)
    sigmoid = 1 / (1 + math.exp(-0.5))
    assert report.max_probability_difference == pytest.approx(2 * sigmoid - 1, abs=1e-6)
    assert report.drop == 0.25
    assert report.keeps_within(0.25)
    assert not report.keeps_within(0.24)
    assert report.fp32_bytes == exact.stat().st_size
    assert report.bytes == coarse.stat().st_size
    assert report.latency_ms > 0
    assert report.fp32_latency_ms > 0


def test_a_better_copy_has_a_negative_drop(tmp_path: Path) -> None:
    exact, coarse = written(tmp_path / "a.onnx", 0), written(tmp_path / "b.onnx", 0.5)
    report = compare_precision(exact, coarse, IMAGES, [0, 0, 1, 1], latency_rounds=1)
    assert (report.lost, report.drop) == (-1, -0.25)
    assert report.keeps_within(0)


REPORT = PrecisionReport(
    images=100,
    accuracy=0.5,
    fp32_accuracy=0.5,
    lost=0,
    top1_agreement=1,
    max_probability_difference=0,
    latency_ms=1,
    fp32_latency_ms=1,
    threads=1,
    bytes=1,
    fp32_bytes=1,
)


@pytest.mark.parametrize(
    ("images", "lost", "max_drop", "kept"),
    [
        (100, 29, 0.29, True),  # 0.29 · 100 is 28.999999999999996
        (100, 30, 0.29, False),
        (99, 1, 0.01, False),  # 0.99 of an image
        (99, 0, 0.01, True),
        (100, 1, 0.01, True),
        (10, 0, 0.0, True),
    ],
)
def test_whole_images_are_counted(images: int, lost: int, max_drop: float, kept: bool) -> None:
    assert replace(REPORT, images=images, lost=lost).keeps_within(max_drop) is kept


def test_what_is_not_finite_is_never_kept(tmp_path: Path) -> None:
    exact, coarse = written(tmp_path / "a.onnx", 0), written(tmp_path / "b.onnx", math.nan)
    report = compare_precision(exact, coarse, IMAGES, LABELS, latency_rounds=1)
    assert report.max_probability_difference == math.inf
    assert not report.keeps_within(1)


def test_images_and_labels_must_fit(tmp_path: Path) -> None:
    file = written(tmp_path / "a.onnx", 0)
    for images, labels in ((IMAGES, [0]), (IMAGES[:0], [])):
        with pytest.raises(DataError, match="one label each, got"):
            compare_precision(file, file, images, labels)
    with pytest.raises(ExportError, match="there is no file"):
        compare_precision(file, tmp_path / "none.onnx", IMAGES, LABELS)
