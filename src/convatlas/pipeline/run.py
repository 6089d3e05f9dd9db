"""The main job: choose → train → evaluate → explain → ship → report, in one folder.

Every stage leaves its files in the run folder, so that a stopped run goes on where it was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convatlas.files import require_writable, write_json, write_text
from convatlas.pipeline.explanation import explain
from convatlas.pipeline.preparation import (
    Prepared,
    pick,
    prepare,
    recipe_for,
)
from convatlas.pipeline.records import Logbook, choice_record, cost_record, data_record
from convatlas.pipeline.settings import (
    CHOICE_FILE,
    RECIPE_FILE,
    RUN_FILE,
    RunSettings,
    new_folder,
    read_record,
)
from convatlas.pipeline.shipping import ship
from convatlas.pipeline.stopping import resumable
from convatlas.pipeline.training import Job, evaluate, make_job, train
from convatlas.pipeline.watching import Listener, Watch
from convatlas.render.report import write_report
from convatlas.search.choose import Choice
from convatlas.tasks.metrics import Evaluation

__all__ = ["Outcome", "resume", "run"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run.

    Attributes:
        folder: The run folder.
        report: The HTML report in it.
        choice: The network and why.
        evaluation: Figures on the held-out images.
        scratch: The same network trained from scratch, when that was asked.
        parity: Figures of the export.
    """

    folder: Path
    report: Path
    choice: Choice
    evaluation: Evaluation
    scratch: Evaluation | None
    parity: dict[str, Any]


def run(settings: RunSettings, parent: Path, listener: Listener) -> Outcome:
    """Do the main job in a new folder below ``parent``.

    Raises:
        ConvAtlasError: Data, budget, options or folders that cannot be used.
        Interrupted: Ctrl-C while training; ``resume`` goes on from the folder it names.
    """
    require_writable(parent / RUN_FILE)
    prepared = _prepared(settings, listener)
    choice = pick(settings, prepared)
    folder = new_folder(parent, f"{prepared.name}-{choice.chosen.name}")
    write_json(folder / CHOICE_FILE, choice_record(choice))
    return _guided(settings, prepared, choice, folder, listener)


def resume(folder: Path, listener: Listener) -> Outcome:
    """Go on with a stopped run, with the settings and the network that it started with.

    Raises:
        CheckpointError: The folder holds no run.
        ConvAtlasError: Data or folders that cannot be used any more.
    """
    settings, begun = read_record(folder)
    prepared = _prepared(settings, listener)
    choice = pick(settings, prepared)
    if choice.chosen.name != begun["name"]:  # a latency measured anew may prefer another
        choice = pick(replace(settings, model=begun["name"]), prepared)
    # Other weights may have come to hand since.
    choice = replace(choice, chosen=replace(choice.chosen, **begun))
    return _guided(settings, prepared, choice, folder, listener)


def _prepared(settings: RunSettings, listener: Listener) -> Prepared:
    progress = listener.progress("reading the images")
    return prepare(settings.data, progress, seed=settings.seed, skip_bad=settings.skip_bad)


def _guided(
    settings: RunSettings, prepared: Prepared, choice: Choice, folder: Path, listener: Listener
) -> Outcome:
    """Carry the run out; after Ctrl-C, say how to go on."""
    with resumable("run", folder):
        return _carry_out(settings, prepared, choice, folder, listener)


def _carry_out(
    settings: RunSettings, prepared: Prepared, choice: Choice, folder: Path, listener: Listener
) -> Outcome:
    logbook = Logbook(folder, settings.to_dict())
    listener.say(f"{folder}: {choice.reason}")
    recipe = recipe_for(choice.chosen, settings, prepared.train.images)
    job = make_job(choice.chosen, prepared, recipe, listener.progress("decoding the images"))
    write_json(folder / "data.json", data_record(prepared, job.images))
    write_text(folder / RECIPE_FILE, recipe.to_toml())
    with logbook.stage("train"):
        trained = train(job, folder, Watch(listener))
    with logbook.stage("evaluate"):
        evaluation = evaluate(trained.model, job)
        write_json(folder / "cost.json", cost_record(trained.model, trained.preprocessing))
    listener.say(f"accuracy {evaluation.accuracy:.2%} on {evaluation.images} held-out images")
    scratch = None
    if settings.compare_scratch:
        with logbook.stage("scratch"):
            scratch = _train_scratch(settings, job, folder / "scratch", listener)
        listener.say(f"from scratch: accuracy {scratch.accuracy:.2%}")
    write_json(
        folder / "metrics.json",
        {
            "evaluation": evaluation.as_dict(),
            "scratch": scratch.as_dict() if scratch else None,
        },
    )
    with logbook.stage("explain"):
        write_json(folder / "explain.json", explain(trained.model, job, folder))
    with logbook.stage("export"):
        parity = ship(trained, job, folder)
        write_json(folder / "parity.json", parity)
    agreement = f"{parity['top1_agreement']:.2%} of {parity['images']} images"
    listener.say(f"model.onnx agrees with PyTorch on {agreement}")
    return Outcome(folder, write_report(folder), choice, evaluation, scratch, parity)


def _train_scratch(settings: RunSettings, job: Job, folder: Path, listener: Listener) -> Evaluation:
    listener.say(f"{job.candidate.name} again, for as many epochs, from scratch")
    candidate = replace(job.candidate, weights=None)
    lasting = replace(settings, epochs=job.recipe.training.epochs)
    recipe = recipe_for(candidate, lasting, job.prepared.train.images)
    trained = train(replace(job, candidate=candidate, recipe=recipe), folder, Watch(listener))
    return evaluate(trained.model, job)
