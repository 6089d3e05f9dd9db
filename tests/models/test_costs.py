"""What networks need in bytes and see in pixels: by hand, by others, and counted again."""

from __future__ import annotations

import csv
import runpy
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import pytest

from convatlas.errors import UnknownNameError
from convatlas.models.catalogue import find_entry, list_models
from convatlas.models.costs import _row, find_costs

ROOT = Path(__file__).parents[2]


def test_every_network_has_a_row_and_no_other_has():
    text = (files("convatlas.models") / "facts" / "costs.csv").read_text(encoding="utf-8")
    assert [row["name"] for row in csv.DictReader(text.splitlines())] == list_models()


@pytest.mark.parametrize("name", ["size_bytes", "train_bytes", "class_macs", "channel_params"])
def test_only_figures_that_nobody_can_know_may_be_empty(name):
    text = (files("convatlas.models") / "facts" / "costs.csv").read_text(encoding="utf-8")
    first = next(csv.DictReader(text.splitlines()))
    assert _row({**first, "receptive_field": "", "class_train_bytes": ""}).receptive_field is None
    with pytest.raises(ValueError, match="invalid literal"):
        _row({**first, name: ""})


def test_sizes_are_four_bytes_per_number():
    assert find_costs("lenet5").size_bytes == 4 * 61_706 == 246_824
    assert find_costs("alexnet").size_bytes == 4 * 61_100_840
    # BatchNorm keeps a mean and a variance per channel, and a count of eight bytes. ResNet-18 has
    # 5 · 64 + 5 · 128 + 5 · 256 + 5 · 512 channels of it in 20 layers.
    assert find_costs("resnet18").size_bytes == 4 * (11_689_512 + 2 * 4_800) + 20 * 8


def test_a_training_step_holds_weights_gradients_and_momentum():
    for name in list_models():
        costs = find_costs(name)
        assert costs.memory_bytes > costs.size_bytes
        assert costs.train_bytes > 3 * 4 * find_entry(name).params


@pytest.mark.parametrize(
    ("name", "field"),
    [
        # Two 5×5 convolutions and two poolings by 2: 5 + 1 = 6, 6 + 4·2 = 14, 14 + 2 = 16.
        ("lenet5", 16),
        # 3×3 throughout: 3 + 6·2 = 15, then 2 + 5·4 at stride 2 and 4 + 5·8 at stride 4.
        ("cifar_resnet20", 15 + 2 + 20 + 4 + 40),
        # Araujo, Norris, Sim, "Computing Receptive Fields", Distill 2019, table of networks.
        ("alexnet", 195),
        ("vgg16", 212),
        ("inception_v3", 1311),
    ],
)
def test_fields_are_those_that_others_computed(name, field):
    assert find_costs(name).receptive_field == field


@pytest.mark.parametrize(
    ("name", "params", "macs"),
    [
        # A class more is a row of the last layer: its inputs and a bias.
        ("resnet18", 512 + 1, 512),
        ("vgg16", 4096 + 1, 4096),
        # A 1×1 convolution from 512 channels at 13 × 13 places.
        ("squeezenet1_1", 512 + 1, 512 * 13 * 13),
        # Two auxiliary heads from 1,024, which inference leaves out.
        ("googlenet", 3 * (1024 + 1), 1024),
    ],
)
def test_what_a_class_more_adds_is_a_row_of_the_last_layer(name, params, macs):
    costs = find_costs(name)
    assert (costs.class_params, costs.class_macs) == (params, macs)


def test_what_a_channel_more_adds_is_a_filter_of_the_first_layer():
    costs = find_costs("resnet18")  # 64 filters of 7 × 7 at 112 × 112 places
    assert costs.channel_params == 64 * 7 * 7
    assert costs.channel_macs == 64 * 7 * 7 * 112 * 112


def test_memory_falls_with_the_weights_of_a_class_alone_or_is_no_straight_line():
    for name in list_models():
        costs = find_costs(name)
        assert costs.class_memory_bytes in (4 * costs.class_params, None)
        assert costs.class_train_bytes in (12 * costs.class_params, None)
    assert find_costs("resnet18").class_train_bytes == 12 * 513
    # The maps of its classes are a part of the most that is alive in a step.
    assert find_costs("squeezenet1_1").class_train_bytes is None


def test_attention_sees_everything():
    assert find_costs("swin_t").receptive_field is None


@pytest.mark.parametrize("name", ["lenet5", "cifar_resnet20", "squeezenet1_1", "mobilenetv1_025"])
def test_the_file_is_what_the_tool_counts(name):
    costs = find_costs(name)
    row_of = runpy.run_path(str(ROOT / "tools" / "write_costs.py"))["row_of"]
    row = row_of(find_entry(name))
    counted = {key: "" if value is None else str(value) for key, value in asdict(costs).items()}
    assert row == counted


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean resnet18"):
        find_costs("resnet-18")
