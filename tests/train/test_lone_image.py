from __future__ import annotations

import pytest
import torch
from torch import nn

from convatlas.errors import OptionError
from convatlas.train.lone_image import lone_image_told


def test_a_batch_norm_of_one_value_is_told_with_a_remedy() -> None:
    norm = nn.BatchNorm2d(3)
    with lone_image_told():
        norm(torch.zeros(2, 3, 1, 1))
        norm(torch.zeros(1, 3, 1, 2))
    told = pytest.raises(OptionError, match=r"raise training\.batch_size or input\.size")
    with told, lone_image_told():
        norm(torch.zeros(1, 3, 1, 1))


def test_other_errors_pass() -> None:
    with pytest.raises(ValueError, match="something else"), lone_image_told():
        raise ValueError("something else")
