"""8-bit copies of exported files: their ranges by closed formulas, and nothing left behind."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime.quantization
import pytest
from onnx import numpy_helper

from convatlas.deploy.export import ExportedModel, export_onnx
from convatlas.deploy.quantize import QuantizedModel, quantize_onnx
from convatlas.deploy.record import METADATA_KEY, ExportRecord
from convatlas.deploy.runtime import OnnxClassifier
from convatlas.errors import DataError, ExportError, OptionError, OutputError
from small_classifier import CLASSES, PREPROCESSING, photos, prepared, small_net


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    path = tmp_path_factory.mktemp("export") / "net.onnx"
    return export_onnx(small_net(), path, PREPROCESSING, CLASSES, model_name="small")


@pytest.fixture(scope="module")
def quantized(exported: ExportedModel, tmp_path_factory: pytest.TempPathFactory) -> QuantizedModel:
    return quantize_onnx(exported.path, tmp_path_factory.mktemp("int8") / "a.int8.onnx", photos())


@pytest.fixture
def aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that temporary files are made in."""
    folder = tmp_path / "aside"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def constants(model: Any) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_weights_have_a_scale_per_output_channel(
    exported: ExportedModel, quantized: QuantizedModel
) -> None:
    exact, coarse = (constants(onnx.load(file.path)) for file in (exported, quantized))
    kernels = {name: value for name, value in exact.items() if value.ndim == 4}
    assert len(kernels) == 3
    for name, kernel in kernels.items():
        scale = coarse[f"{name}_scale"]
        largest = np.abs(kernel).max(axis=(1, 2, 3))
        stored = coarse[f"{name}_quantized"]
        assert stored.dtype == np.int8
        np.testing.assert_allclose(scale[largest > 0], largest[largest > 0] / 127, rtol=1e-5)
        restored = stored * scale[:, None, None, None]
        assert np.abs(restored - kernel).max() <= 0.5001 * scale.max()


def test_the_input_ranges_over_the_calibration_images(quantized: QuantizedModel) -> None:
    found = constants(onnx.load(quantized.path))
    pixels = prepared(photos()).numpy()
    low, high = min(pixels.min(), 0), max(pixels.max(), 0)
    np.testing.assert_allclose(found["images_scale"], (high - low) / 255, rtol=1e-5)
    assert found["images_zero_point"].dtype == np.uint8
    assert found["images_zero_point"] == round(-low / ((high - low) / 255))


def test_it_answers_as_before_but_for_rounding(
    exported: ExportedModel, quantized: QuantizedModel
) -> None:
    exact, coarse = (OnnxClassifier(file.path) for file in (exported, quantized))
    assert coarse.record == exact.record == ExportRecord("small", CLASSES, PREPROCESSING)
    images = prepared(photos())
    difference = np.abs(coarse.logits(images) - exact.logits(images)).max()
    assert 1e-4 < difference < 0.1  # of logits with a deviation of 1
    assert coarse.logits(images[:1]).shape == (1, 3)


def test_the_logits_themselves_stay_whole(quantized: QuantizedModel) -> None:
    # As 8-bit numbers they would end where those of the calibration images end.
    graph = onnx.load(quantized.path).graph
    (last,) = (node for node in graph.node if "logits" in node.output)
    assert last.op_type == "Gemm"
    louder = prepared(photos()) * 3
    logits = OnnxClassifier(quantized.path).logits(louder)
    assert np.unique(logits).size > 0.9 * logits.size


def test_the_record_is_all_that_the_file_says_of_itself(quantized: QuantizedModel) -> None:
    model = onnx.load(quantized.path, load_external_data=False)
    assert [entry.key for entry in model.metadata_props] == [METADATA_KEY]
    assert "QuantizeLinear" in {node.op_type for node in model.graph.node}
    assert quantized.bytes == quantized.path.stat().st_size
    assert quantized.images == 12
    assert quantized.record_path.name == "a.int8.json"
    record = ExportRecord.from_json(quantized.record_path.read_text(encoding="utf-8"))
    assert record.classes == CLASSES
    assert len(list(quantized.path.parent.iterdir())) == 2


def test_quantising_leaves_no_trace(
    exported: ExportedModel, aside: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before, root = exported.path.read_bytes(), logging.getLogger()
    logs = (list(root.handlers), list(root.filters))
    told: list[tuple[int, int]] = []
    quantize_onnx(
        exported.path, tmp_path / "a.onnx", photos(3), progress=lambda *done: told.append(done)
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert exported.path.read_bytes() == before
    assert (root.handlers, root.filters) == logs
    assert capfd.readouterr() == ("", "")
    assert not list(aside.iterdir())
    assert sorted(p.name for p in exported.path.parent.iterdir()) == ["net.json", "net.onnx"]


def test_ctrl_c_leaves_nothing(exported: ExportedModel, aside: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize_onnx(exported.path, tmp_path / "new" / "a.onnx", photos(3), progress=stop)
    assert not list(aside.iterdir())
    assert not list((tmp_path / "new").iterdir())


def fails(*_: object, **__: object) -> None:
    raise ValueError("no range for tensor x\nand more")


def test_what_cannot_be_quantised(
    exported: ExportedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OptionError, match=r"ending in \.onnx, got 'a\.int8'"):
        quantize_onnx(exported.path, tmp_path / "a.int8", photos(1))
    with pytest.raises(DataError, match="got none"):
        quantize_onnx(exported.path, tmp_path / "a.onnx", [])
    with pytest.raises(ExportError, match="there is no file"):
        quantize_onnx(tmp_path / "none.onnx", tmp_path / "a.onnx", photos(1))
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        quantize_onnx(exported.path, tmp_path / "file" / "a.onnx", photos(1))
    monkeypatch.setattr(onnxruntime.quantization, "quantize_static", fails)
    with pytest.raises(ExportError, match="ValueError: no range for tensor x") as error:
        quantize_onnx(exported.path, tmp_path / "a.onnx", photos(1))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "a.onnx").exists()
