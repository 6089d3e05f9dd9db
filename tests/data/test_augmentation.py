from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest

from augmentations import DIGITS, PHOTOS
from convatlas.data.augmentation import Augmentation
from convatlas.errors import OptionError


@pytest.mark.parametrize(
    "record",
    [
        Augmentation(),
        PHOTOS,
        DIGITS,
        Augmentation(policy="randaugment", policy_magnitude=21, mixup=0.2, cutmix=1.0, repeats=3),
    ],
)
def test_records_survive_json(record: Augmentation) -> None:
    assert Augmentation.from_dict(json.loads(json.dumps(record.to_dict()))) == record


def test_a_recipe_names_only_what_it_varies() -> None:
    assert Augmentation.from_dict({"flip": True, "crop_scale": [0.08, 1.0]}) == Augmentation(
        flip=True, crop_scale=(0.08, 1.0)
    )
    with pytest.raises(OptionError, match="no field 'cutmx'; did you mean cutmix"):
        Augmentation.from_dict({"cutmx": 1.0})


def test_shifts_are_whole_pixels_of_the_side() -> None:
    cifar = Augmentation(shift=0.125)
    assert [cifar.shift_pixels(side) for side in (32, 64, 3)] == [4, 8, 1]
    assert [DIGITS.shift_pixels(side) for side in (8, 28, 32)] == [1, 2, 2]
    assert Augmentation().shift_pixels(224) == 0


def test_the_record_needs_no_torch() -> None:
    code = "import convatlas.data.augmentation, sys; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("crop_scale", (0.0, 1.0)),
        ("crop_scale", (0.5, 1.5)),
        ("crop_scale", (0.9, 0.5)),
        ("crop_scale", 0.5),
        ("crop_ratio", (2.0, 1.0)),
        ("crop_ratio", ("a", "b")),
        ("shift", -1),
        ("shift", "a"),
        ("shift", 1.5),
        ("rotate_degrees", 181),
        ("zoom", -0.1),
        ("zoom", math.inf),
        ("zoom", math.nan),
        ("brightness", 1.1),
        ("random_erase", -0.1),
        ("padding", "mirror"),
        ("flip", 1),
        ("policy", "autoaugment"),
        ("policy_operations", 0),
        ("policy_operations", 1.5),
        ("policy_magnitude", 31),
        ("mixup", -0.2),
        ("cutmix", True),
        ("mix_probability", 1.1),
        ("pca_colour", -1),
        ("repeats", 0),
    ],
)
def test_impossible_options_are_refused(field: str, value: object) -> None:
    with pytest.raises(OptionError, match=field):
        Augmentation(**{field: value})
