"""Heat maps as colours, and arrays as pictures inside a page.

Knows NumPy and Pillow only: neither networks nor how a heat map was made.
"""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convatlas.errors import DataError

__all__ = ["enlarge", "heat_colours", "heat_overlay", "picture_data_uri", "png_data_uri"]

READABLE_SIDE = 160
"""Pictures with a longer side below this many pixels are enlarged."""

_JPEG_QUALITY = 90
_GREY_WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's "L"
_STRONGEST = 0.75  # share of the colour where the heat is 1; the rest is the picture
_INFERNO = (
    "000004 1b0c41 4a0c6b 781c6d a52c60 cf4446 ed6925 fb9b06 f7d13d fcffa4"  # van der Walt, Smith
)

Pixels = NDArray[np.uint8]


def heat_colours(heat: NDArray[np.floating]) -> Pixels:
    """Return the colours of ``heat`` (0 … 1), shape ``(…, 3)``: black, purple, orange, yellow.

    Ten anchors of the perceptually uniform map "inferno" (matplotlib, CC0), linear between.
    """
    anchors = np.array([list(bytes.fromhex(colour)) for colour in _INFERNO.split()], np.float64)
    positions = np.linspace(0, 1, len(anchors))
    clipped = np.clip(np.nan_to_num(heat), 0, 1)
    channels = [np.interp(clipped, positions, channel) for channel in anchors.T]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def heat_overlay(image: Pixels, heat: NDArray[np.floating]) -> Pixels:
    """Return ``image`` in grey with ``heat`` laid over it in colour, uint8 ``(H, W, 3)``.

    The hotter, the stronger the colour: where the heat is 0 the grey picture is untouched.

    Args:
        image: uint8 ``(H, W, C)`` with 1 or 3 channels.
        heat: Values 0 … 1, ``(h, w)``; another size than the image's is resized bilinearly.

    Raises:
        DataError: Another type or shape.
    """
    _check_image(image)
    if heat.ndim != 2 or 0 in heat.shape:
        raise DataError(f"expected a heat map of shape (H, W), got {heat.shape}: pass one map")
    fitted = _resized(np.clip(np.nan_to_num(heat), 0, 1), image.shape[:2])[..., None]
    weights = (1.0,) if image.shape[2] == 1 else _GREY_WEIGHTS
    grey = (image @ np.array(weights))[..., None]
    opacity = _STRONGEST * fitted
    mixed = (1 - opacity) * grey + opacity * heat_colours(fitted[..., 0])
    return np.rint(mixed).astype(np.uint8)


def enlarge(image: Pixels, at_least: int = READABLE_SIDE) -> Pixels:
    """Return ``image`` with every pixel as a square block, as large as ``at_least`` needs.

    Args:
        image: uint8 ``(H, W, C)``.
        at_least: Pixels that the longer side should reach; larger images stay as they are.
    """
    factor = -(-at_least // max(image.shape[:2]))
    return image.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else image


def png_data_uri(image: Pixels, at_least: int = READABLE_SIDE) -> str:
    """Return ``image`` as a PNG in a ``data:`` address, small ones enlarged without blur.

    Raises:
        DataError: Not uint8 of shape ``(H, W, C)`` with 1 or 3 channels.
    """
    _check_image(image)
    return _data_uri("png", _encoded(_to_pillow(enlarge(image, at_least)), "PNG"))


def picture_data_uri(image: Pixels, at_least: int = READABLE_SIDE) -> str:
    """Return ``image`` as PNG or JPEG in a ``data:`` address, whichever is smaller.

    Drawings and enlarged digits come out as PNG without loss, photos as JPEG at a tenth of it.

    Raises:
        DataError: Not uint8 of shape ``(H, W, C)`` with 1 or 3 channels.
    """
    _check_image(image)
    picture = _to_pillow(enlarge(image, at_least))
    png = _encoded(picture, "PNG")
    jpeg = _encoded(picture, "JPEG", quality=_JPEG_QUALITY)
    return _data_uri("jpeg", jpeg) if len(jpeg) < len(png) else _data_uri("png", png)


def _check_image(image: Pixels) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3):
        raise DataError(
            f"expected a uint8 image of shape (H, W, 1) or (H, W, 3), got {image.dtype} of shape "
            f"{image.shape}: convert it first"
        )
    if image.size == 0:
        raise DataError(f"expected an image with pixels, got shape {image.shape}: leave it out")


def _resized(values: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.float64]:
    if values.shape == size:
        return values.astype(np.float64)
    plane = Image.fromarray(values.astype(np.float32))
    grown = plane.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(grown, dtype=np.float64)


def _to_pillow(image: Pixels) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)


def _encoded(picture: Image.Image, form: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, optimize=True, **options)
    return buffer.getvalue()


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
