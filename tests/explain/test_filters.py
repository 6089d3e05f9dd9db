"""First-layer filters as pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from convatlas.errors import OptionError
from convatlas.explain.filters import first_layer_filters
from convatlas.models.registry import create_model


def test_each_filter_is_stretched_on_its_own() -> None:
    conv = nn.Conv2d(1, 3, (1, 3))
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([[-1.0, 0, 1], [10, 20, 60], [5, 5, 5]])[:, None, None])
    pictures = first_layer_filters(nn.Sequential(conv, nn.Conv2d(3, 4, 3)))
    assert pictures.dtype == np.uint8
    assert pictures.shape == (3, 1, 3, 1)
    # 0 of -1…1 is 127.5, which rounds to the even 128; 20 of 10…60 is a fifth of 255.
    assert pictures[:, 0, :, 0].tolist() == [[0, 128, 255], [0, 51, 255], [128, 128, 128]]


def test_colours_stay_in_their_channel() -> None:
    conv = nn.Conv2d(3, 1, 1)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([0.0, 1, 2]).reshape(1, 3, 1, 1))
    assert first_layer_filters(conv).tolist() == [[[[0, 128, 255]]]]


def test_the_first_convolution_of_a_network_sees_the_image() -> None:
    assert first_layer_filters(create_model("alexnet_2012")).shape == (96, 11, 11, 3)
    assert first_layer_filters(create_model("lenet5")).shape == (6, 5, 5, 1)


def test_networks_without_such_filters() -> None:
    with pytest.raises(OptionError, match="Conv2d, got Linear"):
        first_layer_filters(nn.Linear(2, 2))
    with pytest.raises(OptionError, match="got 4"):
        first_layer_filters(nn.Conv2d(4, 2, 3))
    broken = nn.Conv2d(3, 2, 3)
    nn.init.constant_(broken.weight, float("nan"))
    with pytest.raises(OptionError, match="NaN"):
        first_layer_filters(broken)
