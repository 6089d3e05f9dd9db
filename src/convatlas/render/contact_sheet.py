"""A contact sheet: a few images of every class in a grid, under the class's name, as PNG.

It knows pictures and names, not where they come from.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from convatlas.render.columns import printable
from convatlas.render.overlay import enlarge
from convatlas.render.palette import LIGHT
from convatlas.render.units import plural

if TYPE_CHECKING:
    from PIL.Image import Image as Painted
    from PIL.ImageDraw import ImageDraw as Pen

    from convatlas.data.description import DataReport, Picture

__all__ = ["contact_sheet_png"]

_CELL, _GAP, _MARGIN = 144, 8, 28  # pixels
_TITLE, _NAME = 64, 30  # heights of the words' lines
_BROAD = 12  # pictures side by side where there are many classes


def contact_sheet_png(report: DataReport) -> bytes:
    """Return the sheet as a PNG file, dark words on white."""
    from PIL import Image, ImageDraw

    per_class = max(len(pictures) for pictures in report.sheet.values())
    blocks = 1 if len(report.sheet) <= 6 else max(1, _BROAD // per_class)
    block = per_class * (_CELL + _GAP) + _GAP
    rows = -(-len(report.sheet) // blocks)
    size = (
        2 * _MARGIN + max(blocks * block, 3 * _CELL),
        2 * _MARGIN + _TITLE + rows * (_NAME + _CELL + _GAP),
    )
    sheet = Image.new("RGB", size, LIGHT["surface"])
    pen = ImageDraw.Draw(sheet)
    _write(pen, _MARGIN, _MARGIN + 22, printable(report.name), 26, size[0] - 2 * _MARGIN)
    classes = plural(len(report.per_class), "class", "classes")
    summary = f"{plural(report.images, 'image')}, {classes}"
    _write(pen, _MARGIN, _MARGIN + 48, summary, 15, size[0] - 2 * _MARGIN, "muted")
    for place, (name, pictures) in enumerate(report.sheet.items()):
        row, column = divmod(place, blocks)
        x = _MARGIN + column * block
        y = _MARGIN + _TITLE + row * (_NAME + _CELL + _GAP)
        _write(pen, x, y + _NAME - 9, printable(name), 16, per_class * (_CELL + _GAP) - _GAP)
        for number, picture in enumerate(pictures):
            _paste(sheet, picture, x + number * (_CELL + _GAP), y + _NAME)
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    return file.getvalue()


def _paste(sheet: Painted, picture: Picture, x: int, y: int) -> None:
    from PIL import Image

    pixels = enlarge(picture.pixels, _CELL)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    # a picture of 100 px was blown up to 200 px: blocks stay sharp enough when shrunk
    image.thumbnail((_CELL, _CELL), Image.Resampling.BOX)
    sheet.paste(image, (x + (_CELL - image.width) // 2, y + (_CELL - image.height) // 2))


def _write(
    pen: Pen, x: int, y: int, words: str, size: int, room: int, colour: str = "text"
) -> None:
    """Write ``words`` with their baseline at ``y``, without their middle where room ends."""
    from PIL import ImageFont

    font = ImageFont.load_default(size)
    cut, kept = words, len(words)
    while kept > 1 and pen.textlength(cut, font) > room:
        kept -= 1
        cut = f"{words[: kept - kept // 2]}…{words[len(words) - kept // 2 :]}"
    pen.text((x, y), cut, LIGHT[colour], font, anchor="ls")
