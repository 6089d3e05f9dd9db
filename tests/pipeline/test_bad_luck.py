"""Bad input and bad luck: one clear line, or a finished run; nothing lost, and it goes on."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import struct
import zlib
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
import torch
from PIL import Image

from convatlas.cli.main import main
from convatlas.errors import OutputError
from convatlas.pipeline.run import resume, run
from convatlas.pipeline.settings import RunSettings
from convatlas.pipeline.trained import load_trained
from small_digits import Quiet, write_digits

NOISE = np.random.default_rng(0)
HTML = "<img src=x onerror=alert(1)>"
MARKDOWN = "**b** [l](x) `t` | c"


def convatlas(*arguments):
    with pytest.raises(SystemExit) as left:
        main([str(each) for each in arguments])
    return left.value.code or 0


def refused(capsys, *arguments):
    """Return the one line that an error prints."""
    assert convatlas(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("convatlas: ")
    return line


def noise(mode="L", size=(12, 10)):
    pixels = NOISE.integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def photos(folder, **counts):
    """Write so many images of noise for each class."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            noise().save(folder / name / f"{number}.png")
    return folder


def grey_png(width, height, rows=None):
    """Return a black PNG of any size, written row by row; ``rows`` of it, the rest is missing."""
    packer = zlib.compressobj(1)
    row = bytes(1 + width)
    data = b"".join(packer.compress(row) for _ in range(height if rows is None else rows))
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", data + packer.flush()),
        (b"IEND", b""),
    )
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


# What cannot be used: how it comes about below a folder, and what is said of it.


def single_class(root):
    return photos(root, cats=4)


def hidden_classes(root):
    return photos(root, **{".cats": 4, ".dogs": 4})


def class_without_images(root):
    photos(root, cats=4, dogs=4)
    (root / "birds").mkdir()
    return root


def file_for_a_folder(root):
    return photos(root, cats=4) / "cats" / "0.png"


def archive(root):
    (photos(root, cats=1) / "photos.zip").write_bytes(b"PK")
    return root / "photos.zip"


def loose_images(root):
    return photos(root, cats=4) / "cats"


def thousand_classes_of_one(root):
    return photos(root, **{f"c{number:04}": 1 for number in range(1000)})


def all_alike(root):
    same = noise()
    for path in photos(root, cats=5, dogs=5).glob("*/*.png"):
        same.save(path)
    return root


def held_out_alike(root):
    same = noise()
    for part, images in (("train", 4), ("val", 2)):
        photos(root / part, cats=images, dogs=images)
    for path in (root / "val").glob("*/*.png"):
        same.save(path)
    return root


def one_image_to_judge_by(root):
    photos(root, cats=4, dogs=4)
    rows = [f"{label}/{n}.png,{label},train" for label in ("cats", "dogs") for n in range(3)]
    (root / "labels.csv").write_text("\n".join(["path,label,split", *rows, "cats/3.png,cats,val"]))
    return root / "labels.csv"


def damaged(content):
    def write(root):
        (photos(root, cats=4, dogs=4) / "cats" / "1.jpg").write_bytes(content)
        return root

    return write


def truncated_jpeg(root):
    path = photos(root, cats=4, dogs=4) / "cats" / "1.jpg"
    noise("RGB", (64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:900])
    return root


def link_to_itself(root):
    link = photos(root, cats=4, dogs=4) / "cats" / "1.jpg"
    link.symlink_to(link)
    return root


def folder_link_to_itself(root):
    root.mkdir()
    (root / "loop").symlink_to(root / "loop")
    return root / "loop"


def two_spellings(root):
    return photos(root, **{normalize(form, "café"): 4 for form in ("NFC", "NFD")})


def other_classes_to_judge_by(root):
    photos(root / "train", cats=4, dogs=4)
    photos(root / "val", cats=4, Dogs=4)
    return root


