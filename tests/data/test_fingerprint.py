"""A data set that changed is noticed, and what changed is said."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
from PIL import Image

from convatlas.data.fingerprint import (
    DataSummary,
    content_hash,
    data_fingerprint,
    differences,
    summarise,
)
from convatlas.data.source import Subset
from convatlas.data.sources.digits import Digits
from convatlas.data.sources.folder import ImageFolder
from convatlas.errors import DataError


@pytest.fixture
def folder(tmp_path):
    for label, count in (("cat", 3), ("dog", 4)):
        (tmp_path / label).mkdir()
        for number in range(count):
            shade = 40 * number + len(label)
            Image.new("L", (9, 9), shade).save(tmp_path / label / f"{number}.png")
    return tmp_path


def changes(folder, change):
    before = summarise(ImageFolder(folder))
    change()
    after = summarise(ImageFolder(folder))
    assert (before.fingerprint == after.fingerprint) == (not differences(before, after))
    return differences(before, after)


def test_a_copy_with_other_times_is_the_same_data(folder):
    def touch():
        for path in folder.rglob("*.png"):
            os.utime(path, (1, 1))

    assert changes(folder, touch) == []


def test_the_order_of_the_images_does_not_matter():
    digits = Digits()
    assert data_fingerprint(Subset(digits, [5, 3, 9])) == data_fingerprint(
        Subset(digits, [3, 9, 5])
    )
    assert data_fingerprint(Subset(digits, [5, 3, 9])) != data_fingerprint(
        Subset(digits, [5, 3, 8])
    )


def test_an_image_more(folder):
    found = changes(folder, lambda: Image.new("L", (9, 9)).save(folder / "dog" / "9.png"))
    assert found == ["1 class changed: dog has 5 images (was 4)", "1 image added: dog/9.png"]


def test_many_images_fewer_are_named_up_to_five(folder):
    for number in range(10, 17):
        Image.new("L", (9, 9)).save(folder / "cat" / f"{number}.png")

    def remove():
        for number in range(10, 17):
            (folder / "cat" / f"{number}.png").unlink()

    count, names = changes(folder, remove)
    assert count == "1 class changed: cat has 3 images (was 10)"
    assert names.startswith("7 images removed: cat/10.png, ")
    assert names.endswith("cat/14.png and 2 more")


def test_other_contents_under_the_same_name_and_size(folder):
    old = (folder / "cat" / "1.png").read_bytes()
    new = old[:-1] + bytes([old[-1] ^ 1])
    found = changes(folder, lambda: (folder / "cat" / "1.png").write_bytes(new))
    assert found == ["1 image has other contents: cat/1.png"]


def test_a_class_more(folder):
    def add():
        (folder / "owl").mkdir()
        Image.new("L", (9, 9)).save(folder / "owl" / "1.png")

    assert changes(folder, add) == ["1 class added: owl", "1 image added: owl/1.png"]


def test_a_class_without_images_more():
    digits, more = Digits(), Digits()
    more.classes = (*more.classes, "ten")
    assert differences(summarise(digits), summarise(more)) == ["1 class added: ten"]


def test_a_label_that_changed_and_names_that_were_not_kept():
    before = summarise(Subset(Digits(), range(20)))
    label = before.names["digit 0"]
    other = "1" if label == "0" else "0"
    after = replace(before, fingerprint="x", names={**before.names, "digit 0": other})
    assert differences(before, after) == [f"1 label changed: digit 0 from {label} to {other}"]
    short = [replace(each, names={}) for each in (before, after)]
    assert differences(*short) == ["names or labels changed, the counts did not"]


def test_a_summary_survives_json(folder):
    before = summarise(ImageFolder(folder))
    again = DataSummary.from_dict(json.loads(json.dumps(before.to_dict())))
    assert again == before
    with pytest.raises(DataError, match="expected a summary of data with name, fingerprint"):
        DataSummary.from_dict({"name": "x"})


def test_contents_of_a_large_source_are_a_sample_that_hardly_moves(monkeypatch):
    digits = Digits()
    whole = summarise(digits)
    assert len(whole.contents) == 256
    assert len(whole.names) == 1797
    fewer = summarise(Subset(digits, range(300, 1797)))  # a sixth has gone
    kept = {name for name in whole.contents if int(name.removeprefix("digit ")) >= 300}
    assert 190 < len(kept) < 240
    assert kept <= fewer.contents.keys()
    monkeypatch.setattr("convatlas.data.fingerprint._MOST_NAMES", 1000)
    assert summarise(digits).names == {}


def test_what_cannot_be_read_has_a_hash_too(folder):
    (folder / "cat" / "0.png").write_bytes(b"")
    source = ImageFolder(folder)
    (folder / "cat" / "1.png").unlink()
    assert content_hash(source, 1) == "unreadable"
    assert len(content_hash(source, 0)) == 64
    assert len(data_fingerprint(source)) == 64
