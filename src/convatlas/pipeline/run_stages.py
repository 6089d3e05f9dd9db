"""What each stage of a run does, what it goes by, and which files it leaves.

The stages share the decoded images and the trained network, made when the first of them needs it;
all else goes from one to the next through the run folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from convatlas import __version__
from convatlas.data.cache import evaluation_images, training_images
from convatlas.data.fingerprint import data_fingerprint
from convatlas.data.sources.splits import hold_out
from convatlas.data.statistics import describe_source
from convatlas.errors import CheckpointError
from convatlas.files import remove_file, write_json, write_text
from convatlas.pipeline.choice_record import choice_record
from convatlas.pipeline.evaluation import EvaluationSettings, judge
from convatlas.pipeline.explanation import explain
from convatlas.pipeline.planning import Room, fit_to_memory, make_plan
from convatlas.pipeline.predicted import PREDICTIONS, save_predictions
from convatlas.pipeline.preparation import Images, Prepared, load_images, pick, recipe_for
from convatlas.pipeline.records import Logbook, cost_record, data_record
from convatlas.pipeline.rehearsal import Reserve, rehearse
from convatlas.pipeline.run_files import number_of, read_object, whole_of
from convatlas.pipeline.settings import CHOICE_FILE, RECIPE_FILE, RunSettings
from convatlas.pipeline.shipping import ship
from convatlas.pipeline.stage_names import (
    CHOOSE,
    DESCRIBE,
    EVALUATE,
    EXPLAIN,
    FOLLOWING,
    PLAN,
    REPORT,
    SCRATCH,
    SHIP,
    TRAIN,
)
from convatlas.pipeline.stages import Heartbeat, Stage, StageBook, TimeLimit
from convatlas.pipeline.subject import Views, find_subject, predict
from convatlas.pipeline.trained import TrainedModel, load_trained
from convatlas.pipeline.training import Job, changes_since_checkpoint, train
from convatlas.pipeline.watching import Listener, Watch
from convatlas.render.model_card import write_model_card
from convatlas.render.report import write_report
from convatlas.render.units import seconds_text
from convatlas.search.choose import Candidate, Choice
from convatlas.tasks.judged import EvaluatedNetwork
from convatlas.train.checkpoint import RunFolder
from convatlas.train.recipe import find_recipe

__all__ = ["PARITY_FILE", "RunWork"]

PARITY_FILE = "parity.json"
_PLAN_FILE = "plan.json"
_STOPPING_SHARE = 0.1  # of the training images
_WEIGHTS = ("trained.json", "trained.safetensors")
_PREDICTED = (f"{PREDICTIONS}.json", f"{PREDICTIONS}.safetensors")
_SHIPPED = (
    *(PARITY_FILE, "model.onnx", "model.json", "model.int8.onnx", "model.int8.json"),
    "predict.py",
)
_REPORTED = (
    *("data.json", CHOICE_FILE, _PLAN_FILE, RECIPE_FILE, "metrics.jsonl", "metrics.json"),
    *("cost.json", "explain.json", *_WEIGHTS, *_SHIPPED),
)


@dataclass(eq=False)
class RunWork:
    """A run that is going on: its stages, and what they share.

    Attributes:
        settings: What was asked.
        prepared: The images.
        choice: The network.
        folder: The run folder.
        listener: Who is told.
        limit: The time that is left.
        is_new: Whether the choice was made just now and is in the folder.
    """

    settings: RunSettings
    prepared: Prepared
    choice: Choice
    folder: Path
    listener: Listener
    limit: TimeLimit
    is_new: bool = False

    def carry_out(self, book: StageBook) -> None:
        """Do the stages that are due.

        Raises:
            CheckpointError: The images are not those that the run began with.
            ConvAtlasError: What a stage finds wrong.
        """
        logbook = self._logbook
        if book.changed(DESCRIBE, "images", self._fingerprints):
            changes = changes_since_checkpoint(self._learning[0], self.folder)
            words = f" ({'; '.join(changes)})" if changes else ""
            raise CheckpointError(
                f"the data set has changed since the run was begun{words}: put it back, or start "
                "a new run"
            )
        why = self.choice.reason if self.is_new else f"going on with {self.choice.chosen.name}"
        self.listener.say(f"{self.folder}: {why}")
        done = book.carry_out(self._stages(book), logbook)
        if self.limit.left < 0 and not set(done).isdisjoint(FOLLOWING):
            self.listener.say(self._too_long(done))

    def _too_long(self, done: Sequence[str]) -> str:
        """Return in words that the run took longer than it may, and why if these stages did."""
        kept = number_of(read_object(self.folder / _PLAN_FILE, []).get("reserve_seconds"))
        taken = sum(self._logbook.seconds[name] for name in FOLLOWING if name in done)
        words = (
            f"the run took {seconds_text(self.limit.spent)}, and its time limit is "
            f"{seconds_text(self.limit.seconds)}"
        )
        if kept is None or taken <= kept:
            return words
        return (
            f"{words}: what follows on the training took {seconds_text(taken)}, of "
            f"{seconds_text(kept)} kept for it"
        )

    @cached_property
    def _logbook(self) -> Logbook:
        return Logbook(self.folder, self.settings.to_dict())

    def _stages(self, book: StageBook) -> list[Stage]:
        """Return the stages in their order, with what each of them goes by."""
        settings, images = self.settings, {"images": self._fingerprints}
        network = {**images, "network": self._network}
        asked = {"budget": asdict(settings.budget), "model": settings.model}
        names = ("epochs", "early_stop", "time_limit")
        length = {name: getattr(settings, name) for name in names}
        room = {"train_memory": settings.budget.train_memory, SCRATCH: settings.compare_scratch}
        judged = {**images, "version": __version__}
        weights: tuple[str, ...] = _WEIGHTS
        stages = [
            Stage(name=DESCRIBE, work=self._describe, asks=network),
            Stage(
                name=CHOOSE,
                work=lambda: [CHOICE_FILE],  # which is there before the first stage
                asks={**images, **asked, "pretrained": settings.pretrained},
                renew=self._choose_anew,
            ),
            Stage(
                name=PLAN,
                work=lambda: self._plan(book),
                asks={**network, **length, **room, "seed": settings.seed},
                renew=book.begin_clock,
            ),
            self._training(TRAIN, self.folder, book),
        ]
        if settings.compare_scratch:
            stages.append(self._training(SCRATCH, self._scratch_folder, book))
            weights += tuple(f"{SCRATCH}/{name}" for name in _WEIGHTS)
        shipping = {**judged, "max_drop": settings.max_drop}
        return [
            *stages,
            Stage(name=EVALUATE, work=self._evaluate, asks=judged, reads=weights),
            Stage(name=EXPLAIN, work=self._explain, asks=judged, reads=_WEIGHTS),
            Stage(name=SHIP, work=self._ship, asks=shipping, reads=_WEIGHTS),
            Stage(name=REPORT, work=self._report, asks=judged, reads=_REPORTED),
        ]

    @cached_property
    def _fingerprints(self) -> list[str]:
        splits = self.prepared.splits
        return [data_fingerprint(part) for part in (splits.train, splits.validation)]

    @property
    def _network(self) -> dict[str, Any]:
        return _facts(self.choice.chosen)

    @property
    def _scratch_folder(self) -> Path:
        return self.folder / SCRATCH

    @cached_property
    def _images(self) -> Images:
        progress = self.listener.progress("decoding the images")
        return load_images(self.prepared, self.choice.chosen, progress)

    @cached_property
    def _learning(self) -> tuple[Prepared, Images]:
        """The images to train on, and those that tell after each epoch how it goes.

        The latter are the held-out ones, which decide nothing, unless they are to end the training:
        then a tenth of the training images is set apart for that.
        """
        if not self.settings.early_stop:
            return self.prepared, self._images
        parts = hold_out(self.prepared.splits.train, self.settings.seed, _STOPPING_SHARE)
        facts, apart_facts = describe_source(parts.train), describe_source(parts.validation)
        given, progress = self._images.preprocessing, self.listener.progress("setting images apart")
        train = training_images(parts.train, given, progress)
        apart = evaluation_images(parts.validation, given)
        return Prepared(parts, facts, apart_facts), Images(train, apart, given)

    @cached_property
    def _trained(self) -> TrainedModel:
        return load_trained(self.folder)

    @property
    def _judging(self) -> Job:
        """The network with the images that it is judged on."""
        recipe = find_recipe(self.folder / RECIPE_FILE)
        return Job(self.choice.chosen, self.prepared, self._images, recipe)

    def _describe(self) -> list[str]:
        write_json(self.folder / "data.json", data_record(self.prepared, self._images))
        return ["data.json"]

    def _choose_anew(self) -> None:
        """Choose again, and refuse another network than the one that the run is of."""
        choice = pick(self.settings, self.prepared, self.listener.progress)
        ours, theirs = self._network, _facts(choice.chosen)
        if theirs != ours:
            was, now = (
                ", ".join(f"{name} {facts[name]}" for name in ours if ours[name] != theirs[name])
                for facts in (ours, theirs)
            )
            raise CheckpointError(
                f"{self.folder} is a run of {ours['name']}, and now another network is chosen "
                f"({now} in place of {was}): start a new run to train that"
            )
        write_json(self.folder / CHOICE_FILE, choice_record(choice))

    def _plan(self, book: StageBook) -> list[str]:
        settings = self.settings
        both = settings.compare_scratch
        wanted = self._wanted(self.choice.chosen, settings)  # decodes images: time that is gone
        reserve = self._reserve(wanted, book) if settings.time_limit is not None else None
        room = Room(
            memory_bytes=settings.budget.train_memory,
            time_limit=settings.time_limit,
            seconds_left=self.limit.left,
            reserve=reserve,
            trainings=2 if both else 1,
        )
        candidate, files = self.choice.chosen, [_PLAN_FILE, RECIPE_FILE]
        recipe, plan = make_plan(wanted, room)
        for line in plan.sentences():
            self.listener.say(line)
        write_json(self.folder / _PLAN_FILE, plan.as_dict())
        write_text(self.folder / RECIPE_FILE, recipe.to_toml())
        if both:
            lasting = replace(settings, epochs=recipe.training.epochs)
            other = fit_to_memory(self._wanted(replace(candidate, weights=None), lasting), room)
            write_text(self._scratch_folder / RECIPE_FILE, other.to_toml())
            files.append(f"{SCRATCH}/{RECIPE_FILE}")
        return files

    def _reserve(self, wanted: Job, book: StageBook) -> Reserve:
        """Return the time to keep for what follows on the training, as it took or is rehearsed."""
        took = self._logbook.seconds
        if book.done(*FOLLOWING) and took.keys() >= set(FOLLOWING):
            return Reserve.with_safety(sum(took[name] for name in FOLLOWING), "earlier pass")
        job = replace(wanted, prepared=self.prepared, images=self._images)
        found = rehearse(job, self.folder)
        held_out, networks = len(self.prepared.splits.validation), 1 + self.settings.compare_scratch
        seconds = found.seconds(job.prepared.train.images, held_out, networks)
        return Reserve.with_safety(seconds, "rehearsal")

    def _wanted(self, candidate: Candidate, settings: RunSettings) -> Job:
        """Return the training as it would be with room enough."""
        prepared, images = self._learning
        recipe = recipe_for(candidate, settings, prepared.train.images)
        recipe = recipe.override({"training.stop_after": settings.early_stop})
        return Job(candidate, prepared, images, recipe)

    def _training(self, name: str, folder: Path, book: StageBook) -> Stage:
        """Return the stage that trains in ``folder``."""
        below = "" if folder == self.folder else f"{name}/"

        def work() -> list[str]:
            self._train(folder, book)
            return [f"{below}{file}" for file in _WEIGHTS]

        def renew() -> None:
            RunFolder(folder).remove()
            if folder == self.folder:  # the other goes on within the time of the first
                book.begin_clock()

        return Stage(
            name=name,
            work=work,
            asks={"images": self._fingerprints, "network": self._network},
            reads=(f"{below}{RECIPE_FILE}",),
            renew=renew,
            goes_on=True,
        )

    def _train(self, folder: Path, book: StageBook) -> None:
        is_scratch = folder != self.folder
        weights = None if is_scratch else self.choice.chosen.weights
        candidate = replace(self.choice.chosen, weights=weights)
        job = Job(candidate, *self._learning, find_recipe(folder / RECIPE_FILE))
        planned = read_object(self.folder / _PLAN_FILE, [])
        reserve = number_of(planned.get("reserve_seconds")) or 0.0
        if self.settings.compare_scratch and not is_scratch:
            reserve += number_of(planned.get("seconds")) or 0.0
        watch = Watch(
            self.listener,
            others=(Heartbeat(book.save), Heartbeat(self._logbook.save)),
            out_of_time=lambda: self.limit.left < reserve,
        )
        if is_scratch:
            self.listener.say(f"{candidate.name} again, for as many epochs, from scratch")
        train(job, folder, watch)
        done = whole_of(read_object(folder / "last.json", []).get("epochs_done")) or 0
        if done < job.recipe.training.epochs:
            why = "the time is up" if self.limit.left < reserve else "no gain any more"
            self.listener.say(
                f"{why} after {done} of {job.recipe.training.epochs} whole epochs: the weights of "
                "this moment are kept"
            )

    def _evaluate(self) -> list[str]:
        network = self._judged(self.folder, self._trained)
        evaluation, files = network.evaluation, list(_PREDICTED)
        scratch = None
        self.listener.say(
            f"accuracy {evaluation.accuracy:.2%} on {evaluation.images} held-out images"
        )
        if self.settings.compare_scratch:
            other = self._judged(
                self._scratch_folder, load_trained(self._scratch_folder)
            ).evaluation
            self.listener.say(f"from scratch: accuracy {other.accuracy:.2%}")
            scratch = other.as_dict()
            files += [f"{SCRATCH}/{name}" for name in _PREDICTED]
        write_json(self.folder / "metrics.json", {**network.as_dict(), SCRATCH: scratch})
        cost = cost_record(self._trained.model, self._trained.preprocessing)
        write_json(self.folder / "cost.json", cost)
        return [*files, "metrics.json", "cost.json"]

    def _judged(self, folder: Path, trained: TrainedModel) -> EvaluatedNetwork:
        """Judge a network by what ``convatlas evaluate`` does, and keep its predictions."""
        subject = find_subject(self.folder)
        if folder != self.folder:
            name, weights = f"{subject.name}/{folder.name}", folder / subject.weights.name
            subject = replace(subject, name=name, folder=folder, weights=weights)
        progress = self.listener.progress("asking the network")
        found = predict(subject, trained, self.prepared.splits, Views(), progress)
        save_predictions(folder, found)
        return judge(found, EvaluationSettings(), chose_on_these=subject.chose_on_these)

    def _explain(self) -> list[str]:
        record = explain(self._trained.model, self._judging, self.folder)
        write_json(self.folder / "explain.json", record)
        pictures = {each[kind] for each in record["pictures"] for kind in ("image", "overlay")}
        pictures |= {record[name]["image"] for name in ("filters", "field") if record[name]}
        for path in (self.folder / "images").glob("*.png"):
            if f"images/{path.name}" not in pictures:  # of another pass
                remove_file(path)
        return ["explain.json", *sorted(pictures)]

    def _ship(self) -> list[str]:
        job, progress = self._judging, self.listener.progress("trying 8 bits")
        parity = ship(self._trained, job, self.folder, self.settings.max_drop, progress)
        write_json(self.folder / PARITY_FILE, parity)
        agreement = f"{parity['top1_agreement']:.2%} of {parity['images']} images"
        doubt = "" if parity["conclusive"] else ": not conclusive, it gives all the same logits"
        self.listener.say(f"model.onnx agrees with PyTorch on {agreement}{doubt}")
        if "int8" in parity:
            self.listener.say(f"8 bits: {parity['int8']['status']}, {parity['int8']['reason']}")
        return [name for name in _SHIPPED if (self.folder / name).is_file()]

    def _report(self) -> list[str]:
        return [write_model_card(self.folder).name, write_report(self.folder).name]


def _facts(chosen: Candidate) -> dict[str, Any]:
    """Return what makes a network this one and no other."""
    names = ("name", "weights", "input_size", "in_channels", "stem")
    return {name: getattr(chosen, name) for name in names}
