"""Foreign state dicts under our names, by structure: order, last word and shape.

A checkpoint of the same architecture lists its parameters in the same order as we do,
whatever it calls them. The alignment is all or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor, nn

from convatlas.errors import WeightsError
from convatlas.models.pretrained.key_maps import numbers_in_order

__all__ = [
    "AlignmentReport",
    "align",
    "align_by_structure",
    "as_stored",
    "bare_state",
    "fits",
    "floats",
    "pair_by_order",
]

State: TypeAlias = dict[str, Tensor]
# Integers that not every checkpoint has: batch counters, and places in a table of biases.
_INTEGERS = ("num_batches_tracked", "relative_position_index")
# Other words for ours.
_SYNONYMS = {"gamma": "layer_scale"}
# Where public training code puts the state dict within its checkpoints.
_NESTS = ("state_dict", "model_state_dict", "model", "net")
_WRAPPERS = ("module.", "_orig_mod.")


@dataclass(frozen=True, slots=True)
class AlignmentReport:
    """What ``align_by_structure`` put where.

    Attributes:
        pairs: Their name and ours, in the order of the model.
        skipped: Their names that no model needs, such as batch counters.
        prefix: What stood before each of their names, such as ``"module."``.
    """

    pairs: tuple[tuple[str, str], ...]
    skipped: tuple[str, ...]
    prefix: str

    @property
    def renamed(self) -> tuple[tuple[str, str], ...]:
        """The pairs whose names differ."""
        return tuple((theirs, ours) for theirs, ours in self.pairs if theirs != ours)


def align_by_structure(model: nn.Module, state_dict: Mapping[str, Any]) -> AlignmentReport:
    """Fill ``model`` with a checkpoint of the same architecture, whatever its names are.

    The n-th tensor of one is the n-th of the other; each pair must agree in its last word and
    its shape. Where the order differs, tensors are told apart by last word and shape, if those
    are enough. Either every parameter and statistic is filled or nothing is changed. What has no
    parameters, such as an activation, cannot be compared: compare a few logits as well.

    Args:
        model: Any module.
        state_dict: Tensors by name, also nested under ``"state_dict"``, ``"model_state_dict"``,
            ``"model"`` or ``"net"`` and with the prefix that DataParallel or ``torch.compile``
            puts before every name.

    Raises:
        WeightsError: Another architecture, or another order in which tensors could be exchanged.
    """
    bare, prefix = bare_state(state_dict)
    theirs, mine = floats(bare), floats(model.state_dict())
    pairs = pair_by_order(theirs, mine)
    aligned = {ours: as_stored(theirs[name], mine[ours]) for name, ours in pairs.items()}
    model.load_state_dict({**model.state_dict(), **aligned})
    skipped = tuple(name for name in bare if name not in theirs)
    return AlignmentReport(tuple(pairs.items()), skipped, prefix)


def align(foreign: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> State:
    """Return the values of ``foreign`` under the names of ``ours``, aligned by structure.

    Names that agree are taken as they are. Integers that not every checkpoint has, such as
    batch counters, are left out. Trailing axes of length 1 may be stored or not: those of a
    layer scale, or of a 1×1 convolution that is a linear layer with us.

    Raises:
        WeightsError: As ``align_by_structure``.
    """
    theirs, mine = floats(foreign), floats(ours)
    pairs = pair_by_order(theirs, mine).items()
    return {name: as_stored(theirs[their_name], mine[name]) for their_name, name in pairs}


def bare_state(state_dict: Mapping[str, Any]) -> tuple[State, str]:
    """Return the tensors, without nesting and the prefix that all names share; and the prefix."""
    for nest in _NESTS:
        if isinstance(state_dict.get(nest), Mapping):
            state_dict = state_dict[nest]
    strange = [name for name, value in state_dict.items() if not isinstance(value, Tensor)]
    if strange or not state_dict:
        got = strange[0] if strange else "none"
        raise WeightsError(f"expected tensors by name, got {got}: pass model.state_dict()")
    prefix = ""
    while wrapper := _shared_prefix(state_dict):
        state_dict = {name.removeprefix(wrapper): value for name, value in state_dict.items()}
        prefix += wrapper
    return dict(state_dict), prefix


def fits(value: Tensor, target: Tensor) -> bool:
    """Return whether two shapes agree but for trailing axes of length 1."""
    return _significant(value) == _significant(target)


def as_stored(value: Tensor, target: Tensor) -> Tensor:
    """Return ``value`` with the trailing axes of length 1 that ``target`` has."""
    return value.reshape(target.shape) if value.shape != target.shape else value


def pair_by_order(
    theirs: Mapping[str, Tensor],
    mine: Mapping[str, Tensor],
    accepts: Callable[[str, Tensor, Tensor], bool] = lambda _, value, target: fits(value, target),
) -> dict[str, str]:
    """Return their name → our name for every tensor.

    Args:
        theirs: The checkpoint's tensors in its order, without integers.
        mine: The model's.
        accepts: Whether (our name, their tensor, our tensor) is a pair that can be filled.

    Raises:
        WeightsError: As ``align_by_structure``.
    """
    if theirs.keys() == mine.keys():
        theirs = {name: theirs[name] for name in mine}
    elif len(theirs) != len(mine):
        raise WeightsError(
            f"expected a checkpoint with {len(mine)} tensors, got {len(theirs)}: "
            "it belongs to another architecture"
        )
    elif not numbers_in_order(theirs):
        return _pair_by_kind(theirs, mine)
    for (their_name, value), (name, target) in zip(theirs.items(), mine.items(), strict=True):
        if _last(their_name) == _last(name) and accepts(name, value, target):
            continue
        if sorted(map(_kind, theirs.items())) == sorted(map(_kind, mine.items())):
            return _pair_by_kind(theirs, mine)
        raise WeightsError(
            f"expected {name} of shape {tuple(target.shape)}, got {their_name} of shape "
            f"{tuple(value.shape)}: the checkpoint belongs to another architecture"
        )
    return dict(zip(theirs, mine, strict=True))


def _pair_by_kind(theirs: Mapping[str, Tensor], mine: Mapping[str, Tensor]) -> dict[str, str]:
    """Pair tensors whose order was lost, if each last word and shape occurs once."""
    places = {_kind(item): item[0] for item in mine.items()}
    kinds = {name: _kind((name, value)) for name, value in theirs.items()}
    if set(kinds.values()) != places.keys() or len(places) < len(mine):
        raise WeightsError(
            f"expected {len(mine)} tensors in the order of the network, got another order, and "
            f"only {len(places)} kinds by last word and shape: which tensor is which cannot be "
            "told; save the state dict as .pth, which keeps the order"
        )
    pairs = {places[kind]: name for name, kind in kinds.items()}
    return {pairs[name]: name for name in mine}


def floats(state: Mapping[str, Tensor]) -> State:
    """Return ``state`` without batch counters and other integers."""
    return {name: value for name, value in state.items() if not name.endswith(_INTEGERS)}


def _shared_prefix(state: Mapping[str, Any]) -> str:
    return next((w for w in _WRAPPERS if all(name.startswith(w) for name in state)), "")


def _kind(item: tuple[str, Tensor]) -> tuple[str, tuple[int, ...]]:
    return _last(item[0]), _significant(item[1])


def _last(name: str) -> str:
    word = name.rpartition(".")[2]
    return _SYNONYMS.get(word, word)


def _significant(tensor: Tensor) -> tuple[int, ...]:
    """Return the tensor's shape without trailing axes of length 1."""
    shape = tuple(tensor.shape)
    while shape and shape[-1] == 1:
        shape = shape[:-1]
    return shape
