"""8-bit copies of exported files: their ranges by closed formulas, and nothing left behind."""

from __future__ import annotations

import errno
import logging
import os
import tempfile
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime.quantization
import pytest
from onnx import TensorProto, helper, numpy_helper

from convatlas.deploy import quantize
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


def test_the_tools_own_files_lie_beside_the_result_until_it_is_there(
    exported: ExportedModel, aside: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    found: list[str] = []

    def look(done: int, total: int) -> None:
        assert not list(aside.iterdir())
        found.extend(path.name for path in folder.rglob("*.onnx"))

    quantize_onnx(exported.path, folder / "a.onnx", photos(1), progress=look)
    assert "plain.onnx" in found
    assert len(found) > 1  # the file in which ranges are found, wherever the tool makes it
    assert tempfile.gettempdir() == str(aside)
    assert sorted(path.name for path in folder.iterdir()) == ["a.json", "a.onnx"]


@pytest.mark.parametrize(
    ("error", "free"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 10**12),
        (ValueError("Error parsing message: wire format was corrupt"), 1000),  # half a file
    ],
    ids=["told", "not told"],
)
def test_a_full_disk_is_told(
    exported: ExportedModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    free: int,
) -> None:
    def fill(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(onnxruntime.quantization, "quantize_static", fill)
    monkeypatch.setattr(quantize.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    with pytest.raises(OutputError) as caught:
        quantize_onnx(exported.path, tmp_path / "a.onnx", photos(1))
    message = str(caught.value)
    assert message.startswith(f"cannot write {tmp_path}: No space left on device while quantising")
    assert message.endswith("; free some space or choose another disk")
    assert not list(tmp_path.iterdir())


def masked_attention(path: Path) -> Path:
    """Write softmax(x + mask) · x, of whose mask a value is −∞."""
    mask = np.array([[0.0, -np.inf], [0.0, 0.0]], dtype=np.float32)
    nodes = [
        helper.make_node("Relu", ["x"], ["positive"], "relu"),
        helper.make_node("Add", ["positive", "mask"], ["masked"]),
        helper.make_node("Softmax", ["masked"], ["shares"], "softmax"),
        helper.make_node("MatMul", ["shares", "positive"], ["y"], "product"),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2]) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(mask, "mask")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


def test_what_a_mask_makes_infinite_is_left_in_single_precision(tmp_path: Path) -> None:
    path = masked_attention(tmp_path / "masked.onnx")
    names = quantize._infinite_nodes(path)
    assert names == [onnx.load(path).graph.node[1].name, "softmax"]
    assert names[0]  # which had none


def test_a_network_without_infinite_values_is_quantised_whole(exported: ExportedModel) -> None:
    assert quantize._infinite_nodes(exported.path) == []


def test_ranges_that_are_no_numbers_are_one_clear_reason(
    exported: ExportedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def divide(*_: object, **__: object) -> None:
        warnings.warn("invalid value encountered in divide", RuntimeWarning, stacklevel=1)

    monkeypatch.setattr(onnxruntime.quantization, "quantize_static", divide)
    monkeypatch.setattr(quantize.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    message = r"quantise net\.onnx \(an activation is infinite or not a number\): use the file"
    with pytest.raises(ExportError, match=message):  # whether the disk has room or not
        quantize_onnx(exported.path, tmp_path / "a.onnx", photos(1))


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
