"""``predict.py`` where neither convatlas nor torch can be imported: the same answers as our own."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import nn

from convatlas.data.preprocess import Preprocessing
from convatlas.deploy.export import export_onnx
from convatlas.deploy.record import METADATA_KEY, ExportRecord
from convatlas.deploy.script import write_script
from convatlas.errors import OutputError
from convatlas.models.catalogue import list_entries
from convatlas.models.registry import create_model
from convatlas.pipeline.prediction import predict_files
from convatlas.pipeline.trained import TrainedModel, save_trained

SIDE = 32
SHAPES = ("RGB", "tiny", "exact", "square", "ribbon", "tower")
CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "größer")
# Runs the script once for each list of arguments; nothing of ours or torch's can be imported.
DRIVER = """
import json, runpy, sys
for name in ("torch", "convatlas", "torchvision", "onnx"):
    sys.modules[name] = None
script, *calls = json.loads(sys.argv[1])
status = 0
for arguments in calls:
    sys.argv = [script, *arguments]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        status = max(status, ended.code)
    print(end="\\0", flush=True)
sys.exit(status)
"""


def ask(script: Path, *calls: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-c", DRIVER, json.dumps([str(script), *calls])]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8")


def records() -> list[Preprocessing]:
    """Every way of resizing in the catalogue, but at 32 px, and those that no weights need."""
    base = {"input_size": SIDE, "channels": 3, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.25)}
    ways = {
        (weights.resize_mode, weights.interpolation, weights.input_size / weights.resize_size)
        for entry in list_entries()
        for weights in entry.weights
    }
    ways |= {("stretch", "lanczos", 1.0), ("crop_padding", "nearest", 1.0)}
    return [
        Preprocessing(**base, resize_mode=mode, interpolation=how, crop_fraction=share)
        for mode, how, share in sorted(ways)
    ]


def run_folder(folder: Path, channels: int) -> Path:
    """Write a run folder with the script and a network that tells images apart."""
    folder.mkdir()
    torch.manual_seed(0)
    model = create_model("lenet5", num_classes=10, in_channels=channels).eval()
    with torch.no_grad():  # so that a pixel more or less is seen in the probabilities
        [each for each in model.modules() if isinstance(each, nn.Linear)][-1].weight.mul_(20)
    record = replace(records()[0], channels=channels, mean=(0.5,) * channels, std=(0.2,) * channels)
    options = {"num_classes": 10, "in_channels": channels}
    trained = TrainedModel("lenet5", options, model, CLASSES, record)
    save_trained(folder, trained)
    export_onnx(model, folder / "model.onnx", record, CLASSES, model_name="lenet5")
    write_script(folder, "lenet5")
    return folder


def prepare_by(folder: Path, record: Preprocessing) -> None:
    """Let our own prediction prepare images by another record."""
    content = json.loads((folder / "trained.json").read_text(encoding="utf-8"))
    content["preprocessing"] = record.to_dict()
    (folder / "trained.json").write_text(json.dumps(content), encoding="utf-8")


def write_model(folder: Path, record: Preprocessing, name: str) -> None:
    """Write a copy of the model that says so too."""
    model = onnx.load(folder / "model.onnx")
    del model.metadata_props[:]
    text = ExportRecord("lenet5", CLASSES, record).to_json()
    model.metadata_props.add(key=METADATA_KEY, value=text)
    onnx.save(model, folder / name)


@pytest.fixture(scope="module")
def colour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_folder(tmp_path_factory.mktemp("runs") / "colour run", 3)


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_folder(tmp_path_factory.mktemp("runs") / "grey", 1)


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def oriented(folder: Path) -> list[Path]:
    """Write a photo in every orientation, in formats that keep it in different places."""
    photo = Image.fromarray(load_sample_image("china.jpg")[100:190, 200:330])
    paths = [folder / f"{n}.{suffix}" for n in range(10) for suffix in ("jpg", "png", "tif")]
    for path in paths:
        photo.save(path, exif=exif(int(path.stem)))
    return paths


def of_every_mode(folder: Path) -> list[Path]:
    """Write a photo in every mode that a file may have."""
    photo = Image.fromarray(load_sample_image("flower.jpg")[150:290, 150:370])
    rng = np.random.default_rng(0)
    alpha = Image.fromarray(rng.integers(0, 256, (140, 220), dtype=np.uint8))
    grey, clear = photo.convert("L"), photo.copy()
    clear.putalpha(alpha)
    deep = np.asarray(grey).astype(np.uint16) * 257 - 100
    images = {
        **{f"{mode}.png": photo.convert(mode) for mode in ("1", "L", "RGB", "P")},
        "LA.png": Image.merge("LA", (grey, alpha)),
        "RGBA.png": clear,
        "RGBA.webp": clear,
        "deep.png": Image.fromarray(deep),
        "deep.tif": Image.fromarray(deep),
        "CMYK.jpg": photo.convert("CMYK"),
        "YCbCr.jpg": photo.convert("YCbCr"),
        "LAB.tif": photo.convert("LAB"),
        "photo.gif": photo,
        "photo.bmp": photo,
        "tiny.png": photo.resize((1, 1)),
        "exact.png": photo.resize((SIDE, SIDE)),
        "square.png": photo.resize((40, 40)),
        "ribbon.png": photo.resize((2000, 3)),
        "tower.png": photo.resize((2, 700)),
    }
    for name, image in images.items():
        image.save(folder / name)
    photo.quantize(16).save(folder / "clear-palette.png", transparency=3)
    header = b"P5 %d %d 65535\n" % (deep.shape[1], deep.shape[0])
    (folder / "deep.pgm").write_bytes(header + deep.astype(">u2").tobytes())
    return [folder / name for name in (*images, "clear-palette.png", "deep.pgm")]


def compare(given: list[dict[str, Any]], photos: list[Path], folder: Path) -> None:
    """Hold the script's JSON against our own answers, image by image."""
    ours = predict_files(photos, str(folder), top=10)
    assert [Path(each["path"]) for each in given] == photos
    for answer, own in zip(given, ours, strict=True):
        found = {each["class"]: each["probability"] for each in answer["predictions"]}
        expected = dict(zip(own.classes, own.probabilities, strict=True))
        assert found == pytest.approx(expected, abs=1e-4), own.path.name
        assert next(iter(found)) == own.classes[0], own.path.name


