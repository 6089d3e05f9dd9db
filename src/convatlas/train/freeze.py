"""Freezing: gradients, BatchNorm statistics, dropout and drop path stop together.

It knows the anatomy of the networks and no optimizer. A frozen part must also stay in
evaluation mode, which ``model.train()`` undoes, so training code calls
:func:`set_training_mode` instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from convatlas.errors import OptionError, nearest
from convatlas.models.anatomy import ConvNet

__all__ = ["Frozen", "freeze", "set_training_mode", "unfreeze"]


@dataclass(frozen=True, slots=True)
class Frozen:
    """What :func:`freeze` stopped.

    Attributes:
        modules: The modules that must stay in evaluation mode.
        parameters: The parameters whose gradient was turned off; those that had none
            before are not among them.
    """

    modules: tuple[nn.Module, ...] = ()
    parameters: tuple[nn.Parameter, ...] = ()


def freeze(model: nn.Module, until: str | None) -> Frozen:
    """Freeze everything that lies before ``until``.

    Args:
        model: The network.
        until: First part that still learns: a stage (``"stages.2"``), ``"head"``, or
            ``"classifier"`` (the last layer of the head); None freezes nothing.

    Returns:
        What was frozen, for :func:`set_training_mode` and :func:`unfreeze`.

    Raises:
        OptionError: The model has no such part, or is no :class:`ConvNet`.
    """
    if until is None:
        return Frozen()
    modules = tuple(_before(model, until))
    parameters = tuple(p for module in modules for p in module.parameters() if p.requires_grad)
    for parameter in parameters:
        parameter.requires_grad_(False)
    frozen = Frozen(modules, parameters)
    set_training_mode(model, frozen)
    return frozen


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
