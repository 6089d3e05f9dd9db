"""Groups of repeated images, worked by hand."""

from __future__ import annotations

import pytest
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_image

from convatlas.data.duplicates import find_groups, leaks_of
from convatlas.data.inspection import inspect_source
from convatlas.data.sources.folder import ImageFolder


def fill(root, images):
    for name, image in images.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(root / name)


def groups_of(root):
    parts = []
    for split in ("train", "val"):
        source = ImageFolder(root / split)
        parts.append((split, source, inspect_source(source).prints))
    return find_groups(parts)


def named(group):
    return {f"{member.split}/{member.name}" for member in group.members}


@pytest.fixture
def photos():
    china, flower = (Image.fromarray(load_sample_image(f"{n}.jpg")) for n in ("china", "flower"))
    boxes = [(0, 0, 320, 200), (320, 0, 640, 200), (0, 220, 320, 420), (320, 220, 640, 420)]
    return [image.crop(box) for image in (china, flower) for box in boxes]


def test_a_group_inside_a_split_hides_no_leak(tmp_path, photos):
    a, b, c, *_ = photos
    names = {"a": ("train/cat/a", "val/cat/a"), "b": ("val/cat/b1", "val/cat/b2")}
    files = {f"{name}.png": {"a": a, "b": b}[key] for key, found in names.items() for name in found}
    fill(tmp_path, {**files, "train/dog/c.png": c, "val/dog/c.png": c})
    groups = groups_of(tmp_path)
    leaks = {leaks_of(order, "train", "val") for order in (groups, groups[::-1])}
    assert [(leak.images, leak.same_pixels) for leak in leaks] == [(2, 2)]


def test_copies_across_splits_come_first_then_other_labels_then_the_rest(tmp_path, photos):
    a, b, c, d, e, f, *_ = photos
    fill(
        tmp_path,
        {
            "train/cat/a.png": a,
            "train/cat/b.png": b,
            "train/cat/c.png": c,
            "train/cat/c again.png": c,
            "train/dog/b.png": b,
            "train/dog/d.png": d,
            "val/cat/a.png": a,
            "val/cat/e.png": e,
            "val/dog/d.jpg": d.resize((160, 100)),
            "val/dog/f.png": f,
        },
    )
    groups = groups_of(tmp_path)
    assert [(g.likeness, named(g), g.crosses_splits) for g in groups] == [
        ("same pixels", {"train/cat/a.png", "val/cat/a.png"}, True),
        ("look alike", {"train/dog/d.png", "val/dog/d.jpg"}, True),
        ("same pixels", {"train/cat/b.png", "train/dog/b.png"}, False),
        ("same pixels", {"train/cat/c again.png", "train/cat/c.png"}, False),
    ]
    assert [g.labels for g in groups] == [("cat",), ("dog",), ("cat", "dog"), ("cat",)]
    leak = leaks_of(groups, "train", "val")
    assert (leak.images, leak.same_pixels) == (2, 1)


def test_a_chain_of_likeness_is_one_group_and_says_if_it_is_mirrored(tmp_path, photos):
    a, b, *_ = photos
    fill(
        tmp_path,
        {
            "train/cat/a.png": a,
            "train/dog/a.png": ImageOps.mirror(a),
            "val/cat/a.png": a,
            "val/dog/a.jpg": ImageOps.mirror(a).resize((160, 100)),
            "val/dog/b.png": b,
        },
    )
    (group,) = groups_of(tmp_path)
    assert group.likeness == "mirrored"
    assert len(group.members) == 4
    leak = leaks_of([group], "train", "val")
    assert (leak.images, leak.same_pixels) == (2, 1)


def test_small_images_repeat_only_with_the_same_pixels(tmp_path, photos):
    small = [photo.resize((32, 32)) for photo in photos]
    brighter = small[0].point(lambda value: min(255, value + 3))
    fill(
        tmp_path,
        {
            "train/cat/a.png": small[0],
            "train/dog/b.png": small[1],
            "val/cat/a.png": brighter,
            "val/dog/b.png": small[1],
        },
    )
    (group,) = groups_of(tmp_path)
    assert named(group) == {"train/dog/b.png", "val/dog/b.png"}


def test_nothing_repeats(tmp_path, photos):
    names = ("train/cat/1.png", "train/dog/2.png", "val/cat/3.png", "val/dog/4.png")
    fill(tmp_path, dict(zip(names, photos, strict=False)))
    assert groups_of(tmp_path) == ()
    assert find_groups([]) == ()
    assert leaks_of([], "train", "val").images == 0
