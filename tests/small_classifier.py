"""A convolutional net on 8×8 images whose answers differ from image to image, and such images."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import nn

from convatlas.data.preprocess import Preprocessing
from convatlas.layers.conv import ConvNormAct
from convatlas.layers.head import pooled_classifier
from convatlas.models.anatomy import ConvNet

CLASSES = ("ant", "bee", "größer")
PREPROCESSING = Preprocessing(
    input_size=8,
    channels=3,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    interpolation="bilinear",
    resize_mode="crop",
    crop_fraction=0.8,
)


def photos(count: int = 12, seed: int = 0) -> list[Image.Image]:
    """Return images of several sizes, each with a colour of its own."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        height, width = rng.integers(9, 30, 2)
        noise = rng.integers(0, 80, (height, width, 3)) + rng.integers(0, 176, 3)
        images.append(Image.fromarray(noise.astype(np.uint8)))
    return images


def prepared(images: list[Image.Image]) -> torch.Tensor:
    return PREPROCESSING.tensor(np.stack([PREPROCESSING.image(image) for image in images]))


def small_net(outlier: float = 1.0) -> ConvNet:
    """Return a net in evaluation mode.

    Args:
        outlier: How many times larger one channel is that nothing after it looks at. In single
            precision that changes nothing; with one scale for all channels the others vanish.
    """
    torch.manual_seed(0)
    net = ConvNet(
        ConvNormAct(3, 8, 3),
        [nn.Sequential(ConvNormAct(8, 12, 3, 2), ConvNormAct(12, 12, 1))],
        pooled_classifier(12, 3),
        channels=[12],
        strides=[2],
    )
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        net.train()(prepared(photos(64, seed=2)))  # so that every channel answers to the images
        net.eval().stem.norm.weight[0] = outlier
        net.stages[0][0].conv.weight[:, 0] = 0
        logits = net(prepared(photos()))
        head = net.head.classifier
        head.weight.div_(logits.std(0)[:, None])
        head.bias.sub_(logits.mean(0)).div_(logits.std(0))
    return net
