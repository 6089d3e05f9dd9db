from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.datasets import load_digits

from augmentations import DIGITS
from convatlas.data.augmentation import Augmentation
from convatlas.data.batches import Batch, EvalBatches, TrainBatches
from convatlas.data.cache import evaluation_images
from convatlas.data.preprocess import Preprocessing
from convatlas.data.sampling import epoch_order
from convatlas.data.source import open_source
from convatlas.data.sources.folder import ImageFolder
from convatlas.data.views import DecodedViews
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
    return TrainBatches(images, labels, GREY, augmentation or DIGITS, batch_size, 7)


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
        TrainBatches(images, source.labels, GREY, DIGITS, 32, 0).batch(1, 2)
        for images in (stored, lazy)
    )
    assert equal(first, second)


def test_views_of_files_are_normalised_and_coloured_like_images_in_memory() -> None:
    """At the stored size both paths see the same pixels, to the last bit of eight."""
    source = open_source("digits").validation
    moved = Augmentation(shift=1 / 8, rotate_degrees=10, flip=True, padding="zeros")
    record = replace(moved, brightness=0.3, contrast=0.3, random_erase=0.5)
    stored = evaluation_images(source, GREY)
    one, other = (
        TrainBatches(images, source.labels, GREY, record, 32, 0).batch(1, 2)
        for images in (stored, DecodedViews(source, GREY))
    )
    assert torch.equal(one.labels, other.labels)
    assert_allclose(one.images, other.images, atol=1.5 / 255 / 0.4 * 1.3**2)


ALL = Augmentation(
    crop_scale=(0.5, 1.0),
    shift=0.1,
    rotate_degrees=10,
    flip=True,
    brightness=0.2,
    contrast=0.2,
    random_erase=0.3,
    policy="randaugment",
    mixup=0.2,
    cutmix=1.0,
    repeats=3,
)


@pytest.mark.parametrize("in_memory", [True, False])
def test_prepared_ahead_or_not_the_batches_are_the_same(in_memory: bool) -> None:
    source = open_source("digits").validation
    images = evaluation_images(source, GREY) if in_memory else DecodedViews(source, GREY)
    batches = TrainBatches(images, source.labels, GREY, ALL, 100, 3)
    alone = [batches.batch(1, step) for step in range(len(batches))]
    assert len(alone) == 4
    for first in (0, 2):
        ahead = list(batches.epoch(1, first))
        assert len(ahead) == 4 - first
        assert all(equal(a, b) for a, b in zip(ahead, alone[first:], strict=True))


def test_an_interrupted_epoch_leaves_no_thread() -> None:
    before = threading.active_count()
    epoch = train(200, 10).epoch(0)
    next(epoch)
    assert threading.active_count() > before
    epoch.close()
    assert threading.active_count() == before


def test_a_damaged_file_stops_the_epoch_at_its_batch(tmp_path: Path) -> None:
    for number in range(8):
        path = tmp_path / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((9, 9), number, dtype=np.uint8)).save(path)
    source = ImageFolder(tmp_path)
    (tmp_path / "b" / "3.png").write_bytes(b"nothing")
    bad = [source.describe(index) for index in range(8)].index("b/3.png")
    where = int(np.flatnonzero(epoch_order(8, 7, 0) == bad)[0]) // 2
    batches = TrainBatches(DecodedViews(source, GREY), source.labels, GREY, Augmentation(), 2, 7)
    before, seen = threading.active_count(), deque()
    with pytest.raises(DataError, match=r"3\.png.*not an image"):
        seen.extend(batches.epoch(0))
    assert len(seen) == where
    assert threading.active_count() == before


def test_mixed_batches_blend_by_their_shares() -> None:
    plain = train(40, 16, Augmentation()).batch(0, 0)
    batch = train(40, 16, Augmentation(mixup=1.0)).batch(0, 0)
    assert torch.equal(batch.labels, plain.labels)
    assert torch.equal(batch.indices, plain.indices)
    half = torch.arange(16).roll(-8)
    assert torch.equal(batch.partners, plain.labels[half])
    assert batch.shares.dtype == torch.float32
    share = batch.shares[0]
    assert 0 < share < 1
    assert (batch.shares == share).all()
    assert_allclose(
        batch.images, share * plain.images + (1 - share) * plain.images[half], atol=1e-5
    )
    assert (plain.partners, plain.shares) == (None, None)


def test_cut_batches_count_the_pixels_of_the_partner() -> None:
    plain = train(40, 16, Augmentation()).batch(0, 1)
    batch = train(40, 16, Augmentation(cutmix=1.0)).batch(0, 1)
    partner = plain.images[torch.arange(16).roll(-8)]
    theirs = (batch.images == partner) & (batch.images != plain.images)
    assert ((batch.images == plain.images) | theirs).all()
    where = theirs.any(dim=0)[0]  # one box for the whole batch
    rows, columns = where.any(dim=1).sum(), where.any(dim=0).sum()
    assert batch.shares[0] <= 1 - rows * columns / 64 + 1e-6
    assert batch.shares[0] > 1 - (rows + 2) * (columns + 2) / 64


