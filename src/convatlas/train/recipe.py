"""What to train with: one frozen record of every number a run depends on.

A recipe is a small TOML file; those shipped lie in ``recipes/``. This file knows neither models
nor batches, and imports no torch.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from convatlas.data.augmentation import Augmentation
from convatlas.errors import ConvAtlasError, OptionError, UnknownNameError, nearest
from convatlas.train.sections import (
    Growth,
    Input,
    Loss,
    Optimizer,
    Regularization,
    Schedule,
    Training,
    Transfer,
)

__all__ = ["Recipe", "find_recipe", "list_recipes", "parse_setting", "recipe_text"]

_FOLDER = "recipes"
_SECTIONS: dict[str, type[Any]] = {
    "training": Training,
    "optimizer": Optimizer,
    "schedule": Schedule,
    "loss": Loss,
    "regularization": Regularization,
    "transfer": Transfer,
    "input": Input,
    "growth": Growth,
    "augmentation": Augmentation,
}
_WORDS = ("name", "paper", "evidence")
_BARE_POINT = re.compile(r"(?<![\w.])\.(?=\d)")  # .02, which TOML wants as 0.02
_NAME = re.compile(r"[A-Za-z_~./][\w./:@~-]*")  # or a path


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is trained.

    Attributes:
        name: What to call it.
        paper: Where its values come from.
        evidence: What came out, measured where and by whom.
        training: Epochs, batch, seed, precision.
        optimizer: What moves the weights.
        schedule: The learning rate over the run.
        loss: What is minimised.
        regularization: What keeps the network from learning by heart.
        transfer: How a pretrained network comes to learn again.
        input: Sides of the images.
        growth: A shallow network to begin with.
        augmentation: What training images go through.
    """

    name: str = "custom"
    paper: str = ""
    evidence: str = ""
    training: Training = field(default_factory=Training)
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    loss: Loss = field(default_factory=Loss)
    regularization: Regularization = field(default_factory=Regularization)
    transfer: Transfer = field(default_factory=Transfer)
    input: Input = field(default_factory=Input)
    growth: Growth = field(default_factory=Growth)
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        for word in _WORDS:
            if not isinstance(getattr(self, word), str):
                raise OptionError(f"{word} must be text, got {getattr(self, word)!r}: quote it")
        epochs, warmup = self.training.epochs, self.schedule.warmup_epochs
        if warmup >= epochs:
            raise OptionError(
                f"schedule.warmup_epochs must be less than training.epochs, got {warmup:g} of "
                f"{epochs}: lower it or raise training.epochs"
            )
        if self.transfer.freeze_epochs > epochs:
            raise OptionError(
                "transfer.freeze_epochs must be at most training.epochs, got "
                f"{self.transfer.freeze_epochs} of {epochs}: lower it or raise training.epochs"
            )

    def override(self, changes: Mapping[str, Any]) -> Recipe:
        """Return the recipe with other values.

        Args:
            changes: Dotted name → value: ``{"optimizer.lr": 0.02}``. All of them are made before
                any is checked against the others.

        Raises:
            OptionError: No such value, or an impossible one.
        """
        words = {name: value for name, value in changes.items() if name in _WORDS}
        parts: dict[str, dict[str, Any]] = {}
        for dotted, value in changes.items():
            section, _, name = dotted.partition(".")
            if dotted not in words:
                _require_known(dotted)
                parts.setdefault(section, {})[name] = _frozen(value)
        made = {s: replace(getattr(self, s), **values) for s, values in parts.items()}
        return replace(self, **words, **made)

    def to_dict(self) -> dict[str, Any]:
        """Return the sections as plain JSON values."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    def flat(self) -> dict[str, Any]:
        """Return the values under their dotted names, as :meth:`override` takes them."""
        values: dict[str, Any] = {}
        for name, value in self.to_dict().items():
            inner = value.items() if isinstance(value, dict) else ()
            values |= {f"{name}.{each}": v for each, v in inner} or {name: value}
        return values

    def to_toml(self) -> str:
        """Return the file that :meth:`from_toml` reads; open values are left out."""
        lines = [f"{name} = {_literal(getattr(self, name))}" for name in _WORDS]
        for section in _SECTIONS:
            values = self.to_dict()[section].items()
            lines += ["", f"[{section}]"]
            lines += [f"{name} = {_literal(value)}" for name, value in values if value is not None]
        return "\n".join(lines) + "\n"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Build the recipe from :meth:`to_dict`'s values; what is left out keeps its default.

        Raises:
            OptionError: A section or value that does not exist, or an impossible value.
        """
        flat: dict[str, Any] = {}
        for name, value in values.items():
            if isinstance(value, Mapping):
                flat |= {f"{name}.{inner}": each for inner, each in value.items()}
            else:
                flat[name] = value
        return cls().override(flat)

    @classmethod
    def from_toml(cls, text: str, source: str) -> Recipe:
        """Build the recipe from the text of a file called ``source``.

        Raises:
            OptionError: No TOML, or values that are unknown or impossible.
        """
        try:
            return cls.from_dict(tomllib.loads(text))
        except (tomllib.TOMLDecodeError, ConvAtlasError) as error:
            raise OptionError(f"{source}: {error}") from error


