"""A batch of one image whose last maps are one pixel: batch normalisation cannot learn from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from convatlas.errors import OptionError

__all__ = ["lone_image_told"]

_WORDS = "more than 1 value per channel"  # torch raises a plain ValueError


@contextmanager
def lone_image_told() -> Iterator[None]:
    """Turn torch's refusal to normalise a single value into one line.

    Raises:
        OptionError: A batch norm got one value per channel.
    """
    try:
        yield
    except ValueError as error:
        if _WORDS not in str(error):
            raise
        raise OptionError(
            "expected 2 values or more per channel for batch normalisation, got 1 (a batch of one "
            "image, maps of one pixel): raise training.batch_size or input.size"
        ) from None
