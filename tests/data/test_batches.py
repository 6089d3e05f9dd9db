from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits

from convatlas.data.augmentation import Augmentation, for_digits
from convatlas.data.batches import Batch, EvalBatches, TrainBatches
from convatlas.data.cache import evaluation_images
from convatlas.data.preprocess import Preprocessing
from convatlas.data.sampling import epoch_order
from convatlas.data.source import open_source
from convatlas.errors import DataError, OptionError

GREY = Preprocessing(
    input_size=8,
    channels=1,
    mean=(0.3,),
    std=(0.4,),
    interpolation="bilinear",
    resize_mode="stretch",
)


def digits(count: int) -> tuple[np.ndarray, list[int]]:
    data = load_digits()
    return (data.images[:count, :, :, None] * 15).astype(np.uint8), data.target[:count].tolist()


def train(count: int, batch_size: int, augmentation: Augmentation | None = None) -> TrainBatches:
    images, labels = digits(count)
    return TrainBatches(images, labels, GREY, augmentation or for_digits(), batch_size, 7)


def equal(one: Batch, other: Batch) -> bool:
    return all(
        torch.equal(getattr(one, name), getattr(other, name))
        for name in ("images", "labels", "indices")
    )


def test_an_epoch_visits_every_image_once_in_its_order() -> None:
    batches = list(train(50, 16).epoch(3))
    assert [len(batch.images) for batch in batches] == [16, 16, 16, 2]
    order = torch.cat([batch.indices for batch in batches])
    assert_array_equal(order, epoch_order(50, 7, 3))
    labels = torch.cat([batch.labels for batch in batches])
    assert_array_equal(labels, np.array(digits(50)[1])[order])
    first = batches[0]
    assert (first.images.shape, first.images.dtype) == ((16, 1, 8, 8), torch.float32)
    assert (first.labels.dtype, first.indices.dtype) == (torch.int64, torch.int64)


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [
        (48, 16, [16] * 3),
        (49, 16, [16] * 3),
        (50, 16, [16] * 3 + [2]),
        (3, 1, [1] * 3),
        (2, 9, [2]),
    ],
)
def test_a_last_batch_of_one_is_dropped(count: int, batch_size: int, sizes: list[int]) -> None:
    batches = train(count, batch_size)
    assert len(batches) == len(sizes)
    assert [len(batch.labels) for batch in batches.epoch(0)] == sizes


def test_any_step_can_be_had_at_once() -> None:
    """A resumed run sees the very batches of an uninterrupted one."""
    whole = [list(train(50, 16).epoch(epoch)) for epoch in range(3)]
    resumed = train(50, 16)
    for epoch, step in ((2, 3), (0, 1), (2, 0), (1, 2)):
        assert equal(resumed.batch(epoch, step), whole[epoch][step])
    assert not equal(whole[0][0], whole[1][0])
    with pytest.raises(OptionError, match="0 ≤ step < 4, got 4"):
        resumed.batch(0, 4)
    with pytest.raises(OptionError, match="got -1"):
        resumed.batch(0, -1)


def test_an_image_is_augmented_alike_in_batches_of_any_size() -> None:
    small, large = (
        {
            int(i): x
            for batch in train(48, size).epoch(1)
            for i, x in zip(batch.indices, batch.images, strict=True)
        }
        for size in (4, 48)
    )
    for index, image in small.items():
        assert_allclose(image, large[index], atol=1e-5)


def test_without_augmentation_training_sees_what_evaluation_sees() -> None:
    images, labels = digits(20)
    batch = train(20, 20, Augmentation()).batch(0, 0)
    (whole,) = EvalBatches(images, labels, GREY, 20)
    assert torch.equal(batch.images, whole.images[batch.indices])


def test_erased_pixels_are_zero_once_normalised() -> None:
    batch = train(20, 20, Augmentation(random_erase=1.0)).batch(0, 0)
    plain = train(20, 20, Augmentation()).batch(0, 0)
    changed = batch.images[batch.images != plain.images]
    assert len(changed) > 20
    assert_allclose(changed, 0, atol=1e-6)


def test_evaluation_goes_through_all_in_order() -> None:
    source = open_source("digits").validation
    images = evaluation_images(source, GREY)
    batches = EvalBatches(images, source.labels, GREY, 64)
    assert len(batches) == 6
    for _ in range(2):
        got = list(batches)
        assert [len(batch.labels) for batch in got] == [64] * 5 + [40]
        assert_array_equal(torch.cat([batch.indices for batch in got]), np.arange(360))
        assert_array_equal(torch.cat([batch.labels for batch in got]), source.labels)
        assert torch.equal(got[5].images[39], GREY(source.load(359)))


def test_images_on_demand_give_the_same_batches() -> None:
    source = open_source("digits").validation
    stored, lazy = (evaluation_images(source, GREY, memory_limit_bytes=n) for n in (10**6, 0))
    for one, other in zip(
        EvalBatches(stored, source.labels, GREY, 100),
        EvalBatches(lazy, source.labels, GREY, 100),
        strict=True,
    ):
        assert equal(one, other)
    first, second = (
        TrainBatches(images, source.labels, GREY, for_digits(), 32, 0).batch(1, 2)
        for images in (stored, lazy)
    )
    assert equal(first, second)


def test_what_does_not_fit_is_explained() -> None:
    images, labels = digits(10)
    for make in (
        lambda *a: TrainBatches(a[0], a[1], a[2], Augmentation(), a[3], 0),
        lambda *a: EvalBatches(*a),
    ):
        with pytest.raises(DataError, match="10 labels, got 9"):
            make(images, labels[:9], GREY, 4)
        with pytest.raises(OptionError, match="batch_size ≥ 1, got 0"):
            make(images, labels, GREY, 0)
        colour = replace(GREY, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
        with pytest.raises(DataError, match="3 channels, got 1"):
            make(images, labels, colour, 4)
    with pytest.raises(DataError, match="16×16, got 8×8"):
        EvalBatches(images, labels, replace(GREY, input_size=16), 4)
    with pytest.raises(DataError, match="at least 2 training images, got 1"):
        train(1, 4)


@pytest.mark.gpu
def test_batches_on_a_gpu_are_those_of_the_processor() -> None:
    images, labels = digits(50)
    for epoch in range(2):
        here, there = (
            TrainBatches(images, labels, GREY, for_digits(), 16, 7, device=device).batch(epoch, 1)
            for device in ("cpu", "cuda")
        )
        assert there.images.is_cuda
        assert_allclose(there.images.cpu(), here.images, atol=1e-4)
        assert_array_equal(there.labels.cpu(), here.labels)


def test_every_tensor_of_a_batch_is_on_its_device() -> None:
    images, labels = digits(20)
    everything = Augmentation(
        crop_scale=(0.5, 1), rotate_degrees=5, brightness=0.1, contrast=0.1, random_erase=0.5
    )
    batches = TrainBatches(images, labels, GREY, everything, 16, 7, device="meta")
    for batch in (
        batches.batch(0, 0),
        next(iter(EvalBatches(images, labels, GREY, 16, device="meta"))),
    ):
        assert {x.device.type for x in (batch.images, batch.labels, batch.indices)} == {"meta"}
        assert batch.images.shape == (16, 1, 8, 8)
