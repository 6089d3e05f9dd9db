"""A trained network as the teacher of another one, which may want its images otherwise."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from convatlas.data.preprocess import Preprocessing
from convatlas.errors import DataError, OptionError
from convatlas.pipeline.prediction import load_network

__all__ = ["Teacher", "load_teacher"]


class Teacher(nn.Module):
    """A network that takes the student's batches.

    The student's normalisation is undone, the teacher's is done, the image is brought to the
    teacher's size, and the classes come in the student's order.

    Args:
        model: The network.
        own: How the teacher's images are prepared.
        given: How the student's images are prepared.
        order: Place of each of the student's classes among the teacher's.

    Raises:
        OptionError: One of them takes grey images and the other colour.
    """

    def __init__(
        self, model: nn.Module, own: Preprocessing, given: Preprocessing, order: list[int]
    ) -> None:
        super().__init__()
        if own.channels != given.channels:
            raise OptionError(
                f"expected a teacher for images of {given.channels} channels, got one for "
                f"{own.channels}: take another teacher"
            )
        self.model = model
        self._own, self._given = own, given
        self._order = order

    def forward(self, x: Tensor) -> Tensor:
        """Return the teacher's logits (N, classes) for the student's images (N, C, H, W)."""
        shape = (self._given.channels, 1, 1)
        mean, std = (x.new_tensor(v).view(shape) for v in (self._given.mean, self._given.std))
        plain = x * std + mean
        if x.shape[-1] != self._own.input_size:
            size = (self._own.input_size, self._own.input_size)
            plain = F.interpolate(plain, size, mode="bilinear", antialias=True)
        logits: Tensor = self.model(self._own.normalize(plain))
        return logits[:, self._order]


def load_teacher(name: str, classes: tuple[str, ...], given: Preprocessing) -> Teacher:
    """Return the network called ``name``, or that of a run folder, as a teacher.

    Args:
        name: A run folder, or a network with weights at hand.
        classes: The student's classes.
        given: How the student's images are prepared.

    Raises:
        DataError: The teacher lacks one of the classes.
        ConvAtlasError: No such network or run.
    """
    trained = load_network(name)
    lacking = [each for each in classes if each not in trained.classes]
    if lacking:
        raise DataError(
            f"expected a teacher that knows the classes {', '.join(classes[:5])}, got {name} "
            f"without {lacking[0]}: train it on the same data"
        )
    order = [trained.classes.index(each) for each in classes]
    model = trained.model.requires_grad_(False)
    return Teacher(model, trained.preprocessing, given, order)
