from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from skimage import data

from convatlas.data.preprocess import IMAGENET, Preprocessing
from convatlas.data.source import open_source
from convatlas.data.testtime import Crop, ViewBatches, dense, multi_scale, ten_crop
from convatlas.errors import OptionError

GREY = Preprocessing(
    input_size=6,
    channels=1,
    mean=(0.25,),
    std=(0.5,),
    interpolation="bilinear",
    resize_mode="crop",
    crop_fraction=0.75,
)


def test_ten_crops_by_hand() -> None:
    """AlexNet, section 4.1: the corners and the centre of 256×256, and their mirror images."""
    photo = Image.fromarray(data.chelsea())  # 451×300 → 384×256, of which 64 … 320 is kept
    square = np.asarray(photo.resize((384, 256), Image.Resampling.BILINEAR))[:, 64:320]
    places = [(0, 0), (0, 32), (32, 0), (32, 32), (16, 16)]
    plain = [square[top : top + 224, left : left + 224] for top, left in places]
    batches = ViewBatches(open_source("digits").validation, IMAGENET, ten_crop(IMAGENET), 4)
    views = batches.views(photo)
    assert views.shape == (10, 224, 224, 3)
    assert_array_equal(views[:5], plain)
    assert_array_equal(views[5:], [view[:, ::-1] for view in plain])


def test_the_centre_is_what_evaluation_sees() -> None:
    photo = Image.fromarray(data.coffee())
    for record in (IMAGENET, replace(IMAGENET, interpolation="bicubic", crop_fraction=0.95)):
        crops = ten_crop(record)
        source = open_source("digits").validation
        views = ViewBatches(source, record, crops, 1).views(photo)
        assert_array_equal(views[4], record.image(photo))


def test_scales_show_less_and_less_of_the_image() -> None:
    photo = Image.fromarray(data.astronaut())  # square
    crops = multi_scale(IMAGENET, (224, 448))
    assert [(crop.side, crop.mirrored) for crop in crops] == [
        (224, False),
        (448, False),
        (224, True),
        (448, True),
    ]
    views = ViewBatches(open_source("digits").validation, IMAGENET, crops, 1).views(photo)
    bilinear = Image.Resampling.BILINEAR
    assert_array_equal(views[0], np.asarray(photo.resize((224, 224), bilinear)))
    middle = np.asarray(photo.resize((448, 448), bilinear))[112:336, 112:336]
    assert_array_equal(views[1], middle)
    assert_array_equal(views[3], middle[:, ::-1])


def test_dense_views_are_the_whole_square() -> None:
    photo = Image.fromarray(data.astronaut())
    views = ViewBatches(open_source("digits").validation, IMAGENET, dense(96), 1).views(photo)
    assert views.shape == (2, 96, 96, 3)
    whole = np.asarray(photo.resize((96, 96), Image.Resampling.BILINEAR))
    assert_array_equal(views, [whole, whole[:, ::-1]])


def test_batches_hold_all_images_in_order() -> None:
    source = open_source("digits").validation
    batches = ViewBatches(source, GREY, ten_crop(GREY), 100)
    assert len(batches) == 4
    for _ in range(2):
        got = list(batches)
        assert [tuple(batch.images.shape) for batch in got] == [
            (n, 10, 1, 6, 6) for n in (100, 100, 100, 60)
        ]
        assert_array_equal(torch.cat([batch.indices for batch in got]), np.arange(360))
        assert_array_equal(torch.cat([batch.labels for batch in got]), source.labels)
    digit = np.asarray(source.load(359))  # 8×8: corners lie 0 and 2 pixels away
    assert_allclose(got[3].images[59, 3, 0], (digit[2:, 2:] / 255 - 0.25) / 0.5, atol=1e-6)
    assert_allclose(got[3].images[59, 4], GREY(source.load(359)))


def test_views_are_averaged_to_the_same_for_mirror_images() -> None:
    """A function that does not tell left from right sees five pairs of equal views."""
    source = open_source("digits").validation
    batch = next(iter(ViewBatches(source, GREY, ten_crop(GREY), 8)))
    sums = batch.images.mean(dim=(2, 3, 4))
    assert_allclose(sums[:, :5], sums[:, 5:], atol=1e-6)


def test_what_cannot_be_shown_is_refused() -> None:
    source = open_source("digits").validation
    with pytest.raises(OptionError, match="margin for ten crops, got 224 of 224"):
        ten_crop(replace(IMAGENET, resize_mode="stretch"))
    with pytest.raises(OptionError, match=r"at least 224 pixels, got .200, 300."):
        multi_scale(IMAGENET, [200, 300])
    with pytest.raises(OptionError, match="got none"):
        ViewBatches(source, IMAGENET, (), 1)
    with pytest.raises(OptionError, match="one size, got 96, 128"):
        ViewBatches(source, IMAGENET, (*dense(96), *dense(128)), 1)
    with pytest.raises(OptionError, match="batch_size ≥ 1"):
        ViewBatches(source, IMAGENET, (Crop(256, 224),), 0)
