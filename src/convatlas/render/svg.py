"""A drawing as SVG text: shapes and words on a canvas, coloured for light and dark readers.

Nothing is loaded from elsewhere and nothing depends on the day or the machine. It knows neither
networks nor results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree import ElementTree as ET

from convatlas.render.palette import DARK, FONT, LIGHT

__all__ = ["Canvas", "text_width"]

_COLOURS = (
    "surface", "sunken", "text", "muted", "rule", "accent", "wash",
    "series-1", "series-2", "series-3", "hit-0", "miss-0", "good",
)  # fmt: skip
_TEXT = """
text{font:11px FONT;fill:var(--text);text-anchor:middle}
.start{text-anchor:start}.end{text-anchor:end}.small{font-size:10px}.muted{fill:var(--muted)}
.strong{font-weight:600}.title{font-size:16px;font-weight:600}.page{fill:var(--surface)}
"""
_WIDE = 0.62  # width of an average letter, as a share of the font's size
_CORNER = 6.0


class Canvas:
    """Collects shapes; the drawing order is the stacking order.

    Args:
        style: CSS of the drawing's own classes.
    """

    def __init__(self, style: str) -> None:
        self._root = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img"})
        self._style = style
        self._shapes: list[ET.Element] = []
        self._tips: set[str] = set()

    def add(self, tag: str, css: str = "", **attributes: float | str) -> ET.Element:
        """Add a shape; numbers are rounded to a tenth, ``_`` in names stands for ``-``."""
        named = {key.replace("_", "-"): _number(value) for key, value in attributes.items()}
        element = ET.Element(tag, {"class": css, **named} if css else named)
        self._shapes.append(element)
        return element

    def text(self, x: float, y: float, words: str, css: str = "") -> None:
        """Write ``words`` with their baseline at ``y``, centred on ``x`` unless css says else."""
        self.add("text", css, x=x, y=y).text = words

    def box(self, css: str, x: float, y: float, width: float, height: float, rx: float = 4) -> None:
        """Draw a rectangle with round corners."""
        self.add("rect", css, x=x, y=y, width=width, height=height, rx=rx)

    def line(self, points: Sequence[tuple[float, float]], css: str) -> None:
        """Draw a line through ``points`` whose corners are rounded."""
        self.add("path", css, d=_rounded(points))

    def circle(self, x: float, y: float, radius: float, css: str, tip: str = "") -> None:
        """Draw a circle, with words that browsers show under the pointer."""
        self.add("circle", css, cx=x, cy=y, r=radius)
        if tip:
            self.tip(tip)

    def arrow_tip(self, name: str, css: str) -> None:
        """Define the tip of an arrow once; lines name it as ``marker-end: url(#name)``."""
        if name in self._tips:
            return
        self._tips.add(name)
        size = {"viewBox": "0 -4 7 8", "markerWidth": "7", "markerHeight": "7"}
        way = {"refX": "2", "orient": "auto", "markerUnits": "userSpaceOnUse"}
        marker = ET.Element("marker", {"id": name, **size, **way})
        ET.SubElement(marker, "path", {"class": css, "d": "M0-4L7 0L0 4z"})
        self._shapes.insert(0, marker)

    def tip(self, element_title: str) -> None:
        """Give the last shape a title, which browsers show under the pointer."""
        ET.SubElement(self._shapes[-1], "title").text = element_title

    def svg(self, width: float, height: float, title: str, description: str) -> str:
        """Return the whole drawing.

        Args:
            width: Pixels.
            height: Pixels.
            title: Name of the drawing for those who cannot see it.
            description: What it shows, in a sentence or two.
        """
        root = self._root
        root.attrib |= {
            "viewBox": f"0 0 {_number(width)} {_number(height)}",
            "width": _number(width),
            "height": _number(height),
        }
        ET.SubElement(root, "title").text = title
        ET.SubElement(root, "desc").text = description
        ET.SubElement(root, "style").text = _themes() + _TEXT.replace("FONT", FONT) + self._style
        page = {"class": "page", "width": "100%", "height": "100%", "rx": "8"}
        ET.SubElement(root, "rect", page)
        root.extend(self._shapes)
        return ET.tostring(root, encoding="unicode") + "\n"


def text_width(words: str, size: float = 11) -> float:
    """Return about how wide ``words`` will be; no font is asked, so it is on the safe side."""
    return len(words) * size * _WIDE


def _themes() -> str:
    return (
        f":root{{{_variables(LIGHT)}}}"
        f"@media (prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}"
    )


def _variables(palette: Mapping[str, str]) -> str:
    return "".join(f"--{name}:{palette[name]};" for name in _COLOURS)


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{round(value, 1):g}"


def _rounded(points: Sequence[tuple[float, float]]) -> str:
    """Return path data through the points, each inner corner cut off by a curve."""
    corners = [p for i, p in enumerate(points) if i == 0 or p != points[i - 1]]
    parts = [f"M{_pair(corners[0])}"]
    for before, corner, after in zip(corners, corners[1:], corners[2:], strict=False):
        parts.append(f"L{_pair(_towards(corner, before))}")
        parts.append(f"Q{_pair(corner)} {_pair(_towards(corner, after))}")
    parts.append(f"L{_pair(corners[-1])}")
    return "".join(parts)


def _towards(start: tuple[float, float], goal: tuple[float, float]) -> tuple[float, float]:
    """Return the point at most a corner's radius from ``start``, and at most half way."""
    distance = abs(goal[0] - start[0]) + abs(goal[1] - start[1])
    share = min(_CORNER / distance, 0.5) if distance else 0.0
    return start[0] + (goal[0] - start[0]) * share, start[1] + (goal[1] - start[1]) * share


def _pair(point: tuple[float, float]) -> str:
    return f"{_number(point[0])} {_number(point[1])}"
