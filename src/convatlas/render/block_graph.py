"""The graph inside one block, drawn from its input on top to its output.

Where the nodes stand is the business of ``lanes.py``; here they get words and sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from convatlas.render.lanes import Edge, Place, Vertex, arrange
from convatlas.render.svg import Canvas, text_width

if TYPE_CHECKING:
    from convatlas.analysis.diagram import Node

__all__ = ["GRAPH_STYLE", "BlockPicture"]

GRAPH_STYLE = """
.edge{fill:none;stroke:var(--muted);stroke-width:1.3;marker-end:url(#tip)}
.head{fill:var(--muted)}
.weights{fill:var(--wash);stroke:var(--series-1)}
.pool,.plain,.split{fill:var(--sunken);stroke:var(--muted)}
.join,.concatenate{fill:var(--miss-0);stroke:var(--series-2)}
.input{fill:var(--surface);stroke:var(--rule)}
"""

_ROW, _TALL, _LOW = 56.0, 34.0, 22.0  # from row to row; height of two lines and of one
_GAP, _NARROWEST = 10.0, 16.0  # between lanes; a lane that only connections use
_ARROW = 5.0
_APART = 4.0  # between horizontal lines of different sources
_TAIL = 16.0  # the arrow that leaves the block


class BlockPicture:
    """One block ready to be drawn.

    Args:
        nodes: Its graph, inputs first.
    """

    def __init__(self, nodes: tuple[Node, ...]) -> None:
        self._nodes = nodes
        self._lanes = arrange([_vertex(node) for node in nodes])
        self._words = [_words(node) for node in nodes]
        widths = [_NARROWEST] * self._lanes.lanes
        for place, words in zip(self._lanes.places, self._words, strict=True):
            if place.lane == place.last_lane:
                widths[place.lane] = max(widths[place.lane], words.width)
        self._centres = []
        x = 0.0
        for width in widths:
            self._centres.append(x + width / 2)
            x += width + _GAP
        self.width = max(x - _GAP, *(words.width for words in self._words))
        self.height = (self._lanes.rows - 1) * _ROW + _TALL + _TAIL

    def draw(self, canvas: Canvas, x: float, y: float) -> None:
        """Draw the block with its left upper corner at (x, y)."""
        spots = [
            self._spot(place, words, x, y)
            for place, words in zip(self._lanes.places, self._words, strict=True)
        ]
        canvas.arrow_tip("tip", "head")
        for edge in self._lanes.edges:
            self._draw_edge(canvas, edge, spots, x)
        for node, spot, words in zip(self._nodes, spots, self._words, strict=True):
            _draw_node(canvas, node, spot, words)
        last = spots[-1]
        canvas.line([(last.x, last.bottom), (last.x, last.bottom + _TAIL - _ARROW)], "edge")

    def _spot(self, place: Place, words: _Words, x: float, y: float) -> _Spot:
        left, right = self._centres[place.lane], self._centres[place.last_lane]
        middle = y + place.row * _ROW + _TALL / 2
        width = max(words.width, right - left + 2 * _NARROWEST)
        return _Spot(x + (left + right) / 2, middle, width, words.height)

    def _draw_edge(self, canvas: Canvas, edge: Edge, spots: list[_Spot], x: float) -> None:
        """Draw a connection: down from its source, along its lane, into its target."""
        source, target = spots[edge.source], spots[edge.target]
        lane = x + self._centres[edge.lane]
        start = _nearest(source, lane)
        # Lines from different lanes turn at different heights, so that they stay apart.
        turn = source.middle + _ROW / 2 + _APART * (self._lanes.places[edge.source].lane % 3 - 1)
        points = [(start, source.bottom), (start, turn), (lane, turn)]
        if start == lane:
            points = [(start, source.bottom)]
        is_far = self._lanes.places[edge.target].row - self._lanes.places[edge.source].row > 1
        if target.left <= lane <= target.right or not is_far:
            stop = _nearest(target, lane)
            if stop != lane:
                points += [(lane, target.middle - _ROW / 2), (stop, target.middle - _ROW / 2)]
            canvas.line([*points, (stop, target.top - _ARROW)], "edge")
        else:
            from_right = lane > target.x
            side = target.right if from_right else target.left
            towards = _ARROW if from_right else -_ARROW
            canvas.line([*points, (lane, target.middle), (side + towards, target.middle)], "edge")


@dataclass(frozen=True, slots=True)
class _Words:
    """What stands in a node, and the room that it takes."""

    first: str
    second: str

    @property
    def width(self) -> float:
        return max(text_width(self.first), text_width(self.second, 10)) + 14

    @property
    def height(self) -> float:
        return _TALL if self.second else _LOW


@dataclass(frozen=True, slots=True)
class _Spot:
    """Centre and size of a node on the page."""

    x: float
    middle: float
    width: float
    height: float

    @property
    def top(self) -> float:
        return self.middle - self.height / 2

    @property
    def bottom(self) -> float:
        return self.middle + self.height / 2

    @property
    def left(self) -> float:
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        return self.x + self.width / 2


def _vertex(node: Node) -> Vertex:
    return Vertex(
        node.inputs,
        is_wide=node.kind in ("concatenate", "split") and len(node.inputs) > 1,
        is_aside=node.label.startswith("global"),
    )


def _words(node: Node) -> _Words:
    """Return the label as papers write it, ``"3×3 conv, 64, /2"``, and what follows it."""
    parts = [node.label]
    if node.kind == "input":
        parts = ["input"] if node.channels else ["all maps before"]
    if node.channels and node.kind in ("weights", "concatenate", "input"):
        parts.append(str(node.channels))
    if node.stride > 1:
        parts.append(f"/{node.stride}")
    details = [f"{node.groups} groups"] if node.groups > 1 else []
    text = " · ".join([*details, *node.detail])
    if node.kind == "join" and text:
        return _Words(f"{parts[0]}  {text}", "")
    return _Words(", ".join(parts), text)


def _draw_node(canvas: Canvas, node: Node, spot: _Spot, words: _Words) -> None:
    radius = spot.height / 2 if node.kind in ("join", "input") else 4
    canvas.box(node.kind, spot.left, spot.top, spot.width, spot.height, radius)
    if words.second:
        canvas.text(spot.x, spot.middle - 2.5, words.first)
        canvas.text(spot.x, spot.middle + 10.5, words.second, "small muted")
    else:
        canvas.text(spot.x, spot.middle + 4, words.first, "muted" if node.kind == "input" else "")


def _nearest(spot: _Spot, x: float) -> float:
    """Return ``x`` if a wide node reaches so far, else the middle of the node."""
    return x if spot.left + 8 <= x <= spot.right - 8 and spot.width > 0 else spot.x