REFUSED = {
    "one class": (single_class, "only the folder 'cats': add a second class"),
    "hidden classes": (
        hidden_classes,
        r"no folders \(hidden ones such as \.cats do not count\): move",
    ),
    "a class without images": (
        class_without_images,
        r"class folder .*birds, got none: add .* files or",
    ),
    "a file": (file_for_a_folder, r"got the file .*0\.png: pass its folder"),
    "an archive": (archive, r"got the file .*photos\.zip: unpack it first"),
    "no classes": (loose_images, "got 4 images and no folders: move the images of each class"),
    "1,000 classes of one": (
        thousand_classes_of_one,
        r"of class 'c0000' \(and of 999 more\).*, got 1:",
    ),
    "all alike": (all_alike, r"that differ in images/train, got 8 with the same pixels: add other"),
    "held-out alike": (held_out_alike, r"that differ in images/val, got 4 with the same pixels"),
    "one held-out": (one_image_to_judge_by, r"that differ in labels/val, got 1: add other images"),
    "truncated": (
        truncated_jpeg,
        r"1 of \d images .*cats/1\.jpg, .*truncated.*: remove .* --skip-bad",
    ),
    "an empty file": (damaged(b""), r"cats/1\.jpg, the file is empty"),
    "a web page": (damaged(b"<html>404"), r"cats/1\.jpg, its content is not an image"),
    "20,000 × 20,000": (
        damaged(grey_png(20_000, 20_000, 1)),
        r"1\.jpg, Image size \(400000000 pixels\)",
    ),
    "a link to itself": (link_to_itself, r"cats/1\.jpg, too many levels of symbolic links"),
    "a folder's link to itself": (folder_link_to_itself, "there is no such file or folder"),
    "two spellings": (two_spellings, "got two that read 'café' and are spelt with other Unicode"),
    "other classes": (
        other_classes_to_judge_by,
        "got Dogs only in val/, dogs only in train/: add or",
    ),
}


