"""The Python that the report prints is run as printed, against the preprocessing itself."""

from __future__ import annotations

import json
import runpy

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from convatlas.data.decode import decode
from convatlas.data.preprocess import Preprocessing
from convatlas.render.page_data import preparation
from convatlas.render.page_export import snippet


def _record(mode, channels, size=24):
    return Preprocessing(
        input_size=size,
        channels=channels,
        mean=(0.485, 0.456, 0.406)[:channels],
        std=(0.229, 0.224, 0.225)[:channels],
        interpolation="bicubic",
        resize_mode=mode,
        crop_fraction=0.875,
    )


def _write_echo(path, record, classes):
    """Write a file whose "logits" are its input, so that the input can be seen."""
    shape = [None, record.channels, record.input_size, record.input_size]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [None, None])
    node = helper.make_node("Flatten", ["images"], ["logits"])
    graph = helper.make_graph([node], "echo", [images], [logits])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    model.metadata_props.add(key="convatlas", value=json.dumps({"classes": classes}))
    onnx.save(model, path)


@pytest.mark.parametrize("size", [(58, 31), (30, 81), (24, 24)], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["crop", "crop_padding", "stretch"])
def test_the_snippet_prepares_images_as_training_does(
    mode, channels, size, tmp_path, monkeypatch, capsys
):
    record = _record(mode, channels)
    classes = [f"class {n}" for n in range(channels * 24 * 24)]
    _write_echo(tmp_path / "model.onnx", record, classes)
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera on its side
    Image.fromarray(pixels).save(tmp_path / "photo.jpg", exif=exif)
    script = tmp_path / "predict.py"
    script.write_text(snippet(record.to_dict(), "model.onnx"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    found = runpy.run_path(str(script))["logits"]
    expected = record(decode(tmp_path / "photo.jpg")).flatten().numpy()
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert capsys.readouterr().out.strip() == classes[int(expected.argmax())]


def test_the_steps_in_words_have_the_records_numbers():
    steps = preparation(_record("crop", 3, size=224).to_dict())
    assert steps[:3] == [
        "convert to RGB",
        "resize the shorter side to 256 px (bicubic)",
        "crop the centre, 224 × 224 px",
    ]
    assert "0.485, 0.456, 0.406" in steps[3]
    assert preparation(_record("stretch", 1).to_dict())[0] == "convert to grey"
    assert "24 / (24 + 32)" in preparation(_record("crop_padding", 3).to_dict())[1]
