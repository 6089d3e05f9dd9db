"""From images and limits to a network: the choice, times of this machine, the training ahead.

Nothing here imports torch before images are read or a time is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from convatlas.pipeline.choice_record import choice_record
from convatlas.pipeline.clock import Clock, require_device, untrained
from convatlas.search.budget import Budget
from convatlas.search.choose import Candidate, Choice, Task, choose
from convatlas.search.figures import Origin

if TYPE_CHECKING:
    import torch

    from convatlas.analysis.calibration import Calibration

__all__ = ["Answer", "Listener", "TrainingForecast", "answer", "answer_record"]

_TIMED = 8
_STEPS = 3
# Forward, of a timed step: on a CPU a whole batch of a large network takes a minute, on a GPU it
# may be more than memory holds.
_STEP_MACS, _GPU_STEP_MACS = 1e9, 50e9
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
        device: Where a run trains: ``"cpu"``, ``"cuda"`` or another that torch can use here.
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
    device: str
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
    pretrained: bool = True,
) -> Answer:
    """Choose a network, read what the images are, and time what has to be timed.

    Args:
        budget: The limits.
        data: What ``open_source`` opens; None to choose by the catalogue alone.
        listener: Who is told how far it is.
        measure: Whether up to eight networks of the shortlist are timed on this machine.
        skip_bad: Whether unreadable images are left out instead of raising.
        seed: Decides which images are held out where the data have no split of their own.
        pretrained: Whether pretrained weights may be used.

    Raises:
        BudgetError: Nothing meets the budget.
        DataError: Images that cannot be used.
        OptionError: A GPU that is not there, or whose times cannot be predicted.
    """
    require_device(budget, measure=measure)
    name, task = (None, None) if data is None else _task(data, listener, seed, skip_bad=skip_bad)
    clock = Clock(budget, task, listener.progress("timing networks"))
    ask = partial(choose, budget, task, pretrained=pretrained, watch=listener.progress)
    is_timed = measure or clock.decides
    choice = _timed_choice(ask, clock, measure=measure) if is_timed else ask()
    training = None
    if task is not None:
        training = _training(choice.chosen, task, clock.calibration, listener)
    return Answer(choice=choice, data=name, task=task, training=training)


def answer_record(found: Answer) -> dict[str, Any]:
    """Return the JSON of an answer: that of the choice, the data and the training."""
    data = {"name": found.data, **asdict(found.task)} if found.task else None
    training = asdict(found.training) if found.training else None
    return {**choice_record(found.choice), "data": data, "training": training}


def _task(data: str, listener: Listener, seed: int, *, skip_bad: bool) -> tuple[str, Task]:
    """Read every image once, and return what to call them and what they are."""
    from convatlas.pipeline.preparation import prepare, task_of

    reading = listener.progress("reading the images")
    prepared = prepare(data, reading, seed=seed, skip_bad=skip_bad)
    return prepared.name, task_of(prepared)


def _timed_choice(ask: Callable[..., Choice], clock: Clock, *, measure: bool) -> Choice:
    """Choose with predicted times, measure what is close or asked for, and choose again."""
    choice = ask(timer=clock.measure, forecaster=clock.forecast)
    if not measure:
        return choice
    clock.measure_all([each for each in choice.candidates if each.kept][:_TIMED])
    return ask(timer=clock.measure, forecaster=clock.forecast)


def _training(
    candidate: Candidate, task: Task, calibration: Calibration | None, listener: Listener
) -> TrainingForecast:
    """Estimate the training with the fitting recipe, on the device that a run would train on."""
    from convatlas.analysis.training_time import estimate_training
    from convatlas.pipeline.preparation import fitting_recipe
    from convatlas.train.distributed import Workers

    device = Workers().device
    prices = calibration if device.type == "cpu" else None
    recipe = fitting_recipe(candidate, task.train_images)
    batch, epochs = recipe.training.batch_size, recipe.training.epochs
    frozen = min(recipe.transfer.freeze_epochs, epochs)
    if prices is None:
        listener.say("timing a few training steps")
        count = _timed_images(candidate, batch, device)
        steps_ms = _measured_steps(candidate, task, count, device, frozen=frozen > 0)
        free_ms, frozen_ms = (step_ms * batch / count for step_ms in steps_ms)
        source = f"{_STEPS} steps of {count} images on this machine"
        source += ", scaled to the batch" if count < batch else ""
    else:
        free_ms, frozen_ms = _predicted_steps(candidate, task, batch, prices)
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
        device=device.type,
        origin="measured" if prices is None else "predicted",
        source=source,
    )


def _timed_images(candidate: Candidate, batch: int, device: torch.device) -> int:
    """Return how many images of a batch a timed step has."""
    most = _STEP_MACS if device.type == "cpu" else _GPU_STEP_MACS
    return min(batch, max(_FEWEST_IMAGES, int(most // candidate.cost.macs)))


def _measured_steps(
    candidate: Candidate, task: Task, count: int, device: torch.device, *, frozen: bool
) -> tuple[float, float]:
    """Time steps of so many images: all learning, and the classifier alone."""
    from convatlas.analysis.latency import random_images
    from convatlas.analysis.training_time import measure_step

    model = untrained(candidate, task).to(device)
    images = random_images(model, candidate.input_size, candidate.in_channels, count)
    free_ms = measure_step(model, images, runs=_STEPS).median_ms
    if not frozen:
        return free_ms, free_ms
    model.stem.requires_grad_(False)
    model.stages.requires_grad_(False)
    return free_ms, measure_step(model, images, runs=_STEPS).median_ms


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
