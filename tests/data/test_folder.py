from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convatlas.data.decode import ImageHeader
from convatlas.data.sources.folder import ImageFolder
from convatlas.errors import DataError


def write(path: Path, value: int = 0, size: tuple[int, int] = (6, 4)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)
    return path


def test_order_is_that_of_names(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/10.png", "a/z.PNG", "a/deep/er/y.png", "Zebra/x.png"):
        write(tmp_path / name)
    folder = ImageFolder(tmp_path)
    assert folder.classes == ("Zebra", "a", "b")
    assert folder.labels == (0, 1, 1, 2, 2)
    assert [folder.describe(i) for i in range(len(folder))] == [
        "Zebra/x.png",
        "a/deep/er/y.png",
        "a/z.PNG",
        "b/10.png",
        "b/2.png",
    ]
    assert folder.name == tmp_path.name
    assert ImageFolder(str(tmp_path), name="mine").name == "mine"


def test_loads_what_it_describes(tmp_path: Path) -> None:
    write(tmp_path / "a" / "1.png", 7, (5, 3))
    write(tmp_path / "b" / "1.png", 9)
    folder = ImageFolder(tmp_path)
    np.testing.assert_array_equal(np.asarray(folder.load(0)), np.full((3, 5), 7))
    assert folder.header(0) == ImageHeader(3, 5, 1)
    np.testing.assert_array_equal(np.asarray(folder.load(1, 2)), np.full((4, 6), 9))
    assert folder.encoded(1) == (tmp_path / "b" / "1.png").read_bytes()
    (tmp_path / "b" / "1.png").unlink()
    with pytest.raises(DataError, match=r"b/1\.png, got a file .* no such file"):
        folder.encoded(1)


def test_clutter_is_left_out_and_odd_names_are_kept(tmp_path: Path) -> None:
    names = ["köter/père noël.jpg", "köter/.jpg.png/x.png", "猫/a b .jpeg", "猫/..dots.png.webp"]
    clutter = ["köter/Thumbs.db", "köter/notes.txt", "猫/.hidden.png", "猫/._a b .jpeg"]
    for name in (*names, ".cache/x.png", "__MACOSX/köter/x.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    for name in clutter:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "readme.md").write_bytes(b"")
    folder = ImageFolder(tmp_path)
    assert folder.classes == ("köter", "猫")
    assert [folder.describe(i) for i in range(len(folder))] == [
        "köter/père noël.jpg",
        "猫/a b .jpeg",
    ]


def test_every_extension_counts_in_any_case(tmp_path: Path) -> None:
    for suffix in ("jpg", "JPEG", "Png", "bmp", "webp", "tif", "TIFF", "gif", "ppm", "pgm"):
        path = tmp_path / "a" / f"x.{suffix}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    write(tmp_path / "b" / "x.png")
    assert ImageFolder(tmp_path).labels == (0,) * 10 + (1,)


def test_links_are_followed_once(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "1.png")
    root = tmp_path / "root"
    write(root / "a" / "1.png")
    (root / "a" / "up").symlink_to(root / "a", target_is_directory=True)
    (root / "b").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert ImageFolder(root).labels == (0, 1)
    (root / "b" / "lost.png").symlink_to(tmp_path / "gone.png")
    folder = ImageFolder(root)
    with pytest.raises(DataError, match=r"lost\.png.*no such file"):
        folder.load(1 + [folder.describe(i) for i in (1, 2)].index("b/lost.png"))


def test_what_is_no_class_folder_is_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone: there is no such folder"):
        ImageFolder(tmp_path / "gone")
    archive = tmp_path / "data.zip"
    archive.write_bytes(b"PK")
    with pytest.raises(DataError, match=r"the file .*data\.zip: unpack it first"):
        ImageFolder(archive)
    with pytest.raises(DataError, match="pass its folder"):
        ImageFolder(write(tmp_path / "flat" / "1.png"))
    write(tmp_path / "flat" / "2.png")
    with pytest.raises(
        DataError, match=r"one folder per class inside .*got 2 images and no folder"
    ):
        ImageFolder(tmp_path / "flat")


def test_a_single_class_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "cats" / "1.png")
    with pytest.raises(DataError, match="only the folder 'cats': add a second class"):
        ImageFolder(tmp_path)
    write(tmp_path / "cats" / "tabby" / "1.png")
    with pytest.raises(DataError, match=r"is .*/cats the one to pass\?"):
        ImageFolder(tmp_path)


def test_an_empty_class_is_named(tmp_path: Path) -> None:
    write(tmp_path / "cats" / "1.png")
    (tmp_path / "dogs").mkdir()
    with pytest.raises(DataError, match=r"class folder .*dogs, got none"):
        ImageFolder(tmp_path)
    (tmp_path / "dogs" / "rex.heic").write_bytes(b"")
    with pytest.raises(DataError, match=r"got 1 other files such as rex\.heic.*jpeg, jpg"):
        ImageFolder(tmp_path)
