"""Exported files: they run anywhere as the network does, and a changed one is caught."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from PIL import Image
from torch import nn

from convatlas.data.preprocess import Preprocessing
from convatlas.deploy.agreement import softmax
from convatlas.deploy.export import ExportedModel, export_onnx
from convatlas.deploy.parity import ParityReport, certify, require_parity
from convatlas.deploy.record import METADATA_KEY, ExportRecord
from convatlas.deploy.runtime import OnnxClassifier
from convatlas.errors import DataError, ExportError, InputSizeError, OptionError, OutputError
from convatlas.layers.conv import ConvNormAct
from convatlas.layers.head import pooled_classifier
from convatlas.models.anatomy import ConvNet
from small_classifier import CLASSES, PREPROCESSING


def small_net() -> ConvNet:
    """A conv-norm net on 8×8 images, in training mode, with weights in channels_last."""
    torch.manual_seed(0)
    net = ConvNet(
        ConvNormAct(3, 8, 3),
        [nn.Sequential(ConvNormAct(8, 12, 3, 2), nn.Dropout(0.5), ConvNormAct(12, 12, 1))],
        pooled_classifier(12, 3, dropout=0.5),
        channels=[12],
        strides=[2],
    )
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    return net.to(memory_format=torch.channels_last).train()


def photos(count: int = 5) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    sizes = rng.integers(9, 30, (count, 2))
    return [Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in sizes]


def prepared(images: list[Image.Image]) -> torch.Tensor:
    return PREPROCESSING.tensor(np.stack([PREPROCESSING.image(image) for image in images]))


@pytest.fixture(scope="module")
def net() -> ConvNet:
    return small_net()


@pytest.fixture(scope="module")
def exported(net: ConvNet, tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    folder = tmp_path_factory.mktemp("export") / "new folder"
    return export_onnx(net, folder / "net.onnx", PREPROCESSING, CLASSES, model_name="small")


def changed(exported: ExportedModel, path: Path, change: Callable[[Any], None]) -> Path:
    """Return a copy of the exported file with ``change`` made to its graph."""
    model = onnx.load(exported.path)
    change(model)
    onnx.save(model, path)
    return path


def test_the_file_runs_as_the_network_does(net: ConvNet, exported: ExportedModel) -> None:
    classifier = OnnxClassifier(exported.path)
    reference = small_net().eval()
    for count in (1, 5):
        images = prepared(photos(count))
        with torch.no_grad():
            expected = reference(images).numpy()
        np.testing.assert_allclose(classifier.logits(images), expected, rtol=1e-4, atol=1e-6)


def test_one_clean_self_contained_file(exported: ExportedModel) -> None:
    model = onnx.load(exported.path, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    operators = [node.op_type for node in model.graph.node]
    assert operators.count("Conv") == 3
    assert set(operators) <= {"Conv", "Relu", "ReduceMean", "Reshape", "Gemm"}
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
    assert not any(t.data_location for t in model.graph.initializer)
    content = exported.path.read_bytes()
    assert len(content) == exported.bytes
    assert b".py" not in content
    names = sorted(path.name for path in exported.path.parent.iterdir())
    assert names == ["net.json", "net.onnx"]


def test_the_record_stands_in_the_file_and_beside_it(exported: ExportedModel) -> None:
    expected = ExportRecord("small", CLASSES, PREPROCESSING)
    classifier = OnnxClassifier(exported.path)
    assert classifier.record == expected
    assert classifier.classes == CLASSES
    assert exported.record_path == exported.path.with_suffix(".json")
    text = exported.record_path.read_text(encoding="utf-8")
    assert ExportRecord.from_json(text) == expected
    assert json.loads(text)["classes"][2] == "größer"
    session = onnx.load(exported.path).graph
    assert [session.input[0].name, session.output[0].name] == [
        exported.input_name,
        exported.output_name,
    ]


def test_export_leaves_no_trace(
    net: ConvNet, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {name: value.clone() for name, value in net.state_dict().items()}
    random = torch.get_rng_state()
    again = export_onnx(net, tmp_path / "a.onnx", PREPROCESSING, CLASSES, opset=20)
    assert again.opset == 20
    assert OnnxClassifier(again.path).record.model == "a"
    assert capfd.readouterr() == ("", "")
    assert all(module.training for module in net.modules())
    assert all(torch.equal(v, net.state_dict()[n]) for n, v in before.items())
    assert net.stem.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(torch.get_rng_state(), random)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.onnx"]


def test_prediction_prepares_images_by_the_record(exported: ExportedModel) -> None:
    classifier = OnnxClassifier(exported.path)
    probabilities = classifier.predict(photos(), batch_size=2)
    expected = softmax(classifier.logits(prepared(photos())))
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    assert classifier.predict([]).shape == (0, 3)
    grey = classifier.predict([photos(1)[0].convert("L")])
    assert grey.shape == (1, 3)


def report_of(net: ConvNet, path: Path, *, sources: bool = False) -> ParityReport:
    images = photos()
    return certify(
        net,
        path,
        prepared(images),
        sources=images if sources else None,
        batch_size=2,
        latency_runs=1,
    )


def test_parity_of_a_faithful_file(net: ConvNet, exported: ExportedModel) -> None:
    images, threads = photos(), torch.get_num_threads()
    labels = small_net().eval()(prepared(images)).argmax(1)
    labels[0] = (labels[0] + 1) % 3
    report = certify(
        net, exported.path, prepared(images), labels, sources=images, batch_size=2, latency_runs=3
    )
    require_parity(report)
    assert report.passed
    assert report.images == 5
    assert report.top1_agreement == 1
    assert report.disagreements == 0
    assert report.torch_accuracy == report.onnx_accuracy == 0.8
    assert report.conclusive
    assert report.max_relative_difference < 1e-4
    assert report.max_probability_difference <= report.max_logit_difference
    assert report.preprocessing_difference == 0
    assert report.end_to_end_difference == pytest.approx(report.max_probability_difference)
    assert report.file_bytes == exported.bytes
    assert report.torch_latency_ms > 0
    assert report.onnx_latency_ms > 0
    assert report.threads == 1
    assert torch.get_num_threads() == threads
    assert all(module.training for module in net.modules())


def test_a_slightly_changed_weight_fails(
    net: ConvNet, exported: ExportedModel, tmp_path: Path
) -> None:
    def scale_classifier(model: Any) -> None:
        (weight,) = (t for t in model.graph.initializer if t.name == "head.classifier.weight")
        array = numpy_helper.to_array(weight) * 1.01
        weight.CopyFrom(numpy_helper.from_array(array.astype(np.float32), weight.name))

    report = report_of(net, changed(exported, tmp_path / "scaled.onnx", scale_classifier))
    assert not report.passed
    assert report.max_relative_difference > 1e-3
    with pytest.raises(ExportError, match="disagrees with the model on 5 images"):
        require_parity(report)


def test_exchanged_classes_are_disagreements(
    net: ConvNet, exported: ExportedModel, tmp_path: Path
) -> None:
    def roll(model: Any) -> None:
        for tensor in model.graph.initializer:
            if tensor.name.startswith("head.classifier"):
                array = np.roll(numpy_helper.to_array(tensor), 1, axis=0)
                tensor.CopyFrom(numpy_helper.from_array(array.copy(), tensor.name))

    report = report_of(net, changed(exported, tmp_path / "rolled.onnx", roll))
    assert report.top1_agreement == 0
    assert report.disagreements == 5
    assert not report.passed


def test_a_file_that_gives_nan_fails(net: ConvNet, exported: ExportedModel, tmp_path: Path) -> None:
    def poison(model: Any) -> None:
        (bias,) = (t for t in model.graph.initializer if t.name == "head.classifier.bias")
        array = np.array([np.nan, 0, 0], dtype=np.float32)
        bias.CopyFrom(numpy_helper.from_array(array, bias.name))

    report = report_of(net, changed(exported, tmp_path / "nan.onnx", poison))
    assert not report.passed
    assert report.max_logit_difference == float("inf")


def test_another_preprocessing_in_the_file_fails(
    net: ConvNet, exported: ExportedModel, tmp_path: Path
) -> None:
    def stretch(model: Any) -> None:
        (entry,) = (p for p in model.metadata_props if p.key == METADATA_KEY)
        content = json.loads(entry.value)
        content["preprocessing"]["resize_mode"] = "stretch"
        entry.value = json.dumps(content)

    path = changed(exported, tmp_path / "stretched.onnx", stretch)
    assert report_of(net, path).passed  # the tensors alone cannot tell
    report = report_of(net, path, sources=True)
    assert report.preprocessing_difference is not None
    assert report.preprocessing_difference > 0.1
    with pytest.raises(ExportError, match="preprocessing by"):
        require_parity(report)


def test_a_network_that_ignores_its_images_proves_nothing(
    exported: ExportedModel, tmp_path: Path
) -> None:
    # Its logits are its bias, and so are those of a file whose convolutions are wrong.
    dead = small_net()
    nn.init.zeros_(dead.head.classifier.weight)

    def forget_images(model: Any) -> None:
        values = {
            "head.classifier.weight": np.zeros((3, 12), np.float32),
            "head.classifier.bias": dead.head.classifier.bias.detach().numpy(),
        }
        for tensor in model.graph.initializer:
            if tensor.name in values:
                tensor.CopyFrom(numpy_helper.from_array(values[tensor.name], tensor.name))

    report = report_of(dead, changed(exported, tmp_path / "dead.onnx", forget_images))
    assert report.max_logit_difference == 0
    assert report.top1_agreement == 1
    assert not report.conclusive
    assert report.inconclusive
    assert not report.passed
    with pytest.raises(ExportError, match="proves nothing"):
        require_parity(report)


def test_files_that_cannot_be_used(exported: ExportedModel, tmp_path: Path) -> None:
    content = exported.path.read_bytes()
    files = {"text": b"hello", "empty": b"", "half": content[: len(content) // 2]}
    for name, part in files.items():
        (tmp_path / name).write_bytes(part)
        with pytest.raises(ExportError, match=f"{name}.*export it again"):
            OnnxClassifier(tmp_path / name)
    with pytest.raises(ExportError, match="there is no file"):
        OnnxClassifier(tmp_path / "none.onnx")
    bare = changed(exported, tmp_path / "bare.onnx", lambda m: m.ClearField("metadata_props"))
    with pytest.raises(ExportError, match="has none"):
        OnnxClassifier(bare)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"model": "a", "classes": [], "preprocessing": {"input_size": 0}}']
)
def test_records_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ExportError, match="export the model again") as error:
        ExportRecord.from_json(text)
    assert "\n" not in str(error.value)


def test_a_record_with_other_classes_than_logits(exported: ExportedModel, tmp_path: Path) -> None:
    def forget(model: Any) -> None:
        record = ExportRecord("small", CLASSES[:2], PREPROCESSING)
        model.metadata_props[0].value = record.to_json()

    with pytest.raises(ExportError, match="3 logits and names 2 classes"):
        OnnxClassifier(changed(exported, tmp_path / "two.onnx", forget))


def test_images_that_cannot_be_compared(net: ConvNet, exported: ExportedModel) -> None:
    images = prepared(photos())
    for few in (0, 1):
        with pytest.raises(DataError, match=f"two held-out images to compare, got {few}"):
            certify(net, exported.path, images[:few])
    with pytest.raises(DataError, match="one label for each of 5 images, got 2"):
        certify(net, exported.path, images, [0, 1])
    with pytest.raises(InputSizeError, match=r"\(N, 3, 8, 8\), got \(5, 3, 8, 7\)"):
        certify(net, exported.path, images[..., :7])
    other = ConvNet(nn.Identity(), [nn.ReLU()], pooled_classifier(3, 4), channels=[3], strides=[1])
    with pytest.raises(ExportError, match="4 logits, got 3: it was exported from another model"):
        certify(other, exported.path, images)


def test_options_that_cannot_work(net: ConvNet, tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    with pytest.raises(OptionError, match=r"ending in \.onnx"):
        export_onnx(net, tmp_path / "a.pt", PREPROCESSING, CLASSES)
    with pytest.raises(OptionError, match="18–23, got 11"):
        export_onnx(net, path, PREPROCESSING, CLASSES, opset=11)
    with pytest.raises(OptionError, match="3 class names, got 1"):
        export_onnx(net, path, PREPROCESSING, ["ant"])
    grey = Preprocessing(
        input_size=8,
        channels=1,
        mean=(0.5,),
        std=(0.5,),
        interpolation="bilinear",
        resize_mode="stretch",
    )
    with pytest.raises(OptionError, match="3 channels"):
        export_onnx(net, path, grey, CLASSES)
    assert list(tmp_path.iterdir()) == []


class Bessel(nn.Module):
    """An operation that ONNX does not have."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(x)


def test_a_network_that_onnx_cannot_hold(tmp_path: Path) -> None:
    net = ConvNet(nn.Identity(), [Bessel()], pooled_classifier(3, 3), channels=[3], strides=[1])
    with pytest.raises(ExportError, match="bessel_j0") as error:
        export_onnx(net, tmp_path / "a.onnx", PREPROCESSING, CLASSES)
    assert str(error.value).isprintable()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(net: ConvNet, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write") as error:
        export_onnx(net, tmp_path / "file" / "a.onnx", PREPROCESSING, CLASSES)
    assert "\n" not in str(error.value)
    (tmp_path / "b.onnx").mkdir()
    with pytest.raises(OutputError):
        export_onnx(net, tmp_path / "b.onnx", PREPROCESSING, CLASSES)
    assert sorted(os.listdir(tmp_path)) == ["b.onnx", "file"]
