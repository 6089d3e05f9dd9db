"""A network as a picture: its parts from left to right, and the kinds of its blocks below.

Heights follow the logarithm of the resolution, widths that of the channels. Every number comes
from the analysis; it knows neither torch nor any family.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import log2
from string import ascii_uppercase
from typing import TYPE_CHECKING

from convatlas.render.block_graph import GRAPH_STYLE, BlockPicture
from convatlas.render.svg import Canvas, text_width
from convatlas.render.units import count, plural

if TYPE_CHECKING:
    from convatlas.analysis.diagram import Block, Diagram, Node, Part

__all__ = ["blocks_svg", "diagram_svg"]

_STYLE = (
    GRAPH_STYLE
    + """
.band{fill:var(--sunken);opacity:.55}
.front{fill:var(--wash);stroke:var(--series-1)}
.top,.side{fill:var(--hit-0);stroke:var(--series-1)}
.front.pool,.top.pool,.side.pool{fill:var(--sunken);stroke:var(--muted)}
.front.image,.top.image,.side.image{fill:var(--surface);stroke:var(--muted)}
.front.join,.top.join,.side.join{fill:var(--miss-0);stroke:var(--series-2)}
.panel{fill:none;stroke:var(--rule)}
"""
)

_MARGIN = 20.0
_TALLEST, _LOWEST = 150.0, 10.0  # heights of the image and of a 1×1 map
_SLAB_ROOM = 36.0  # at least, from slab to slab
_MOST_SHADOWS = 3
_TOP = 62.0  # below title and subtitle
_FLOOR = _TOP + _TALLEST + 40
_WORDS = 108.0  # height of the words below the slabs
_WIDEST_PANELS = 1280.0
_MOST_NODES = 120  # of one block
_MOST_IN_ALL, _MOST_ALONE = 400, 48  # of all blocks, below the network and in a picture of theirs
_PAD = 16.0


@dataclass(frozen=True, slots=True)
class _Slab:
    """One box: equal layers or blocks of one kind and size."""

    css: str
    label: str
    count: int
    channels: int
    size: tuple[int, ...]
    title: str


def diagram_svg(diagram: Diagram, name: str) -> str:
    """Return the picture of a network: parts, resolutions, channels, costs, blocks.

    Args:
        diagram: What to draw.
        name: Title of the picture.
    """
    canvas = Canvas(_STYLE)
    subtitle = (
        f"{plural(diagram.depth, 'layer')} deep · {count(diagram.params)} parameters · "
        f"{count(diagram.macs)} MACs for one image of {_sides(diagram.size)} pixels"
    )
    letters = _letters(diagram)
    columns = [(None, [_image(diagram)])] + [
        (part, list(_slabs(part, letters))) for part in diagram.parts
    ]
    widths = [_column_width(part, slabs, diagram) for part, slabs in columns]
    kinds = _Panels(diagram, letters)
    strip = max(sum(widths), text_width(subtitle))
    rows = kinds.rows(max(strip, _WIDEST_PANELS))
    width = max(strip, kinds.width_of(rows)) + 2 * _MARGIN
    canvas.text(_MARGIN, 30, name, "title start")
    canvas.text(_MARGIN, 48, subtitle, "start muted")
    x = _MARGIN
    for number, ((part, slabs), room) in enumerate(zip(columns, widths, strict=True)):
        if number % 2:
            canvas.box("band", x, _TOP, room, _FLOOR + _WORDS - _TOP, 6)
        _draw_column(canvas, part, slabs, diagram, (x, room))
        x += room
    bottom = kinds.draw(canvas, rows, _FLOOR + _WORDS + _PAD)
    return canvas.svg(width, bottom, f"{name}: the network", _description(diagram, name))


def blocks_svg(diagram: Diagram, name: str) -> str:
    """Return the picture of a network's blocks alone; of the network, where it has none.

    Args:
        diagram: What to draw.
        name: Title of the picture.
    """
    if not diagram.kinds:
        return diagram_svg(diagram, name)
    canvas = Canvas(GRAPH_STYLE + ".panel{fill:none;stroke:var(--rule)}")
    panels = _Panels(diagram, _letters(diagram), _MOST_ALONE)
    rows = panels.rows(_WIDEST_PANELS)
    width = panels.width_of(rows) + 2 * _MARGIN
    canvas.text(_MARGIN, 28, f"{name}: blocks", "title start")
    bottom = panels.draw(canvas, rows, 44)
    return canvas.svg(width, bottom, f"{name}: its blocks", _description(diagram, name))


class _Panels:
    """The kinds of blocks, each in a frame, in as many rows as they need.

    Args:
        diagram: Where they are.
        letters: What each kind is called.
        most: How many nodes to draw in all; the kinds that cost most come first.
    """

    def __init__(
        self, diagram: Diagram, letters: dict[object, str], most: int = _MOST_IN_ALL
    ) -> None:
        every = [block for part in diagram.parts for block in part.blocks]
        costs = {shape: sum(b.macs for b in every if b.shape == shape) for shape in letters}
        sizes: dict[object, int] = {block.shape: len(block.nodes) for block in diagram.kinds}
        kept: list[object] = []
        for shape in sorted(costs, key=lambda shape: -costs[shape]):
            if not kept or sum([sizes[each] for each in (*kept, shape)]) <= most:
                kept.append(shape)
        self._left_out = len(letters) - len(kept)
        self._panels = [
            _Panel(block, letters[block.shape], [b for b in every if b.shape == block.shape])
            for block in diagram.kinds
            if block.shape in kept
        ]

    def rows(self, width: float) -> list[list[_Panel]]:
        """Return the panels row by row, none wider than ``width`` if it can be helped."""
        rows: list[list[_Panel]] = []
        for panel in self._panels:
            if rows and self.width_of([[*rows[-1], panel]]) <= width:
                rows[-1].append(panel)
            else:
                rows.append([panel])
        return rows

    def width_of(self, rows: Sequence[Sequence[_Panel]]) -> float:
        """Return the width of the widest row."""
        return max([sum([p.width + _PAD for p in row]) - _PAD for row in rows], default=0)

    def draw(self, canvas: Canvas, rows: Sequence[Sequence[_Panel]], y: float) -> float:
        """Draw the rows from ``y`` on, and return where the page ends."""
        for row in rows:
            x = _MARGIN
            for panel in row:
                panel.draw(canvas, x, y)
                x += panel.width + _PAD
            y += max(panel.height for panel in row) + _PAD
        if self._left_out:
            text = f"and {plural(self._left_out, 'more kind')} of block"
            canvas.text(_MARGIN, y, text, "start small muted")
            y += _PAD
        return y


class _Panel:
    """One kind of block with its letter, its graph and how often it occurs."""

    def __init__(self, block: Block, letter: str, blocks: Sequence[Block]) -> None:
        total = sum(each.count for each in blocks)
        self._title = f"{letter} · {block.name}" + (f"  × {total}" if total > 1 else "")
        self._notes = [f"{_sides(block.size)} output, {block.channels} channels"]
        if total > 1:
            self._notes = [f"the first: {self._notes[0]}"]
        is_drawn = len(block.nodes) <= _MOST_NODES
        self._picture = BlockPicture(block.nodes) if is_drawn else None
        if not is_drawn:
            self._notes.append(f"{len(block.nodes)} layers, too many to draw")
        texts = [text_width(self._title, 12), *(text_width(n, 10) for n in self._notes)]
        inner = max(*texts, self._picture.width if self._picture else 0)
        self.width = inner + 2 * _PAD
        self._head = 30 + 14 * len(self._notes)
        self.height = self._head + (self._picture.height if self._picture else 0) + _PAD

    def draw(self, canvas: Canvas, x: float, y: float) -> None:
        """Draw frame, words and graph."""
        canvas.box("panel", x, y, self.width, self.height, 6)
        canvas.text(x + _PAD, y + 20, self._title, "strong start")
        for number, note in enumerate(self._notes):
            canvas.text(x + _PAD, y + 35 + 14 * number, note, "start small muted")
        if self._picture:
            left = x + (self.width - self._picture.width) / 2
            self._picture.draw(canvas, left, y + self._head + 4)


def _letters(diagram: Diagram) -> dict[object, str]:
    """Return a letter for each kind of block."""
    names = [*ascii_uppercase, *(f"{a}{b}" for a in ascii_uppercase for b in ascii_uppercase)]
    return {block.shape: names[i] for i, block in enumerate(diagram.kinds)}


def _image(diagram: Diagram) -> _Slab:
    return _Slab("image", "image", 1, diagram.channels, diagram.size, "the image")


def _slabs(part: Part, letters: dict[object, str]) -> Iterator[_Slab]:
    """Yield the boxes of a part; blocks of one kind and size that follow each other share one."""
    drawn = [b for b in part.blocks if not b.is_layer or b.nodes[-1].kind != "plain"]
    for _, group in groupby(drawn, key=lambda block: (block.shape, block.size, block.name)):
        blocks = list(group)
        last, node = blocks[-1], blocks[-1].nodes[-1]
        label = letters[last.shape] if not last.is_layer else _short(node)
        kind = {"pool": "pool", "concatenate": "join", "join": "join"}.get(node.kind, "")
        yield _Slab(
            "" if not last.is_layer else kind,
            label,
            sum(block.count for block in blocks),
            last.channels,
            last.size,
            f"{last.name}, {last.channels} channels",
        )


def _short(node: Node) -> str:
    words = {"pool": "pool", "concatenate": "concat", "join": node.label}
    if node.kind in words:
        return words[node.kind]
    return "FC" if node.label == "linear" else node.label.split()[0]


def _column_width(part: Part | None, slabs: Sequence[_Slab], diagram: Diagram) -> float:
    lines = _lines(part, diagram)
    words = max(text_width(line, 11 if number else 12) for number, line in enumerate(lines))
    return max(words + 14, _SLAB_ROOM * len(slabs) + 20, sum(map(_room, slabs)) + 20)


def _room(slab: _Slab) -> float:
    return max(_SLAB_ROOM, _width(slab) + 22 + 5 * _shadows(slab), text_width(slab.label, 10) + 8)


def _shadows(slab: _Slab) -> int:
    return min(slab.count - 1, _MOST_SHADOWS)


def _lines(part: Part | None, diagram: Diagram) -> list[str]:
    """Return the words below one part."""
    if part is None:
        return ["input", f"{_sides(diagram.size)} × {diagram.channels}"]
    shape = f"{_sides(part.size)} × {part.channels}" if part.size else f"{part.channels} outputs"
    lines = [_title(part.name), shape]
    lines.append(f"stride {part.stride}" if part.size and part.stride else "")
    return [*lines, f"{count(part.params)} params", f"{count(part.macs)} MACs"]


def _title(name: str) -> str:
    first, _, number = name.partition(".")
    return f"stage {int(number) + 1}" if number.isdigit() else first


def _draw_column(
    canvas: Canvas,
    part: Part | None,
    slabs: Sequence[_Slab],
    diagram: Diagram,
    column: tuple[float, float],
) -> None:
    x, room = column
    middle = x + room / 2
    left = middle - sum(map(_room, slabs)) / 2
    for slab in slabs:
        _draw_slab(canvas, slab, diagram, left + _room(slab) / 2)
        left += _room(slab)
    for number, line in enumerate(_lines(part, diagram)):
        css = "" if number == 1 else "muted" if number else "strong"
        canvas.text(middle, _FLOOR + 42 + 15 * number, line, css)


def _draw_slab(canvas: Canvas, slab: _Slab, diagram: Diagram, middle: float) -> None:
    """Draw a box in perspective, its repetitions behind it, and what it is below."""
    width, height = _width(slab), _height(slab, diagram)
    depth = min(4 + height * 0.12, 14)
    shadows = _shadows(slab)
    x = middle - (width + depth + 5 * shadows) / 2
    top = _FLOOR - height - depth
    for step in range(shadows, -1, -1):
        _draw_box(canvas, slab.css, (x + 5 * step, top + depth), (width, height, depth))
    canvas.tip(slab.title)
    canvas.text(middle, _FLOOR + 14, slab.label, "small strong")
    if slab.count > 1:
        canvas.text(middle, _FLOOR + 25, f"× {slab.count}", "small")


def _draw_box(
    canvas: Canvas, css: str, corner: tuple[float, float], size: tuple[float, float, float]
) -> None:
    """Draw the front, the top and the right side of a box."""
    (x, y), (width, height, depth) = corner, size
    canvas.add("path", f"top {css}".strip(), d=f"M{x:.1f} {y:.1f}l{depth:.1f} {-depth:.1f}"
               f"h{width:.1f}l{-depth:.1f} {depth:.1f}z")  # fmt: skip
    canvas.add("path", f"side {css}".strip(), d=f"M{x + width:.1f} {y:.1f}l{depth:.1f} "
               f"{-depth:.1f}v{height:.1f}l{-depth:.1f} {depth:.1f}z")  # fmt: skip
    canvas.add("rect", f"front {css}".strip(), x=x, y=y, width=width, height=height)


def _width(slab: _Slab) -> float:
    return 4 + 2.4 * log2(max(slab.channels, 1))


def _height(slab: _Slab, diagram: Diagram) -> float:
    """Return a height between that of a vector and that of the image."""
    whole = log2(max(*diagram.size, 2))
    share = log2(max(slab.size, default=1)) / whole
    return _LOWEST + (_TALLEST - _LOWEST) * share


def _sides(size: tuple[int, ...]) -> str:
    return " × ".join(map(str, size)) or "vector"


def _description(diagram: Diagram, name: str) -> str:
    parts = "; ".join(
        f"{_title(part.name)} {_sides(part.size)} × {part.channels}" for part in diagram.parts
    )
    return f"{name}, {count(diagram.params)} parameters and {count(diagram.macs)} MACs. {parts}."
