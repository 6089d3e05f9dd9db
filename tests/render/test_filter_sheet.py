"""Filters side by side: every weight in its place."""

from __future__ import annotations

import numpy as np

from convatlas.render.filter_sheet import filter_sheet


def test_every_weight_becomes_a_block_in_its_tile():
    """A 3×3 filter gets blocks of 36 / 3 = 12 pixels; 3 filters fill ⌈√4.8⌉ = 3 columns."""
    filters = np.arange(27, dtype=np.uint8).reshape(3, 3, 3, 1)
    sheet = filter_sheet(filters)
    assert sheet.shape == (4 + 40, 4 + 3 * 40, 1)
    for number in range(3):
        left = 4 + 40 * number
        tile = sheet[4:40, left : left + 36, 0]
        assert (tile == filters[number, :, :, 0].repeat(12, 0).repeat(12, 1)).all()
    assert (sheet[:4] == 96).all()
    assert (sheet[:, 40:44] == 96).all()


def test_many_filters_fill_rows_and_the_last_may_be_short():
    """⌈√(10 · 1.6)⌉ = 4 columns, so 3 rows; an 11×11 filter gets blocks of 3 pixels."""
    sheet = filter_sheet(np.full((10, 11, 11, 3), 255, np.uint8))
    assert sheet.shape == (4 + 3 * 37, 4 + 4 * 37, 3)
    assert (sheet == 255).all(axis=2).sum() == 10 * 33 * 33


def test_a_filter_larger_than_a_tile_keeps_its_weights():
    filters = np.arange(40 * 40, dtype=np.uint8).reshape(1, 40, 40, 1)
    assert (filter_sheet(filters)[4:-4, 4:-4, 0] == filters[0, :, :, 0]).all()