def test_a_batch_that_chance_spares_is_all_its_own() -> None:
    batches = train(40, 8, Augmentation(mixup=1.0, mix_probability=0.5))
    plain = train(40, 8, Augmentation())
    shares = []
    for mixed, own in zip(batches.epoch(2), plain.epoch(2), strict=True):
        shares.append(float(mixed.shares[0]))
        assert torch.equal(mixed.images, own.images) == (shares[-1] == 1)
    assert 0 < shares.count(1.0) < 5


def test_repeated_images_come_together_in_different_views() -> None:
    batches = train(50, 12, replace(DIGITS, repeats=3))
    epoch = list(batches.epoch(1))
    assert [len(batch.labels) for batch in epoch] == [12, 12, 12, 12, 2]
    indices = torch.cat([batch.indices for batch in epoch]).numpy()
    assert_array_equal(indices, np.repeat(epoch_order(50, 7, 1), 3)[:50])
    first, second, third = epoch[0].images[:3]
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    single = {
        int(i): x
        for batch in train(50, 10).epoch(1)
        for i, x in zip(batch.indices, batch.images, strict=True)
    }
    assert_allclose(first, single[int(indices[0])], atol=1e-6)  # the first view is the only one


def test_each_epoch_has_its_size() -> None:
    images, labels = digits(20)
    for source in (images, DecodedViews(open_source("digits").validation, GREY)):
        names = labels if source is images else source.source.labels
        batches = TrainBatches(source, names, GREY, DIGITS, 10, 7, sizes=[4, 6, 8])
        assert [batches.batch(epoch, 0).images.shape[2:] for epoch in range(3)] == [
            (4, 4),
            (6, 6),
            (8, 8),
        ]
        with pytest.raises(OptionError, match="0 ≤ epoch < 3, got 3"):
            batches.batch(3, 0)
    last = TrainBatches(images, labels, GREY, DIGITS, 10, 7, sizes=[4, 6, 8]).batch(2, 1)
    assert equal(last, TrainBatches(images, labels, GREY, DIGITS, 10, 7).batch(2, 1))
    for sizes in ([4, 9], [0]):
        with pytest.raises(OptionError, match=r"sizes in 1…8, the input size"):
            TrainBatches(images, labels, GREY, DIGITS, 10, 7, sizes=sizes)


@pytest.mark.parametrize("world_size", [2, 3, 4])
@pytest.mark.parametrize("augmentation", [Augmentation(mixup=0.4, flip=True), DIGITS, ALL])
def test_processes_share_the_batch_of_one(augmentation: Augmentation, world_size: int) -> None:
    whole = train(60, 24, augmentation)
    shards = [whole.shard(rank, world_size) for rank in range(world_size)]
    assert {len(shard) for shard in shards} == {len(whole)} == {3}
    for step in range(3):
        batch = whole.batch(1, step)
        for rank, shard in enumerate(shards):
            part = shard.batch(1, step)
            own = slice(rank, None, world_size)
            assert torch.equal(part.indices, batch.indices[own])
            assert torch.equal(part.labels, batch.labels[own])
            assert_allclose(part.images, batch.images[own], atol=1e-6)
            if batch.partners is not None:
                assert torch.equal(part.partners, batch.partners[own])
                assert torch.equal(part.shares, batch.shares[own])


def test_what_cannot_be_shared_is_left_out() -> None:
    batches = train(53, 24)  # leaves 5: two each for two processes, one each for three or four
    assert [len(batches.shard(0, n)) for n in (1, 2, 3, 4)] == [3, 3, 2, 2]
    assert [len(b.labels) for b in batches.shard(1, 2).epoch(0)] == [12, 12, 2]
    with pytest.raises(OptionError, match="5 processes can share, got 24: take 20"):
        batches.shard(0, 5)
    with pytest.raises(OptionError, match="0 ≤ rank < 2, got 2"):
        batches.shard(2, 2)


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
            TrainBatches(images, labels, GREY, DIGITS, 16, 7, device=device).batch(epoch, 1)
            for device in ("cpu", "cuda")
        )
        assert there.images.is_cuda
        assert_allclose(there.images.cpu(), here.images, atol=1e-4)
        assert_array_equal(there.labels.cpu(), here.labels)


def test_every_tensor_of_a_batch_is_on_its_device() -> None:
    images, labels = digits(20)
    everything = Augmentation(
        crop_scale=(0.5, 1),
        rotate_degrees=5,
        brightness=0.1,
        contrast=0.1,
        random_erase=0.5,
        mixup=1.0,
    )
    batches = TrainBatches(images, labels, GREY, everything, 16, 7, device="meta")
    mixed = batches.batch(0, 0)
    assert {x.device.type for x in (mixed.partners, mixed.shares)} == {"meta"}
    for batch in (
        mixed,
        next(iter(EvalBatches(images, labels, GREY, 16, device="meta"))),
    ):
        assert {x.device.type for x in (batch.images, batch.labels, batch.indices)} == {"meta"}
        assert batch.images.shape == (16, 1, 8, 8)
