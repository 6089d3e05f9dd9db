"""Views decoded from files, next to Pillow's antialiased resize of the same pixels."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, ImageOps
from skimage import data
from torch import Tensor

from convatlas.data import views as views_module
from convatlas.data.augment import views_of
from convatlas.data.augmentation import Augmentation
from convatlas.data.decode import ImageHeader, decode, read_header
from convatlas.data.draws import draw
from convatlas.data.jpeg import Jpeg, read_jpeg
from convatlas.data.preprocess import IMAGENET, Preprocessing
from convatlas.data.views import DecodedViews
from convatlas.errors import DataError

PHOTOS = {name: getattr(data, name)() for name in ("chelsea", "astronaut", "coffee", "rocket")}
CROPS = Augmentation(crop_scale=(0.08, 1.0), flip=True)
WHOLE = replace(IMAGENET, resize_mode="stretch")


class Files:
    """A source of contents, or of bare pixels."""

    name = "files"
    classes = ("a", "b")

    def __init__(self, *images: bytes | Image.Image) -> None:
        self._images = images
        self.labels = tuple(index % 2 for index in range(len(images)))

    def __len__(self) -> int:
        return len(self._images)

    def encoded(self, index: int) -> bytes | None:
        image = self._images[index]
        return image if isinstance(image, bytes) else None

    def load(self, index: int, at_least: int | None = None) -> Image.Image:
        image = self._images[index]
        return decode(image, at_least) if isinstance(image, bytes) else image

    def header(self, index: int) -> ImageHeader:
        image = self._images[index]
        if isinstance(image, bytes):
            return read_header(image)
        return ImageHeader(image.height, image.width, len(image.getbands()))

    def describe(self, index: int) -> str:
        return f"photo {index}"


def saved(image: np.ndarray | Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    stream = BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(stream, kind, **({"quality": 90} if kind == "JPEG" else {}), **options)
    return stream.getvalue()


def turned(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def show(
    files: Files,
    augmentation: Augmentation,
    size: int = 224,
    record: Preprocessing = IMAGENET,
    epoch: int = 0,
) -> Tensor:
    indices = np.arange(len(files))
    u = draw(augmentation, 0, epoch, indices)
    return DecodedViews(files, record).views(augmentation, u, indices, size)


def psnr(view: Tensor, expected: Image.Image) -> float:
    """Return the peak signal-to-noise ratio of two pictures of 8 bits, in decibels."""
    difference = view.permute(1, 2, 0).double().numpy() - np.asarray(expected)
    return float(10 * np.log10(255**2 / max(np.square(difference).mean(), 1e-9)))


def shrunk(content: bytes, box: tuple[int, int, int, int] | None, size: int) -> Image.Image:
    """Return Pillow's antialiased resize of the fully decoded crop."""
    with Image.open(BytesIO(content)) as image:
        return image.resize((size, size), Image.Resampling.BILINEAR, box=box, reducing_gap=None)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int, int]]:
    """The boxes that are cropped: left, top, right, bottom."""
    seen = []
    original = views_module._part

    def note(*arguments: object) -> object:
        part = original(*arguments)
        seen.append((part.left, part.top, part.right, part.bottom))
        return part

    monkeypatch.setattr(views_module, "_part", note)
    monkeypatch.setattr("convatlas.data.parallel._cores", lambda: 1)
    return seen


@pytest.mark.parametrize("name", PHOTOS)
def test_crops_are_pillows(name: str, parts: list[tuple[int, int, int, int]]) -> None:
    big = Image.fromarray(PHOTOS[name])
    big = big.resize((4 * big.width, 4 * big.height), Image.Resampling.LANCZOS)
    for photo in (PHOTOS[name], big):  # the larger one is shrunk by the decoder
        content = saved(photo)
        parts.clear()
        files = Files(*[content] * 8)
        x = show(files, replace(CROPS, flip=False))
        assert len(parts) == 8
        for view, box in zip(x, parts, strict=True):
            with Image.open(BytesIO(content)) as image:
                box = (*box[:2], min(box[2], image.width), min(box[3], image.height))
            assert psnr(view, shrunk(content, box, 224)) >= 38