def list_recipes() -> list[str]:
    """Return the names of the shipped recipes."""
    folder = files("convatlas.train").joinpath(_FOLDER)
    return sorted(
        each.name.removesuffix(".toml") for each in folder.iterdir() if each.name.endswith(".toml")
    )


def recipe_text(name: str) -> str:
    """Return the file of a shipped recipe, comments and all.

    Raises:
        UnknownNameError: No shipped recipe of that name; the nearest are in the message.
    """
    if name not in list_recipes():
        error = UnknownNameError.of("recipe", name, list_recipes())
        raise UnknownNameError(f"{error}: see `convatlas recipes`, or pass a .toml file")
    return files("convatlas.train").joinpath(_FOLDER, f"{name}.toml").read_text(encoding="utf-8")


def find_recipe(name: str | Path) -> Recipe:
    """Return a shipped recipe by its name, or one from a ``.toml`` file.

    Raises:
        UnknownNameError: No shipped recipe of that name; the nearest are in the message.
        OptionError: A file that is missing or is no recipe.
    """
    if not str(name).endswith(".toml"):
        return Recipe.from_toml(recipe_text(str(name)), f"{name}.toml")
    try:
        text = Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(
            f"expected a recipe in {name}, which cannot be read ({error}): see `convatlas recipes`"
        ) from error
    return Recipe.from_toml(text, str(name))


def parse_setting(text: str) -> tuple[str, Any]:
    """Return the dotted name and the value of a setting, as ``override`` takes them.

    The value is a TOML literal in which ``.02`` is a number, too; a name needs no quotes, and
    nothing after the ``=`` leaves a value open.

    Raises:
        OptionError: No ``=``, or a value that is neither a literal nor a name.
    """
    dotted, equals, raw = (part.strip() for part in text.partition("="))
    if not equals or not dotted:
        raise OptionError(f"expected a setting such as optimizer.lr=0.02, got {text!r}")
    if not raw:
        return dotted, None
    literal = _BARE_POINT.sub("0.", raw) if raw[0] not in "\"'" else raw
    try:
        found = tomllib.loads(f"value = {literal}")
    except tomllib.TOMLDecodeError:
        found = {}
    if list(found) == ["value"]:
        return dotted, found["value"]
    if not _NAME.fullmatch(raw):
        raise OptionError(
            f"expected a number, true, false, a name or a list after {dotted}=, got {raw!r}: quote "
            "other texts"
        )
    return dotted, raw


def _require_known(dotted: str) -> None:
    known = [f"{s}.{f.name}" for s, kind in _SECTIONS.items() for f in fields(kind)]
    if dotted in known:
        return
    last = dotted.rpartition(".")[2]
    same = [name for name in known if name.endswith(f".{last}")]
    hint = f"; did you mean {', '.join(same)}?" if same else nearest(dotted, known)
    raise OptionError(f"a recipe has no value {dotted!r}{hint}")


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _literal(value: Any) -> str:
    """Return a value as TOML, which writes text, numbers, lists and booleans as JSON does."""
    return json.dumps(value, ensure_ascii=False)
