"""``convatlas data`` as a user meets it: one process, its output and its exit status."""

from __future__ import annotations

import json
import os
import signal
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
    assert Image.open(tmp_path / "contact-sheet.png").format == "PNG"


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


def test_ctrl_c_leaves_nothing_behind(folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    waiting = folder / "train" / "cat" / "waiting.jpg"
    os.mkfifo(waiting)  # a file whose reading takes until somebody writes to it
    command = [sys.executable, "-m", "convatlas", "data", folder, "--html", out / "page.html"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={"PATH": "", "COLUMNS": "80"}
    )
    with waiting.open("wb"):  # opens once the other side reads
        process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.splitlines()[-1] == "convatlas: stopped"
    assert list(out.iterdir()) == []
