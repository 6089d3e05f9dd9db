"""Every operation next to its definition in AutoAugment's table 6, restated with numpy."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from scipy.ndimage import affine_transform
from sklearn.datasets import load_sample_image

from convatlas.data import policy
from convatlas.data.augmentation import Augmentation
from convatlas.data.draws import draw
from convatlas.data.policy import OPERATIONS, RANDAUGMENT, TRIVIALAUGMENT, Step, apply_policy

PHOTO = load_sample_image("china.jpg")[100:164, 200:264].copy()
FILL = (10, 20, 30)
LUMA = np.array([0.299, 0.587, 0.114])
SPACES = [RANDAUGMENT, TRIVIALAUGMENT]


def operate(name: str, strength: float, sign: int = 1, space=RANDAUGMENT, image=PHOTO):
    fill = FILL if image.ndim == 3 else FILL[:1]
    step = Step(strength, sign, space, fill)
    return np.asarray(OPERATIONS[name](Image.fromarray(image), step)).astype(int)


def test_there_are_the_papers_fourteen() -> None:
    assert len(OPERATIONS) == 14


def test_identity() -> None:
    assert_array_equal(operate("identity", 1.0), PHOTO)


def test_autocontrast_stretches_each_channel() -> None:
    dull = (PHOTO // 2 + 40).astype(np.uint8)
    low, high = dull.min(axis=(0, 1)), dull.max(axis=(0, 1))
    expected = (dull - low) * (255 / (high.astype(float) - low))
    assert np.abs(operate("autocontrast", 0, image=dull) - expected).max() <= 1


def test_equalize_makes_the_distribution_even() -> None:
    # four values, 1024 times each; a value becomes its place in the order, on the scale to 255
    grey = np.repeat(np.array([10, 11, 12, 200], dtype=np.uint8), 1024).reshape(64, 64)
    result = operate("equalize", 0, image=grey)
    # step (4096 − 1024) // 255 = 12; entry = (6 + number of pixels below) // 12
    expected = {10: 0, 11: 1030 // 12, 12: 2054 // 12, 200: min(3078 // 12, 255)}
    for value, new in expected.items():
        assert set(result[grey == value]) == {new}


@pytest.mark.parametrize(("strength", "threshold"), [(0, 256), (0.25, 192), (1, 0)])
def test_solarize_inverts_above_a_threshold(strength: float, threshold: int) -> None:
    expected = np.where(threshold > PHOTO, PHOTO, 255 - PHOTO)
    assert_array_equal(operate("solarize", strength), expected)


@pytest.mark.parametrize(
    ("space", "strength", "bits"),
    [
        (RANDAUGMENT, 0, 8),
        (RANDAUGMENT, 0.5, 6),
        (RANDAUGMENT, 1, 4),
        (TRIVIALAUGMENT, 1, 2),
        (TRIVIALAUGMENT, 0.5, 5),
    ],
)
def test_posterize_keeps_the_highest_bits(space, strength: float, bits: int) -> None:
    width = 2 ** (8 - bits)
    assert_array_equal(operate("posterize", strength, space=space), PHOTO // width * width)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("space", SPACES)
def test_enhancements_are_distances_from_something(space, sign: int) -> None:
    factor = 1 + sign * 0.5 * {RANDAUGMENT: 0.9, TRIVIALAUGMENT: 0.99}[space]
    luma = PHOTO @ LUMA
    centres = {
        "brightness": np.zeros_like(PHOTO),
        "contrast": np.full_like(PHOTO, round(luma.mean())),
        "colour": np.repeat(luma[..., None], 3, axis=2),
    }
    for name, centre in centres.items():
        expected = (centre + factor * (PHOTO.astype(float) - centre)).clip(0, 255)
        assert np.abs(operate(name, 0.5, sign, space) - expected).max() < 2, name


def test_sharpness_is_the_distance_from_a_blurred_image() -> None:
    grey = PHOTO[..., 0]
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13  # Pillow's SMOOTH
    windows = np.lib.stride_tricks.sliding_window_view(grey.astype(float), (3, 3))
    blurred = np.einsum("yxab,ab->yx", windows, kernel)
    inner = grey[1:-1, 1:-1].astype(float)
    for sign in (1, -1):
        factor = 1 + sign * 0.9
        expected = (blurred + factor * (inner - blurred)).clip(0, 255)
        assert np.abs(operate("sharpness", 1, sign, image=grey)[1:-1, 1:-1] - expected).max() < 2.5


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("space", "pixels"),
    [(RANDAUGMENT, round(150 / 331 * 64 / 2)), (TRIVIALAUGMENT, 16)],
)
def test_translations_are_whole_pixels(space, pixels: int, sign: int) -> None:
    for name, axis in (("translate-x", 1), ("translate-y", 0)):
        expected = np.roll(PHOTO, sign * pixels, axis=axis).astype(int)
        gone = slice(0, pixels) if sign > 0 else slice(-pixels, None)
        expected[(slice(None),) * axis + (gone,)] = FILL
        assert_array_equal(operate(name, 0.5, sign, space), expected)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("space", "slope"), [(RANDAUGMENT, 0.15), (TRIVIALAUGMENT, 0.495)])
def test_shears_move_rows_or_columns_in_proportion(space, slope: float, sign: int) -> None:
    grey = PHOTO[..., 1]
    # pixel centres lie at halves: x' = x + slope · (y + 1/2)
    for name, matrix, offset in (
        ("shear-x", [[1, 0], [sign * slope, 1]], [0, sign * slope / 2]),
        ("shear-y", [[1, sign * slope], [0, 1]], [sign * slope / 2, 0]),
    ):
        expected = affine_transform(
            grey.astype(float), np.array(matrix), offset, order=1, cval=np.nan
        )
        result = operate(name, 0.5, sign, space, grey)
        known = ~np.isnan(expected)
        assert 0.6 < known.mean() < 0.98
        assert np.abs(result - expected)[known].max() <= 1.01
        assert (result[~known] == FILL[0]).mean() > 0.9


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("space", "degrees"), [(RANDAUGMENT, 15), (TRIVIALAUGMENT, 67.5)])
def test_rotations_turn_about_the_centre(space, degrees: float, sign: int) -> None:
    grey = PHOTO[..., 1]
    turn = np.radians(sign * degrees)
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    middle = np.full(2, 31.5)
    expected = affine_transform(
        grey.astype(float), matrix, middle - matrix @ middle, order=1, cval=np.nan
    )
    result = operate("rotate", 0.5, sign, space, grey)
    known = ~np.isnan(expected)
    assert np.abs(result - expected)[known].max() <= 1.5


@pytest.mark.parametrize("space", SPACES)
def test_no_strength_changes_nothing(space) -> None:
    for name in OPERATIONS.keys() - {"autocontrast", "equalize"}:
        assert_array_equal(operate(name, 0, space=space), PHOTO, err_msg=name)


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Step]]:
    seen: list[tuple[str, Step]] = []

    def listener(name: str):
        def note(image: Image.Image, step: Step) -> Image.Image:
            seen.append((name, step))
            return image

        return note

    monkeypatch.setattr(policy, "_IN_ORDER", tuple(listener(name) for name in OPERATIONS))
    return seen


def test_randaugment_draws_evenly_with_one_strength(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = recorded(monkeypatch)
    record = Augmentation(policy="randaugment", policy_operations=2, policy_magnitude=9)
    u = draw(record, 0, 0, np.arange(1400))
    apply_policy(record, u, torch.zeros(1400, 1, 2, 2), (0.5,))
    assert len(seen) == 2800
    assert {step.strength for _, step in seen} == {0.3}
    counts = Counter(name for name, _ in seen)
    assert set(counts) == set(OPERATIONS)
    assert all(145 < n < 255 for n in counts.values())  # 200 ± 4 deviations of 13.6
    assert abs(sum(step.sign for _, step in seen)) < 4 * np.sqrt(2800)


def test_trivialaugment_draws_one_of_31_strengths(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = recorded(monkeypatch)
    record = Augmentation(policy="trivialaugment", policy_operations=3)
    apply_policy(record, draw(record, 0, 0, np.arange(3100)), torch.zeros(3100, 1, 2, 2), (0.5,))
    assert len(seen) == 3100
    counts = Counter(round(step.strength * 30) for _, step in seen)
    assert sorted(counts) == list(range(31))
    assert all(60 < n < 140 for n in counts.values())
    assert {step.ranges for _, step in seen} == {TRIVIALAUGMENT}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["randaugment", "trivialaugment"])
def test_neighbours_do_not_matter(name: str, channels: int) -> None:
    images = torch.from_numpy(PHOTO[..., :channels]).permute(2, 0, 1).expand(20, -1, -1, -1) / 255
    record = Augmentation(policy=name)
    fill = (0.5,) * channels
    together = apply_policy(record, draw(record, 1, 2, np.arange(20)), images, fill)
    assert together.shape == images.shape
    alone = [
        apply_policy(record, draw(record, 1, 2, np.array([i])), images[i : i + 1], fill)
        for i in range(20)
    ]
    assert torch.equal(torch.cat(alone), together)
    assert len({tuple(image.flatten().tolist()) for image in together}) > 12
    assert_allclose(together * 255, (together * 255).round(), atol=1e-4)


def test_no_image_is_no_error() -> None:
    record = Augmentation(policy="randaugment")
    u = draw(record, 0, 0, np.arange(0))
    assert apply_policy(record, u, torch.zeros(0, 3, 4, 4), (0.5,) * 3).shape == (0, 3, 4, 4)
