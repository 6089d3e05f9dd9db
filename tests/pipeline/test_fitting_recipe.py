"""``fitting_recipe``: every network gets steps that it survives, and one of the hardest learns."""

from __future__ import annotations

import pytest

from convatlas.models.catalogue import find_entry
from convatlas.pipeline.preparation import fitting_recipe, lasting
from convatlas.pipeline.settings import TrainSettings
from convatlas.pipeline.train import train
from convatlas.search.budget import Budget
from convatlas.search.candidate import Task
from convatlas.search.rules import candidate_of
from convatlas.train.recipe import find_recipe
from small_digits import Quiet, write_digits

KEPT = {"training.keep": "last"}
DIGITS = Task(image_size=8, channels=1, num_classes=10, train_images=1437)
PHOTOS = Task(image_size=256, channels=3, num_classes=2, train_images=100_000)


def _candidate(name, task):
    return candidate_of(find_entry(name), task, Budget(), pretrained=False)


@pytest.mark.parametrize(
    "name", ["nin_cifar10", "squeezenet1_1", "vgg11", "alexnet_2012", "zfnet", "googlenet_2014"]
)
def test_the_steps_of_rectified_nets_without_norms_are_bounded(name):
    clipped = KEPT | {"regularization.clip_norm": 1.0}
    recipe = fitting_recipe(_candidate(name, DIGITS), DIGITS.train_images)
    assert recipe == find_recipe("small-images").override(clipped)
    recipe = fitting_recipe(_candidate(name, PHOTOS), PHOTOS.train_images)
    papers = {"optimizer.lr": 0.01}  # of AlexNet, ZFNet and VGG
    assert recipe == find_recipe("from-scratch").override(clipped | papers)


@pytest.mark.parametrize(
    "name", ["cifar_resnet20", "vgg11_bn", "googlenet", "convnext_tiny", "lenet5"]
)
@pytest.mark.parametrize(
    ("task", "shipped"), [(DIGITS, "small-images"), (PHOTOS, "from-scratch")], ids=["8", "256"]
)
def test_nets_with_norms_and_the_bounded_one_take_the_shipped_steps(name, task, shipped):
    recipe = fitting_recipe(_candidate(name, task), task.train_images)
    assert recipe == find_recipe(shipped).override(KEPT)


def test_a_step_that_is_small_already_stays():
    recipe = fitting_recipe(_candidate("squeezenet1_1", PHOTOS), 128)  # eight steps of 16
    assert recipe.optimizer.lr == pytest.approx(0.1 * 16 / 256)


def test_a_net_of_rectified_class_maps_learns_by_its_recipe(tmp_path):
    data = str(write_digits(tmp_path / "digits", classes=3, train=64, val=20))
    outcome = train(
        TrainSettings(data=data, model="nin_cifar10"),
        tmp_path / "runs",
        Quiet(),
        lambda candidate, images: lasting(fitting_recipe(candidate, images), 6),
    )
    assert outcome.evaluation.accuracy > 0.6  # one in three by chance