@pytest.mark.parametrize("times", [4, 8])
@pytest.mark.parametrize("name", PHOTOS)
def test_whole_images_shrink_as_pillows(name: str, times: int) -> None:
    side = min(PHOTOS[name].shape[:2]) // 8 * 8
    content = saved(PHOTOS[name][:side, :side])
    size = side // times
    (view,) = show(Files(content), Augmentation(), size, replace(WHOLE, input_size=size))
    assert psnr(view, shrunk(content, None, size)) >= 38
    # without antialiasing it would be far off
    with Image.open(BytesIO(content)) as image:
        nearest = np.array(image)[times // 2 :: times, times // 2 :: times]
    assert psnr(torch.from_numpy(nearest).permute(2, 0, 1), shrunk(content, None, size)) < 31


def test_the_decoder_shrinks_only_to_twice_the_view(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    original = Jpeg.pixels

    def note(self: Jpeg, factor: int) -> np.ndarray:
        seen.append(factor)
        return original(self, factor)

    monkeypatch.setattr(Jpeg, "pixels", note)
    content = saved(PHOTOS["astronaut"])  # 512 pixels
    for size in (16, 32, 33, 64, 128, 129, 300):
        show(Files(content), Augmentation(), size, replace(WHOLE, input_size=size))
    assert seen == [8, 8, 4, 4, 2, 1, 1]


def test_bicubic_records_are_shrunk_bicubically() -> None:
    content = saved(PHOTOS["chelsea"][:296, :296])
    record = replace(WHOLE, input_size=148, interpolation="bicubic")
    (view,) = show(Files(content), Augmentation(), 148, record)
    with Image.open(BytesIO(content)) as image:
        assert psnr(view, image.resize((148, 148), Image.Resampling.BICUBIC)) > 50


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_that_of_the_decoder(orientation: int) -> None:
    image = Image.fromarray(PHOTOS["coffee"][:384, :512])
    content = saved(image, exif=turned(orientation))
    upright = np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(content))))
    jpeg = read_jpeg(content)
    assert (jpeg.height, jpeg.width) == upright.shape[:2]
    assert_array_equal(jpeg.pixels(1), upright)
    x = show(Files(content, Image.fromarray(upright)), CROPS, 96)
    u = draw(CROPS, 0, 0, np.array([0, 0]))
    both = DecodedViews(Files(content, Image.fromarray(upright)), IMAGENET)
    one = both.views(CROPS, u, np.array([0, 1]), 96)
    assert torch.equal(one[0], x[0])
    assert psnr(one[0], Image.fromarray(one[1].permute(1, 2, 0).numpy())) > 38


def test_orientation_is_found_behind_other_blocks() -> None:
    content = saved(PHOTOS["coffee"][:64, :96], exif=turned(6), icc_profile=b"x" * 100_000)
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'
    for file, orientation in (
        (content, 6),
        (saved(PHOTOS["coffee"][:64, :96], xmp=xmp), 8),
        (saved(PHOTOS["coffee"][:64, :96], comment=b"Exif\x00\x00"), 1),
        (content[:2] + b"\xff\xff" + content[2:], 6),  # fill bytes, as the standard allows
    ):
        assert read_jpeg(file).orientation == orientation
        upright = decode(file)
        assert_array_equal(read_jpeg(file).pixels(1), np.asarray(upright))


