"""Filters side by side on one picture. It knows arrays, and no network."""

from __future__ import annotations

from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

__all__ = ["filter_sheet"]

_TILE, _GAP = 36, 4  # pixels
_BROAD = 1.6  # columns per row
_BETWEEN = 96  # a grey that stands out from white pages and from black ones


def filter_sheet(filters: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return filters as tiles of about 36 pixels, row by row, uint8 ``(H, W, C)``.

    Args:
        filters: One or more, uint8 ``(n, h, w, C)``; every weight becomes a square block.
    """
    count, height, width, channels = filters.shape
    block = max(1, round(_TILE / max(height, width)))
    tiles = filters.repeat(block, axis=1).repeat(block, axis=2)
    columns = min(count, ceil(sqrt(count * _BROAD)))
    rows = ceil(count / columns)
    step = height * block + _GAP, width * block + _GAP
    size = rows * step[0] + _GAP, columns * step[1] + _GAP
    sheet = np.full((*size, channels), _BETWEEN, np.uint8)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        top, left = row * step[0] + _GAP, column * step[1] + _GAP
        sheet[top : top + height * block, left : left + width * block] = tile
    return sheet
