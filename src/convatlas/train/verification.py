"""Is a run that was stopped the run that was not? Both are trained, and every tensor compared.

It knows neither networks nor data: whoever asks says how the parts of a run are made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from convatlas.errors import OptionError
from convatlas.train.checkpoint import Checkpoint, RunFolder
from convatlas.train.contracts import EvalBatches, Task, TrainBatches
from convatlas.train.interrupt import Interrupted
from convatlas.train.loop import fit
from convatlas.train.recipe import Recipe
from convatlas.train.session import Session

__all__ = ["Difference", "Parts", "ResumeReport", "compare_checkpoints", "verify_resume"]

_TIMES = ("seconds", "images_per_second")  # of an epoch; no two are alike


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What a run is made of, as :func:`convatlas.train.loop.fit` takes it."""

    model: nn.Module
    task: Task
    train_batches: TrainBatches
    eval_batches: EvalBatches
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that two checkpoints do not share.

    Attributes:
        name: The tensor (``"model.stem.0.weight"``, ``"optimizer.…"``, ``"ema.…"``) or the
            number beside them (``"history"``, ``"plateau"``).
        largest: Largest absolute difference of two elements; None where there is none to take:
            other shapes or dtypes, one of them missing, or no tensor.
    """

    name: str
    largest: float | None


@dataclass(frozen=True, slots=True)
class ResumeReport:
    """How a stopped run compares with one that was not.

    Attributes:
        steps: Optimizer steps of either run.
        stopped_after: Step after which one of them was stopped.
        tensors: Tensors compared: of the model, its average and the optimizer.
        differing: How many tensors and numbers beside them differ.
        first: The first of those; None when the runs are bit for bit the same.
    """

    steps: int
    stopped_after: int
    tensors: int
    differing: int
    first: Difference | None

    @property
    def exact(self) -> bool:
        """Whether nothing differs."""
        return self.first is None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def verify_resume(
    make_parts: Callable[[], Parts], steps: int, *, folder: Path | None = None
) -> ResumeReport:
    """Train ``steps`` steps straight, and as many with a stop in the middle, and compare.

    The second run is stopped, thrown away, built anew and resumed from its folder, in this
    process. Evaluations after an epoch take place as in any run.

    Args:
        make_parts: Builds everything anew, with the same first weights each time.
        steps: Optimizer steps, at least 2; a run that is shorter ends earlier.
        folder: Where the two runs go (``straight``, ``resumed``); open: they are removed.

    Raises:
        OptionError: Fewer than two steps, or what :func:`fit` finds wrong.
        CheckpointError: The folder holds these runs already.
    """
    if folder is None:
        with TemporaryDirectory(prefix="convatlas-") as made:
            return verify_resume(make_parts, steps, folder=Path(made))
    parts = make_parts()
    steps = min(steps, parts.recipe.training.epochs * len(parts.train_batches))
    if steps < 2:
        raise OptionError(f"expected a run of at least 2 steps, to stop between them, got {steps}")
    middle = steps // 2
    straight, resumed = RunFolder(folder / "straight"), RunFolder(folder / "resumed")
    _train(parts, straight, Session(stop_after_steps=steps))
    del parts
    _train(make_parts(), resumed, Session(stop_after_steps=middle))
    _train(make_parts(), resumed, Session(stop_after_steps=steps, resume=True))
    one, other = straight.load_last(), resumed.load_last()
    found = compare_checkpoints(one, other)
    return ResumeReport(steps, middle, len(one.tensors), len(found), found[0] if found else None)


def compare_checkpoints(one: Checkpoint, other: Checkpoint) -> list[Difference]:
    """Return what differs, tensors first, each in the order of its name; times do not count."""
    names = sorted(one.tensors.keys() | other.tensors.keys())
    pairs = [(name, one.tensors.get(name), other.tensors.get(name)) for name in names]
    found = [Difference(name, _largest(a, b)) for name, a, b in pairs if not _same(a, b)]
    left, right = _timeless(one.metadata), _timeless(other.metadata)
    beside = sorted(k for k in left.keys() | right.keys() if left.get(k) != right.get(k))
    return found + [Difference(name, None) for name in beside]


def _train(parts: Parts, run: RunFolder, session: Session) -> None:
    with suppress(Interrupted):
        fit(
            parts.model,
            parts.task,
            parts.train_batches,
            parts.eval_batches,
            parts.recipe,
            run=run,
            session=session,
        )


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None or one.dtype != other.dtype or one.shape != other.shape:
        return False
    # As bytes: a NaN equals itself, and -0 is not 0.
    plain = [tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other)]
    return torch.equal(*plain)


def _largest(one: Tensor | None, other: Tensor | None) -> float | None:
    if one is None or other is None or one.dtype != other.dtype or one.shape != other.shape:
        return None
    return float((one.double() - other.double()).abs().max()) if one.numel() else None


def _timeless(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata without the times of its epochs and of the one that was stopped."""
    whole, *epochs = (
        {k: v for k, v in part.items() if k not in _TIMES}
        for part in (metadata, *metadata["history"])
    )
    return {**whole, "history": epochs}
