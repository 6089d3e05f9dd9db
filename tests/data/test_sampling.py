from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from convatlas.data.sampling import (
    batch_uniforms,
    epoch_order,
    image_uniforms,
    stratified_split,
)
from convatlas.errors import DataError, OptionError


def test_an_order_is_a_permutation_of_its_own() -> None:
    orders = [epoch_order(1000, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    for order in orders:
        assert_array_equal(np.sort(order), np.arange(1000))
        assert order.dtype == np.int64
    for i, one in enumerate(orders):
        for other in orders[:i]:
            assert (one == other).mean() < 0.01
    assert_array_equal(epoch_order(1000, 1, 0), orders[2])
    assert epoch_order(0, 0, 0).size == 0


def test_an_order_is_the_sort_of_philox() -> None:
    key, counter = np.array([5, 2], dtype=np.uint64), np.zeros(4, dtype=np.uint64)
    words = np.random.Philox(key=key, counter=counter).random_raw(50)
    assert_array_equal(epoch_order(50, 5, 2), np.argsort(words))


def test_every_place_is_equally_likely() -> None:
    first = np.array([epoch_order(10, 0, epoch)[0] for epoch in range(5000)])
    counts = np.bincount(first, minlength=10)
    chi_squared = ((counts - 500) ** 2 / 500).sum()
    assert chi_squared < 27.88  # 99.9 % quantile with 9 degrees of freedom


def test_uniforms_depend_on_seed_epoch_and_index_alone() -> None:
    every = image_uniforms(3, 4, np.arange(20), 6)
    assert every.shape == (20, 6)
    some = np.array([17, 2, 2])
    assert_array_equal(image_uniforms(3, 4, some, 6), every[some])
    assert_array_equal(image_uniforms(3, 4, some, 2), every[some, :2])
    assert (image_uniforms(4, 4, np.arange(20), 6) != every).all()
    assert (image_uniforms(3, 5, np.arange(20), 6) != every).all()
    assert image_uniforms(3, 4, np.arange(0), 6).shape == (0, 6)


def test_uniforms_fill_the_unit_interval() -> None:
    values = image_uniforms(0, 0, np.arange(2000), 10)
    assert 0 <= values.min() < 0.001
    assert 0.999 < values.max() < 1
    deviation = 1 / np.sqrt(12 * values.size)
    assert abs(values.mean() - 0.5) < 4 * deviation
    correlations = np.corrcoef(values.T) - np.eye(10)
    assert np.abs(correlations).max() < 4 / np.sqrt(2000)


def test_exact_proportions() -> None:
    labels = [0] * 10 + [1] * 20 + [2] * 70
    kept, held = stratified_split(labels, 0.3, seed=0)
    assert_array_equal(np.bincount(np.array(labels)[held]), [3, 6, 21])
    assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(100))
    assert (np.diff(held) > 0).all()
    assert (np.diff(kept) > 0).all()


def test_remainders_go_to_the_largest() -> None:
    # 20 % of 4, 7 and 13 are 0.8, 1.4 and 2.6; ⌈4.8⌉ = 5, so two of them round up
    labels = [0] * 4 + [1] * 7 + [2] * 13
    _, held = stratified_split(labels, 0.2, seed=0)
    assert_array_equal(np.bincount(np.array(labels)[held]), [1, 1, 3])


def test_no_class_is_left_out_on_either_side() -> None:
    labels = [0] * 2 + [1] * 2 + [2] * 100
    for fraction in (0.01, 0.99):
        for part in stratified_split(labels, fraction, seed=0):
            assert set(np.array(labels)[part]) == {0, 1, 2}


def test_which_images_are_held_out_is_the_seeds() -> None:
    labels = [0, 1] * 50
    first = stratified_split(labels, 0.2, seed=0)[1]
    assert_array_equal(first, stratified_split(labels, 0.2, seed=0)[1])
    assert set(first) != set(stratified_split(labels, 0.2, seed=1)[1])
    zeros, ones = (set(first[np.array(labels)[first] == k] // 2) for k in (0, 1))
    assert zeros != ones  # each class has a stream of its own


def test_impossible_splits() -> None:
    with pytest.raises(DataError, match="class 1 to train on and to hold out, got 1"):
        stratified_split([0, 0, 1], 0.5, 0)
    with pytest.raises(DataError, match="class 'dog'"):
        stratified_split([0, 0, 1], 0.5, 0, ["cat", "dog"])
    for fraction in (0, 1, -0.1, 20):
        with pytest.raises(OptionError, match="0 < holdout < 1"):
            stratified_split([0, 0], fraction, 0)


def test_copies_of_an_image_draw_on_their_own() -> None:
    indices, copies = np.array([4, 4, 4, 9]), np.array([0, 1, 2, 1])
    numbers = image_uniforms(3, 4, indices, 5, copies)
    assert_array_equal(numbers[0], image_uniforms(3, 4, indices[:1], 5)[0])
    assert len(np.unique(numbers)) == 20
    assert_array_equal(image_uniforms(3, 4, indices[2:3], 5, copies[2:3])[0], numbers[2])


def test_batches_draw_by_seed_epoch_and_step() -> None:
    rows = [batch_uniforms(*place, 4) for place in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0))]
    assert len(np.unique(rows)) == 16
    assert_array_equal(batch_uniforms(0, 0, 1, 2), rows[1][:2])
    images = image_uniforms(0, 0, np.arange(2), 4)
    assert np.intersect1d(images, rows).size == 0
    assert batch_uniforms(0, 0, 0, 20000).mean() == pytest.approx(0.5, abs=0.01)
