"""What one look at every image says, against numpy over the same files."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageCms
from sklearn.datasets import load_sample_image

from convatlas.data.inspection import inspect_source, pixel_digest
from convatlas.data.sources.digits import Digits
from convatlas.data.sources.folder import ImageFolder
from convatlas.data.statistics import Extent


def photo(name="china.jpg", size=(100, 80)):
    return Image.fromarray(load_sample_image(name)).resize(size)


@pytest.fixture
def folder(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
    photo().save(tmp_path / "cat" / "1.png")
    photo("flower.jpg", (90, 70)).save(tmp_path / "cat" / "2.jpg")
    photo("flower.jpg", (100, 80)).convert("L").save(tmp_path / "dog" / "1.png")
    return tmp_path


def test_facts_of_a_folder_are_those_of_its_pixels(folder):
    seen = []
    facts = inspect_source(ImageFolder(folder), name="pets", progress=lambda *a: seen.append(a))
    facts = facts.facts
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert (facts.name, facts.images, facts.looked_at, facts.bad) == ("pets", 3, 3, ())
    assert facts.per_class == {"cat": 2, "dog": 1}
    assert facts.channels == {1: 1, 3: 2}
    assert facts.formats == {"PNG": 2, "JPEG": 1}
    assert facts.height == Extent(70, 80, 80)
    assert facts.width == Extent(90, 100, 100)
    assert facts.aspect == (1.25, 1.25, 90 / 70)
    assert (facts.commonest_size, facts.commonest_share) == ((80, 100), 2 / 3)
    files = [folder / name for name in ("cat/1.png", "cat/2.jpg", "dog/1.png")]
    pixels = [np.asarray(Image.open(file).convert("RGB")).reshape(-1, 3) for file in files]
    values = np.concatenate(pixels) / 255
    np.testing.assert_allclose(facts.mean, values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(facts.std, values.std(axis=0), rtol=1e-12)


def test_what_cannot_be_decoded_is_listed_with_its_reason(folder):
    whole = (folder / "cat" / "2.jpg").read_bytes()
    (folder / "cat" / "3.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "dog" / "2.jpg").write_bytes(b"")
    (folder / "dog" / "3.jpg").write_text("hello")
    seen = inspect_source(ImageFolder(folder))
    reasons = {each.name: each.reason for each in seen.facts.bad}
    assert list(reasons) == ["cat/3.jpg", "dog/2.jpg", "dog/3.jpg"]
    assert "truncated" in reasons["cat/3.jpg"]
    assert "empty" in reasons["dog/2.jpg"]
    assert "not an image" in reasons["dog/3.jpg"]
    assert seen.facts.per_class == {"cat": 3, "dog": 3}
    assert [each.index for each in seen.prints] == [0, 1, 3]


def test_a_source_without_a_readable_image_has_no_sizes(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_text("hello")
    facts = inspect_source(ImageFolder(tmp_path)).facts
    assert len(facts.bad) == 2
    assert (facts.height, facts.aspect, facts.commonest_size, facts.mean) == (None, None, None, ())


def test_a_colour_profile_is_noticed_in_jpeg_and_png(folder):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo().save(folder / "dog" / "2.jpg", icc_profile=profile)
    photo().save(folder / "dog" / "3.png", icc_profile=profile)
    assert inspect_source(ImageFolder(folder)).facts.profiles == 2


def test_only_the_chosen_images_are_decoded():
    seen = inspect_source(Digits(), [3, 5])
    assert (seen.facts.images, seen.facts.looked_at) == (1797, 2)
    assert sum(seen.facts.per_class.values()) == 1797
    assert [each.index for each in seen.prints] == [3, 5]
    assert [each.look for each in seen.prints] == [None, None]  # 8 px: too small for likeness
    assert seen.facts.formats == {"bare pixels": 2}


def test_the_digest_is_of_the_pixels_and_not_of_the_file(tmp_path):
    photo().save(tmp_path / "a.png", compress_level=1)
    photo().save(tmp_path / "b.bmp")
    digests = {pixel_digest(Image.open(tmp_path / name)) for name in ("a.png", "b.bmp")}
    assert len(digests) == 1
    assert pixel_digest(photo().transpose(Image.Transpose.TRANSPOSE)) not in digests
    # as many pixels of the same values in another shape
    one, other = Image.new("L", (6, 4)), Image.new("L", (4, 6))
    assert pixel_digest(one) != pixel_digest(other)
