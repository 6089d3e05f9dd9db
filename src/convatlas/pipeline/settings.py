"""What the user asked of a run, and the folder where it happens."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from convatlas.errors import CheckpointError, OptionError
from convatlas.files import make_folder
from convatlas.pipeline.run_files import read_object
from convatlas.search.budget import Budget
from convatlas.train.recipe import Recipe, find_recipe

__all__ = [
    "CHOICE_FILE",
    "RECIPE_FILE",
    "RUN_FILE",
    "RunSettings",
    "TrainSettings",
    "how_to_finish",
    "new_folder",
    "read_record",
    "read_training",
]

RUN_FILE = "run.json"
CHOICE_FILE = "choice.json"
RECIPE_FILE = "recipe.toml"
_BEGUN = ("name", "weights", "input_size", "in_channels", "stem")
_GOES_BY = {"run": CHOICE_FILE, "train": RECIPE_FILE}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """The flags of ``convatlas run``.

    Attributes:
        data: ``"digits"`` or a folder of class folders.
        budget: Limits that the network must meet.
        model: Network to take; None lets the choice fall within the budget.
        epochs: Number of epochs; None for the recipe's.
        seed: Decides the split, the initial weights, the order and the augmentation.
        pretrained: Whether pretrained weights may be used.
        compare_scratch: Whether the same network is also trained from scratch.
        skip_bad: Whether unreadable images are left out instead of ending the run.
        early_stop: Epochs without a gain on training images set apart that end the training; 0
            never ends it.
        time_limit: Seconds that the whole run may take; None for no limit.
        max_drop: How far the accuracy of the 8-bit file may fall, as a share of the images.
    """

    data: str = "digits"
    budget: Budget = field(default_factory=Budget)
    model: str | None = None
    epochs: int | None = None
    seed: int = 0
    pretrained: bool = True
    compare_scratch: bool = False
    skip_bad: bool = False
    early_stop: int = 0
    time_limit: float | None = None
    max_drop: float = 0.01

    def __post_init__(self) -> None:
        if self.epochs is not None and self.epochs < 1:
            raise OptionError(f"epochs must be 1 or more, got {self.epochs}")
        if self.seed < 0:
            raise OptionError(f"seed must be 0 or more, got {self.seed}")
        if self.early_stop < 0:
            raise OptionError(f"early_stop must be 0 or more epochs, got {self.early_stop}")
        if self.time_limit is not None and not self.time_limit > 0:
            raise OptionError(
                f"time_limit must be more than 0 seconds, got {self.time_limit:g}: leave it out "
                "or raise it"
            )
        if not 0 <= self.max_drop <= 1:
            raise OptionError(f"max_drop must be in 0 … 1, 0.01 for one point, got {self.max_drop}")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunSettings:
        """Build the settings from :meth:`to_dict`'s values."""
        return cls(**{**values, "budget": Budget(**values["budget"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """The flags of ``convatlas train``; what the recipe says is in the recipe.

    Attributes:
        data: What ``open_source`` opens.
        model: Network to train.
        weights: A source of pretrained weights; None for random ones.
        seed: Decides which images are held out where the data have no split of their own.
        holdout: Share of each class held out then.
        skip_bad: Whether unreadable images are left out instead of ending the run.
        experiment: MLflow experiment that gets the figures too; None for none.
        stream: Whether the images come as a stream: not listed, verified or decoded beforehand.
        images_per_epoch: How many of a stream make an epoch; None for all that it has.
        validation: Images to judge a stream by; None for the split that it declares.
    """

    data: str
    model: str
    weights: str | None = None
    seed: int = 0
    holdout: float = 0.2
    skip_bad: bool = False
    experiment: str | None = None
    stream: bool = False
    images_per_epoch: int | None = None
    validation: str | None = None

    def __post_init__(self) -> None:
        if not self.stream and (self.images_per_epoch is not None or self.validation is not None):
            raise OptionError("--images-per-epoch and --validation are about streams: add --stream")
        if self.images_per_epoch is not None and self.images_per_epoch < 2:
            raise OptionError(f"images_per_epoch must be 2 or more, got {self.images_per_epoch}")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


def new_folder(parent: Path, name: str) -> Path:
    """Make ``parent / name``, or the first of ``name-2``, ``name-3``, … that does not exist.

    Runs that start at the same moment get a folder each. What a folder's name cannot hold, such
    as the slash in ``hf:user/set``, becomes a dash.

    Raises:
        OutputError: The folder cannot be made.
    """
    name = "".join(each if each.isprintable() and each not in "/\\" else "-" for each in name)
    folder, number = parent / name, 1
    while not make_folder(folder):
        number += 1
        folder = parent / f"{name}-{number}"
    return folder


def read_record(folder: Path) -> tuple[RunSettings, dict[str, Any]]:
    """Return the settings of a run folder, and with what its network began.

    That is its name, the source of its weights, its input size, its channels and its stem.

    Raises:
        CheckpointError: The folder holds no run.
    """
    try:
        record = _read(folder / RUN_FILE)
        choice = _read(folder / CHOICE_FILE)
        begun = {key: choice["chosen"][key] for key in _BEGUN}
        return RunSettings.from_dict(record["settings"]), begun
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _no_run(folder, "run", f"{RUN_FILE} and {CHOICE_FILE}") from error


def read_training(folder: Path) -> tuple[TrainSettings, Recipe]:
    """Return the settings and the recipe of a folder that ``convatlas train`` made.

    Raises:
        CheckpointError: The folder holds no such run.
        OptionError: Its recipe was changed to an impossible one.
    """
    try:
        settings = TrainSettings(**_read(folder / RUN_FILE)["settings"])
        (folder / RECIPE_FILE).stat()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _no_run(folder, "train", f"{RUN_FILE} and {RECIPE_FILE}") from error
    return settings, find_recipe(folder / RECIPE_FILE)


def how_to_finish(folder: Path) -> str:
    """Return in words what to do with a folder in which no finished run is."""
    command = _begun_by(folder)
    if command is None:
        return "pass a folder that `convatlas run` or `convatlas train` made"
    return f"finish it with `{_go_on(command, folder)}`"


def _begun_by(folder: Path) -> str | None:
    """Return the command that can go on in a folder: ``"run"``, ``"train"`` or None."""
    record = read_object(folder / RUN_FILE, [])
    kind = record.get("kind", "run") if record else None
    return next(
        (k for k, file in _GOES_BY.items() if k == kind and (folder / file).is_file()), None
    )


def _go_on(command: str, folder: Path) -> str:
    return f"convatlas {command} --resume {shlex.quote(str(folder))}"


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _no_run(folder: Path, command: str, files: str) -> CheckpointError:
    advice, made_by = f"pass a folder that `convatlas {command}` made", _begun_by(folder)
    if made_by not in (None, command):
        advice = f"`convatlas {made_by}` made it, so go on with `{_go_on(str(made_by), folder)}`"
    return CheckpointError(f"expected a run folder with {files}, got {folder}: {advice}")
