from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_image

from convatlas.data.decode import ImageHeader, decode, printable, read_header, read_orientation
from convatlas.errors import DataError

STORED = [[10, 20, 30], [40, 50, 60]]
# By hand from EXIF 2.3: the value says at which edges of the upright picture the stored first
# row and first column lie (1 top left, 2 top right, 3 bottom right, 4 bottom left, 5 left top, …).
UPRIGHT = {
    1: [[10, 20, 30], [40, 50, 60]],
    2: [[30, 20, 10], [60, 50, 40]],
    3: [[60, 50, 40], [30, 20, 10]],
    4: [[40, 50, 60], [10, 20, 30]],
    5: [[10, 40], [20, 50], [30, 60]],
    6: [[40, 10], [50, 20], [60, 30]],
    7: [[60, 30], [50, 20], [40, 10]],
    8: [[30, 60], [20, 50], [10, 40]],
}


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", list(UPRIGHT))
def test_orientation_follows_the_standard(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = tmp_path / f"a.{suffix}"
    image = Image.fromarray(np.array(STORED, dtype=np.uint8))
    options = {"lossless": True} if suffix == "webp" else {}
    image.save(path, exif=exif(orientation), **options)
    upright = np.array(UPRIGHT[orientation], dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(decode(path).convert("L")), upright)
    header = read_header(path)
    assert (header.height, header.width) == upright.shape


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_a_jpeg_is_pillows(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.jpg"
    photo = Image.fromarray(load_sample_image("china.jpg")[:96, :160])
    photo.save(path, exif=exif(orientation))
    with Image.open(path) as image:
        expected = ImageOps.exif_transpose(image)
    np.testing.assert_array_equal(np.asarray(decode(path)), np.asarray(expected))
    assert read_header(path) == ImageHeader(expected.height, expected.width, 3)


def test_damaged_exif_leaves_the_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    photo = Image.fromarray(load_sample_image("flower.jpg")[:64, :64])
    photo.save(path, exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x00 nonsense")
    assert decode(path).size == (64, 64)
    assert read_header(path) == ImageHeader(64, 64, 3)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bit_values_are_scaled_to_8(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    values = np.array([[0, 257, 128 * 257, 65535]], dtype=np.uint16)
    if suffix == "pgm":
        path.write_bytes(b"P5 4 1 65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(path)
    image = decode(path)
    assert image.mode == "L"
    np.testing.assert_array_equal(np.asarray(image), [[0, 1, 128, 255]])
    assert read_header(path) == ImageHeader(1, 4, 1)


def test_contents_are_read_like_files(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(load_sample_image("china.jpg")[:96, :160]).save(path, exif=exif(6))
    content = path.read_bytes()
    assert decode(content) == decode(path)
    assert decode(content, 40).size == (48, 80)
    assert read_header(content) == read_header(path) == ImageHeader(160, 96, 3)
    with pytest.raises(DataError, match=r"image in shard 3/a\.jpg, got.*(?i:truncated)"):
        decode(content[: len(content) // 2], name="shard 3/a.jpg")
    with pytest.raises(DataError, match="the file is empty"):
        read_header(b"", name="a")


@pytest.mark.parametrize("orientation", [*range(1, 9), 0, 9])
def test_orientations_are_read(orientation: int) -> None:
    stream = BytesIO()
    Image.new("L", (3, 2)).save(stream, "JPEG", exif=exif(orientation))
    expected = orientation if orientation in UPRIGHT else 1
    assert read_orientation(stream.getvalue()) == expected


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    # value · alpha + 255 · (1 − alpha), alpha = 128/255, 0 and 1
    colour = np.array([[[255, 0, 0, 128], [9, 9, 9, 0], [1, 2, 3, 255]]], dtype=np.uint8)
    image = decode(saved(tmp_path / "rgba.png", Image.fromarray(colour)))
    assert image.mode == "RGB"
    expected = [[[255, 127, 127], [255] * 3, [1, 2, 3]]]
    np.testing.assert_allclose(np.asarray(image), expected, atol=1)
    grey = np.array([[[0, 128], [9, 0], [77, 255]]], dtype=np.uint8)
    image = decode(saved(tmp_path / "la.png", Image.fromarray(grey)))
    assert image.mode == "L"
    np.testing.assert_allclose(np.asarray(image), [[127, 255, 77]], atol=1)


def test_palettes_become_colours(tmp_path: Path) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 0, 255, 0, 255, 0])
    image.putdata([0, 1, 2])
    path = saved(tmp_path / "p.png", image)
    np.testing.assert_array_equal(
        np.asarray(decode(path)), [[[255, 0, 0], [0, 0, 255], [0, 255, 0]]]
    )
    path = saved(tmp_path / "t.png", image, transparency=1)
    np.testing.assert_array_equal(np.asarray(decode(path)), [[[255, 0, 0], [255] * 3, [0, 255, 0]]])


def test_cmyk_one_bit_and_animation(tmp_path: Path) -> None:
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    image = decode(saved(tmp_path / "cmyk.jpg", cyan, quality=95))
    np.testing.assert_allclose(np.asarray(image)[8, 8], [0, 255, 255], atol=4)

    line = Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).convert("1")
    image = decode(saved(tmp_path / "one.png", line))
    assert image.mode == "L"
    np.testing.assert_array_equal(np.asarray(image), [[0, 255]])

    red, blue = (Image.new("RGB", (4, 4), colour) for colour in ("red", "blue"))
    path = saved(tmp_path / "moving.gif", red, save_all=True, append_images=[blue])
    np.testing.assert_array_equal(np.asarray(decode(path))[0, 0], [255, 0, 0])


def test_at_least_halves_jpegs_but_not_below(tmp_path: Path) -> None:
    photo = Image.fromarray(load_sample_image("china.jpg"))
    path = saved(tmp_path / "china.jpg", photo, quality=95)
    assert photo.size == (640, 427)
    assert decode(path, at_least=428).size == (640, 427)
    assert decode(path, at_least=200).size == (320, 214)
    quarter = decode(path, at_least=100)
    assert quarter.size == (160, 107)
    blocks = np.asarray(decode(path).crop((0, 0, 640, 424))).reshape(106, 4, 160, 4, 3)
    means = blocks.mean(axis=(1, 3))  # antialiased: a pixel is the mean of the pixels it covers
    assert np.abs(np.asarray(quarter)[:106] - means).mean() < 3
    assert np.abs(np.asarray(decode(path))[2:424:4, 2::4] - means).mean() > 6
    png = saved(tmp_path / "china.png", photo)
    assert decode(png, at_least=100).size == (640, 427)


def test_unreadable_files_say_why(tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole.jpg", Image.fromarray(load_sample_image("flower.jpg")))
    damaged = {
        "half.jpg": (whole.read_bytes()[:9000], "truncated"),
        "text.jpg": (b"<html>404 not found</html>", "its content is not an image"),
        "empty.png": (b"", "the file is empty"),
        "script.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    }
    for name, (content, reason) in damaged.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=reason) as caught:
            decode(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"gone\.jpg.*no such file"):
        decode(tmp_path / "gone.jpg")
    floats = saved(tmp_path / "f.tif", Image.fromarray(np.ones((2, 2), dtype=np.float32)))
    with pytest.raises(DataError, match="32-bit values"):
        decode(floats)


def complaint(path: Path) -> str:
    try:
        decode(path)
    except DataError as error:
        return str(error)
    return ""


def test_random_damage_is_always_one_clear_line(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    photo = Image.fromarray(load_sample_image("flower.jpg")[::8, ::8])
    failures = 0
    for suffix in ("jpg", "png", "bmp", "webp", "tif", "gif", "ppm"):
        whole = saved(tmp_path / f"whole.{suffix}", photo).read_bytes()
        for _ in range(30):
            content = bytearray(whole[: chance.integers(1, len(whole))])
            content[chance.integers(0, len(content))] = chance.integers(256)
            (tmp_path / f"cut.{suffix}").write_bytes(content)
            message = complaint(tmp_path / f"cut.{suffix}")
            failures += bool(message)
            assert "\n" not in message
    assert failures > 100


def test_bombs_are_refused_and_large_photos_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "big.png", Image.new("L", (30, 10)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)  # Pillow warns above 1×, refuses above 2×
    assert decode(path).size == (30, 10)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match=r"limit of 200 pixels.*big\.png"):
        decode(path)
    with pytest.raises(DataError, match="limit of 200 pixels"):
        read_header(path)


def test_threads_leave_the_warning_filters_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "big.png", Image.new("L", (300, 100)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20_000)
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        sizes = {image.size for image in pool.map(decode, [path] * 200)}
    assert sizes == {(300, 100)}
    assert warnings.filters == before
    with pytest.raises(Image.DecompressionBombWarning):
        Image.open(path)


def test_names_become_printable() -> None:
    assert printable("bête noire/été 1.jpg") == "bête noire/été 1.jpg"
    assert printable("a\nb\x1b[31m\udce9.jpg") == "a?b?[31m?.jpg"
