"""What lies in a run folder for others: an 8-bit file only if its accuracy holds."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch import nn

from convatlas.deploy.runtime import OnnxClassifier
from convatlas.errors import DataError, ExportError, OptionError, OutputError
from convatlas.pipeline import shipping
from convatlas.pipeline.shipping import Photos, ship
from convatlas.pipeline.trained import TrainedModel
from small_classifier import CLASSES, PREPROCESSING, photos, prepared, small_net

OUTLIER = 1e5


class Shown:
    """A source of labelled images that counts how many were asked for."""

    def __init__(self, images, labels):
        self.images, self.labels, self.loaded = images, tuple(labels), 0

    def __len__(self):
        return len(self.images)

    def load(self, index, at_least=None):
        self.loaded += 1
        return self.images[index]


def work(outlier=1.0):
    """Return a network and its job; it is right on every held-out image."""
    model = small_net(outlier)
    held_out = photos(30)
    labels = model(prepared(held_out)).argmax(1).tolist()
    assert len(set(labels)) == 3
    validation = Shown(held_out, labels)
    splits = SimpleNamespace(train=Shown(photos(12), [0] * 12), validation=validation)
    images = np.stack([PREPROCESSING.image(image) for image in held_out])
    job = SimpleNamespace(
        prepared=SimpleNamespace(splits=splits), images=SimpleNamespace(validation=images)
    )
    return TrainedModel("small", {}, model, CLASSES, PREPROCESSING), job


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    trained, job = work()
    told = []
    record = ship(trained, job, folder, 0.1, lambda *done: told.append(done))
    return folder, record, job, told


@pytest.fixture
def exported(shipped, monkeypatch):
    """Skip the export of the first network, which is the same every time."""

    def copy(model, path, *_, **__):
        for suffix in (".onnx", ".json"):
            shutil.copy((shipped[0] / "model").with_suffix(suffix), path.with_suffix(suffix))
        return SimpleNamespace(path=path, opset=18, bytes=path.stat().st_size)

    monkeypatch.setattr(shipping, "export_onnx", copy)


@pytest.fixture
def aside(tmp_path, monkeypatch):
    folder = tmp_path / "aside"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_both_files_and_the_script(shipped):
    folder, record, _, told = shipped
    int8 = record["int8"]
    assert names(folder) == [
        *("model.int8.json", "model.int8.onnx", "model.json", "model.onnx", "predict.py")
    ]
    assert record["passed"]
    assert (int8["status"], int8["file"], int8["max_drop"]) == ("accepted", "model.int8.onnx", 0.1)
    assert told[-1] == (12, 12)
    assert int8["calibration_images"] == 12
    assert (int8["images"], int8["fp32_accuracy"]) == (30, 1)
    assert int8["bytes"] == (folder / "model.int8.onnx").stat().st_size
    assert int8["fp32_bytes"] == record["bytes"]
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_the_accuracy_is_that_of_the_file(shipped):
    folder, record, job, _ = shipped
    validation = job.prepared.splits.validation
    answers = OnnxClassifier(folder / "model.int8.onnx").predict(validation.images).argmax(1)
    right = sum(answers == np.array(validation.labels)) / 30
    assert record["int8"]["accuracy"] == right
    assert record["int8"]["drop"] == pytest.approx(1 - right)
    assert record["int8"]["top1_agreement"] == right  # the labels are the network's own answers


def test_a_file_that_lost_its_accuracy_is_refused(tmp_path, aside):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("model.int8.onnx", "model.int8.json"):
        (folder / name).touch()
    trained, job = work(OUTLIER)
    record = ship(trained, job, folder)
    int8 = record["int8"]
    assert record["passed"]
    assert record["onnx_accuracy"] == int8["fp32_accuracy"] == 1
    assert int8["accuracy"] < 0.8
    assert (int8["status"], int8["file"], int8["max_drop"]) == ("refused", None, 0.01)
    assert f"falls by {int8['drop']:.2%}" in int8["reason"]
    assert names(folder) == ["model.json", "model.onnx", "predict.py"]
    assert names(aside) == []


def ignorant():
    """Return a network whose logits are all zero, and its job."""
    trained, job = work()
    nn.init.zeros_(trained.model.head.classifier.weight)
    nn.init.zeros_(trained.model.head.classifier.bias)
    return trained, job


def test_a_network_that_ignores_its_images_is_shipped_and_told(tmp_path):
    record = ship(*ignorant(), tmp_path)
    assert (record["conclusive"], record["passed"]) == (False, False)
    assert record["max_relative_difference"] is None  # of nothing: JSON has no infinity
    json.dumps(record, allow_nan=False)
    assert {"model.json", "model.onnx", "predict.py"} <= set(names(tmp_path))


def test_a_file_that_disagrees_with_such_a_network_is_refused(exported, tmp_path):
    with pytest.raises(ExportError, match="disagrees with the model"):
        ship(*ignorant(), tmp_path)


def test_a_network_that_cannot_be_quantised_is_shipped(exported, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ExportError("ONNX Runtime cannot quantise model.onnx")

    monkeypatch.setattr(shipping, "quantize_onnx", fail)
    record = ship(*work(), tmp_path)
    assert record["passed"]
    assert record["int8"] == {
        "status": "failed",
        "reason": "ONNX Runtime cannot quantise model.onnx",
        "file": None,
        "max_drop": 0.01,
    }
    assert names(tmp_path) == ["model.json", "model.onnx", "predict.py"]


@pytest.mark.parametrize("error", [DataError("photo 3 is damaged"), OSError(errno.EIO, "I/O")])
def test_what_is_no_full_disk_is_not_taken_for_one(exported, tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(shipping, "compare_precision", fail)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    record = ship(*work(), tmp_path)["int8"]
    assert (record["status"], record["reason"]) == ("failed", str(error))


def test_a_quota_that_is_full_ends_the_run(exported, tmp_path, monkeypatch):
    def fill(*_, **__):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(shipping, "TemporaryDirectory", fill)
    with pytest.raises(OutputError, match=r"cannot write .*: No space left on device while"):
        ship(*work(), tmp_path)


def test_a_disk_that_is_full_ends_the_run_and_is_no_fault_of_the_network(
    exported, tmp_path, monkeypatch
):
    def fill(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("onnxruntime.quantization.quant_pre_process", fill)
    with pytest.raises(OutputError, match=r"cannot write .*: No space left on device while"):
        ship(*work(), tmp_path)
    assert names(tmp_path) == ["model.json", "model.onnx", "predict.py"]


def test_what_a_killed_process_had_aside_is_removed(exported, tmp_path):
    (tmp_path / ".quantising-abc").mkdir()
    (tmp_path / ".quantising-abc" / "plain.onnx").touch()
    ship(*work(), tmp_path, 1.0)
    assert names(tmp_path) == [
        *("model.int8.json", "model.int8.onnx", "model.json", "model.onnx", "predict.py")
    ]


def test_ctrl_c_leaves_no_half_of_it(exported, tmp_path, aside):
    def stop(done: int, total: int) -> Any:
        raise KeyboardInterrupt

    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        ship(*work(), folder, progress=stop)
    assert names(folder) == ["model.json", "model.onnx", "predict.py"]
    assert names(aside) == []


@pytest.mark.parametrize("max_drop", [-0.01, 1.5, float("nan")])
def test_impossible_limits(max_drop, tmp_path):
    with pytest.raises(OptionError, match="max_drop must be in 0 … 1"):
        ship(*work(), tmp_path, max_drop)
    assert names(tmp_path) == []


def test_photos_are_decoded_when_they_are_asked_for():
    source = Shown(photos(5), range(5))
    some = Photos(source, [4, 0, 2])
    assert (len(some), source.loaded) == (3, 0)
    assert some[0] is source.images[4]
    assert some[1:] == [source.images[0], source.images[2]]
    assert source.loaded == 3


@pytest.mark.parametrize(
    ("images", "most", "places"),
    [(3, 5, [0, 1, 2]), (5, 5, [0, 1, 2, 3, 4]), (10, 4, [0, 2, 5, 7]), (7, 1, [0])],
)
def test_places_are_spread_evenly(images, most, places):
    assert shipping.spread(images, most) == places
