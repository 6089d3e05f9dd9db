"""A drawing as PNG: the shapes and words of `svg.py`'s canvas, painted with Pillow.

Everything is painted larger and shrunk, so that edges are smooth. The letters are those that
Pillow carries with it. It knows neither networks nor results.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convatlas.render.palette import LIGHT

if TYPE_CHECKING:
    from PIL.Image import Image as Painted

__all__ = ["Paint", "Raster"]

_SHARPNESS = 2  # pixels of the file per unit of the drawing
_SMOOTHING = 2  # painted pixels per pixel of the file
_SCALE = _SHARPNESS * _SMOOTHING


@dataclass(frozen=True, slots=True)
class Paint:
    """How a class of shapes is painted.

    Attributes:
        colour: Name in the palette.
        opacity: That of the inside, 0 … 1.
        width: That of the line or edge.
    """

    colour: str
    opacity: float = 1.0
    width: float = 1.0


class Raster:
    """Takes the shapes that a ``Canvas`` takes, and paints them in the order they come.

    Args:
        width: Units of the drawing.
        height: Units of the drawing.
        paints: Class → its paint, for circles and lines.
    """

    def __init__(self, width: float, height: float, paints: Mapping[str, Paint]) -> None:
        from PIL import Image

        self._paints = paints
        size = (round(width * _SCALE), round(height * _SCALE))
        self._image: Painted = Image.new("RGB", size, LIGHT["surface"])

    def circle(self, x: float, y: float, radius: float, css: str, tip: str = "") -> None:
        """Paint a circle; nobody can point at a PNG, so ``tip`` is left out."""
        del tip
        from PIL import Image, ImageDraw

        paint, reach = self._paints[css], radius + 2
        box = [round(edge * _SCALE) for edge in (x - reach, y - reach, x + reach, y + reach)]
        mask = Image.new("L", (box[2] - box[0], box[3] - box[1]))
        ring = [2 * _SCALE, 2 * _SCALE, mask.width - 2 * _SCALE, mask.height - 2 * _SCALE]
        edge = max(1, round(paint.width * _SCALE))
        ImageDraw.Draw(mask).ellipse(ring, round(255 * paint.opacity), 255, edge)
        self._image.paste(LIGHT[paint.colour], (box[0], box[1]), mask)

    def line(self, points: Sequence[tuple[float, float]], css: str) -> None:
        """Paint a line through ``points``."""
        from PIL import ImageDraw

        paint = self._paints[css]
        places = [(x * _SCALE, y * _SCALE) for x, y in points]
        thick = max(1, round(paint.width * _SCALE))
        ImageDraw.Draw(self._image).line(places, LIGHT[paint.colour], thick, joint="curve")

    def text(self, x: float, y: float, words: str, css: str = "") -> None:
        """Write ``words`` with their baseline at ``y``; ``css`` as for a canvas."""
        from PIL import ImageDraw, ImageFont

        classes = css.split()
        size = 16 if "title" in classes else 10 if "small" in classes else 11
        side = "l" if "start" in classes else "r" if "end" in classes else "m"
        bold = {"title", "strong"} & set(classes)
        colour = LIGHT["muted" if "muted" in classes else "text"]
        ImageDraw.Draw(self._image).text(
            (x * _SCALE, y * _SCALE),
            words,
            colour,
            ImageFont.load_default(size * _SCALE),
            f"{side}s",
            stroke_width=_SCALE // 4 if bold else 0,
            stroke_fill=colour,
        )

    def png(self) -> bytes:
        """Return the file."""
        from PIL import Image

        size = (self._image.width // _SMOOTHING, self._image.height // _SMOOTHING)
        file = io.BytesIO()
        self._image.resize(size, Image.Resampling.LANCZOS).save(file, "PNG", optimize=True)
        return file.getvalue()
