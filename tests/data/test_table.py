from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from convatlas.data.source import open_source
from convatlas.errors import DataError, MissingExtraError

HEADER = "path,label\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with images 0.png … 7.png of grey value 0 … 7, some deeper inside."""
    (tmp_path / "deep").mkdir()
    for value in range(8):
        place = "deep" if value > 5 else "."
        Image.new("L", (4, 3), value).save(tmp_path / place / f"{value}.png")
    return tmp_path


def grey(source: Any, index: int) -> int:
    return int(np.asarray(source.load(index))[0, 0])


def test_paths_names_and_splits(folder: Path) -> None:
    (folder / "t.csv").write_text(
        "Split, CLASS ,weight,File\n"
        "Train,dog,1,0.png\ntraining,cat,2,deep/6.png\ntest,dog,3,1.png\nvalid,dog,4,2.png\n"
        'valid,cat,5,"3.png"\n'
    )
    splits = open_source(folder / "t.csv")
    assert splits.origin == "the splits train and val"
    assert splits.train.classes == splits.validation.classes == ("cat", "dog")
    assert (splits.train.labels, splits.validation.labels) == ((1, 0), (1, 0))
    assert [splits.train.describe(i) for i in range(2)] == ["0.png", "deep/6.png"]
    assert (grey(splits.train, 1), grey(splits.validation, 1)) == (6, 3)
    assert splits.train.encoded(1) == (folder / "deep" / "6.png").read_bytes()
    assert (splits.train.name, splits.validation.name) == ("t/train", "t/val")


@pytest.mark.parametrize(
    ("name", "separator", "start"),
    [("t.csv", ",", ""), ("t.TSV", "\t", ""), ("t.csv", ";", ""), ("t.csv", ",", "\ufeff")],
)
def test_delimiters_and_a_byte_order_mark(
    folder: Path, name: str, separator: str, start: str
) -> None:
    rows = [f"{i}.png{separator}{10 - i % 2}" for i in range(6)]
    text = start + "\n".join([f"image{separator}target", *rows])
    (folder / name).write_text(text, encoding="utf-8")
    splits = open_source(folder / name, holdout=0.4)
    assert splits.train.classes == ("9", "10")  # numbers in their order, not as words
    assert sorted(splits.train.labels + splits.validation.labels) == [0, 0, 0, 1, 1, 1]


def test_parquet_gives_what_csv_gives(folder: Path) -> None:
    names = [f"{i}.png" for i in range(6)]
    table = pyarrow.table({"label": [i % 2 for i in range(6)], "filename": names})
    pyarrow.parquet.write_table(table, folder / "t.parquet")
    (folder / "t.csv").write_text(
        "filename,label\n" + "".join(f"{n},{int(n[0]) % 2}\n" for n in names)
    )
    (folder / "classes.txt").write_text("even\nodd\n")
    ours, theirs = (open_source(folder / f"t.{kind}").train for kind in ("parquet", "csv"))
    assert ours.labels == theirs.labels
    assert ours.classes == theirs.classes == ("even", "odd")
    assert [ours.describe(i) for i in range(len(ours))] == [
        theirs.describe(i) for i in range(len(theirs))
    ]


def test_absolute_paths_and_repeats(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("elsewhere") / "t.csv"
    rows = [f"{folder}/{i}.png,{'ab'[i % 2]}" for i in range(4)]
    other.write_text(HEADER + "\n".join([*rows, rows[0]]))
    splits = open_source(other, holdout=0.5)
    assert len(splits.train) + len(splits.validation) == 4
    assert splits.train.describe(0).startswith(folder.as_posix())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,label\n", "a column path, file, filename or image in .*, got name, label"),
        ("path,kind\n0.png,a\n", "a column label, class or target in .*, got path, kind"),
        ("", "got no names in its first line"),
        (HEADER, "expected a row per image in .*, got none"),
        (HEADER + "0.png,a\n9.png,b\n8.png,b\n", r"got 9\.png in line 3 of t\.csv and 1 more"),
        (HEADER + "0.png,a\n1.png,\n", "expected a label in line 3 of .*, got an empty cell"),
        (HEADER + "0.png,a\n1.png\n", "expected a label in line 3"),
        (HEADER + ",a\n", "expected a path in line 2"),
        (HEADER + "0.png,a\n1.png,b\n0.png,b\n", r"0\.png in .*'a' in line 2 and 'b' in line 4"),
        (HEADER + "0.png,a\n1.png,a\n", "two classes or more in .*, got 'a'"),
        ("path,label,split\n0.png,a,trian\n", "train, val or test in line 2 of .*'trian'"),
        ("path,label,split\n0.png,a,\n", "train, val or test in line 2 of .*''"),
        ("path,label,split\n0.png,a,train\n0.png,a,val\n", "one split for 0.png .*line 2 .*line 3"),
        (HEADER + '0.png,"a\n', "cannot be read because"),
        (HEADER + "0.png,a\n./0.png,b\n", "one label for ./0.png .*line 2 .*line 3"),
        (HEADER + "0.png,a\n" + "x" * 5000 + ",b\n", "line 3 of t.csv, which do not exist"),
        ("\n" + HEADER + "0.png,a\n", "got no names in its first line"),
    ],
)
def test_faults_are_one_line_that_names_the_row(folder: Path, text: str, message: str) -> None:
    (folder / "t.csv").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        open_source(folder / "t.csv")
    assert "\n" not in str(caught.value)


def test_faults_of_the_file_itself(folder: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.csv, got a file .* no such file"):
        open_source(folder / "gone.csv")
    (folder / "t.csv").write_bytes(b"path,label\n\xff\xfe,a\n")
    with pytest.raises(DataError, match="save it again as UTF-8"):
        open_source(folder / "t.csv")
    (folder / "t.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match=r"t\.parquet, got a file that cannot be read"):
        open_source(folder / "t.parquet")
    pyarrow.parquet.write_table(
        pyarrow.table({"image": [{"bytes": b""}], "label": [0]}), folder / "t.parquet"
    )
    with pytest.raises(DataError, match="got images: pass the folder"):
        open_source(folder / "t.parquet")
    (folder / "classes.txt").write_text("cat\ndog\n")
    (folder / "t.csv").write_text(HEADER + "0.png,0\n1.png,2\n")
    with pytest.raises(DataError, match=r"2 class names.*label '2' of line 3 of t\.csv"):
        open_source(folder / "t.csv")


def test_parquet_without_pyarrow_names_the_extra(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return genuine(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"convatlas\[hub\]"):
        open_source(folder / "t.parquet")
