"""A CSV, TSV or Parquet file of paths and labels.

The columns are found by their names, in any order and case; other columns are ignored.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convatlas.data.decode import printable, why_unreadable
from convatlas.data.sources.labels import class_names, class_numbers, listed_classes
from convatlas.data.sources.splits import ImageSource, Splits, choose_splits, split_of
from convatlas.data.sources.stored import ImageFiles
from convatlas.errors import DataError, MissingExtraError

__all__ = ["is_table", "open_table"]

_PATH = ("path", "file", "filename", "image")
_LABEL = ("label", "class", "target")
_SPLIT = ("split",)
_DELIMITED = (".csv", ".tsv")
_PARQUET = ".parquet"


@dataclass(frozen=True, slots=True)
class _Row:
    """One image: the number of its line or row as a person counts, and what it says."""

    number: int
    path: str
    label: str
    split: str


def is_table(spec: str) -> bool:
    """Tell the name of a CSV, TSV or Parquet file."""
    return Path(spec).suffix.lower() in (*_DELIMITED, _PARQUET)


def open_table(spec: str) -> Splits | ImageSource:
    """Open the images that a table lists.

    Paths are relative to the table's folder. Labels are class names or numbers; where all are
    numbers, ``classes.txt`` beside the table may name them. A column ``split`` may say train, val
    or test. A row that repeats another is counted once.

    Raises:
        DataError: A missing column or file, an empty cell, or rows that contradict each other;
            the message names the row.
        MissingExtraError: A Parquet file, and pyarrow is not installed.
    """
    path = Path(spec).expanduser()
    parquet = path.suffix.lower() == _PARQUET
    unit = "row" if parquet else "line"
    rows = _without_repeats(_read_parquet(path) if parquet else _read_delimited(path), path, unit)
    root = path.parent
    _require_files(rows, root, path, unit)
    labels = [row.label for row in rows]
    classes = listed_classes(root) or class_names(labels, str(path))
    numbers = class_numbers(
        labels, classes, lambda place: f"{unit} {rows[place].number} of {path.name}"
    )
    parts: dict[str, ImageSource] = {}
    for split in dict.fromkeys(row.split for row in rows):
        places = [place for place, row in enumerate(rows) if row.split == split]
        parts[split] = ImageFiles(
            root,
            printable(f"{path.stem}/{split}".rstrip("/")),
            classes,
            [numbers[place] for place in places],
            [root / rows[place].path for place in places],
        )
    return choose_splits(parts, spec, "splits")


def _read_delimited(path: Path) -> Iterator[_Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            reader = csv.DictReader(file, delimiter=_delimiter(path, first), strict=True)
            columns = _columns(reader.fieldnames or (), path)
            for values in reader:
                yield _row(values, columns, f"line {reader.line_num}", reader.line_num, path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(path, error) from error


def _delimiter(path: Path, header: str) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    return ";" if ";" in header and "," not in header else ","


def _read_parquet(path: Path) -> Iterator[_Row]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise MissingExtraError.of("pyarrow", "hub") from error
    try:
        with ParquetFile(path) as table:
            columns = _columns(table.schema_arrow.names, path)
            if table.schema_arrow.field(columns["path"]).type.num_fields:  # holds the images
                raise DataError(
                    f"expected paths in the column {columns['path']} of {printable(path)}, got "
                    "images: pass the folder that holds the file"
                )
            number = 0
            for batch in table.iter_batches(columns=list(columns.values())):
                for values in batch.to_pylist():
                    number += 1
                    yield _row(values, columns, f"row {number}", number, path)
    except (OSError, ArrowException) as error:
        raise _unreadable(path, error) from error


def _columns(names: Any, path: Path) -> dict[str, str]:
    """Return the table's own name of the columns of paths, labels and, if any, splits."""
    given = {str(name).strip().lower(): name for name in names}
    found: dict[str, str] = {}
    for role, known in (("path", _PATH), ("label", _LABEL), ("split", _SPLIT)):
        name = next((given[name] for name in known if name in given), None)
        if name is not None:
            found[role] = name
        elif role != "split":
            raise DataError(
                f"expected a column {', '.join(known[:-1])} or {known[-1]} in {printable(path)}, "
                f"got {printable(', '.join(given) or 'no names in its first line')}: name one so"
            )
    return found


def _row(
    values: Mapping[Any, Any], columns: Mapping[str, str], where: str, number: int, path: Path
) -> _Row:
    cells = {
        role: "" if values[name] is None else str(values[name]).strip()
        for role, name in columns.items()
    }
    for role in ("path", "label"):
        if not cells[role]:
            raise DataError(
                f"expected a {role} in {where} of {printable(path)}, got an empty cell in the "
                f"column {columns[role]}: fill it in or remove the row"
            )
    split = split_of(cells.get("split", "")) or ""
    if "split" in columns and not split:
        raise DataError(
            f"expected train, val or test in {where} of {printable(path)}, got "
            f"{printable(cells['split'])!r} in the column {columns['split']}: correct it"
        )
    return _Row(number, cells["path"], cells["label"], split)


def _without_repeats(rows: Iterator[_Row], path: Path, unit: str) -> list[_Row]:
    """Return the rows, each image once.

    Raises:
        DataError: An image has two labels or lies in two splits, or there are no rows.
    """
    seen: dict[str, _Row] = {}
    for row in rows:
        first = seen.setdefault(os.path.normpath(path.parent / row.path), row)
        for what in ("label", "split"):
            one, other = getattr(first, what), getattr(row, what)
            if one != other:
                raise DataError(
                    f"expected one {what} for {printable(row.path)} in {printable(path)}, got "
                    f"{printable(one)!r} in {unit} {first.number} and {printable(other)!r} in "
                    f"{unit} {row.number}: remove one of them"
                )
    if not seen:
        raise DataError(f"expected a row per image in {printable(path)}, got none: add images")
    return list(seen.values())


def _require_files(rows: list[_Row], root: Path, path: Path, unit: str) -> None:
    # os.path, because a Path raises over a name that is too long for the file system
    missing = [row for row in rows if not os.path.isfile(root / row.path)]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(
            f"expected files relative to {printable(root)}, got {printable(missing[0].path)} in "
            f"{unit} {missing[0].number} of {printable(path.name)}{more}, which do not exist: "
            "correct the paths or move the table"
        )


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        f"expected a table of paths and labels in {printable(path)}, got a file that cannot be "
        f"read because {why_unreadable(error)}: correct the path, or save it again as UTF-8"
    )