def test_cut_heads_are_left_to_the_decoder() -> None:
    content = saved(PHOTOS["coffee"][:64, :96], exif=turned(6))
    pixels = content.index(b"\xff\xda")
    assert {read_jpeg(content[:length]) for length in range(pixels)} == {None}


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_shrunk_turned_jpegs_keep_their_place(factor: int) -> None:
    photo = Image.fromarray(PHOTOS["coffee"][:384, :512])
    for orientation in range(1, 9):
        jpeg = read_jpeg(saved(photo, exif=turned(orientation)))
        small = jpeg.pixels(factor)
        assert small.shape[:2] == (jpeg.height // factor, jpeg.width // factor)
        blocks = jpeg.pixels(1).reshape(len(small), factor, -1, factor, 3).mean(axis=(1, 3))
        assert np.abs(small - blocks).mean() < 2.5


def test_other_files_have_the_same_geometry() -> None:
    photo = Image.fromarray(PHOTOS["chelsea"])
    cmyk = saved(photo.convert("CMYK"))
    contents = {
        "PNG": saved(photo, "PNG"),
        "CMYK": cmyk,
        "pixels": photo,
        "progressive": saved(photo, progressive=True),
    }
    u = draw(CROPS, 3, 0, np.array([5]))
    place = np.array([0])
    expected = DecodedViews(Files(saved(photo)), IMAGENET).views(CROPS, u, place, 112)[0]
    for name, content in contents.items():
        (view,) = DecodedViews(Files(content), IMAGENET).views(CROPS, u, place, 112)
        found = psnr(view, Image.fromarray(expected.permute(1, 2, 0).numpy()))
        assert found > (20 if name == "CMYK" else 36), name


def test_grey() -> None:
    grey = replace(IMAGENET, channels=1, mean=(0.5,), std=(0.5,))
    luma = Image.fromarray(PHOTOS["chelsea"]).convert("L")
    files = Files(saved(PHOTOS["chelsea"]), saved(luma), luma)
    u = draw(CROPS, 0, 0, np.array([4, 4, 4]))
    x = DecodedViews(files, grey).views(CROPS, u, np.arange(3), 112).double()
    assert x.shape == (3, 1, 112, 112)
    assert (x[0] - x[2]).abs().mean() < 2
    assert (x[1] - x[2]).abs().mean() < 2
    colour = DecodedViews(files, IMAGENET).views(CROPS, u, np.arange(3), 112)
    assert torch.equal(colour[1, 0], colour[1, 2])


def test_flips_are_exact_mirrors() -> None:
    files = Files(*[saved(PHOTOS["rocket"])] * 20)
    plain, flipped = (show(files, replace(CROPS, flip=flip), 64) for flip in (False, True))
    mirrored = [torch.equal(b, a.flip(2)) for a, b in zip(plain, flipped, strict=True)]
    same = [torch.equal(b, a) for a, b in zip(plain, flipped, strict=True)]
    assert 4 <= sum(mirrored) <= 16
    assert [not each for each in mirrored] == same


def test_rotation_shift_and_padding_are_those_of_images_in_memory() -> None:
    photo = PHOTOS["astronaut"]
    record = replace(WHOLE, input_size=128)
    small = np.asarray(Image.fromarray(photo).resize((128, 128), Image.Resampling.BILINEAR))
    for padding in ("zeros", "edge"):
        moved = Augmentation(rotate_degrees=40, shift=0.2, zoom=0.3, flip=True, padding=padding)
        files = Files(*[saved(photo)] * 6)
        x = show(files, moved, 128, record)
        images = torch.from_numpy(np.stack([small] * 6))
        y = views_of(moved, draw(moved, 0, 0, np.arange(6)), images, 128, 128)
        for view, expected in zip(x, y, strict=True):
            picture = expected.mul(255).round().byte().permute(1, 2, 0).numpy()
            assert psnr(view, Image.fromarray(picture)) > 27
            if padding == "zeros":
                assert_allclose((view == 0).all(0).sum(), (picture == 0).all(2).sum(), rtol=0.1)


def test_neighbours_and_threads_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    contents = [saved(photo) for photo in PHOTOS.values()] * 3
    together = show(Files(*contents), CROPS, 80)
    monkeypatch.setattr("convatlas.data.parallel._cores", lambda: 1)
    assert torch.equal(show(Files(*contents), CROPS, 80), together)
    views = DecodedViews(Files(*contents), IMAGENET)
    for index in (0, 7):
        place = np.array([index])
        assert torch.equal(
            views.views(CROPS, draw(CROPS, 0, 0, place), place, 80)[0], together[index]
        )
    assert not torch.equal(show(Files(*contents), CROPS, 80, epoch=1), together)


def test_tiny_and_narrow_images_work() -> None:
    files = Files(
        saved(PHOTOS["coffee"][:1, :1]),
        saved(PHOTOS["coffee"][:3, :400]),
        saved(np.zeros((9, 2, 3), np.uint8)),
    )
    moved = replace(CROPS, rotate_degrees=20, shift=1.0, zoom=2.0)
    for augmentation in (Augmentation(), CROPS, moved):
        assert show(files, augmentation, 32).shape == (3, 3, 32, 32)


def test_damage_is_named_and_warnings_forgiven() -> None:
    content = saved(PHOTOS["chelsea"])
    views = DecodedViews(Files(content, content[: len(content) // 2]), IMAGENET)
    u = draw(CROPS, 0, 0, np.array([1]))
    with pytest.raises(DataError, match=r"photo 1.*truncated"):
        views.views(CROPS, u, np.array([1]), 64)
    text = DecodedViews(Files(b"<html>"), IMAGENET)
    with pytest.raises(DataError, match=r"photo 0.*not an image"):
        text.views(CROPS, u, np.array([0]), 64)
    # bytes after the end are a warning for the decoder, and nothing to Pillow
    longer = Files(content + b"\x00" * 40)
    assert torch.equal(show(longer, CROPS, 64), show(Files(content), CROPS, 64))


def test_bombs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    files = Files(saved(PHOTOS["chelsea"]))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match=r"limit of 2,000 pixels.*photo 0"):
        show(files, CROPS, 64)
    for width, known in ((50, True), (51, False)):  # Pillow refuses what is above twice the limit
        assert (read_jpeg(saved(PHOTOS["chelsea"][:40, :width])) is not None) == known
