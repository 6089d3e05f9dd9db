from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image
from sklearn.datasets import load_sample_image

from convatlas.data.augmentation import Augmentation
from convatlas.data.cache import OnDemandImages, evaluation_images, training_images
from convatlas.data.draws import draw
from convatlas.data.preprocess import IMAGENET, Preprocessing
from convatlas.data.source import open_source
from convatlas.data.sources.folder import ImageFolder
from convatlas.data.views import DecodedViews
from convatlas.errors import DataError

SMALL = replace(IMAGENET, input_size=56)  # shorter side 64


@pytest.fixture
def folder(tmp_path: Path) -> ImageFolder:
    photo = load_sample_image("china.jpg")
    boxes = {"a/1.png": (120, 90), "a/2.png": (90, 140), "b/1.png": (56, 56), "b/2.jpg": (300, 400)}
    for name, (height, width) in boxes.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(photo[:height, :width]).save(tmp_path / name)
    return ImageFolder(tmp_path)


@pytest.mark.parametrize("mode", ["crop", "crop_padding", "stretch"])
def test_evaluation_is_what_prediction_sees(folder: ImageFolder, mode: str) -> None:
    record = replace(SMALL, resize_mode=mode)
    seen: list[tuple[int, int]] = []
    images = evaluation_images(folder, record, lambda *at: seen.append(at))
    assert isinstance(images, np.ndarray)
    assert images.shape == (4, 56, 56, 3)
    assert images.dtype == np.uint8
    for i in range(4):
        assert_array_equal(images[i], record.image(folder.load(i)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_training_has_a_margin_around_what_evaluation_sees(folder: ImageFolder) -> None:
    wide = training_images(folder, SMALL)
    assert wide.shape == (4, 64, 64, 3)
    narrow = evaluation_images(folder, SMALL)
    for i in (0, 1):
        assert_array_equal(wide[i, 4:60, 4:60], narrow[i])
    # the JPEG was decoded at half its size
    difference = np.abs(wide[3, 4:60, 4:60].astype(int) - narrow[3])
    assert 0 < difference.mean() < 3


def test_large_jpegs_are_shrunk_to_twice_the_side_at_least(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for label in "ab":
        (tmp_path / label).mkdir()
        Image.new("RGB", (700, 300)).save(tmp_path / label / "1.jpg")
    decoded: list[int] = []
    load = ImageFolder.load

    def watched(source: ImageFolder, index: int, at_least: int | None = None) -> Image.Image:
        image = load(source, index, at_least)
        decoded.append(min(image.size))
        return image

    monkeypatch.setattr(ImageFolder, "load", watched)
    training_images(ImageFolder(tmp_path), SMALL)
    assert decoded == [150, 150]  # half; a quarter would be below 2 · 64


def test_training_margin_of_the_other_modes(folder: ImageFolder) -> None:
    padded = replace(SMALL, resize_mode="crop_padding")
    wide = training_images(folder, padded)
    assert wide.shape == (4, 88, 88, 3)
    difference = wide[0, 16:72, 16:72].astype(int) - evaluation_images(folder, padded)[0]
    assert np.abs(difference).mean() < 8  # the same scene, off by less than a pixel
    stretched = replace(SMALL, resize_mode="stretch")
    images = training_images(folder, stretched)
    assert_array_equal(images[:3], evaluation_images(folder, stretched)[:3])


def test_images_of_the_right_size_get_no_margin() -> None:
    digits = open_source("digits").validation
    record = Preprocessing(
        input_size=8,
        channels=1,
        mean=(0.3,),
        std=(0.4,),
        interpolation="bilinear",
        resize_mode="crop",
    )
    images = training_images(digits, record)
    assert images.shape == (360, 8, 8, 1)
    assert_array_equal(images, evaluation_images(digits, record))
    assert_array_equal(images[5, ..., 0], np.asarray(digits.load(5)))


def test_beyond_the_limit_the_pixels_are_the_same(folder: ImageFolder) -> None:
    whole = evaluation_images(folder, SMALL)
    assert isinstance(evaluation_images(folder, SMALL, memory_limit_bytes=whole.nbytes), np.ndarray)
    lazy = evaluation_images(folder, SMALL, memory_limit_bytes=whole.nbytes - 1)
    assert isinstance(lazy, OnDemandImages)
    assert (lazy.shape, len(lazy), lazy.nbytes) == (whole.shape, 4, whole.nbytes)
    places = np.array([3, 0, 3])
    assert_array_equal(lazy[places], whole[places])
    assert_array_equal(np.stack(list(lazy)), whole)


@pytest.mark.parametrize("mode", ["crop", "crop_padding", "stretch"])
def test_beyond_the_limit_training_reads_the_files(folder: ImageFolder, mode: str) -> None:
    record = replace(SMALL, resize_mode=mode)
    whole = training_images(folder, record)
    assert isinstance(training_images(folder, record, memory_limit_bytes=whole.nbytes), np.ndarray)
    lazy = training_images(folder, record, memory_limit_bytes=whole.nbytes - 1)
    assert isinstance(lazy, DecodedViews)
    assert (lazy.shape, len(lazy)) == ((4, 56, 56, 3), 4)
    plain = Augmentation()
    x = lazy.views(plain, draw(plain, 0, 0, np.arange(4)), np.arange(4), 56)
    for view, seen in zip(x, evaluation_images(folder, record), strict=True):
        difference = np.abs(view.permute(1, 2, 0).numpy().astype(int) - seen)
        assert difference.mean() < 8  # the same scene, off by less than a pixel


def test_unreadable_files_are_named(folder: ImageFolder) -> None:
    path = folder.root / "b" / "2.jpg"
    path.write_bytes(path.read_bytes()[:2000])
    for make in (evaluation_images, training_images):
        with pytest.raises(DataError, match=r"b/2\.jpg.*truncated"):
            make(folder, SMALL)
    lazy = evaluation_images(folder, SMALL, memory_limit_bytes=0)
    assert lazy[np.array([0])].shape == (1, 56, 56, 3)
    with pytest.raises(DataError, match=r"b/2\.jpg"):
        lazy[np.array([0, 3])]
