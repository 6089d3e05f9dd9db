"""Deterministic values for the parameters and the inputs of reference networks.

The tool that writes the oracle fixtures and the tests that read them both take their
numbers from here, so no weight file has to travel. It knows the keys and the shapes of
other libraries' state dicts; it does not know any of their networks.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

LEVELS = 1 << 16
"""Each value is one of this many in its range: 16 random bits make 144 M values in a second."""

SMALL = (-0.05, 0.05)
"""Range of biases and running means: seen in the logits, never the greater part of them."""

MOBILE_GATE = re.compile(r"\b(block\.\d\.fc[12]|se\.conv_(reduce|expand))\.weight$")
"""Weights of a mobile network's squeeze-and-excitation: large, for its activations are small."""

GATE_BIAS = re.compile(r"\b(se|se_module|block\.\d)\.(fc2|conv_expand)\.bias$")
"""The bias under the sigmoid of a squeeze-and-excitation: high, so that the gates stay open."""

RESIDUAL_BLOCK = re.compile(r"^features\.\d+\.[1-9]\d*\.block\.")
RESIDUAL_END = re.compile(r"^blocks\.\d+\.[1-9]\d*\.bn3\.")
"""Norms in a block with a shortcut: their gain is low, or fifty blocks would add up to 1e8."""

RESIDUAL_WIDENING = re.compile(r"^blocks\.\d+\.[1-9]\d*\.conv_exp\.")
"""The widening convolution of a fused block with a shortcut: low for the same reason."""

PLAIN = re.compile(r"branch|^features\.\d+\.(0\.)?block\.|^blocks\.\d+\.0\.bn")
"""Norms in a chain without a shortcut: their gain is about 1, or the image would fade away."""


def fill(key: str, shape: tuple[int, ...]) -> FloatArray:
    """Return the value of one floating-point entry of a foreign state dict.

    The key alone seeds the generator; its last word, the shape and, for norms and gates,
    the place that the key names decide the range:

    ============================  =====================================================
    weight of two axes or more    ±√(6 / fan-in), He's variance; twice that in a mobile gate;
                                  half of it where a 1×1 convolution widens fourfold
                                  (it ends a bottleneck) or a fused block widens
    weight of one axis (norm)     0.5 … 1.0; 0.7 … 1.1 where there is no shortcut;
                                  0.35 … 0.75 or 0.2 … 0.4 at the end of a shortcut
    bias, running_mean            −0.05 … 0.05; 1 … 3 for the bias of a gate
    running_var                   0.5 … 1.5
    any other word                0.1 … 0.5 (layer scale, position bias)
    ============================  =====================================================

    ``num_batches_tracked`` and other integer entries are not filled.

    Args:
        key: The entry's key, such as ``"layer1.0.conv1.weight"``.
        shape: The entry's shape.

    Returns:
        An array of that shape, float32, the same on every machine.
    """
    low, high = _value_range(key, shape)
    # RandomState and not default_rng: numpy promises never to change its stream.
    random = np.random.RandomState(zlib.crc32(key.encode()))
    bits = random.bytes(2 * math.prod(shape))
    values = np.frombuffer(bits, dtype="<u2").astype(np.float32)
    step = (high - low) / LEVELS
    values *= np.float32(step)
    values += np.float32(low + step / 2)
    return values.reshape(shape)


def _value_range(key: str, shape: tuple[int, ...]) -> tuple[float, float]:
    word = key.rsplit(".", 1)[-1]
    if word == "weight":
        return _norm_range(key) if len(shape) == 1 else _he_range(key, shape)
    if word == "bias":
        return (1.0, 3.0) if GATE_BIAS.search(key) else SMALL
    return {"running_mean": SMALL, "running_var": (0.5, 1.5)}.get(word, (0.1, 0.5))


def _norm_range(key: str) -> tuple[float, float]:
    if RESIDUAL_BLOCK.search(key):
        return (0.35, 0.75)
    if RESIDUAL_END.search(key):
        return (0.2, 0.4)
    return (0.7, 1.1) if PLAIN.search(key) else (0.5, 1.0)


def _he_range(key: str, shape: tuple[int, ...]) -> tuple[float, float]:
    bound = math.sqrt(6 / math.prod(shape[1:]))
    if MOBILE_GATE.search(key):
        bound *= 2
    elif RESIDUAL_WIDENING.search(key) or (shape[2:] == (1, 1) and shape[0] == 4 * shape[1]):
        bound /= 2
    return (-bound, bound)


def filled_state(entries: Iterable[str]) -> dict[str, FloatArray]:
    """Return the filled state dict for the ``state`` lines of a fixture.

    Args:
        entries: Lines such as ``"conv1.weight 64x3x7x7"``.

    Returns:
        Key → value, in the order of the lines.
    """
    pairs = (entry.split(" ") for entry in entries)
    return {key: fill(key, tuple(int(size) for size in shape.split("x"))) for key, shape in pairs}


def image_batch(size: int, channels: int = 3, batch: int = 2) -> FloatArray:
    """Return a fixed batch of square images with mean 0 and variance 1.

    Half of the variance is a coarse 4 × 4 pattern and half is noise per pixel: averaged
    over the image, pure noise would look the same in every image.

    Args:
        size: Height and width in pixels, at least 4.
        channels: Number of channels.
        batch: Number of images; all differ.

    Returns:
        An array of shape (batch, channels, size, size), float32.
    """
    random = np.random.RandomState(size)
    coarse = random.standard_normal((batch, channels, 4, 4))
    fine = random.standard_normal((batch, channels, size, size))
    cell = np.arange(size) * 4 // size
    spread = coarse[:, :, cell[:, None], cell[None, :]]
    images: FloatArray = ((spread + fine) / math.sqrt(2)).astype(np.float32)
    return images
