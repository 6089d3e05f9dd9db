"""A state dict fitted into a network: by equal names, by a key map, or by structure.

All must fit strictly, with three exceptions that the report names: the first convolution is
adapted to another number of input channels; a stem with another kernel and a fully connected
layer of another size stay as they were initialised.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from convatlas.errors import WeightsError
from convatlas.models.anatomy import ConvNet
from convatlas.models.pretrained.adaptation import adapt_channels
from convatlas.models.pretrained.alignment import (
    as_stored,
    bare_state,
    fits,
    floats,
    pair_by_order,
)
from convatlas.models.pretrained.key_maps import KeyMap, key_maps

__all__ = ["LoadReport", "fit"]


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What became of every tensor of a model and of the checkpoint that filled it.

    Attributes:
        how: How the names were matched: ``"equal names"``, ``"key map of timm"``, ``"structure"``.
        taken: Their name and ours, for the tensors taken as they are.
        adapted: Our name of each first convolution, with its stored and its new input channels.
        new: Our names that stay as they were initialised.
        unused: Their names without a place in the model, or whose place is new.
    """

    how: str
    taken: tuple[tuple[str, str], ...]
    adapted: tuple[tuple[str, int, int], ...]
    new: tuple[str, ...]
    unused: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether nothing but classifiers stayed as it was initialised."""
        return all(map(_may_lack, self.new))

    @property
    def summary(self) -> str:
        """One line: what was taken, adapted, left new and left over."""
        parts = [f"{len(self.taken)} tensors taken ({self.how})"]
        parts += [f"{name} adapted from {n} to {m} channels" for name, n, m in self.adapted]
        parts += [f"{module} newly initialised" for module in _modules(self.new)]
        parts += [f"{len(self.unused)} tensors of the file unused"] * bool(self.unused)
        return ", ".join(parts)


def fit(model: ConvNet, state: Mapping[str, Any], family: str) -> LoadReport:
    """Fill ``model`` from a state dict under any known names; all that cannot fit is refused.

    Args:
        model: The network to fill; unchanged where an error is raised.
        state: Tensors by name, as ``align_by_structure`` takes them.
        family: The model's family in the catalogue, which decides on the key maps.

    Raises:
        WeightsError: Another architecture, or names and an order that do not say what is what.
    """
    theirs, mine = floats(bare_state(state)[0]), floats(model.state_dict())
    inputs = _input_weights(model)
    how, pairs = _paired(theirs, mine, family, inputs)
    verdicts = {
        name: _verdict(name, theirs[their_name], mine[name], inputs)
        for their_name, name in pairs.items()
    }
    for their_name, name in pairs.items():
        if verdicts[name] == "refuse":
            raise WeightsError(
                f"expected {name} of shape {tuple(mine[name].shape)}, got {their_name} of shape "
                f"{tuple(theirs[their_name].shape)}: the checkpoint belongs to another architecture"
            )
    scopes = tuple(_scope(name) for name in verdicts if verdicts[name] == "new")
    kept = {t: name for t, name in pairs.items() if not name.startswith(scopes)}
    filled = {name: _filling(theirs[t], mine[name], verdicts[name]) for t, name in kept.items()}
    model.load_state_dict({**model.state_dict(), **filled})
    return LoadReport(
        how=how,
        taken=tuple((t, name) for t, name in kept.items() if verdicts[name] == "take"),
        adapted=tuple(
            (name, theirs[t].shape[1] * inputs[name], mine[name].shape[1] * inputs[name])
            for t, name in kept.items()
            if verdicts[name] == "adapt"
        ),
        new=tuple(name for name in mine if name not in filled),
        unused=tuple(name for name in theirs if name not in kept),
    )


def _input_weights(model: ConvNet) -> dict[str, int]:
    """Return the weight of every convolution that reads the image, with its groups."""
    convs = {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    first = next(iter(convs))
    return {
        f"{name}.weight": conv.groups
        for name, conv in convs.items()
        if name == first or (name.startswith("stem.") and conv.in_channels == model.in_channels)
    }


def _verdict(name: str, value: Tensor, target: Tensor, inputs: Mapping[str, int]) -> str:
    """Return what becomes of our tensor: ``"take"``, ``"adapt"``, ``"new"`` or ``"refuse"``."""
    if fits(value, target):
        return "take"
    if name in inputs and value.ndim == 4 and len(value) == len(target):
        return "adapt" if value.shape[2:] == target.shape[2:] else "new"
    if _is_classifier(name):
        return "new"
    # A fully connected layer of the head reads maps of another size.
    hidden = name.startswith("head.") and value.ndim == target.ndim == 2
    return "new" if hidden and len(value) == len(target) else "refuse"


def _filling(value: Tensor, target: Tensor, verdict: str) -> Tensor:
    if verdict == "adapt":
        return adapt_channels(value, target.shape[1])
    return as_stored(value, target)


def _paired(
    theirs: Mapping[str, Tensor], mine: Mapping[str, Tensor], family: str, inputs: Mapping[str, int]
) -> tuple[str, dict[str, str]]:
    """Return how the names were matched, and their name → ours."""
    for key_map in (KeyMap(), *key_maps(family)):
        pairs = key_map.pair(theirs, mine)
        left = {name: key_map.rename(name) for name in theirs if name not in pairs}
        pairs |= _same_stem(left, mine.keys() - pairs.values())
        unmatched = {*(left[name] for name in left if name not in pairs)}
        if all(map(_may_lack, unmatched | (mine.keys() - pairs.values()))):
            sources = " and ".join(key_map.sources)
            return f"key map of {sources}" if sources else "equal names", pairs
    if _has_auxiliary(theirs) != _has_auxiliary(mine):
        theirs, mine = _without_auxiliary(theirs), _without_auxiliary(mine)
    if len(theirs) == len(mine) + 2 and not any(map(_is_classifier, mine)):
        theirs = {name: theirs[name] for name in list(theirs)[:-2]}

    def accepts(name: str, value: Tensor, target: Tensor) -> bool:
        return _verdict(name, value, target, inputs) != "refuse"

    return "structure", pair_by_order(theirs, mine, accepts)


def _same_stem(left: Mapping[str, str], ours: Iterable[str]) -> dict[str, str]:
    """Pair what is left of two stems, of which one nests its convolution deeper."""
    tails = {_tail(name): name for name in ours if name.startswith("stem.")}
    stem = {name: _tail(renamed) for name, renamed in left.items() if renamed.startswith("stem.")}
    return {name: tails[tail] for name, tail in stem.items() if tail in tails}


def _tail(name: str) -> str:
    return ".".join(name.split(".")[-2:])


def _scope(name: str) -> str:
    """Return the part of the network that is new if the tensor ``name`` is."""
    return "stem." if name.startswith("stem.") else name.rpartition(".")[0] + "."


def _is_classifier(name: str) -> bool:
    return name.startswith("head.classifier.") or (_is_auxiliary(name) and ".classifier." in name)


def _may_lack(name: str) -> bool:
    return _is_classifier(name) or _is_auxiliary(name)


def _is_auxiliary(name: str) -> bool:
    """Return whether ``name`` belongs to an auxiliary classifier; all checkpoints name it so."""
    return "aux" in name.lower()


def _has_auxiliary(state: Mapping[str, Tensor]) -> bool:
    return any(map(_is_auxiliary, state))


def _without_auxiliary(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if not _is_auxiliary(name)}


def _modules(names: Iterable[str]) -> list[str]:
    """Return the modules of ``names``, each once; a stem is one."""
    return list(dict.fromkeys(_scope(name).rstrip(".") for name in names))
