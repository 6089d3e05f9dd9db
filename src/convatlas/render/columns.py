"""Columns that fit a terminal: the less important ones go before any text is cut.

It knows widths and importance, not what stands in the cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Column", "fitted_table", "printable", "terminal_width"]

_GAP = 2  # cells between two columns
_NARROWEST_PROSE = 24


@dataclass(frozen=True, slots=True)
class Column:
    """One column and what may happen to it when the terminal is narrow.

    Attributes:
        header: Its heading.
        cells: One text per row.
        importance: The column with the smallest goes first; 0 or more, None for never.
        is_number: Numbers stand on the right.
        is_prose: Prose is broken into lines; other cells stay on one line.
    """

    header: str
    cells: Sequence[str]
    importance: int | None = None
    is_number: bool = False
    is_prose: bool = False


def fitted_table(
    columns: Sequence[Column],
    width: int,
    *,
    totals: bool = False,
    notes: Sequence[str] = (),
    title: str | None = None,
) -> Table:
    """Return a table of at most ``width`` cells.

    Columns are left out from the least important one on, and a note says which. Should the
    rest still be too wide, the cells of the first column are cut in their middle.

    Args:
        columns: Columns with equally many cells.
        width: Terminal cells.
        totals: Whether the last row holds totals.
        notes: Sentences below the table.
        title: Line above the table.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    widths = {column.header: _natural_width(column) for column in columns}
    kept = _fitting(columns, widths, width)
    missing = [column.header for column in columns if column not in kept]
    if missing:
        notes = [*notes, f"No room for: {', '.join(missing)}."]
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.title = None if title is None else Text(title)  # whose brackets are no markup
    table.title_justify = "left"
    table.caption = Text("\n".join(notes)) if notes else None
    table.caption_justify = "left"
    first = kept[0].header
    room = width - sum(widths[column.header] + _GAP for column in kept[1:])
    widths[first] = max(1, min(widths[first], room))
    for column in kept:
        table.add_column(
            column.header,
            justify="right" if column.is_number else "left",
            no_wrap=not column.is_prose,
            width=None if column.is_prose else widths[column.header],
        )
    _add_rows(table, kept, widths[first], totals=totals)
    return table


def printable(text: object) -> str:
    """Return ``text`` on one line, without what would steer the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text))


def terminal_width() -> int:
    """Return the width of the terminal; 80 where there is none."""
    from rich.console import Console

    return Console().width


def _natural_width(column: Column) -> int:
    """Return the cells that a column takes without a cut; of prose, the fewest it is happy with."""
    from rich.cells import cell_len

    natural = max(cell_len(text) for text in (column.header, *column.cells))
    return min(natural, _NARROWEST_PROSE) if column.is_prose else natural


def _fitting(columns: Sequence[Column], widths: Mapping[str, int], width: int) -> list[Column]:
    kept = list(columns)
    while sum(widths[column.header] + _GAP for column in kept) - _GAP > width:
        droppable = [column for column in kept if column.importance is not None]
        if not droppable:
            break
        kept.remove(min(droppable, key=lambda column: column.importance or 0))
    return kept


def _add_rows(table: Table, columns: Sequence[Column], room: int, *, totals: bool) -> None:
    from rich.text import Text

    rows = list(zip(*(column.cells for column in columns), strict=True))
    for number, (first, *others) in enumerate(rows, start=1):
        is_total = totals and number == len(rows)
        if is_total:
            table.add_section()
        cells = [_cut(first, room), *others]
        table.add_row(*map(Text, cells), style="bold" if is_total else None)


def _cut(text: str, width: int) -> str:
    """Return ``text`` with its middle left out; the ends tell layers and networks apart."""
    if len(text) <= width:
        return text
    tail = width // 2
    return f"{text[: width - tail - 1]}…{text[len(text) - tail :]}"
