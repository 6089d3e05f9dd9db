"""What networks cost for photos of one's own: exact, though the catalogue counts other classes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from convatlas.models.catalogue import find_entry
from convatlas.models.costs import find_costs
from convatlas.models.registry import create_model
from convatlas.search.budget import Budget
from convatlas.search.choose import Task, choose
from convatlas.search.costing import cost_of
from convatlas.search.rules import candidate_of, is_priced

PHOTOS = Task(image_size=400, channels=3, num_classes=2, train_images=245)
FREE = Budget()

# Heads of every kind: linear ones, a convolution to class maps, auxiliary heads, three layers.
HEADS = (
    *("alexnet_2012", "vgg11", "googlenet", "inception_v3", "resnet18", "densenet121"),
    *("squeezenet1_1", "mobilenetv3_small", "shufflenet_v1_x1_0_g3", "ghostnet_050"),
    *("efficientnet_b0", "convnext_tiny", "swin_t", "nasnet_a_mobile", "nin_imagenet"),
)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize(("classes", "channels"), [(2, 3), (37, 1), (1203, 3)])
def test_what_the_catalogue_says_for_other_classes_is_what_the_built_network_costs(
    name, classes, channels
):
    data = replace(PHOTOS, num_classes=classes, channels=channels)
    found = candidate_of(find_entry(name), data, FREE, pretrained=False)
    with torch.device("meta"):
        model = create_model(name, num_classes=classes, in_channels=channels)
    counted = cost_of(model, found.input_size)
    assert is_priced(found)
    assert (found.cost.params, found.cost.macs) == (counted.params, counted.macs)
    assert found.cost.size_bytes == counted.size_bytes
    assert found.figures["macs"].source == f"counted for {found.input_size} px, {classes:,} classes"


@pytest.mark.parametrize("name", ["vgg11", "resnet18", "squeezenet1_1", "swin_t"])
def test_memory_for_fewer_classes_is_what_is_predicted_for_them_or_is_not_told(name):
    def told(data):
        return candidate_of(find_entry(name), data, FREE, pretrained=False).cost

    few = told(replace(PHOTOS, num_classes=37))
    with torch.device("meta"):
        model = create_model(name, num_classes=37)
    counted = cost_of(model, find_entry(name).input_size, memory=True, training=True)
    assert few.memory_bytes == counted.memory_bytes
    known = find_costs(name).class_train_bytes is not None
    assert few.train_bytes == (counted.train_bytes if known else None)
    for other in (replace(PHOTOS, channels=1), replace(PHOTOS, num_classes=1001)):
        assert told(other).memory_bytes is told(other).train_bytes is None


def test_photos_without_weights_are_judged_at_their_own_classes():
    # For 1,000 classes VGG-16 has 138,357,544 parameters and with BatchNorm 138,365,992, too many;
    # two classes are 998 rows of 4,097 fewer.
    choice = choose(Budget(family="vgg", max_params=135e6), PHOTOS)
    assert choice.chosen.name == "vgg16_bn"
    assert choice.chosen.cost.params == 138_365_992 - 998 * 4_097
    plain = next(each for each in choice.candidates if each.name == "vgg16")
    assert plain.margins["max_params"] == pytest.approx(1 - 134_268_738 / 135e6)


def test_memory_of_photos_is_judged_where_it_is_limited():
    # The classes are the peak of SqueezeNet's training, so no line leads there: it is counted.
    for name in ("squeezenet1_1", "resnet18"):
        chosen = choose(Budget(train_memory=1e10), PHOTOS, name=name, pretrained=False).chosen
        with torch.device("meta"):
            model = create_model(name, num_classes=2)
        counted = cost_of(model, 224, memory=True, training=True)
        assert chosen.figures["train_bytes"].value == counted.train_bytes


@pytest.mark.parametrize("channels", [1, 3])
def test_photos_need_no_torch_until_one_network_is_taken(channels):
    code = (
        "import sys; from convatlas import Budget; from convatlas.search.choose import Task\n"
        "from convatlas.search import choose as room\n"
        "room.advice_on = lambda *_: ()\n"
        f"task = Task(image_size=400, channels={channels}, num_classes=2, train_images=200_000)\n"
        "found = room.choose(Budget(max_params=5e6), task, pretrained=False)\n"
        "print(found.chosen.cost.params < 5e6, 'torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout.split() == ["True", "False"], found.stderr
