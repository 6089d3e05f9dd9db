from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from convatlas.data.source import Subset, open_source
from convatlas.data.sources.folder import ImageFolder
from convatlas.data.statistics import Extent, channel_statistics, describe_source
from convatlas.errors import DataError


def test_statistics_are_exact_over_images_of_any_size() -> None:
    photos = load_sample_images().images
    photos = [photos[0], photos[1][:100, :50]]
    values = np.concatenate([photo.reshape(-1, 3) for photo in photos]).astype(np.longdouble) / 255
    mean, std = channel_statistics(photos)
    np.testing.assert_allclose(mean, values.mean(axis=0).astype(float), rtol=1e-15)
    np.testing.assert_allclose(std, values.std(axis=0).astype(float), rtol=1e-14)


def test_statistics_by_hand() -> None:
    images = np.array([[[[0, 255]]], [[[255, 255]]]], dtype=np.uint8)
    assert channel_statistics(images) == ((0.5, 1.0), (0.5, 0.0))
    with pytest.raises(DataError, match="got none"):
        channel_statistics([])


def test_facts_of_a_folder(tmp_path: Path) -> None:
    sizes = {"cat/1.png": (5, 4), "cat/2.png": (7, 40), "dog/1.png": (6, 8), "dog/2.png": (9, 9)}
    for name, size in sizes.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", size).save(tmp_path / name)
    seen: list[tuple[int, int]] = []
    facts = describe_source(ImageFolder(tmp_path, name="pets"), lambda *at: seen.append(at))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert (facts.name, facts.images, facts.channels) == ("pets", 4, 1)
    assert facts.per_class == {"cat": 2, "dog": 2}
    assert facts.height == Extent(4, 8.5, 40)
    assert facts.width == Extent(5, 6.5, 9)
    Image.new("RGB", (5, 5)).save(tmp_path / "dog" / "2.png")
    assert describe_source(ImageFolder(tmp_path)).channels == 3


def test_facts_read_heads_alone(tmp_path: Path) -> None:
    chance = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.fromarray(chance).save(tmp_path / name / "1.jpg")
        whole = (tmp_path / name / "1.jpg").read_bytes()
        (tmp_path / name / "1.jpg").write_bytes(whole[: len(whole) // 2])
    assert describe_source(ImageFolder(tmp_path)).height == Extent(64, 64, 64)
    (tmp_path / "dog" / "1.jpg").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"dog/1\.jpg"):
        describe_source(ImageFolder(tmp_path))


def test_facts_of_the_digits() -> None:
    train = open_source("digits").train
    facts = describe_source(train)
    assert (facts.images, facts.channels, facts.height) == (1437, 1, Extent(8, 8, 8))
    assert sum(facts.per_class.values()) == 1437
    with pytest.raises(DataError, match="got none"):
        describe_source(Subset(train, []))
