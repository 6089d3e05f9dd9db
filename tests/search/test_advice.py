"""What the data say beside the choice, with numbers that are worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from convatlas.models.catalogue import find_entry
from convatlas.search.advice import advice_on
from convatlas.search.budget import Budget
from convatlas.search.candidate import Task
from convatlas.search.rules import candidate_of

FREE = Budget()
CIFAR = Task(image_size=32, channels=3, num_classes=10, train_images=50_000)
PHOTOS = Task(image_size=448, channels=3, num_classes=2, train_images=245)


def _advice(name, data, *, weights=None, size=None, budget=FREE):
    candidate = candidate_of(find_entry(name), data, budget, pretrained=False)
    if weights:
        candidate = replace(candidate, weights=weights)
    if size:
        candidate = replace(candidate, input_size=size)
    return " | ".join(advice_on(candidate, data, budget))


def test_enlarging_small_images_is_named_as_what_it_is():
    told = _advice("cifar_resnet20", CIFAR)
    assert "Images of 32 px would be enlarged 7-fold" in told
    assert "input of 224 px: no detail is gained, and each costs 49 times" in told


def test_enlarged_photos_are_said_to_gain_nothing():
    data = replace(PHOTOS, image_size=112)
    told = _advice("efficientnet_lite0", data, weights="pypi")
    assert "Images of 112 px are enlarged 2-fold to 224 px, the size that the pypi weights" in told
    assert "no detail is gained, and each costs 4 times the multiply-accumulates" in told


def test_shrunk_photos_lose_details():
    assert "shrunk 2-fold to 224 px: if classes differ by details of less than 2 px" in _advice(
        "resnet18", PHOTOS
    )
    assert "px are" not in _advice("resnet18", replace(PHOTOS, image_size=256))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("alexnet", "last stage sees 195 of the 224 px"),
        ("vgg16", "last stage sees 212 of the 224 px"),
        ("inception_v3", "last stage sees 1311 px, so the whole input of 299 px"),
    ],
)
def test_the_input_is_held_against_the_receptive_field(name, words):
    assert words in _advice(name, PHOTOS)


def test_the_field_of_the_small_stem_is_its_own():
    # 3×3 in front and 6 blocks of two: (3 + 12) + (2 + 20) + (4 + 40), as without the stem.
    assert "sees 81 px, so the whole input of 32 px" in _advice("cifar_resnet20", CIFAR)


def test_a_small_stem_says_what_it_saves():
    # ResNet-18 shrinks 32-fold, 4-fold of that in its stem and its pooling.
    told = _advice("resnet18", CIFAR)
    assert "shrinks 32 px 32-fold, to 1 × 1 places; so 4 × 4 places remain" in told
    assert "stem=" not in _advice("cifar_resnet20", CIFAR)


def test_a_small_stem_is_proposed_for_images_between_small_and_large():
    data = Task(image_size=96, channels=3, num_classes=10, train_images=200_000)
    told = _advice("resnet18", data)
    assert 'stem="small" would show resnet18 these images in their own 96 px' in told
    assert "12 × 12 places" in told
    assert "stem=" not in _advice("resnet18", replace(data, image_size=224))
    assert "stem=" not in _advice("resnet18", data, weights="timm")


def test_too_few_photos_are_told_with_the_numbers_behind_it():
    told = _advice("efficientnet_lite0", PHOTOS, weights="pypi")
    # 4,652,008 parameters for 1,000 classes, less 998 rows of 1,281, over 245 photos; 245 over two.
    assert "245 images, 122 a class, are too few to train from scratch" in told
    assert "took 1,281,167, and convatlas asks for 100,000" in told
    assert "There are 13,770 parameters of efficientnet_lite0 for each" in told
    assert "the pypi weights are fine-tuned" in told
    assert 'weights="torchvision" downloads a start' in _advice("resnet18", PHOTOS)
    assert "fine-tune a network that has pretrained weights" in _advice("plain18", PHOTOS)
    # torchvision states no licence for its weights.
    permissive = _advice("vgg16", PHOTOS, budget=Budget(licence="permissive"))
    assert "torchvision" not in permissive
    assert "fine-tune a network that has pretrained weights" in permissive
    assert "too few" not in _advice("resnet18", replace(PHOTOS, train_images=100_000))


def test_few_small_images_are_told_with_the_numbers_behind_it():
    digits = Task(image_size=8, channels=1, num_classes=10, train_images=1437)
    told = _advice("cifar_resnet20", digits)
    assert "1,437 images, 144 a class, are few: CIFAR-10's published accuracies took 50,000" in told
    assert "are few" not in _advice("cifar_resnet20", CIFAR)


def test_strong_imbalance_is_named():
    data = replace(PHOTOS, train_images=330, per_class=(300, 30))
    assert "has 300 images and the smallest 30" in _advice("resnet18", data)
    assert "the largest is right in 91%" in _advice("resnet18", data)
    even = replace(data, per_class=(299, 30))
    assert "largest class" not in _advice("resnet18", even)
    assert "the smallest 0" in _advice("resnet18", replace(data, per_class=(330, 0)))


def test_export_is_spoken_of_when_it_is_asked_for():
    assert advice_on(_plain(), None, FREE) == ()
    (told,) = advice_on(_plain(), None, Budget(export="int8"))
    assert "no published accuracy holds for that" in told
    (told,) = advice_on(_plain(), None, Budget(export="onnx"))
    assert "can be exported to ONNX" in told


def _plain():
    return candidate_of(find_entry("resnet18"), None, FREE, pretrained=False)
