"""Probes on every layer of a network, against the features and scikit-learn used directly."""

from __future__ import annotations

import pytest
import torch

from convatlas.data.preprocess import Preprocessing
from convatlas.data.source import open_source
from convatlas.errors import OptionError
from convatlas.models.registry import create_model
from convatlas.pipeline.probing import accuracy_of, probe_layers
from convatlas.pipeline.trained import TrainedModel, save_trained
from convatlas.tasks.metrics import Predictions
from small_digits import Quiet, write_digits


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    record = Preprocessing(
        input_size=8, channels=1, mean=(0.3,), std=(0.4,), interpolation="bilinear",
        resize_mode="stretch",
    )  # fmt: skip
    options = {"num_classes": 3, "in_channels": 1, "stem": "small"}
    torch.manual_seed(1)
    model = create_model("cifar_resnet20", **options).eval()
    folder = tmp_path_factory.mktemp("run")
    classes = ("class0", "class1", "class2")
    save_trained(folder, TrainedModel("cifar_resnet20", options, model, classes, record))
    return str(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(write_digits(tmp_path_factory.mktemp("digits")))


def test_the_untrained_network_is_drawn_by_the_seed_alone(run, data):
    state = torch.random.get_rng_state()
    (first,) = probe_layers(run, data, ["stages.1"], Quiet(), seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(99)
    (again,) = probe_layers(run, data, ["stages.1"], Quiet(), seed=1)
    assert again == first
    # The run's own weights were drawn by seed 1 too, so here both networks are the same.
    assert (first.random_accuracy, first.random_interval) == (first.accuracy, first.interval)
    assert (first.layer, first.channels) == ("stages.1", 32)


def test_the_accuracy_is_that_of_the_held_out_images(run, data):
    found = probe_layers(run, data, ["all"], Quiet())
    assert [each.layer for each in found] == ["stem", "stages.0", "stages.1", "stages.2"]
    held = len(open_source(data).validation)
    for each in found:
        assert (each.accuracy * held) == pytest.approx(round(each.accuracy * held))
        assert each.interval[0] <= each.accuracy <= each.interval[1]
        assert each.accuracy > 0.6  # three digits, of which even random features tell most apart


def test_accuracy_and_interval_by_hand():
    logits = torch.eye(2)[torch.tensor([0, 1, 1, 0])]
    half = Predictions(logits, torch.tensor([0, 1, 0, 1]), torch.arange(4))
    accuracy, (low, high) = accuracy_of(half)
    assert accuracy == 0.5
    assert (low, high) == (0.0, 1.0)  # of 4 coins, 0 and 4 heads have 6.25 % each


@pytest.mark.parametrize(
    ("layers", "message"),
    [(["stages.8"], "got 'stages.8'; did you mean stages."), ([], "got none: name some")],
)
def test_layers_are_checked_before_the_images(run, layers, message):
    with pytest.raises(OptionError, match=message):
        probe_layers(run, "/no/such/folder", layers, Quiet())
