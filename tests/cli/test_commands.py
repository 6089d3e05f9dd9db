"""The command line as a new user meets it: answers, and one line for each error."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from skimage import data as photos

from convatlas.cli.main import main
from convatlas.models.catalogue import find_entry, list_models


def convatlas(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "convatlas", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
    )


def _refused(*arguments, cwd=None):
    """Return the one line that an error prints."""
    result = convatlas(*arguments, cwd=cwd)
    assert result.returncode == 2, result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("convatlas: ")
    return line


@pytest.fixture
def photo_folder(tmp_path):
    for name, colour in (("blue", (0, 0, 200)), ("red", (200, 0, 0))):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(4):
            noise = np.random.default_rng(i).integers(0, 50, (90, 120, 3))
            pixels = (np.array(colour) + noise).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.jpg")
    return tmp_path / "photos"


def test_list_prints_every_network():
    result = convatlas("list")
    assert result.returncode == 0
    assert all(name in result.stdout for name in list_models())


def test_list_filters_and_gives_json_and_csv():
    rows = json.loads(convatlas("list", "--family", "vgg", "--json").stdout)
    assert [row["name"] for row in rows] == list_models(family="vgg")
    table = list(
        csv.DictReader(convatlas("list", "--max-macs", "100M", "--csv").stdout.splitlines())
    )
    assert [row["name"] for row in table] == list_models(max_macs=100e6)


def test_show_gives_the_published_totals():
    report = json.loads(convatlas("show", "resnet50", "--json").stdout)
    assert report["params"] == find_entry("resnet50").params == 25_557_032
    assert report["macs"] == find_entry("resnet50").macs
    assert "stages.3" in convatlas("show", "resnet18", "--input", "64").stdout


def test_predict_names_a_cat(tmp_path):
    Image.fromarray(photos.chelsea()).save(tmp_path / "cat.png")
    (result,) = json.loads(convatlas("predict", tmp_path / "cat.png", "--json").stdout)
    classes = [row["class"] for row in result["predictions"]]
    assert {"tabby", "tiger cat", "Egyptian cat"} <= set(classes)
    probabilities = [row["probability"] for row in result["predictions"]]
    assert probabilities == sorted(probabilities, reverse=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "resnet5"], "unknown model 'resnet5'; did you mean resnet50"),
        (["show", "alexnet", "--input", "32"], "at least 63×63 pixels, got 32×32"),
        (["list", "--max-macs", "many"], "--max-macs expects a number such as 300M"),
        (["list", "--family", "resnets"], "unknown family 'resnets'; did you mean resnet"),
        (["run", "--data", "nowhere"], "nowhere"),
        (["run", "--model", "resnot18"], "unknown model 'resnot18'; did you mean resnet18"),
        (["run", "--max-macs", "1k"], "cifar_resnet20: 2.517 M MACs, limit 1 k (--max-macs 2.52M"),
        (["run", "--epochs", "0"], "epochs"),
        (["run", "--resume", "nowhere"], "expected a run folder"),
        (["predict", "nowhere.jpg"], "nowhere.jpg"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_error_is_one_line_that_teaches(arguments, message, tmp_path):
    assert message in _refused(*arguments, cwd=tmp_path)
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").iterdir())


def test_bad_folders_are_one_line(photo_folder):
    one = photo_folder.parent / "one"
    (one / "only").mkdir(parents=True)
    (photo_folder / "red" / "0.jpg").rename(one / "only" / "0.jpg")
    assert "only" in _refused("run", "--data", one)
    empty = photo_folder / "empty"
    empty.mkdir()
    assert "empty" in _refused("run", "--data", photo_folder)


@pytest.mark.parametrize("damage", ["truncated", "text"])
def test_a_bad_image_is_named(photo_folder, damage):
    victim = photo_folder / "red" / "3.jpg"
    victim.write_bytes(victim.read_bytes()[:600] if damage == "truncated" else b"no image")
    line = _refused("run", "--data", photo_folder)
    assert "red/3.jpg" in line
    assert "--skip-bad" in line


def test_an_unwritable_folder_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert "cannot write" in _refused("run", "--out", tmp_path / "file" / "runs")


def test_debug_shows_the_traceback():
    result = convatlas("--debug", "show", "resnet5")
    assert result.returncode != 0
    assert "Traceback" in result.stderr
    assert "UnknownNameError" in result.stderr


@pytest.mark.parametrize("said", ["", "stopped after 3 steps; go on with: this"])
def test_ctrl_c_is_one_line_and_status_130(said, monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt(said)

    monkeypatch.setattr("convatlas.train.recipe.list_recipes", interrupted)
    with pytest.raises(SystemExit) as left:
        main(["recipes"])
    signal.raise_signal(signal.SIGINT)  # a second one, while the process ends
    assert left.value.code == 130
    assert capsys.readouterr().err == f"convatlas: {said or 'stopped'}\n"


@pytest.mark.parametrize(
    "words",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_a_terminal_that_lacks_a_character_gets_a_question_mark(words):
    result = subprocess.run(
        [sys.executable, "-m", "convatlas", "choose", "--max-macs", "50M"],
        capture_output=True,
        env=os.environ | words,
    )
    assert result.returncode == 0
    assert result.stderr == b""
    assert b"1 MB = 10? bytes" in result.stdout


def test_a_warning_is_one_line_without_a_place_in_the_code():
    code = """
import warnings
import convatlas.train.recipe
from convatlas.cli.main import main
convatlas.train.recipe.list_recipes = lambda: warnings.warn("the disk is slow") or []
main(["recipes"])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stderr == "convatlas: the disk is slow\n"
