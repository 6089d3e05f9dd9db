"""A data set described from end to end: what is shown, sampled and refused."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from convatlas.errors import DataError, OptionError
from convatlas.pipeline.describing import describe


@pytest.fixture
def folder(tmp_path):
    photo = Image.fromarray(load_sample_image("china.jpg"))
    corner = 0
    for split, count in (("train", 8), ("val", 3)):
        for label in ("cat", "dog"):
            (tmp_path / split / label).mkdir(parents=True)
            for number in range(count):
                corner += 1
                box = (20 * corner, 7 * corner, 20 * corner + 180, 7 * corner + 120)
                photo.crop(box).save(tmp_path / split / label / f"{number}.jpg")
    return tmp_path


def test_a_copy_in_another_split_is_found_and_shown(folder):
    (folder / "val" / "dog" / "7.jpg").write_bytes((folder / "train/cat/3.jpg").read_bytes())
    report = describe(folder)
    assert report.name == folder.name
    assert [split.name for split in report.splits] == ["train", "val"]
    assert (report.images, report.looked_at) == (23, 23)
    assert report.per_class == {"cat": 11, "dog": 12}
    assert report.imbalance == 12 / 11
    assert (report.leak.images, report.leak.same_pixels) == (1, 1)
    assert report.conflicts == report.groups[:1]
    shown = [(picture.split, picture.name, picture.label) for picture in report.group_pictures[0]]
    assert shown == [("train", "cat/3.jpg", "cat"), ("val", "dog/7.jpg", "dog")]


def test_the_sheet_shows_six_images_of_each_class_from_first_to_last(folder):
    sheet = describe(folder).sheet
    assert list(sheet) == ["cat", "dog"]
    numbers = [int(picture.name[4:-4]) for picture in sheet["cat"]]
    assert len(numbers) == 6
    assert numbers == sorted(set(numbers))
    assert (numbers[0], numbers[-1]) == (0, 7)
    for picture in sheet["cat"]:
        assert picture.pixels.shape == (107, 160, 3)  # 120 × 180, the longer side 160
        assert picture.pixels.dtype == np.uint8


def test_a_limit_draws_from_everywhere_in_a_split(folder):
    report = describe(folder, limit=11)
    assert [(split.looked_at, split.images) for split in report.splits] == [(8, 16), (3, 6)]
    assert list(report.sheet) == ["cat", "dog"]  # the first eight of train are cats


def test_digits_are_shown_as_they_are():
    report = describe("digits", limit=100)
    assert [split.name for split in report.splits] == ["train", "held-out"]
    assert [split.looked_at for split in report.splits] == [80, 20]  # in proportion
    assert report.images == 1797
    assert report.unrecognised == 100
    assert all(p.pixels.shape == (8, 8, 1) for some in report.sheet.values() for p in some)


def test_progress_names_each_stage(folder):
    heard = {}

    def listen(what):
        heard[what] = []
        return lambda done, total: heard[what].append((done, total))

    describe(folder, progress=listen)
    assert list(heard) == ["reading train", "reading val", "comparing"]
    assert heard["reading train"] == [(i, 16) for i in range(1, 17)]
    assert heard["comparing"][-1] == (8, 8)


def test_a_split_may_be_unreadable_but_not_all(folder):
    for path in (folder / "train").rglob("*.jpg"):
        path.write_text("hello")
    report = describe(folder)
    assert len(report.splits[0].bad) == 16
    assert {p.split for pictures in report.sheet.values() for p in pictures} == {"val"}
    for path in (folder / "val").rglob("*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(
        DataError, match=r"got 22 that all cannot be read, such as cat/0\.jpg \(its"
    ):
        describe(folder)


@pytest.mark.parametrize("limit", [0, -3])
def test_an_impossible_limit(limit):
    with pytest.raises(OptionError, match=f"got {limit}"):
        describe("digits", limit=limit)
