"""Features of images, against the modules called by hand, and the file that keeps them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from convatlas.data.preprocess import Preprocessing
from convatlas.data.source import open_source
from convatlas.errors import DataError, OptionError, OutputError
from convatlas.models.registry import create_model
from convatlas.pipeline.features import extract, write_features
from convatlas.pipeline.probing import all_layers
from convatlas.pipeline.trained import TrainedModel
from small_digits import write_digits

RECORD = Preprocessing(
    input_size=8, channels=1, mean=(0.3,), std=(0.4,), interpolation="bilinear",
    resize_mode="stretch",
)  # fmt: skip


@pytest.fixture(scope="module")
def network():
    options = {"num_classes": 3, "in_channels": 1, "stem": "small"}
    torch.manual_seed(0)
    model = create_model("cifar_resnet20", **options).eval()
    return TrainedModel("cifar_resnet20", options, model, ("class0", "class1", "class2"), RECORD)


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    return open_source(write_digits(tmp_path_factory.mktemp("digits")))


def test_they_are_what_the_stages_answer_in_the_order_of_the_source(network, splits):
    done = []
    source = splits.train
    found = extract(network, source, ["stages.0", "stages.2"], lambda *step: done.append(step))
    batch = torch.stack([RECORD(source.load(index)) for index in range(len(source))])
    with torch.inference_mode():
        maps = network.model.forward_features(batch)
    for name, expected in (("stages.0", maps[0]), ("stages.2", maps[2])):
        torch.testing.assert_close(found.layers[name], expected.mean((2, 3)), rtol=1e-4, atol=1e-5)
    assert found.labels.tolist() == list(source.labels)
    assert found.names[0] == source.describe(0)
    assert done == [(32, 48), (48, 48)]


def test_the_file_gives_back_every_value_without_pickles(network, splits, tmp_path):
    parts = [
        extract(network, source, ["stages.1", "head"], pooled=False)
        for source in (splits.train, splits.validation)
    ]
    write_features(tmp_path / "f.npz", parts)
    with np.load(tmp_path / "f.npz", allow_pickle=False) as file:
        assert set(file) == {
            "features/stages.1", "features/head", "labels", "names", "split", "classes",
        }  # fmt: skip
        assert file["features/stages.1"].shape == (66, 32, 4, 4)
        assert file["features/stages.1"].dtype == np.float32
        np.testing.assert_array_equal(file["features/head"][:48], parts[0].layers["head"].numpy())
        np.testing.assert_array_equal(file["features/head"][48:], parts[1].layers["head"].numpy())
        assert file["labels"].tolist() == [*splits.train.labels, *splits.validation.labels]
        assert file["classes"].tolist() == ["class0", "class1", "class2"]
        assert file["split"].tolist() == [splits.train.name] * 48 + [splits.validation.name] * 18
        assert file["names"][48] == splits.validation.describe(0)


def test_a_wrong_layer_is_told_before_an_image_is_read(network):
    class Unreadable:
        name, classes, labels = "x", ("a",), (0,)

        def __len__(self):
            return 1

    with pytest.raises(OptionError, match=r"got 'stages\.7'; did you mean stages\."):
        extract(network, Unreadable(), ["stages.7"])


def test_a_bad_image_and_a_folder_in_the_way_are_one_line(network, tmp_path):
    data = write_digits(tmp_path / "data")
    broken = sorted((data / "val" / "class0").iterdir())[1]
    broken.write_bytes(broken.read_bytes()[:60])
    splits = open_source(data)
    with pytest.raises(DataError, match=broken.name):
        extract(network, splits.validation, ["head"])
    part = extract(network, splits.train, ["head"])
    with pytest.raises(OutputError, match="cannot write"):
        write_features(data, [part])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cifar_resnet20", ["stem", "stages.0", "stages.1", "stages.2"]),
        ("lenet5", ["stages.0", "stages.1", "head.dropout"]),
        ("vgg11", [*(f"stages.{i}" for i in range(5)), "head.dropout7"]),
        ("efficientnet_b0", ["stem", *(f"stages.{i}" for i in range(7)), "head.dropout"]),
        ("nin_cifar10", ["stages.0", "stages.1", "stages.2"]),
    ],
)
def test_all_layers_end_with_what_the_classifier_gets(name, expected):
    with torch.device("meta"):
        model = create_model(name)
    assert all_layers(TrainedModel(name, {}, model, (), RECORD)) == expected