def test_every_mode_and_orientation(grey: Path, colour: Path, tmp_path: Path) -> None:
    photos = [*oriented(tmp_path), *of_every_mode(tmp_path)]
    for folder in (grey, colour):
        result = ask(folder / "predict.py", [*map(str, photos), "--json", "--top", "10"])
        assert (result.returncode, result.stderr) == (0, "")
        compare(json.loads(result.stdout.rstrip("\0")), photos, folder)


def test_every_preprocessing_of_the_catalogue(colour: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(colour, tmp_path / "run")
    of_every_mode(tmp_path)
    photos = [tmp_path / f"{shape}.png" for shape in SHAPES]
    names = [str(photo) for photo in photos]
    models = {f"{place}.onnx": record for place, record in enumerate(records())}
    for name, record in models.items():
        write_model(folder, record, name)
    calls = [[*names, "--json", "--top", "10", "--model", name] for name in models]
    result = ask(folder / "predict.py", *calls)
    assert (result.returncode, result.stderr) == (0, "")
    answers = [json.loads(part) for part in result.stdout.split("\0")[:-1]]
    for record, given in zip(models.values(), answers, strict=True):
        prepare_by(folder, record)
        compare(given, photos, folder)
    first = [each[0]["predictions"][0]["probability"] for each in answers]
    assert len({round(share, 4) for share in first}) > 5  # the ways do differ


def test_a_page_for_people(colour: Path, tmp_path: Path) -> None:
    folder = colour
    (tmp_path / "inside" / "deeper").mkdir(parents=True)
    Image.new("RGB", (40, 30), "red").save(tmp_path / "inside" / "deeper" / "a.png")
    Image.new("RGB", (40, 30), "blue").save(tmp_path / "inside" / "b.JPG")
    (tmp_path / "inside" / ".hidden.png").write_bytes(b"")
    (tmp_path / "inside" / "notes.txt").touch()
    result = ask(folder / "predict.py", [str(tmp_path / "inside"), "--top", "2"])
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.rstrip("\0").splitlines()
    assert [lines[0], lines[3]] == [str(tmp_path / "inside" / n) for n in ("b.JPG", "deeper/a.png")]
    assert all(line.split()[0].endswith("%") for line in (lines[1], lines[2], lines[4]))
    assert len(lines) == 6


def test_the_model_is_the_one_beside_the_script_whatever_lies_here(
    colour: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.onnx").write_text("another run's")
    Image.new("RGB", (40, 30), "red").save("a.png")
    result = ask(colour / "predict.py", ["a.png", "--json"])
    assert (result.returncode, result.stderr) == (0, "")
    (answer,) = json.loads(result.stdout.rstrip("\0"))
    assert answer["model"] == str(colour.resolve() / "model.onnx")


def test_one_line_for_what_cannot_be_read(colour: Path, tmp_path: Path) -> None:
    folder = colour
    good, cut, text = (tmp_path / name for name in ("good.jpg", "cut.jpg", "text.png"))
    Image.fromarray(load_sample_image("china.jpg")[:96, :160]).save(good)
    cut.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    text.write_text("hello")
    missing = tmp_path / "missing.jpg"
    result = ask(folder / "predict.py", [str(p) for p in (cut, missing, good, text)])
    assert result.returncode == 2
    assert result.stdout.count(str(good)) == 1
    first, second, third = result.stderr.splitlines()
    assert "truncated" in first.lower()
    assert str(cut) in first
    assert second == f"expected an image file, got {missing}: there is no such file"
    assert "its content is not an image" in third


def test_one_line_for_a_model_that_is_none(colour: Path, tmp_path: Path) -> None:
    folder = colour
    photo = tmp_path / "a.png"
    Image.new("RGB", (40, 30), "red").save(photo)
    (tmp_path / "text.onnx").write_text("hello")
    bare = onnx.load(folder / "model.onnx")
    del bare.metadata_props[:]
    onnx.save(bare, tmp_path / "bare.onnx")
    expected = {
        "none.onnx": "there is no such file",
        "text.onnx": "cannot be loaded",
        "bare.onnx": "names neither classes nor preprocessing",
    }
    calls = [[str(photo), "--model", str(tmp_path / name)] for name in expected]
    (tmp_path / "empty").mkdir()
    result = ask(folder / "predict.py", *calls, [str(tmp_path / "empty")])
    assert result.returncode == 2
    *lines, last = result.stderr.splitlines()
    assert len(lines) == 3
    for line, words in zip(lines, expected.values(), strict=True):
        assert words in line
    assert "expected images in the folder" in last


def test_the_script_is_read_easily_and_needs_three_packages(colour: Path) -> None:
    text = (colour / "predict.py").read_text(encoding="utf-8")
    tree = ast.walk(ast.parse(text))
    imported = {name for node in tree for name in names_imported(node)}
    assert imported - sys.stdlib_module_names == {"numpy", "onnxruntime", "PIL"}
    assert max(map(len, text.splitlines())) <= 100
    assert "{{" not in text


def names_imported(node: ast.AST) -> set[str]:
    """Return the packages that a statement imports."""
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    return {str(node.module).split(".")[0]} if isinstance(node, ast.ImportFrom) else set()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        write_script(tmp_path / "file", "net")
