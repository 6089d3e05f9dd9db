"""From images and limits to a network: the choice, times of this machine, the training ahead.

Nothing here imports torch before images are read or a time is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from convatlas.errors import CalibrationError, OptionError
from convatlas.models.catalogue import find_entry
from convatlas.pipeline.choice_record import choice_record
from convatlas.search.budget import Budget
from convatlas.search.choose import Candidate, Choice, Forecaster, Task, choose
from convatlas.search.figures import Figure, Origin

if TYPE_CHECKING:
    from convatlas.analysis.calibration import Calibration
    from convatlas.models.anatomy import ConvNet

__all__ = ["Answer", "Listener", "TrainingForecast", "answer", "answer_record"]

_TIMED = 8
_STEPS = 3
_STEP_MACS = 1e9  # forward, of a timed step: a whole batch of a large network takes a minute
_FEWEST_IMAGES = 2  # BatchNorm cannot learn from a single one


class Listener(Protocol):
    """Who watches: the command line, or nobody."""

    def say(self, text: str) -> None:
        """Take one line of news."""

    def progress(self, what: str) -> Callable[[int, int], None]:
        """Return a function that takes (done, total) of a stage called ``what``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingForecast:
    """How long the chosen network will train, without reading images and evaluating.

    Attributes:
        name: The network.
        recipe: The recipe that fits the images.
        epochs: Its passes over them.
        frozen_epochs: Those in which only the classifier learns.
        batch_size: Images per step.
        step_ms: Milliseconds of a step in which everything learns.
        seconds: The whole training.
        origin: ``"measured"`` or ``"predicted"``.
        source: How, in words.
    """

    name: str
    recipe: str
    epochs: int
    frozen_epochs: int
    batch_size: int
    step_ms: float
    seconds: float
    origin: Origin
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A choice with what was learned beside it.

    Attributes:
        choice: The ranked networks.
        data: What to call the images, or None without any.
        task: What the choice knew of them.
        training: How long the chosen network will train on them.
    """

    choice: Choice
    data: str | None = None
    task: Task | None = None
    training: TrainingForecast | None = None


def answer(
    budget: Budget,
    data: str | None,
    listener: Listener,
    *,
    measure: bool = False,
    skip_bad: bool = False,
    seed: int = 0,
) -> Answer:
    """Choose a network, read what the images are, and time what has to be timed.

    Args:
        budget: The limits.
        data: What ``open_source`` opens; None to choose by the catalogue alone.
        listener: Who is told how far it is.
        measure: Whether up to eight networks of the shortlist are timed on this machine.
        skip_bad: Whether unreadable images are left out instead of raising.
        seed: Decides which images are held out where the data have no split of their own.

    Raises:
        BudgetError: Nothing meets the budget.
        DataError: Images that cannot be used.
        OptionError: A GPU that is not there, or whose times cannot be predicted.
    """
    _require_device(budget, measure=measure)
    name, task = (None, None) if data is None else _task(data, listener, seed, skip_bad=skip_bad)
    clock = _Stopwatch(budget.on, task, listener)
    if measure or budget.max_latency_ms is not None or _predicts_order(budget):
        choice = _timed_choice(budget, task, clock, measure=measure)
    else:
        choice = choose(budget, task)
    training = None
    if task is not None:
        training = _training(choice.chosen, task, _calibration(budget.on), listener)
    return Answer(choice=choice, data=name, task=task, training=training)


def answer_record(found: Answer) -> dict[str, Any]:
    """Return the JSON of an answer: that of the choice, the data and the training."""
    data = {"name": found.data, **asdict(found.task)} if found.task else None
    training = asdict(found.training) if found.training else None
    return {**choice_record(found.choice), "data": data, "training": training}


def _predicts_order(budget: Budget) -> bool:
    """Whether time ranks the networks, and this machine's calibration knows it."""
    return budget.objective == "latency" and _calibration(budget.on) is not None


def _require_device(budget: Budget, *, measure: bool) -> None:
    if budget.on != "cuda":
        return
    if not measure:
        raise OptionError(
            "on cuda times can only be measured, got no --measure: add it, or leave --on out"
        )
    import torch

    if not torch.cuda.is_available():
        raise OptionError(
            "--on cuda expects a GPU that torch can use, found none: leave --on out, or run it "
            "on the machine that has one"
        )


def _task(data: str, listener: Listener, seed: int, *, skip_bad: bool) -> tuple[str, Task]:
    """Read every image once, and return what to call them and what they are."""
    from convatlas.pipeline.preparation import prepare, task_of

    reading = listener.progress("reading the images")
    prepared = prepare(data, reading, seed=seed, skip_bad=skip_bad)
    return prepared.name, task_of(prepared)


def _timed_choice(budget: Budget, task: Task | None, clock: _Stopwatch, *, measure: bool) -> Choice:
    """Choose with predicted times, measure what is close or asked for, and choose again."""
    forecaster = _forecaster(budget, task, _calibration(budget.on))
    choice = choose(budget, task, timer=clock.milliseconds, forecaster=forecaster)
    if measure:
        clock.time([c for c in choice.candidates if c.kept][:_TIMED])

    def known(candidate: Candidate) -> Figure | None:
        return clock.figures.get(candidate.name) or forecaster(candidate)

    return choose(budget, task, timer=clock.milliseconds, forecaster=known)


