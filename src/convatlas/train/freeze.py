"""Freezing: gradients, BatchNorm statistics, dropout and drop path stop together.

It knows the anatomy of the networks and no optimizer. A frozen part must also stay in
evaluation mode, which ``model.train()`` undoes, so training code calls
:func:`set_training_mode` instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from convatlas.errors import OptionError, nearest
from convatlas.models.anatomy import ConvNet
from convatlas.train.sections import Transfer

__all__ = ["Frozen", "freeze", "frozen_until", "set_training_mode", "unfreeze"]


@dataclass(frozen=True, slots=True)
class Frozen:
    """What :func:`freeze` stopped, and what still moves.

    Attributes:
        until: First part that still learns; None when nothing is frozen.
        modules: The modules that must stay in evaluation mode.
        parameters: The parameters whose gradient was turned off; those that had none
            before are not among them.
        moving: Names of the parameters that still learn, in the model's order.
        moving_params: How many numbers those are.
        frozen_params: How many numbers do not learn, those that never did included.
    """

    until: str | None = None
    modules: tuple[nn.Module, ...] = ()
    parameters: tuple[nn.Parameter, ...] = ()
    moving: tuple[str, ...] = ()
    moving_params: int = 0
    frozen_params: int = 0


def freeze(model: nn.Module, until: str | None) -> Frozen:
    """Freeze everything that lies before ``until``.

    Args:
        model: The network.
        until: First part that still learns: a stage (``"stages.2"``), ``"head"``, or
            ``"classifier"`` (the last layer of the head); None freezes nothing.

    Returns:
        What was frozen, for :func:`set_training_mode` and :func:`unfreeze`, and what still
        moves.

    Raises:
        OptionError: The model has no such part, or is no :class:`ConvNet`.
    """
    modules = () if until is None else tuple(_before(model, until))
    parameters = tuple(p for module in modules for p in module.parameters() if p.requires_grad)
    for parameter in parameters:
        parameter.requires_grad_(False)
    named = dict(model.named_parameters())
    moving = {name: p.numel() for name, p in named.items() if p.requires_grad}
    total, counted = sum(p.numel() for p in named.values()), sum(moving.values())
    frozen = Frozen(until, modules, parameters, tuple(moving), counted, total - counted)
    if modules:
        set_training_mode(model, frozen)
    return frozen


def frozen_until(transfer: Transfer, epoch: int, stages: Sequence[str]) -> str | None:
    """Return the first part that learns in ``epoch``, counted from 0; None for all.

    After ``freeze_epochs`` the next stage towards the stem joins every
    ``unfreeze_every_epochs``, the first of them at once (Howard & Ruder 2018,
    arXiv:1801.06146, section 3.3); the stem comes last.

    Args:
        transfer: The recipe's rule.
        epoch: Epochs done before.
        stages: Names of the stages, from the stem to the head.
    """
    if epoch < transfer.freeze_epochs:
        return transfer.freeze_until
    if not transfer.freeze_epochs or not transfer.unfreeze_every_epochs:
        return None
    joined = 1 + (epoch - transfer.freeze_epochs) // transfer.unfreeze_every_epochs
    first = transfer.freeze_until
    left = (stages.index(first) if first in stages else len(stages)) - joined
    return stages[left] if left >= 0 else None


def unfreeze(frozen: Frozen) -> None:
    """Let everything learn again that :func:`freeze` had stopped."""
    for parameter in frozen.parameters:
        parameter.requires_grad_(True)


def set_training_mode(model: nn.Module, frozen: Frozen) -> None:
    """Put ``model`` in training mode, except its frozen part."""
    model.train()
    for module in frozen.modules:
        module.eval()


def _before(model: nn.Module, until: str) -> Iterator[nn.Module]:
    if not isinstance(model, ConvNet):
        raise OptionError(
            f"freezing needs a ConvNet with stem, stages and head, got {type(model).__name__}: "
            "train all of it with freeze_epochs=0"
        )
    stages = [feature.name for feature in model.feature_info]
    known = [*stages, "head", "classifier"]
    if until not in known:
        raise OptionError(
            f"expected {', '.join(known)} or None to freeze until, got {until!r}"
            f"{nearest(until, known)}"
        )
    yield model.stem
    for name, stage in zip(stages, model.stages, strict=True):
        if name == until:
            return
        yield stage
    if until == "classifier":
        yield from _before_classifier(model.head)


def _before_classifier(head: nn.Module) -> Iterator[nn.Module]:
    *others, _ = head.children()
    # Dropout in front of the classifier regularises the classifier: it stays on.
    yield from (child for child in others if any(True for _ in child.parameters()))
