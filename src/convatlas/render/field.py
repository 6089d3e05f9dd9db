"""Receptive fields drawn on a photo: the square that can matter, the bell that does."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from convatlas.render.overlay import heat_overlay

if TYPE_CHECKING:
    from convatlas.explain.effective_field import Sight

__all__ = ["field_picture", "field_values", "theoretical_box"]

_SIDE = 640
_THEORETICAL, _EFFECTIVE = (90, 200, 250), (255, 255, 255)
_FAINTEST = 0.35  # exponent: faint gradients are to be seen, too


def theoretical_box(sight: Sight) -> tuple[int, int, int, int] | None:
    """Return the first and last pixel that can matter: (left, top, right, bottom)."""
    field = sight.theoretical
    if field is None:
        return None
    row, column = sight.effective.position
    top = field.start[0] + round(row * field.stride[0])
    left = field.start[1] + round(column * field.stride[1])
    return left, top, left + field.size[1] - 1, top + field.size[0] - 1


def field_values(sight: Sight) -> dict[str, Any]:
    """Return the figures of both fields as JSON values, in pixels of the input."""
    effective, box = sight.effective, theoretical_box(sight)
    height, width = sight.pixels.shape[:2]
    return {
        "layer": effective.layer,
        "position": list(effective.position),
        "input_size_px": [height, width],
        "theoretical_size_px": list(sight.theoretical.size) if sight.theoretical else None,
        "theoretical_box_px": list(box) if box else None,
        "theoretical_note": sight.theoretical_note,
        "effective_size_px": [round(side, 1) for side in effective.size],
        "effective_centre_px": [round(place, 1) for place in effective.centre],
        "effective_area_side_px": round(effective.area_side, 1),
    }


def field_picture(sight: Sight) -> bytes:
    """Return a PNG: the photo in grey, the gradient in colour, the two fields as outlines."""
    heat = sight.effective.heat.cpu().numpy() ** _FAINTEST
    picture = Image.fromarray(heat_overlay(sight.pixels, heat.astype(np.float64)))
    factor = max(1, round(_SIDE / max(picture.size)))
    picture = picture.resize(
        (picture.width * factor, picture.height * factor), Image.Resampling.NEAREST
    )
    draw = ImageDraw.Draw(picture)
    box = theoretical_box(sight)
    if box is not None:
        left, top, right, bottom = (side * factor for side in box)
        draw.rectangle((left, top, right + factor, bottom + factor), outline=_THEORETICAL, width=3)
    (y, x), (height, width) = sight.effective.centre, sight.effective.size
    corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    draw.ellipse([(side + 0.5) * factor for side in corners], outline=_EFFECTIVE, width=3)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
