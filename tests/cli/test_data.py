"""``convatlas data`` as a user meets it: one process, its output and its exit status."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from PIL import Image
from sklearn.datasets import load_sample_image


def convatlas(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "convatlas", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"COLUMNS": "80", "PATH": ""},
    )


@pytest.fixture
def folder(tmp_path):
    photo = Image.fromarray(load_sample_image("flower.jpg"))
    for place, name in enumerate(("train/cat", "train/dog", "val/cat", "val/dog")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(3):
            left = 120 * place + 30 * number
            photo.crop((left, 100, left + 160, 220)).save(
                tmp_path / "pets" / name / f"{number}.jpg"
            )
    return tmp_path / "pets"


def test_bad_files_and_a_leak_are_told_and_do_not_stop_it(folder):
    (folder / "train" / "cat" / "bad.jpg").write_text("hello")
    (folder / "val" / "cat" / "copy.jpg").write_bytes((folder / "train/cat/1.jpg").read_bytes())
    result = convatlas("data", folder)
    assert result.returncode == 0, result.stderr
    told = " ".join(result.stdout.split())
    assert "1 of 7 images of val also occurs in train (1 with the same pixels)" in told
    assert "train: cat/bad.jpg – its content is not an image" in told
    assert "train: cat/1.jpg; val: cat/copy.jpg" in told
    values = json.loads(convatlas("data", folder, "--json").stdout)
    assert values["leak"]["images"] == 1
    assert values["images"] == 14


def test_page_and_sheet_are_written_where_asked(folder, tmp_path):
    result = convatlas("data", folder, "--html", "page.html", "--sheet", tmp_path, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"page: page.html\nsheet: {tmp_path}/contact-sheet.png\n")
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    with Image.open(tmp_path / "contact-sheet.png") as sheet:
        assert sheet.format == "PNG"


def test_a_folder_of_rubbish_is_one_line(folder):
    for path in folder.rglob("*.jpg"):
        path.write_text("hello")
    result = convatlas("data", folder)
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert "got 12 that all cannot be read, such as cat/0.jpg (its content is not an image)" in line


def test_a_file_with_another_ending_is_refused_before_any_work(folder):
    result = convatlas("data", folder, "--sheet", "x.jpg")
    assert result.returncode == 2
    assert "--sheet expects a file that ends in .png" in result.stderr


STOPPED = """
import os, signal, sys
import convatlas.data.inspection as inspection
from convatlas.cli.main import main

look_of = inspection.look_of

def look(image):
    os.kill(os.getpid(), signal.SIGINT)
    return look_of(image)

inspection.look_of = look
main(["data", sys.argv[1], "--html", sys.argv[2]])
"""


def test_ctrl_c_leaves_nothing_behind(folder, tmp_path):
    out = tmp_path / "out"
    result = subprocess.run(
        [sys.executable, "-c", STOPPED, folder, out / "page.html"], capture_output=True, text=True
    )
    assert result.returncode == 130
    assert "Traceback" not in result.stderr
    assert list(out.iterdir()) == []
