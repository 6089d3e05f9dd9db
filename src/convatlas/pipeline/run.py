"""The main job: describe → choose → plan → train → evaluate → explain → ship → report.

It happens in one folder. Every stage leaves its files there, so that a stopped run goes on where
it was, and is done again only if something that it goes by has changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convatlas.errors import BudgetError, OptionError
from convatlas.files import require_writable, write_json
from convatlas.pipeline.choice_record import choice_record
from convatlas.pipeline.predicted import load_predictions
from convatlas.pipeline.preparation import Prepared, pick, prepare, require_apart
from convatlas.pipeline.run_files import read_object
from convatlas.pipeline.run_stages import PARITY_FILE, RunWork
from convatlas.pipeline.settings import (
    CHOICE_FILE,
    RUN_FILE,
    RunSettings,
    new_folder,
    read_record,
)
from convatlas.pipeline.sole import alone_in
from convatlas.pipeline.stage_names import SCRATCH
from convatlas.pipeline.stages import StageBook, TimeLimit
from convatlas.pipeline.stopping import resumable
from convatlas.pipeline.watching import Listener
from convatlas.render.report import REPORT_FILE
from convatlas.search.budget import Budget
from convatlas.search.choose import Choice
from convatlas.tasks.metrics import Evaluation, evaluate_predictions

__all__ = ["Outcome", "resume", "run"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run.

    Attributes:
        folder: The run folder.
        report: The HTML report in it.
        choice: The network and why; after a resume without the others.
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


def run(settings: RunSettings, parent: Path, listener: Listener, *, spent: float = 0.0) -> Outcome:
    """Do the main job in a new folder below ``parent``.

    Args:
        settings: What is asked.
        parent: Where the run folder is made.
        listener: Who is told.
        spent: Seconds of the time limit that are gone already.

    Raises:
        ConvAtlasError: Data, budget, options or folders that cannot be used.
        KeyboardInterrupt: Ctrl-C; ``resume`` goes on from the folder that its message names.
    """
    limit = TimeLimit(settings.time_limit, spent)
    require_apart(settings.data, parent)
    require_writable(parent / RUN_FILE)
    with _nothing_begun():
        prepared = _prepared(settings, listener)
        choice = pick(settings, prepared, listener.progress)
        folder = new_folder(parent, f"{prepared.name}-{choice.chosen.name}")
    with alone_in(folder), resumable("run", folder):
        write_json(folder / CHOICE_FILE, choice_record(choice))
        work = RunWork(settings, prepared, choice, folder, listener, limit, is_new=True)
        return _carried_out(work, None)


def resume(
    folder: Path, listener: Listener, stage: str | None = None, *, spent: float = 0.0
) -> Outcome:
    """Go on with a stopped run, with the settings and the network that it started with.

    Args:
        folder: The run folder.
        listener: Who is told.
        stage: Name of a stage to do again; after it follows what it changes.
        spent: Seconds of the time limit that are gone already, besides those of earlier starts.

    Raises:
        CheckpointError: The folder holds no run, its images have changed, or another process is
            at work in it.
        ConvAtlasError: Data or folders that cannot be used any more.
    """
    settings, begun = read_record(folder)
    limit = TimeLimit(settings.time_limit, spent)
    with alone_in(folder), resumable("run", folder), _flags_are_fixed():
        prepared = _prepared(settings, listener)
        as_begun = replace(settings, model=begun["name"], budget=Budget())
        choice = pick(as_begun, prepared, listener.progress)
        # Other weights may have come to hand since.
        choice = replace(choice, chosen=replace(choice.chosen, **begun))
        work = RunWork(settings, prepared, choice, folder, listener, limit)
        return _carried_out(work, stage)


@contextmanager
def _nothing_begun() -> Iterator[None]:
    """Say after Ctrl-C that there is no folder to go on in."""
    try:
        yield
    except KeyboardInterrupt as error:
        error.args = ("stopped before the network was chosen; the same command starts again",)
        raise


@contextmanager
def _flags_are_fixed() -> Iterator[None]:
    """Say with advice about flags that a run that has begun keeps its own."""
    try:
        yield
    except (BudgetError, OptionError) as error:
        error.args = (f"{error} (in a new run: this one keeps the flags that it began with)",)
        raise


def _prepared(settings: RunSettings, listener: Listener) -> Prepared:
    progress = listener.progress("reading the images")
    return prepare(settings.data, progress, seed=settings.seed, skip_bad=settings.skip_bad)


def _carried_out(work: RunWork, again: str | None) -> Outcome:
    folder = work.folder
    work.carry_out(StageBook(folder, work.listener.say, work.limit, again))
    return Outcome(
        folder=folder,
        report=folder / REPORT_FILE,
        choice=work.choice,
        evaluation=_evaluation(folder),
        scratch=_evaluation(folder / SCRATCH) if work.settings.compare_scratch else None,
        parity=read_object(folder / PARITY_FILE, []),
    )


def _evaluation(folder: Path) -> Evaluation:
    return evaluate_predictions(load_predictions(folder).predictions)