@pytest.mark.parametrize("command", ["run", "train"])
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_told_in_one_line(case, command, tmp_path, capsys):
    make, message = REFUSED[case]
    data = make(tmp_path / "images")
    network = ("lenet5",) if command == "train" else ()
    line = refused(capsys, command, *network, "--data", data, "--out", tmp_path / "runs")
    assert re.search(message, line), line
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("case", REFUSED)
def test_data_that_cannot_be_used_can_be_looked_at_or_is_told_in_one_line(case, tmp_path, capsys):
    make, _ = REFUSED[case]
    status = convatlas("data", make(tmp_path / "images"), "--json")
    printed = capsys.readouterr()
    if status:
        assert status == 2
        (line,) = printed.err.splitlines()
        assert line.startswith("convatlas: ")
    else:
        assert json.loads(printed.out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", ""), "expected images, got '': there is no such file or folder"),
        (("--data", "digit"), "did you mean digits?"),
        (("--data", "~nobody-of-this-name/photos"), "there is no such home folder"),
        (("--data", "x" * 5000), "which may not be read (File name too long)"),
        (("--max-macs", "0"), "--max-macs must be more than 0, got 0: leave it out or raise it"),
        (("--max-params", "-1M"), "--max-params must be more than 0"),
        (("--max-latency-ms", "0"), "--max-latency-ms must be more than 0"),
        (("--max-macs", "nan"), "--max-macs must be a finite number, got nan"),
        (("--epochs", "0"), "epochs must be 1 or more, got 0"),
        (("--seed", "-1"), "seed must be 0 or more, got -1"),
        (("--seed", str(2**64)), "expected 0 ≤ seed < 2⁶⁴"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_flags_that_cannot_work_are_told_in_one_line(arguments, message, tmp_path, capsys):
    assert message in refused(capsys, "run", *arguments, "--out", tmp_path / "runs")
    assert not (tmp_path / "runs").exists() or list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("out", [".", "runs", "cats/runs"])
def test_runs_among_the_images_are_refused(out, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(photos(tmp_path / "images", cats=3, dogs=3))
    line = refused(capsys, "train", "lenet5", "--data", ".", "--out", out)
    assert "expected --out outside of the images" in line
    assert sorted(path.name for path in Path().iterdir()) == ["cats", "dogs"]


def test_what_is_left_out_of_a_folder_is_told(tmp_path, caplog):
    root = photos(tmp_path / "images", Cats=3, cats=3, dogs=3, **{".birds": 2, ".empty": 0})
    (root / "dogs" / "phone.HEIC").write_bytes(b"")
    assert convatlas("data", root, "--json") == 0
    assert [record.getMessage() for record in caplog.records] == [
        "classes differ in case alone (Cats and cats): merge them if they are one",
        "left out 2 pictures in hidden folders, such as .birds/0.png: rename what is a class",
        "left out 1 pictures in formats that are not read, such as dogs/phone.HEIC: "
        "save them as JPEG or PNG",
    ]


def test_a_class_that_may_not_be_read_is_told(tmp_path, capsys, monkeypatch):
    root, listed = photos(tmp_path / "images", cats=3, dogs=3), os.scandir

    def locked(folder):
        if Path(folder).name == "dogs":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        return listed(folder)

    monkeypatch.setattr(os, "scandir", locked)
    line = refused(capsys, "data", root)
    assert "dogs, which may not be read (Permission denied): change its permissions" in line


# What can be used, however odd it looks.

CLASSES = {
    "--model": "--model",
    "a  b ": "a  b ",
    normalize("NFD", "été"): normalize("NFC", "été"),
    HTML: HTML,
    MARKDOWN: MARKDOWN,
    "猫" * 85: "猫" * 85,  # 255 bytes, the most that a file system takes
    "line\nbreak": "line?break",
    "\udce9t\udce9": "?t?",  # Latin-1, as old archives carry it
}


def odd_images():
    """Return file name → image and how to write it: every mode, format and size."""
    turned = Image.Exif()
    turned[0x0112] = 6
    sixteen = Image.fromarray(NOISE.integers(0, 2**16, (10, 12), dtype=np.uint16))
    return {
        "bit.png": (noise("1"), {}),
        "grey.png": (noise("L"), {}),
        "grey-alpha.png": (noise("LA"), {}),
        "palette.png": (noise("P"), {"transparency": 3}),
        "colour.png": (noise("RGB"), {}),
        "colour-alpha.png": (noise("RGBA"), {}),
        "print.jpg": (noise("CMYK"), {}),
        "sixteen.png": (sixteen, {}),
        "sixteen.tif": (sixteen, {}),
        "turned.jpg": (noise("RGB"), {"exif": turned}),
        "moving.gif": (noise("P"), {"save_all": True, "append_images": [noise("P")]}),
        "moving.webp": (noise("RGB"), {"save_all": True, "append_images": [noise("RGB")]}),
        "pixel.png": (noise("RGB", (1, 1)), {}),
        "ribbon.png": (noise("L", (20_000, 2)), {}),
        "column.jpg": (noise("L", (2, 20_000)), {}),
        "[red].png": (noise("RGB"), {}),
        "-v.bmp": (noise("RGB"), {}),
        "a-png.jpg": (noise("RGB"), {"format": "PNG"}),
    }


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A folder that holds every oddity, and may not be written."""
    root = photos(tmp_path_factory.mktemp("odd") / ("ö" * 127), **dict.fromkeys(CLASSES, 3))
    first = root / next(iter(CLASSES))
    for name, (image, options) in odd_images().items():
        image.save(first / name, **options)
    (first / "up").symlink_to(root)
    for path in (*root.glob("*/*.*"), *root.glob("*"), root):
        path.chmod(0o444 if path.is_file() else 0o555)
    yield root
    for path in (root, *root.glob("*")):
        path.chmod(0o755)


def state_of(root):
    return {path: (path.lstat().st_mtime_ns, path.lstat().st_size) for path in root.rglob("*")}


@pytest.fixture(scope="module")
def finished(odd, tmp_path_factory):
    """The folder of a run on the odd images, which needed no network and changed none of them."""

    def unplugged(*_):
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))

    out, before = tmp_path_factory.mktemp("runs"), state_of(odd)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", unplugged)
        flags = ("--data", odd, "--model", "lenet5", "--epochs", 1, "--out", out)
        assert convatlas("run", *flags) == 0
    assert state_of(odd) == before
    (folder,) = out.iterdir()
    return folder


def test_odd_names_and_images_give_a_whole_report(finished):
    data = json.loads((finished / "data.json").read_text(encoding="utf-8"))
    assert data["classes"] == sorted(CLASSES.values())
    assert sum(sum(counts) for counts in data["counts"].values()) == 3 * len(CLASSES) + 18
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert page.rstrip().endswith("</html>")
    assert HTML not in page
    assert HTML.replace("<", "&lt;").replace(">", "&gt;") in page


def test_odd_images_are_predicted_by_a_run(finished, odd, capsys):
    files = [odd / next(iter(CLASSES)) / name for name in odd_images()]
    capsys.readouterr()
    assert convatlas("predict", "--model", finished, "--json", *files, *files) == 0
    answers = json.loads(capsys.readouterr().out)
    assert len(answers) == 2 * len(files) > 32  # which are held in memory at once
    best = [answer["predictions"][0]["probability"] for answer in answers]
    assert best[: len(files)] == pytest.approx(best[len(files) :], abs=1e-5)
    for answer in answers:
        named = {row["class"]: row["probability"] for row in answer["predictions"]}
        assert named.keys() <= set(CLASSES.values())
        assert sum(named.values()) <= 1.0001
    assert convatlas("predict", "--model", finished, *files) == 0
    assert "[red].png" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        (".", "expected image files, got the folder .: name its files"),
        ("gone.png", "expected an image file, got gone.png: there is no such file"),
        ("x" * 5000, "there is no such file"),
        ("page.png", "its content is not an image"),
    ],
)
def test_photos_that_are_none_are_told_in_one_line(photo, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("page.png").write_bytes(b"<html>404")
    assert message in refused(capsys, "predict", photo)


# Stops and a full disk, at each file that a run writes.

STAGES = (  # a file that each of them writes
    *("data.json", "plan.json", "last.json", "trained.json", "metrics.json", "explain.json"),
    *("model.onnx", "model.int8.onnx", "parity.json", "report.html"),
)
SETTINGS = {"model": "lenet5", "epochs": 2}


class Trouble:
    """Raises instead of putting a certain file in its place, as often as asked."""

    def __init__(self, monkeypatch):
        self.name, self.errors = "", []
        self._replace = os.replace
        monkeypatch.setattr(os, "replace", self)

    def at(self, name, *errors):
        self.name, self.errors = name, [*errors]

    def __call__(self, source, target):
        if Path(target).name == self.name and self.errors:
            raise self.errors.pop(0)
        self._replace(source, target)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return RunSettings(data=str(write_digits(tmp_path_factory.mktemp("digits"))), **SETTINGS)


@pytest.fixture(scope="module")
def undisturbed(digits, tmp_path_factory):
    return run(digits, tmp_path_factory.mktemp("undisturbed"), Quiet())


@pytest.mark.parametrize("trouble", ["Ctrl-C", "a full disk"])
def test_a_run_goes_on_from_every_stage(digits, undisturbed, trouble, tmp_path, monkeypatch):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    happens, expected = (
        (KeyboardInterrupt(), KeyboardInterrupt) if trouble == "Ctrl-C" else (full, OutputError)
    )
    disk = Trouble(monkeypatch)

    def begin_or_go_on():
        folders = list(tmp_path.iterdir())
        return resume(folders[0], Quiet()) if folders else run(digits, tmp_path, Quiet())

    for name in STAGES:
        disk.at(name, happens)
        with pytest.raises(expected) as stopped:
            begin_or_go_on()
        assert disk.errors == [], name
        (folder,) = tmp_path.iterdir()
        assert str(stopped.value).endswith(f"go on with: convatlas run --resume {folder}")
        if trouble == "a full disk":
            assert "No space left on device; free some space" in str(stopped.value)
        assert not (folder / "report.html").exists()
    outcome = begin_or_go_on()
    assert not list(folder.rglob("*.tmp"))
    assert outcome.evaluation == undisturbed.evaluation
    ours, theirs = (load_trained(o.folder).model.state_dict() for o in (outcome, undisturbed))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize("command", ["run", "train"])
def test_an_output_folder_that_cannot_be_written_is_told_at_once(
    command, tmp_path, capsys, monkeypatch
):
    def read_only(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "touch", read_only)
    network = ("lenet5",) if command == "train" else ()
    line = refused(capsys, command, *network, "--out", tmp_path / "runs")
    assert "Read-only file system; choose a folder that can be written" in line