class _Stopwatch:
    """Times networks with random weights on one device, each of them once.

    Attributes:
        figures: What was measured, by the network's name.
    """

    def __init__(self, device: str, task: Task | None, listener: Listener) -> None:
        self.figures: dict[str, Figure] = {}
        self._device = device
        self._task = task
        self._show = listener.progress("timing networks")

    def time(self, shortlist: list[Candidate]) -> None:
        """Time every one of the networks."""
        for number, candidate in enumerate(shortlist):
            self._show(number, len(shortlist))
            self.milliseconds(candidate)
        self._show(len(shortlist), len(shortlist))

    def milliseconds(self, candidate: Candidate) -> float:
        """Return the median time of one image."""
        if candidate.name not in self.figures:
            self.figures[candidate.name] = self._measured(candidate)
        return self.figures[candidate.name].value

    def _measured(self, candidate: Candidate) -> Figure:
        from convatlas.analysis.latency import measure_latency

        model = _network(candidate, self._task).eval().to(self._device)
        size, channels = candidate.input_size, candidate.in_channels
        found = measure_latency(model, size, in_channels=channels)
        where = "this GPU" if self._device == "cuda" else f"this machine, threads: {found.threads}"
        return Figure(
            found.median_ms,
            "measured",
            f"one image of {size} px on {where}; 10th to 90th percentile",
            low=found.low_ms,
            high=found.high_ms,
        )


def _network(candidate: Candidate, task: Task | None) -> ConvNet:
    """Build the network with random weights."""
    from convatlas.pipeline.preparation import build

    classes = task.num_classes if task else find_entry(candidate.name).num_classes
    return build(replace(candidate, weights=None), classes)


def _calibration(device: str) -> Calibration | None:
    """Return the prices of this machine's operators, if it was calibrated and is asked about."""
    from convatlas.analysis.calibration import load_calibration

    if device != "cpu":
        return None
    try:
        return load_calibration()
    except CalibrationError:
        return None


def _forecaster(budget: Budget, task: Task | None, calibration: Calibration | None) -> Forecaster:
    """Return what is known of a network's time before it runs; each network is asked once."""
    ask: Forecaster = _unknown
    if calibration is not None:
        from convatlas.search.forecasting import calibrated

        ask = calibrated(task, calibration)
    elif budget.on == "cpu" and budget.max_latency_ms is not None:
        from convatlas.analysis.machine import measure_ceilings
        from convatlas.search.forecasting import at_least

        ask = at_least(measure_ceilings())
    found: dict[str, Figure | None] = {}

    def remembered(candidate: Candidate) -> Figure | None:
        if candidate.name not in found:
            found[candidate.name] = ask(candidate)
        return found[candidate.name]

    return remembered


def _unknown(_candidate: Candidate) -> None:
    return None


def _training(
    candidate: Candidate, task: Task, calibration: Calibration | None, listener: Listener
) -> TrainingForecast:
    """Estimate the training with the fitting recipe."""
    from convatlas.analysis.training_time import estimate_training
    from convatlas.pipeline.preparation import fitting_recipe

    recipe = fitting_recipe(candidate, task.train_images)
    batch, epochs = recipe.training.batch_size, recipe.training.epochs
    frozen = min(recipe.transfer.freeze_epochs, epochs)
    if calibration is None:
        listener.say("timing a few training steps")
        free_ms, frozen_ms = _measured_steps(candidate, task, batch, frozen=frozen > 0)
        count = _timed_images(candidate, batch)
        source = f"{_STEPS} steps of {count} images on this machine"
        source += ", scaled to the batch" if count < batch else ""
    else:
        free_ms, frozen_ms = _predicted_steps(candidate, task, batch, calibration)
        source = "from `convatlas calibrate`"
    parts = ((free_ms, epochs - frozen), (frozen_ms, frozen))
    seconds = [
        estimate_training(step_ms, task.train_images, batch, passes).seconds
        for step_ms, passes in parts
        if passes
    ]
    return TrainingForecast(
        name=candidate.name,
        recipe=recipe.name,
        epochs=epochs,
        frozen_epochs=frozen,
        batch_size=batch,
        step_ms=free_ms,
        seconds=sum(seconds),
        origin="measured" if calibration is None else "predicted",
        source=source,
    )


def _timed_images(candidate: Candidate, batch: int) -> int:
    """Return how many images of a batch a timed step has."""
    return min(batch, max(_FEWEST_IMAGES, int(_STEP_MACS // candidate.cost.macs)))


def _measured_steps(
    candidate: Candidate, task: Task, batch: int, *, frozen: bool
) -> tuple[float, float]:
    """Time steps of a few images; return those of a batch: all learning, the classifier alone."""
    from convatlas.analysis.latency import random_images
    from convatlas.analysis.training_time import measure_step

    count = _timed_images(candidate, batch)
    model = _network(candidate, task)
    images = random_images(model, candidate.input_size, candidate.in_channels, count)
    free_ms = measure_step(model, images, runs=_STEPS).median_ms * batch / count
    if not frozen:
        return free_ms, free_ms
    model.stem.requires_grad_(False)
    model.stages.requires_grad_(False)
    return free_ms, measure_step(model, images, runs=_STEPS).median_ms * batch / count


def _predicted_steps(
    candidate: Candidate, task: Task, batch: int, calibration: Calibration
) -> tuple[float, float]:
    """Predict the same: forward and backward, and the forward that a frozen step is."""
    from convatlas.analysis.cost import analyze
    from convatlas.analysis.forecast import predict_latency
    from convatlas.analysis.training_time import predict_step_ms
    from convatlas.search.costing import without_weights

    model, size = without_weights(candidate, task.num_classes), candidate.input_size
    forward = predict_latency(model, size, batch=batch, calibration=calibration)
    return predict_step_ms(forward.layers, analyze(model, size).layers), forward.median_ms
