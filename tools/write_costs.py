"""Write what every network needs in bytes, sees in pixels, and what a class more adds to it.

    python tools/write_costs.py             counts every network, and says how far it is
    python tools/write_costs.py --missing   only those without a row: goes on after Ctrl-C
    python tools/write_costs.py --only vgg11 --only vgg13
    python tools/write_costs.py --check     writes nothing; says which rows are out of date

The file is models/facts/costs.csv, written after each network. Nothing is allocated or trained:
the figures are those of `analyze` and `predict_memory`.
"""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path
from typing import Any

import torch

from convatlas.files import write_text
from convatlas.models.anatomy import ConvNet
from convatlas.models.catalogue import Entry, find_entry, list_entries
from convatlas.models.registry import create_model
from convatlas.search.budget import Cost
from convatlas.search.costing import cost_of, last_field

FILE = Path(__file__).parents[1] / "src" / "convatlas" / "models" / "facts" / "costs.csv"
COLUMNS = (
    *("name", "size_bytes", "memory_bytes", "train_bytes", "receptive_field"),
    *("class_params", "class_macs", "class_memory_bytes", "class_train_bytes"),
    *("channel_params", "channel_macs"),
)

Row = dict[str, str]


def row_of(entry: Entry) -> Row:
    """Return a network's row, at its own input size and number of classes."""
    model = _built(entry)
    field = last_field(model, entry.input_size)
    cost = cost_of(model, entry.input_size, memory=True, training=True)
    figures = (cost.size_bytes, cost.memory_bytes, cost.train_bytes, field)
    added = (*_by_a_class(entry, cost), *_by_a_channel(entry))
    texts = ("" if figure is None else str(figure) for figure in (*figures, *added))
    return dict(zip(COLUMNS, (entry.name, *texts), strict=True))


def _by_a_class(entry: Entry, cost: Cost) -> tuple[int | None, ...]:
    """Return what a class more adds: parameters, multiply-accumulates, memory of both kinds.

    More classes never take less memory, beside the weights either. So where one class and all of
    them differ by the weights alone (in training with gradients and momentum), any number between
    them does; else None.
    """
    steps = entry.num_classes - 1
    one = cost_of(_built(entry, num_classes=1), entry.input_size, memory=True, training=True)
    params = _per_step(entry, cost.params - one.params, steps)
    macs = _per_step(entry, cost.macs - one.macs, steps)
    sums = (cost.memory_bytes, one.memory_bytes, 4), (cost.train_bytes, one.train_bytes, 3 * 4)
    memory = [
        each * params if (most or 0) - (least or 0) == steps * each * params else None
        for most, least, each in sums
    ]
    return params, macs, *memory


def _by_a_channel(entry: Entry) -> tuple[int, int]:
    """Return what a channel of the image more adds: parameters and multiply-accumulates."""
    grey, colour = (
        cost_of(_built(entry, in_channels=channels), entry.input_size) for channels in (1, 3)
    )
    return (
        _per_step(entry, colour.params - grey.params, 2),
        _per_step(entry, colour.macs - grey.macs, 2),
    )


def _per_step(entry: Entry, difference: int, steps: int) -> int:
    share, rest = divmod(difference, steps)
    if rest:
        raise SystemExit(f"{entry.name}: {difference} more in {steps} steps is no straight line")
    return share


def _built(entry: Entry, **options: Any) -> ConvNet:
    with torch.device("meta"):
        return create_model(entry.name, **options)


def read_rows() -> dict[str, Row]:
    """Return the rows that the file has."""
    if not FILE.is_file():
        return {}
    rows = csv.DictReader(FILE.read_text(encoding="utf-8").splitlines())
    return {row["name"]: dict(row) for row in rows}


def write_rows(rows: dict[str, Row]) -> None:
    """Write the file in the catalogue's order, without networks that it does not know."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows[entry.name] for entry in list_entries() if entry.name in rows)
    write_text(FILE, text.getvalue())


def main() -> int:
    """Count and write, or check; return the exit status."""
    parser = argparse.ArgumentParser(description="Write models/facts/costs.csv.")
    parser.add_argument("--only", action="append", default=[], help="a network; repeatable")
    parser.add_argument("--missing", action="store_true", help="only networks without a row")
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    asked = parser.parse_args()
    rows = read_rows()
    entries = [find_entry(name) for name in asked.only] or list_entries()
    if asked.missing:
        entries = [entry for entry in entries if entry.name not in rows]
    stale = 0
    for done, entry in enumerate(entries, 1):
        row = row_of(entry)
        changed = row != rows.get(entry.name)
        stale += changed
        print(f"{done}/{len(entries)} {entry.name}{' changed' if changed else ''}", flush=True)
        rows[entry.name] = row
        if not asked.check:
            write_rows(rows)
    if asked.check and stale:
        print(f"{stale} rows are out of date: run python tools/write_costs.py")
    return 1 if asked.check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
