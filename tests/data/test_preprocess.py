from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.datasets import load_sample_image

from convatlas.data.preprocess import IMAGENET, Preprocessing
from convatlas.errors import DataError

FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
}
RIBBON = (9, 200)
SIZES = [(500, 375), (375, 500), (640, 427), (33, 57), (31, 31), (64, 64), RIBBON, (1, 1)]


def grey(**changes: object) -> Preprocessing:
    values = {"channels": 1, "mean": (0.5,), "std": (0.25,), "input_size": 8, **changes}
    return replace(IMAGENET, **values)


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


@pytest.mark.parametrize("size", [size for size in SIZES if size != RIBBON])
@pytest.mark.parametrize("interpolation", list(FILTERS))
def test_crop_is_resize_then_centre(size: tuple[int, int], interpolation: str) -> None:
    record = replace(IMAGENET, input_size=48, interpolation=interpolation, crop_fraction=0.75)
    width, height = size
    assert record.resized_side == 64
    new = (64, 64 * height // width) if width < height else (64 * width // height, 64)
    resized = np.asarray(noise(*size).resize(new, FILTERS[interpolation]))
    # nearest even for halves, as Python's and torchvision's round
    top, left = (int(np.rint((side - 48) / 2)) for side in (new[1], new[0]))
    expected = resized[top : top + 48, left : left + 48]
    assert_array_equal(record.image(noise(*size)), expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", list(FILTERS))
def test_crop_padding_is_centre_then_resize(size: tuple[int, int], interpolation: str) -> None:
    record = replace(
        IMAGENET, input_size=40, interpolation=interpolation, resize_mode="crop_padding"
    )
    width, height = size
    side = max(1, 40 * min(size) // 72)
    top, left = (height - side + 1) // 2, (width - side + 1) // 2
    window = np.asarray(noise(*size))[top : top + side, left : left + side]
    expected = Image.fromarray(window).resize((40, 40), FILTERS[interpolation])
    assert_array_equal(record.image(noise(*size)), np.asarray(expected))


@pytest.mark.parametrize("size", SIZES)
def test_stretch_is_one_resize(size: tuple[int, int]) -> None:
    record = replace(IMAGENET, input_size=48, resize_mode="stretch", crop_fraction=0.5)
    expected = noise(*size).resize((48, 48), Image.Resampling.BILINEAR)
    assert_array_equal(record.image(noise(*size)), np.asarray(expected))


def test_hand_worked_boxes() -> None:
    # 500×375 → ⌊256 · 500/375⌋ = 341 × 256 → left (341 − 224)/2 = 58.5 → 58, top 16
    columns = np.tile(np.arange(341, dtype=np.uint8), (256, 1))
    image = Image.fromarray(columns)
    crop = grey(input_size=224).image(image)[..., 0]
    assert_array_equal(crop[0], np.arange(58, 282, dtype=np.int64) % 256)
    rows = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8)[:, None], (1, 341)))
    assert_array_equal(grey(input_size=224).image(rows)[:, 5, 0], np.arange(16, 240))
    # side 8/40 · 100 = 20, left and top (100 − 20 + 1)//2 = 40
    ramp = Image.fromarray(np.tile(np.arange(100, dtype=np.uint8), (100, 1)))
    record = grey(resize_mode="crop_padding", interpolation="nearest")
    assert_array_equal(record.image(ramp)[0, :, 0], [41, 43, 46, 48, 51, 53, 56, 58])


@pytest.mark.parametrize(
    ("size", "fraction", "side"), [(224, 0.875, 256), (224, 0.965, 232), (240, 240 / 272, 272)]
)
def test_resized_side_rounds_down(size: int, fraction: float, side: int) -> None:
    assert replace(IMAGENET, input_size=size, crop_fraction=fraction).resized_side == side


def test_resized_side_of_the_other_modes() -> None:
    assert replace(IMAGENET, resize_mode="crop_padding").resized_side == 256
    assert replace(IMAGENET, resize_mode="stretch").resized_side == 224


