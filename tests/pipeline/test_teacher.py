"""A teacher that takes another network's batches, against its own preparation of the images."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from convatlas.data.preprocess import IMAGENET, Preprocessing
from convatlas.errors import DataError, OptionError
from convatlas.models.registry import create_model
from convatlas.pipeline.settings import TrainSettings
from convatlas.pipeline.teacher import Teacher, load_teacher
from convatlas.pipeline.train import train
from convatlas.pipeline.trained import TrainedModel, load_trained, save_trained
from convatlas.train.checkpoint import RunFolder
from convatlas.train.recipe import Recipe
from small_digits import Quiet, write_digits

CLASSES = ("class0", "class1", "class2")


def _record(size, mean, std, channels=1):
    return Preprocessing(
        input_size=size, channels=channels, mean=(mean,) * channels, std=(std,) * channels,
        interpolation="bilinear", resize_mode="stretch",
    )  # fmt: skip


OWN, GIVEN = _record(8, 0.1, 0.7), _record(8, 0.5, 0.2)


def _network():
    torch.manual_seed(0)
    return create_model("cifar_resnet20", num_classes=3, in_channels=1, stem="small").eval()


def _photos(side=8):
    return np.random.default_rng(0).integers(0, 256, (4, side, side, 1), dtype=np.uint8)


def _saved(folder, classes=CLASSES, record=OWN):
    options = {"num_classes": 3, "in_channels": 1, "stem": "small"}
    save_trained(folder, TrainedModel("cifar_resnet20", options, _network(), classes, record))
    return str(folder)


def test_it_answers_as_to_images_prepared_its_own_way():
    network, images = _network(), _photos()
    with torch.inference_mode():
        taught = Teacher(network, OWN, GIVEN, [2, 0, 1])(GIVEN.tensor(images))
        direct = network(OWN.tensor(images))[:, [2, 0, 1]]
    torch.testing.assert_close(taught, direct, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", [4, 16, 12])
def test_another_size_is_that_of_pillow(side):
    own, images = _record(side, 0.1, 0.7), _photos()
    teacher = Teacher(nn.Flatten(), own, GIVEN, list(range(side * side)))
    seen = teacher(GIVEN.tensor(images)).view(4, side, side) * 0.7 + 0.1
    for image, pixels in zip(images[..., 0], seen, strict=True):
        resized = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
        difference = pixels.numpy() - np.asarray(resized) / 255
        assert np.abs(difference).max() < 1.01 / 255  # Pillow rounds to whole values, twice


def test_classes_come_in_the_students_order(tmp_path):
    run = _saved(tmp_path, classes=("class2", "class0", "extra"))
    images = GIVEN.tensor(_photos())
    with torch.inference_mode():
        taught = load_teacher(run, ("class0", "class2"), GIVEN)(images)
        logits = _network()(OWN.tensor(_photos()))
    torch.testing.assert_close(taught, logits[:, [1, 0]], rtol=1e-4, atol=1e-5)


def test_a_teacher_that_does_not_fit_is_refused(tmp_path):
    run = _saved(tmp_path)
    with pytest.raises(DataError, match=r"knows the classes class0, other, got .* without other"):
        load_teacher(run, ("class0", "other"), GIVEN)
    with pytest.raises(OptionError, match="teacher for images of 3 channels, got one for 1"):
        load_teacher(run, CLASSES, IMAGENET)


def _distilled(data, folder, run, **changes):
    recipe = Recipe().override(
        {
            "training.epochs": 1,
            "training.batch_size": 16,
            "training.precision": "fp32",
            "optimizer.lr": 0.05,
            "loss.teacher": run,
            **{f"loss.{name}": value for name, value in changes.items()},
        }
    )
    settings = TrainSettings(data=data, model="lenet5")
    return train(settings, folder, Quiet(), lambda *_: recipe).folder


def test_a_student_of_the_teacher_alone_does_not_see_the_labels(tmp_path):
    data = str(write_digits(tmp_path / "data"))
    run = _saved(tmp_path / "teacher")
    before = (tmp_path / "teacher" / "trained.safetensors").read_bytes()

    def weights(**changes):
        folder = _distilled(data, tmp_path / "runs", run, **changes)
        names = RunFolder(folder).load_last().tensors
        assert not [name for name in names if "teacher" in name]
        return load_trained(folder).model.state_dict()

    one, two = (weights(distillation_weight=1, label_smoothing=s) for s in (0.0, 0.5))
    assert all(torch.equal(one[name], two[name]) for name in one)
    three, four = (weights(distillation_weight=0.5, label_smoothing=s) for s in (0.0, 0.5))
    assert any(not torch.equal(three[name], four[name]) for name in three)
    assert (tmp_path / "teacher" / "trained.safetensors").read_bytes() == before


def test_a_run_says_who_taught_it(tmp_path):
    data = str(write_digits(tmp_path / "data"))
    run = _saved(tmp_path / "teacher")
    folder = _distilled(data, tmp_path / "runs", run)
    assert f"teacher = {json.dumps(run)}" in (folder / "recipe.toml").read_text()
