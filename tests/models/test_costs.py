"""What networks need in bytes and see in pixels: by hand, by others, and counted again."""

from __future__ import annotations

import csv
import runpy
from importlib.resources import files
from pathlib import Path

import pytest

from convatlas.errors import UnknownNameError
from convatlas.models.catalogue import find_entry, list_models
from convatlas.models.costs import find_costs

ROOT = Path(__file__).parents[2]


def test_every_network_has_a_row_and_no_other_has():
    text = (files("convatlas.models") / "facts" / "costs.csv").read_text(encoding="utf-8")
    assert [row["name"] for row in csv.DictReader(text.splitlines())] == list_models()


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


def test_attention_sees_everything():
    assert find_costs("swin_t").receptive_field is None


@pytest.mark.parametrize("name", ["lenet5", "cifar_resnet20", "squeezenet1_1", "mobilenetv1_025"])
def test_the_file_is_what_the_tool_counts(name):
    row_of = runpy.run_path(str(ROOT / "tools" / "write_costs.py"))["row_of"]
    costs, row = find_costs(name), row_of(find_entry(name))
    field = "" if costs.receptive_field is None else str(costs.receptive_field)
    sizes = map(str, (costs.size_bytes, costs.memory_bytes, costs.train_bytes))
    assert list(row.values()) == [name, *sizes, field]


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean resnet18"):
        find_costs("resnet-18")
