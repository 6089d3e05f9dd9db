"""Foreign state dicts under our names, by structure: order, last word and shape.

A checkpoint of the same architecture lists its parameters in the same order as we do,
whatever it calls them. The alignment is all or nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from convatlas.errors import WeightsError

__all__ = ["align"]

_COUNTER = "num_batches_tracked"
# Other words for ours. A layer scale may be stored without its two axes of length 1.
_SYNONYMS = {"gamma": "layer_scale"}


def align(foreign: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the values of ``foreign`` under the names of ``ours``.

    Names that agree are taken as they are. Otherwise the n-th entry of one is the n-th of the
    other; batch counters, which not every checkpoint has, are left out.

    Args:
        foreign: The checkpoint's state dict.
        ours: The state dict of the model to fill.

    Raises:
        WeightsError: Another number of entries, or an entry of another kind or shape.
    """
    theirs = {name: value for name, value in foreign.items() if not name.endswith(_COUNTER)}
    mine = {name: value for name, value in ours.items() if not name.endswith(_COUNTER)}
    if len(theirs) != len(mine):
        raise WeightsError(
            f"expected a checkpoint with {len(mine)} tensors, got {len(theirs)}: "
            "it belongs to another architecture"
        )
    if theirs.keys() == mine.keys():
        theirs = {name: theirs[name] for name in mine}
    aligned: dict[str, Tensor] = {}
    for (their_name, value), (name, target) in zip(theirs.items(), mine.items(), strict=True):
        if _last(name) == "layer_scale" and value.shape == target.shape[:1]:
            value = value.reshape(target.shape)
        if _last(their_name) != _last(name) or value.shape != target.shape:
            raise WeightsError(
                f"expected {name} of shape {tuple(target.shape)}, got {their_name} of shape "
                f"{tuple(value.shape)}: the checkpoint belongs to another architecture"
            )
        aligned[name] = value
    return aligned


def _last(name: str) -> str:
    word = name.rpartition(".")[2]
    return _SYNONYMS.get(word, word)
