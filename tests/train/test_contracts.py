from __future__ import annotations

import torch

from convatlas.data.batches import Batch
from convatlas.train.contracts import place


def test_every_tensor_of_a_batch_moves_and_the_images_become_channels_last() -> None:
    batch = Batch(
        torch.randn(2, 3, 4, 5),
        torch.tensor([1, 0]),
        torch.tensor([7, 8]),
        torch.tensor([0, 1]),
        torch.tensor([0.25, 0.25]),
    )
    placed = place(batch, torch.device("meta"))
    names = ("images", "labels", "indices", "partners", "shares")
    assert {getattr(placed, name).device.type for name in names} == {"meta"}
    assert placed.images.stride() == (60, 1, 15, 3)  # channels lie next to each other


def test_what_a_batch_lacks_stays_lacking() -> None:
    labels = torch.tensor([0])
    placed = place(Batch(torch.zeros(1, 1, 2, 2), labels, labels), torch.device("cpu"))
    assert (placed.partners, placed.shares) == (None, None)