@pytest.mark.parametrize("mode", ["crop", "crop_padding", "stretch"])
@pytest.mark.parametrize("channels", ["RGB", "L"])
def test_images_of_the_right_size_are_untouched(mode: str, channels: str) -> None:
    image = noise(224, 224, channels)
    record = replace(IMAGENET, resize_mode=mode, interpolation="lanczos")
    assert_array_equal(record.image(image), np.asarray(image.convert("RGB")))
    result = grey(input_size=224, resize_mode=mode).image(image)
    assert_array_equal(result[..., 0], np.asarray(image.convert("L")))


def test_a_ribbon_does_not_swell() -> None:
    ribbon = noise(100_000, 8)  # resized whole it would have 256 · 3,200,000 pixels
    result = IMAGENET.image(ribbon)
    middle = ribbon.crop((49_900, 0, 50_100, 8))
    expected = middle.resize((6400, 256), Image.Resampling.BILINEAR).crop((3088, 16, 3312, 240))
    difference = np.abs(result.astype(int) - np.asarray(expected))
    assert difference.max() <= 2
    assert difference.mean() < 0.1


def test_tensor_is_normalised_channel_by_channel() -> None:
    photo = Image.fromarray(load_sample_image("china.jpg"))
    image = IMAGENET.image(photo)
    assert (image.shape, image.dtype) == ((224, 224, 3), np.uint8)
    expected = (image / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    x = IMAGENET(photo)
    assert (x.shape, x.dtype) == ((3, 224, 224), torch.float32)
    assert_allclose(x.numpy(), expected.transpose(2, 0, 1), atol=2e-6)
    assert IMAGENET.tensor(image).shape == (1, 3, 224, 224)
    batch = IMAGENET.tensor(np.stack([image, image[::-1]]))
    assert torch.equal(batch[0], x)
    assert torch.equal(batch[1], x.flip(1))
    assert batch.is_contiguous()
    assert torch.equal(
        IMAGENET.normalize(torch.ones(2, 3, 1, 1))[0], IMAGENET.normalize(torch.ones(3, 1, 1))
    )


def test_normalize_leaves_its_argument() -> None:
    x = torch.full((1, 3, 2, 2), 0.5)
    IMAGENET.normalize(x)
    assert (x == 0.5).all()


def test_grey_and_colour() -> None:
    photo = Image.fromarray(load_sample_image("china.jpg"))
    luma = np.asarray(photo.convert("L").resize((8, 8), Image.Resampling.BILINEAR))
    assert_array_equal(grey(resize_mode="stretch").image(photo)[..., 0], luma)
    colour = IMAGENET.image(photo.convert("L"))
    assert_array_equal(colour[..., 0], colour[..., 2])


def test_record_survives_json() -> None:
    for record in (IMAGENET, grey(resize_mode="stretch", crop_fraction=1.0)):
        assert Preprocessing.from_dict(json.loads(json.dumps(record.to_dict()))) == record


def test_records_are_read_strictly() -> None:
    values = IMAGENET.to_dict()
    with pytest.raises(DataError, match="no field 'crop_fracton'; did you mean crop_fraction"):
        Preprocessing.from_dict({**values, "crop_fracton": 1})
    del values["mean"]
    with pytest.raises(DataError, match="got none of mean"):
        Preprocessing.from_dict(values)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("channels", 2),
        ("input_size", 0),
        ("input_size", 224.0),
        ("mean", (0.5,)),
        ("mean", [0.5, 0.5, 0.5]),
        ("mean", ("a", "b", "c")),
        ("std", (0.1, 0.0, 0.1)),
        ("std", None),
        ("interpolation", "cubic"),
        ("resize_mode", "squash"),
        ("crop_fraction", 0.0),
        ("crop_fraction", 1.1),
        ("crop_fraction", "1"),
    ],
)
def test_impossible_values_are_refused(field: str, value: object) -> None:
    with pytest.raises(DataError, match=field):
        replace(IMAGENET, **{field: value})
