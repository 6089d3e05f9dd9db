"""Where the nodes of a graph stand: rows from top to bottom, lanes from left to right.

A node stands below everything that it reads. A connection that jumps over rows runs in a lane
of its own, past the nodes. It knows neither sizes on a page nor what the nodes mean.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Edge", "Lanes", "Place", "Vertex", "arrange"]


@dataclass(frozen=True, slots=True)
class Vertex:
    """What the arrangement needs to know of a node.

    Attributes:
        inputs: The nodes that it reads, by position; each stands before it.
        is_wide: Whether it lies across the lanes of all that it reads.
        is_aside: Whether it opens a side branch where its source has other readers.
    """

    inputs: tuple[int, ...]
    is_wide: bool = False
    is_aside: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Row and first and last lane of a node."""

    row: int
    lane: int
    last_lane: int


@dataclass(frozen=True, slots=True)
class Edge:
    """A connection from one node to another, and the lane in which it passes rows between."""

    source: int
    target: int
    lane: int


@dataclass(frozen=True, slots=True)
class Lanes:
    """The arrangement: a place per node, and the connections."""

    places: tuple[Place, ...]
    edges: tuple[Edge, ...]
    rows: int
    lanes: int


def arrange(vertices: Sequence[Vertex]) -> Lanes:
    """Give every node a place so that nothing stands on anything else."""
    board = _Board(vertices)
    for number, vertex in enumerate(vertices):
        board.put(number, vertex)
    rows = 1 + max(place.row for place in board.places)
    lanes = 1 + max(lane for _, lane in board.taken)
    return Lanes(tuple(board.places), tuple(board.edges), rows, lanes)


class _Board:
    """Rows and lanes, and what is taken of them."""

    def __init__(self, vertices: Iterable[Vertex]) -> None:
        self.places: list[Place] = []
        self.edges: list[Edge] = []
        self.taken: set[tuple[int, int]] = set()
        self._readers = Counter(i for vertex in vertices for i in vertex.inputs)

    def put(self, number: int, vertex: Vertex) -> None:
        """Place one node, and route what leads to it."""
        sources = [self.places[i] for i in vertex.inputs]
        row = 1 + max([place.row for place in sources], default=-1)
        taken = set(self.taken)
        while True:
            lane = self._lane_for(vertex, sources, row)
            self.taken.add((row, lane))
            passing = self._routes(vertex, row, lane)
            lanes = {lane, *passing.values()} if vertex.is_wide else {lane}
            cells = {(row, each) for each in range(min(lanes), max(lanes) + 1)}
            if not cells & taken:
                break
            self.taken, row = set(taken), row + 1
        self.taken |= cells
        self.places.append(Place(row, min(lanes), max(lanes)))
        self.edges += [Edge(source, number, passing[source]) for source in vertex.inputs]

    def _routes(self, vertex: Vertex, row: int, lane: int) -> dict[int, int]:
        """Return the lane in which each connection passes the rows between, nearest first."""
        passing = {}
        for number in sorted(vertex.inputs, key=lambda i: -self.places[i].row):
            source = self.places[number]
            own = range(source.lane, source.last_lane + 1)
            wanted = (*own, lane) if vertex.is_wide else (lane, *own)
            passing[number] = self._passing(wanted, source.row + 1, row - 1)
            self.taken |= {(each, passing[number]) for each in range(source.row + 1, row)}
        return passing

    def _lane_for(self, vertex: Vertex, sources: Sequence[Place], row: int) -> int:
        """Return the first lane of a source that leads straight down, or a free one."""
        is_side = vertex.is_aside and any(self._readers[i] > 1 for i in vertex.inputs)
        for source in () if is_side else sorted(sources, key=lambda place: place.lane):
            lowest = max(s.row for s in sources if s.lane == source.lane)
            if self._is_free(source.lane, lowest + 1, row):
                return source.lane
        start = min([place.lane for place in sources], default=0) + is_side
        # Free down to the end, so that a branch that opens here can go straight on.
        end = max([row, *(taken for taken, _ in self.taken)])
        return self._free_lane(row, end, start)

    def _passing(self, wanted: Sequence[int], top: int, bottom: int) -> int:
        """Return the first lane of ``wanted`` that is free in these rows, or another one."""
        for lane in wanted:
            if self._is_free(lane, top, bottom):
                return lane
        return self._free_lane(top, bottom, wanted[0])

    def _free_lane(self, top: int, bottom: int, start: int) -> int:
        lane = start
        while not self._is_free(lane, top, bottom):
            lane += 1
        return lane

    def _is_free(self, lane: int, top: int, bottom: int) -> bool:
        return all((row, lane) not in self.taken for row in range(top, bottom + 1))
