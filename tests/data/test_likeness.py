"""The perceptual hash against scipy's DCT, and the search against comparing every pair."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from scipy.fft import dctn
from sklearn.datasets import load_sample_image

from convatlas.data.likeness import MAX_DISTANCE, alike, close_pairs, look_of


def photos():
    return [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]


def distance(one, other):
    return (one ^ other).bit_count()


def by_all_pairs(left, right, most):
    return [
        [i, j]
        for i, a in enumerate(left.tolist())
        for j, b in enumerate(right.tolist())
        if distance(a, b) <= most
    ]


def as_jpeg(image, quality):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


@pytest.mark.parametrize("photo", photos(), ids=["china", "flower"])
def test_the_hash_is_the_low_frequencies_above_their_median(photo):
    grey = photo.convert("L").resize((32, 32), Image.Resampling.LANCZOS)
    spectrum = dctn(np.asarray(grey, dtype=float), type=2)[1:9, 1:9]
    bits = "".join("1" if value > np.median(spectrum) else "0" for value in spectrum.ravel())
    assert f"{look_of(photo).hash:064b}" == bits
    assert bits.count("1") == 32  # a median has as many above as below


@pytest.mark.parametrize("photo", photos(), ids=["china", "flower"])
def test_the_mirrored_hash_is_that_of_the_mirror_image(photo):
    assert distance(look_of(photo).mirrored, look_of(ImageOps.mirror(photo)).hash) <= 2


def test_copies_look_alike_and_different_photos_do_not():
    china, flower = photos()
    copies = [
        china,
        as_jpeg(china, 30),
        china.resize((china.width // 2, china.height // 2)),
        ImageEnhance.Brightness(china).enhance(1.1),
        china.convert("L"),
    ]
    upright, mirrored = alike([look_of(image) for image in [flower, *copies]])
    connected = {index for pair in upright.tolist() for index in pair}
    assert connected == {1, 2, 3, 4, 5}
    assert not len(mirrored)
    upright, mirrored = alike([look_of(image) for image in (china, ImageOps.mirror(china))])
    assert not len(upright)
    assert mirrored.tolist() == [[0, 1]]


def test_plain_images_have_no_look_to_share():
    plain = [look_of(Image.new("L", (80, 80), value)) for value in (20, 200)]
    assert [len(pairs) for pairs in alike(plain)] == [0, 0]
    assert [len(pairs) for pairs in alike([])] == [0, 0]


@pytest.mark.parametrize("most", [0, 3, MAX_DISTANCE])
def test_the_search_finds_what_comparing_every_pair_finds(most):
    random = np.random.default_rng(0)
    left = random.integers(0, 1 << 64, 120, dtype=np.uint64)
    right = random.integers(0, 1 << 64, 90, dtype=np.uint64)
    for i in range(60):  # plant pairs at 0 … 14 bits
        flips = random.permutation(64)[: i % 15]
        right[i] = left[2 * i] ^ np.bitwise_or.reduce(
            np.uint64(1) << flips.astype(np.uint64), initial=0
        )
    planted = sum(i % 15 <= most for i in range(60))
    found = close_pairs(left, right, most).tolist()
    assert len(found) >= planted
    assert found == by_all_pairs(left, right, most)


def test_the_search_finds_planted_pairs_among_20000():
    random = np.random.default_rng(1)
    hashes = random.integers(0, 1 << 64, 20_000, dtype=np.uint64)
    bits = np.uint64(1) << np.arange(0, 64, 7, dtype=np.uint64)  # ten, spread over all bands
    hashes[15_000:15_100] = hashes[:100] ^ np.bitwise_or.reduce(bits)
    seen = []
    pairs = close_pairs(hashes, hashes, progress=lambda *at: seen.append(at))
    found = {tuple(pair) for pair in pairs.tolist()}
    assert {(i, 15_000 + i) for i in range(100)} <= found
    assert {(i, i) for i in range(20_000)} <= found
    assert seen == [(band, 4) for band in range(1, 5)]


def test_a_distance_that_the_bands_cannot_promise_is_refused():
    hashes = np.zeros(1, dtype=np.uint64)
    with pytest.raises(ValueError, match="from 0 to 11, got 12"):
        close_pairs(hashes, hashes, 12)


def test_many_equal_hashes_give_as_many_pairs_and_not_their_square():
    look = look_of(photos()[0])
    upright, _ = alike([look] * 500)
    assert upright.tolist() == [[0, i] for i in range(1, 500)]
