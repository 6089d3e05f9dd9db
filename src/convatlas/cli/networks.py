"""A network of the catalogue for the commands that only look at it: built without memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convatlas.models.anatomy import ConvNet

__all__ = ["network_to_look_at"]


def network_to_look_at(
    name: str,
    *,
    input_size: int | None = None,
    classes: int | None = None,
    channels: int | None = None,
    stem: str | None = None,
    output_stride: int = 32,
) -> tuple[ConvNet, int]:
    """Return a network without memory and the input size, the paper's for what is None."""
    from convatlas.models.catalogue import find_entry

    entry = find_entry(name)
    import torch

    from convatlas.models.registry import create_model

    options: dict[str, Any] = {"num_classes": classes, "in_channels": channels, "stem": stem}
    given = {key: value for key, value in options.items() if value is not None}
    with torch.device("meta"):
        model = create_model(name, output_stride=output_stride, **given)
    return model, input_size or entry.input_size
