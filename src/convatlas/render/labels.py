"""Names beside the points of a drawing, where least is in the way. It knows no drawing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from convatlas.render.svg import text_width

__all__ = ["Labels"]

_FONT = 10.0


@dataclass(frozen=True, slots=True)
class _Box:
    """A rectangle that is taken."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: _Box) -> float:
        """Return the area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0) * max(height, 0)


class Labels:
    """Puts names beside points, where least is in the way, and never across the right edge.

    Args:
        width: Pixels of the drawing.
        bottom: Its lowest line that names must not cross beyond the right edge.
        font: Size of the letters.
    """

    def __init__(self, width: float, bottom: float, font: float = _FONT) -> None:
        self._font = font
        self._taken = [_Box(width - 6, 0, width + 1000, bottom)]

    def take(self, x: float, y: float, radius: float) -> None:
        """Keep names off a point."""
        self._taken.append(_Box(x - radius, y - radius, x + radius, y + radius))

    def place(self, words: str, x: float, y: float, radius: float) -> tuple[float, float]:
        """Return the middle and the baseline of a name beside the point."""
        half = text_width(words, self._font) / 2
        boxes = list(_around(x, y, radius, half))
        best = min(boxes, key=lambda box: sum([box.overlap(other) for other in self._taken]))
        self._taken.append(best)
        return (best.left + best.right) / 2, best.bottom - 3


def _around(x: float, y: float, radius: float, half: float) -> Iterator[_Box]:
    """Yield where a name may stand: beside, above or below its point, the best place first."""
    gap, tall = radius + 3, 12.0
    middles = [(x + gap + half, y), (x - gap - half, y)]
    for step in (0.0, tall, 2 * tall):
        middles += [(x, y - gap - tall / 2 - step), (x, y + gap + tall / 2 + step)]
        middles += [(x + gap + half, y - tall - step), (x + gap + half, y + tall + step)]
        middles += [(x - gap - half, y - tall - step), (x - gap - half, y + tall + step)]
    for middle, height in middles:
        yield _Box(middle - half, height - tall / 2, middle + half, height + tall / 2)
