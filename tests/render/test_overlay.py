"""Heat maps and embedded pictures, pixel by pixel."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from convatlas.errors import DataError
from convatlas.render.overlay import (
    enlarge,
    heat_colours,
    heat_overlay,
    picture_data_uri,
    png_data_uri,
)


def _decoded(address):
    kind, _, content = address.partition(";base64,")
    return kind, np.array(Image.open(io.BytesIO(base64.b64decode(content))))


def test_the_ends_of_the_colour_map():
    assert heat_colours(np.array([0.0, 1.0])).tolist() == [[0, 0, 4], [252, 255, 164]]


def test_lightness_rises_with_heat():
    colours = heat_colours(np.linspace(0, 1, 101)).astype(float)
    assert np.all(np.diff(colours @ [0.2126, 0.7152, 0.0722]) > 0)


def test_no_heat_leaves_the_grey_picture():
    image = np.array([[[10], [200]]], dtype=np.uint8)
    cold = heat_overlay(image, np.zeros((1, 2)))
    assert cold.tolist() == [[[10] * 3, [200] * 3]]
    colour = np.array([[[255, 0, 0]]], dtype=np.uint8)
    assert heat_overlay(colour, np.zeros((1, 1))).tolist() == [[[76, 76, 76]]]  # 0.299 · 255


def test_full_heat_is_three_quarters_of_the_hottest_colour():
    image = np.full((1, 1, 1), 100, dtype=np.uint8)
    # 0.25 · 100 + 0.75 · (252, 255, 164)
    assert heat_overlay(image, np.ones((1, 1))).tolist() == [[[214, 216, 148]]]


def test_heat_of_another_size_is_stretched_and_nonsense_is_cold():
    image = np.zeros((6, 8, 3), dtype=np.uint8)
    overlay = heat_overlay(image, np.array([[0.0, 1.0], [0.0, 1.0]]))
    assert overlay.shape == (6, 8, 3)
    assert overlay.dtype == np.uint8
    assert overlay[:, -1].sum() > overlay[:, 0].sum()
    assert heat_overlay(image, np.full((6, 8), np.nan)).max() == 0
    assert np.array_equal(
        heat_overlay(image, np.full((6, 8), 7.0)), heat_overlay(image, np.ones((6, 8)))
    )


def test_the_picture_is_left_as_it_was():
    image, heat = np.full((4, 4, 3), 7, dtype=np.uint8), np.full((4, 4), 2.0)
    heat_overlay(image, heat)
    assert image.min() == image.max() == 7
    assert heat.min() == 2


def test_small_pictures_grow_by_whole_pixels():
    digit = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    grown = enlarge(digit, at_least=160)
    assert grown.shape == (160, 160, 1)
    assert np.array_equal(grown[::20, ::20], digit)
    assert np.array_equal(grown[19::20, 19::20], digit)
    assert enlarge(digit, at_least=8) is digit
    assert enlarge(np.zeros((50, 100, 3), dtype=np.uint8), at_least=160).shape == (100, 200, 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_address_holds_the_same_pixels(channels):
    image = np.random.default_rng(0).integers(0, 256, (20, 30, channels), dtype=np.uint8)
    kind, pixels = _decoded(png_data_uri(image, at_least=0))
    assert kind == "data:image/png"
    assert np.array_equal(pixels.reshape(image.shape), image)


def test_drawings_stay_lossless_and_photos_get_small():
    digit = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    kind, pixels = _decoded(picture_data_uri(digit))
    assert kind == "data:image/png"
    assert np.array_equal(pixels[::20, ::20], digit[..., 0])
    y, x = np.mgrid[0:224, 0:224]
    noise = np.random.default_rng(0).normal(0, 6, (224, 224, 3))
    photo = np.clip((x + y)[..., None] / 2 + noise, 0, 255).astype(np.uint8)
    assert picture_data_uri(photo).startswith("data:image/jpeg")
    assert len(picture_data_uri(photo)) < len(png_data_uri(photo)) / 3


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused_in_one_line(image):
    with pytest.raises(DataError, match="expected") as caught:
        png_data_uri(image)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError):
        heat_overlay(image, np.zeros((4, 4)))


def test_heat_must_be_one_plane():
    with pytest.raises(DataError, match=r"\(H, W\)"):
        heat_overlay(np.zeros((4, 4, 3), np.uint8), np.zeros((1, 4, 4)))
