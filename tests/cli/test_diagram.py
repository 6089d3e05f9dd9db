"""``convatlas show --diagram``: a file, a folder, and one line for what cannot be."""

from __future__ import annotations

import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest


def convatlas(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "convatlas", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
    )


def test_the_drawing_goes_into_the_file(tmp_path):
    file = tmp_path / "new" / "net.svg"
    result = convatlas("show", "lenet5", "--diagram", file)
    assert (result.returncode, result.stdout) == (0, f"drawing: {file}\n")
    root = ET.parse(file).getroot()  # noqa: S314  # our own drawing
    assert root.tag == "{http://www.w3.org/2000/svg}svg"


def test_in_a_folder_it_is_called_after_the_network(tmp_path):
    result = convatlas("show", "lenet5", "--diagram", ".", "--classes", 7, cwd=tmp_path)
    assert result.stdout == "drawing: lenet5.svg\n"
    assert "7 outputs" in (tmp_path / "lenet5.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", ["net.png", "net", "file.svg/net.svg"])
def test_a_path_that_cannot_be_is_refused_in_one_line(path, tmp_path):
    (tmp_path / "file.svg").touch()
    result = convatlas("show", "lenet5", "--diagram", path, cwd=tmp_path)
    (line,) = result.stderr.splitlines()
    assert result.returncode == 2
    assert line.startswith("convatlas: ")
    assert path in line
    assert [file.name for file in tmp_path.iterdir()] == ["file.svg"]
