from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import stats

from convatlas.data.augmentation import Augmentation
from convatlas.data.mixing import (
    Mix,
    drawn_mix,
    mixed,
    mixes,
    partner_places,
    symmetric_beta,
)

STEPS = 3000


def drawn(augmentation: Augmentation, size: int = 100) -> list[Mix]:
    return [drawn_mix(augmentation, 5, 1, step, size) for step in range(STEPS)]


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.8, 1.0, 3.0])
def test_shares_have_the_beta_distribution(alpha: float) -> None:
    shares = np.array([mix.share for mix in drawn(Augmentation(mixup=alpha))])
    variance = 1 / (4 * (2 * alpha + 1))  # of Beta(α, α); its mean is 1/2
    assert abs(shares.mean() - 0.5) < 4 * np.sqrt(variance / STEPS)
    assert_allclose(shares.var(), variance, rtol=0.08)
    assert stats.kstest(shares, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


def test_the_ends_of_the_numbers_are_shares_too() -> None:
    almost = np.nextafter(1.0, 0.0)
    for alpha in (1e-3, 0.2, 1.0, 50.0):
        for number in np.array(np.meshgrid(*[[0.0, 0.25, 0.5, almost]] * 3)).reshape(3, -1).T:
            assert 0 <= symmetric_beta(alpha, number) <= 1


def test_cutmix_pastes_the_area_that_it_counts() -> None:
    mixes_drawn = drawn(Augmentation(cutmix=1.0))
    for mix in mixes_drawn:
        top, left, bottom, right = mix.box
        assert 0 <= top <= bottom <= 100
        assert 0 <= left <= right <= 100
        assert mix.share == pytest.approx(1 - (bottom - top) * (right - left) / 100**2)
    # Equations 1 and 2: sides of √(1 − λ), cut off at the edges, λ uniform for α = 1. Along an
    # axis a box of side r about a uniform centre keeps r − r²/4 on average, so the share that is
    # pasted is ∫ (r − r²/4)² d(r²) = 1/2 − 1/5 + 1/48 = 0.3208.
    pasted = 1 - np.mean([mix.share for mix in mixes_drawn])
    assert abs(pasted - 0.3208) < 0.02
    middle = [(mix.box[0] + mix.box[2]) / 2 for mix in mixes_drawn]
    assert abs(np.mean(middle) - 50) < 2


def test_each_has_half_and_some_batches_none() -> None:
    both = drawn(Augmentation(mixup=0.2, cutmix=1.0))
    assert abs(np.mean([mix.box is None for mix in both]) - 0.5) < 0.04
    rare = drawn(Augmentation(mixup=1.0, mix_probability=0.25))
    assert abs(np.mean([mix.share < 1 for mix in rare]) - 0.25) < 0.035
    assert not mixes(Augmentation(mix_probability=1.0))
    assert not mixes(Augmentation(mixup=1.0, mix_probability=0.0))
    assert drawn_mix(Augmentation(), 0, 0, 0, 10) == Mix(1.0)


def test_draws_depend_on_seed_epoch_and_step_alone() -> None:
    record = Augmentation(mixup=1.0)
    places = [(seed, epoch, step) for seed in range(3) for epoch in range(3) for step in range(3)]
    assert len({drawn_mix(record, *place, 8).share for place in places}) == 27
    assert drawn_mix(record, 1, 2, 0, 8) == drawn_mix(record, 1, 2, 0, 8)


def test_mixing_by_hand() -> None:
    x = torch.arange(2.0)[:, None, None, None].expand(2, 1, 3, 3)  # all 0, all 1
    partners = x.flip(0)
    blended = mixed(x, partners, Mix(0.75))
    assert_allclose(blended[:, 0, 0, 0], [0.25, 0.75])
    assert blended.shape == x.shape
    pasted = mixed(x, partners, Mix(7 / 9, (0, 1, 2, 2)))
    assert_allclose(pasted[0, 0], [[0, 1, 0], [0, 1, 0], [0, 0, 0]])
    assert_allclose(pasted[1, 0], [[1, 0, 1], [1, 0, 1], [1, 1, 1]])
    assert torch.equal(mixed(x, partners, Mix(1.0)), x)


@pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 256])
def test_partners_are_a_permutation_half_a_batch_away(count: int) -> None:
    places = partner_places(count)
    assert sorted(places) == list(range(count))
    if count > 1:
        assert (places != np.arange(count)).all()
    if count == 256:  # so that 2, 4 … 128 processes need no other's images
        assert all((places % n == np.arange(256) % n).all() for n in (2, 4, 8, 128))
