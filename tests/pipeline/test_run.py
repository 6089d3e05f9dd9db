"""The main job on real digits: figures that agree with each other, stops, and resumes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from convatlas.data.source import open_source
from convatlas.deploy.runtime import OnnxClassifier
from convatlas.errors import BudgetError, CheckpointError, OptionError, UnknownNameError
from convatlas.pipeline import planning, run_stages
from convatlas.pipeline.evaluation import EvaluationSettings, evaluate_runs
from convatlas.pipeline.planning import Pace
from convatlas.pipeline.prediction import predict_files
from convatlas.pipeline.preparation import build, pick, prepare, recipe_for
from convatlas.pipeline.records import Logbook
from convatlas.pipeline.run import resume, run
from convatlas.pipeline.settings import RunSettings, new_folder, read_record
from convatlas.pipeline.stage_names import stages_of
from convatlas.pipeline.stages import TimeLimit
from convatlas.pipeline.trained import load_trained
from convatlas.pipeline.training import train
from convatlas.search.budget import Budget
from convatlas.train.interrupt import Interrupted
from small_digits import Quiet, write_digits

SHORT = RunSettings(epochs=2)
STAGES = ["describe", "choose", "plan", "train", "evaluate", "explain", "ship", "report"]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    return run(SHORT, tmp_path_factory.mktemp("runs"), Quiet())


def _json(outcome, name):
    return json.loads((outcome.folder / f"{name}.json").read_text(encoding="utf-8"))


def _skipped(listener):
    """Return the stages that a run said it skipped."""
    return [line.split(":")[0] for line in listener.lines if "skipped" in line]


def test_the_digits_choose_a_small_net_and_leave_every_file(outcome):
    assert outcome.folder.name == "digits-cifar_resnet20"
    names = {path.name for path in outcome.folder.iterdir()}
    assert names >= {
        *("run.json", "data.json", "choice.json", "recipe.toml", "cost.json", "metrics.json"),
        *("stages.json", "plan.json", "predictions.json"),
        *("metrics.jsonl", "explain.json", "parity.json", "trained.json", "trained.safetensors"),
        *(
            "model.onnx",
            "model.json",
            "best.safetensors",
            "last.safetensors",
            "images",
            "report.html",
        ),
    }
    assert not [name for name in names if name.endswith(".tmp")]


def test_the_stages_are_those_that_can_be_asked_for(outcome):
    assert set(_json(outcome, "stages")["stages"]) == set(stages_of(outcome.folder))


def test_a_fifth_is_held_out_and_counted(outcome):
    data = _json(outcome, "data")
    assert (sum(data["counts"]["train"]), sum(data["counts"]["validation"])) == (1437, 360)
    assert outcome.evaluation.images == 360
    assert data["name"] == "digits"


def test_the_exported_file_gives_the_reported_accuracy(outcome):
    held_out = open_source("digits").validation
    classifier = OnnxClassifier(outcome.folder / "model.onnx")
    probabilities = classifier.predict([held_out.load(i) for i in range(len(held_out))])
    accuracy = (probabilities.argmax(1) == np.array(held_out.labels)).mean()
    assert accuracy == pytest.approx(outcome.evaluation.accuracy)
    assert outcome.parity["top1_agreement"] == 1.0


def test_the_figures_of_the_files_agree(outcome):
    chosen, cost = _json(outcome, "choice")["chosen"], _json(outcome, "cost")
    trained = load_trained(outcome.folder)
    assert chosen["params"] == cost["params"] == sum(p.numel() for p in trained.model.parameters())
    assert chosen["macs"] == cost["macs"] == sum(layer["macs"] for layer in cost["layers"])
    assert _json(outcome, "metrics")["evaluation"]["accuracy"] == outcome.evaluation.accuracy
    assert _json(outcome, "explain")["pictures"]
    for picture in _json(outcome, "explain")["pictures"]:
        with Image.open(outcome.folder / picture["image"]) as image:
            assert image.size == (8, 8)
        assert (outcome.folder / picture["overlay"]).exists()


def test_predict_uses_the_run_and_its_own_preprocessing(outcome, tmp_path):
    held_out = open_source("digits").validation
    held_out.load(0).save(tmp_path / "digit.png")
    (prediction,) = predict_files([tmp_path / "digit.png"], str(outcome.folder), top=3)
    expected = OnnxClassifier(outcome.folder / "model.onnx").predict([held_out.load(0)])[0]
    assert prediction.classes[0] == str(expected.argmax())
    assert prediction.probabilities[0] == pytest.approx(expected.max(), abs=1e-5)


@pytest.fixture
def shipped_already(outcome, monkeypatch):
    """Leave the export out, which takes seconds and is the same every time."""
    monkeypatch.setattr(run_stages, "ship", lambda *_: outcome.parity)


def test_an_interrupted_training_resumes_to_the_same_weights(outcome, tmp_path, shipped_already):
    listener = Quiet(stop_after=30)
    with pytest.raises(Interrupted) as stopped:
        run(SHORT, tmp_path, listener)
    (folder,) = tmp_path.iterdir()
    assert str(stopped.value).startswith("stopped after 30 steps")
    assert str(stopped.value).endswith(f"; go on with: convatlas run --resume {folder}")
    assert not (folder / "report.html").exists()
    with pytest.raises(CheckpointError, match="convatlas run --resume"):
        load_trained(folder)
    listener = Quiet()
    resumed = resume(folder, listener)
    assert _skipped(listener) == ["describe", "choose", "plan"]
    first, second = (load_trained(o.folder).model.state_dict() for o in (outcome, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert resumed.evaluation == outcome.evaluation


def _lenet(tmp_path):
    """Return the folder of a run that was stopped after its first epoch of three."""
    images = write_digits(tmp_path / "images")
    settings = RunSettings(data=str(images), model="lenet5", epochs=3)
    with pytest.raises(Interrupted):
        run(settings, tmp_path / "runs", Quiet(stop_after=4))
    (folder,) = (tmp_path / "runs").iterdir()
    return folder


class Steps(Quiet):
    """A listener that remembers the first step that it hears of."""

    first = None

    def step(self, report):
        self.first = self.first or report.step


def _asked_anew(folder):
    return "train", "train: again, as asked"


def _another_recipe(folder):
    plan = run_stages.make_plan

    def longer(job, room):
        recipe, made = plan(job, room)
        return recipe.override({"training.epochs": 2, "schedule.warmup_epochs": 0}), made

    return "plan", "train: again, because of another recipe.toml", longer


@pytest.mark.parametrize("case", [_asked_anew, _another_recipe])
def test_a_stopped_training_begins_anew_when_it_has_to(
    case, tmp_path, monkeypatch, shipped_already
):
    folder = _lenet(tmp_path)
    stage, words, *plan = case(folder)
    for each in plan:
        monkeypatch.setattr(run_stages, "make_plan", each)
    listener = Steps()
    resume(folder, listener, stage)
    assert words in listener.lines
    assert listener.first == 1
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert record["seconds"].keys() == set(STAGES)


def test_another_network_is_not_written_over_the_one_that_is_trained(outcome, tmp_path):
    folder = tmp_path / outcome.folder.name
    shutil.copytree(outcome.folder, folder)
    before = (folder / "choice.json").read_bytes()
    resume(folder, listener := Quiet(), "choose")  # the same again
    assert _skipped(listener) == [each for each in STAGES if each != "choose"]
    assert (folder / "choice.json").read_bytes() == before
    other = replace(outcome.choice, chosen=replace(outcome.choice.chosen, input_size=224))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_stages, "pick", lambda *_: other)
        message = r"run of cifar_resnet20, .* \(input_size 224 in place of input_size 8\): start"
        with pytest.raises(CheckpointError, match=message):
            resume(folder, Quiet(), "choose")
    assert (folder / "choice.json").read_bytes() == before
    listener = Quiet()
    resume(folder, listener)
    assert _skipped(listener) == STAGES


def test_advice_about_flags_of_a_run_that_has_begun_is_about_a_new_one(outcome, monkeypatch):
    def dear(*_):
        raise OptionError("expected a time limit of 2 min, got 1 min: raise --time-limit")

    monkeypatch.setattr("convatlas.pipeline.run.pick", dear)
    with pytest.raises(OptionError, match=r"raise --time-limit \(in a new run: this one keeps"):
        resume(outcome.folder, Quiet())


def test_the_first_command_and_its_versions_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["x/convatlas", "run", "--data", "my ants"])
    Logbook(tmp_path, SHORT.to_dict())
    first = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert first["command"] == "convatlas run --data 'my ants'"
    monkeypatch.setattr("sys.argv", ["x/convatlas", "run", "--resume", "here"])
    monkeypatch.setattr("convatlas.pipeline.records.__version__", "99")
    Logbook(tmp_path, SHORT.to_dict())
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8")) == first


def test_ctrl_c_before_there_is_a_folder_says_so(tmp_path, monkeypatch):
    def pressed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("convatlas.pipeline.run.pick", pressed)
    with pytest.raises(KeyboardInterrupt, match="the same command starts again"):
        run(SHORT, tmp_path, Quiet())
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_run_keeps_the_weights_it_began_with(outcome, monkeypatch):
    settings, begun = read_record(outcome.folder)
    assert settings == SHORT
    assert begun == {
        "name": "cifar_resnet20",
        "weights": None,
        "input_size": 8,
        "in_channels": 1,
        "stem": "small",
    }
    chosen = outcome.choice.chosen
    downloaded = replace(chosen, weights="timm", input_size=224, in_channels=3, stem=None)
    choice = replace(outcome.choice, chosen=downloaded)
    monkeypatch.setattr("convatlas.pipeline.run.pick", lambda *_: choice)
    monkeypatch.setattr("convatlas.pipeline.run._carried_out", lambda work, _: work.choice.chosen)
    assert resume(outcome.folder, Quiet()) == chosen


def test_the_figures_are_those_of_convatlas_evaluate(outcome, tmp_path):
    folder = tmp_path / outcome.folder.name
    shutil.copytree(outcome.folder, folder)
    for name in ("predictions.json", "predictions.safetensors"):
        (folder / name).unlink()
    evaluate_runs([folder], EvaluationSettings(), Quiet())
    theirs = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    assert {**theirs, "scratch": None} == _json(outcome, "metrics")


def test_a_finished_run_is_left_as_it_is_and_one_stage_can_be_repeated(
    outcome, tmp_path, shipped_already
):
    folder = tmp_path / outcome.folder.name
    shutil.copytree(outcome.folder, folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    listener = Quiet()
    again = resume(folder, listener)
    assert _skipped(listener) == STAGES
    assert (again.evaluation, again.parity) == (outcome.evaluation, outcome.parity)
    touched = {path.name for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert touched == {"run.json"}
    (folder / "images").rename(folder / "lost")
    listener = Quiet()
    resume(folder, listener)
    assert _skipped(listener) == [each for each in STAGES if each != "explain"]
    assert any(line.startswith("explain: again, images/") for line in listener.lines)
    (folder / "images" / "mistake-99.png").touch()
    listener = Quiet()
    resume(folder, listener, "train")  # from its first step, to the same weights
    assert "train: again, as asked" in listener.lines
    resume(folder, Quiet(), "explain")
    assert not (folder / "images" / "mistake-99.png").exists()  # nobody's
    assert _skipped(listener) == [each for each in STAGES if each not in ("train", "report")]
    assert "report: again, because of another metrics.jsonl" in listener.lines  # its times
    with pytest.raises(UnknownNameError, match="unknown stage 'exlain'; did you mean explain"):
        resume(folder, Quiet(), "exlain")


def test_a_run_whose_images_changed_is_refused(tmp_path, monkeypatch):
    def pressed(*_, **__):
        raise KeyboardInterrupt

    images = write_digits(tmp_path / "images")
    settings = RunSettings(data=str(images), model="lenet5", epochs=1)
    monkeypatch.setattr(run_stages, "train", pressed)
    with pytest.raises(KeyboardInterrupt):
        run(settings, tmp_path / "runs", Quiet())
    (folder,) = (tmp_path / "runs").iterdir()
    next((images / "train" / "class0").iterdir()).unlink()
    with pytest.raises(CheckpointError, match=r"has changed since .* put it back, or start"):
        resume(folder, Quiet())


class Clock(Quiet):
    """A listener in whose world time passes with the steps alone."""

    def __init__(self, seconds_per_step):
        super().__init__()
        self.seconds = 0.0
        self.seconds_per_step = seconds_per_step

    def step(self, report):
        self.seconds += self.seconds_per_step


def rehearsed(seconds, asked=None):
    """Return what stands for a rehearsal that took so long, and notes what was asked of it."""

    def count(*sizes):
        if asked is not None:
            asked.append(sizes)
        return seconds

    return lambda *_: SimpleNamespace(seconds=count)


@pytest.mark.parametrize(("seconds_per_step", "epochs"), [(1.0, 4), (2.0, 2)])
def test_the_time_limit_is_kept(tmp_path, monkeypatch, shipped_already, seconds_per_step, epochs):
    clock = limited(monkeypatch, seconds_per_step)
    monkeypatch.setattr(planning, "measure_pace", lambda *_: Pace(1000.0, 1000.0, 0.0))
    monkeypatch.setattr(run_stages, "rehearse", rehearsed(20.0))
    settings = RunSettings(model="lenet5", time_limit=225.0)  # 45 steps of a second an epoch
    outcome = run(settings, tmp_path, clock)
    plan, last = _json(outcome, "plan"), _json(outcome, "last")
    assert (plan["epochs"], plan["recipe_epochs"]) == (4, 30)
    assert (plan["reserve_seconds"], plan["reserve_source"]) == (24.0, "rehearsal")
    assert last["epochs_done"] == epochs
    assert clock.seconds <= 225 - plan["reserve_seconds"] + seconds_per_step
    stopped = any(line.startswith("the time is up after 2 of 4") for line in clock.lines)
    assert stopped == (epochs == 2)
    trained = load_trained(outcome.folder).model.state_dict()
    kept = load_file(outcome.folder / "last.safetensors")
    assert all(torch.equal(tensor, kept[f"ema.{name}"]) for name, tensor in trained.items())
    assert outcome.report.exists()
    assert _json(outcome, "stages")["seconds"] == clock.seconds
    again = Quiet()
    resume(outcome.folder, again)  # it does not train on
    assert _skipped(again) == STAGES


def limited(monkeypatch, seconds_per_step):
    """Return a clock that time limits go by."""
    clock = Clock(seconds_per_step)
    limit = partial(TimeLimit, now=lambda: clock.seconds)
    monkeypatch.setattr("convatlas.pipeline.run.TimeLimit", limit)
    return clock


def test_a_run_that_is_planned_again_keeps_the_time_that_its_stages_took(
    tmp_path, monkeypatch, shipped_already
):
    clock = limited(monkeypatch, 0.0)
    monkeypatch.setattr(run_stages, "rehearse", rehearsed(1.0))
    images = write_digits(tmp_path / "images")
    settings = RunSettings(data=str(images), model="lenet5", epochs=1, time_limit=1000.0)
    folder = run(settings, tmp_path / "runs", clock).folder
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    record["seconds"] |= {"evaluate": 10.0, "explain": 20.0, "ship": 30.0, "report": 40.0}
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    plan = _json(resume(folder, clock, "plan"), "plan")
    assert (plan["reserve_seconds"], plan["reserve_source"]) == (120.0, "earlier pass")
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    del record["seconds"]["ship"]
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    plan = _json(resume(folder, clock, "plan"), "plan")
    assert (plan["reserve_seconds"], plan["reserve_source"]) == (1.2, "rehearsal")


@pytest.mark.parametrize(
    ("training", "page", "why"),
    [
        (0, 90, ": what follows on the training took 1 min 30 s, of 12.0 s kept for it"),
        (80, 10, ""),  # what follows kept to its time
    ],
)
def test_a_run_that_took_longer_than_it_may_says_why(
    tmp_path, monkeypatch, shipped_already, training, page, why
):
    clock = limited(monkeypatch, 0.0)
    monkeypatch.setattr(run_stages, "rehearse", rehearsed(10.0))
    moved = SimpleNamespace(perf_counter=lambda: clock.seconds)
    monkeypatch.setattr("convatlas.pipeline.records.time", moved)
    train = run_stages.train

    def slow_training(*given):
        clock.seconds += training
        return train(*given)

    def slow_page(folder):
        clock.seconds += page
        return folder / "run.json"

    monkeypatch.setattr(run_stages, "train", slow_training)
    monkeypatch.setattr(run_stages, "write_report", slow_page)
    images = write_digits(tmp_path / "images")
    settings = RunSettings(data=str(images), model="lenet5", epochs=1, time_limit=60.0)
    folder = run(settings, tmp_path / "runs", clock).folder
    assert clock.lines[-1] == f"the run took 1 min 30 s, and its time limit is 1 min{why}"
    (folder / "explain.json").unlink()
    resume(folder, clock)  # explains anew, and nothing else: what the page took is long ago
    assert clock.lines[-1] == "the run took 1 min 30 s, and its time limit is 1 min"


def test_scratch_that_is_asked_for_after_the_time_is_up_is_trained(
    tmp_path, monkeypatch, shipped_already
):
    clock = limited(monkeypatch, 1.0)
    monkeypatch.setattr(planning, "measure_pace", lambda *_: Pace(1000.0, 1000.0, 0.0))
    asked = []
    monkeypatch.setattr(run_stages, "rehearse", rehearsed(10.0, asked))
    settings = RunSettings(
        data=str(write_digits(tmp_path / "images")),  # 48 images, 2 steps an epoch
        model="lenet5",
        epochs=5,
        time_limit=40.0,
        compare_scratch=True,
    )
    folder = run(settings, tmp_path / "runs", clock).folder
    assert asked == [(48, 18, 2)]  # both networks are judged on 18
    stages = json.loads((folder / "stages.json").read_text(encoding="utf-8"))
    (folder / "stages.json").write_text(json.dumps(stages | {"seconds": 1000.0}), encoding="utf-8")
    resume(folder, clock, "scratch")
    last = json.loads((folder / "scratch" / "last.json").read_text(encoding="utf-8"))
    assert last["epochs_done"] == 5
    assert "the time limit of 40.0 s counts from this start" in clock.lines


def test_the_seconds_of_a_stopped_training_count(tmp_path, monkeypatch):
    seconds = iter((0.0, 100.0, 200.0, 230.0, 300.0, 303.0, 310.0, 350.0))
    clock = SimpleNamespace(perf_counter=lambda: next(seconds))
    monkeypatch.setattr("convatlas.pipeline.records.time", clock)

    def train(stop=None, **how):
        with Logbook(tmp_path, SHORT.to_dict()).stage("train", **how):
            if stop:
                raise stop

    def taken():
        return json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["seconds"]["train"]

    with pytest.raises(KeyboardInterrupt):
        train(KeyboardInterrupt())
    assert taken() == 100
    train()
    assert taken() == 130
    train(anew=True)
    assert taken() == 3
    killed = Logbook(tmp_path, SHORT.to_dict())
    killed.stage("train").__enter__()
    killed.save()  # as the heart beats, 40 s after
    assert taken() == 43


def test_training_that_gains_nothing_ends_and_the_held_out_images_do_not_tell(
    tmp_path, monkeypatch, shipped_already
):
    asked = []

    def trained(job, folder, watch):
        asked.append(job)
        stuck = job.recipe.override({"optimizer.lr": 1e-12, "regularization.ema_decay": 0.0})
        return train(replace(job, recipe=stuck), folder, watch)

    monkeypatch.setattr(run_stages, "train", trained)
    listener = Quiet()
    outcome = run(RunSettings(model="lenet5", early_stop=2), tmp_path, listener)
    assert _json(outcome, "last")["epochs_done"] == 3  # the first, and two without a gain
    assert any(line.startswith("no gain any more after 3 of 30") for line in listener.lines)
    splits, all_of_them = asked[0].prepared.splits, open_source("digits")
    learnt, told = (
        {part.describe(index) for index in range(len(part))}
        for part in (splits.train, splits.validation)
    )
    held_out = {all_of_them.validation.describe(i) for i in range(len(all_of_them.validation))}
    assert (len(learnt), len(told), len(held_out)) == (1437 - len(told), len(told), 360)
    assert 130 <= len(told) <= 150  # a tenth of every class
    assert learnt.isdisjoint(told)
    assert held_out.isdisjoint(learnt | told)
    assert outcome.evaluation.images == 360


def test_a_time_limit_too_small_is_one_clear_line(tmp_path):
    with pytest.raises(OptionError, match=r"^expected a time limit of .* got 1.00 s: raise --time"):
        run(RunSettings(model="lenet5", time_limit=1.0), tmp_path, Quiet())
    with pytest.raises(OptionError, match="time_limit must be more than 0 seconds, got 0"):
        RunSettings(time_limit=0.0)


def test_a_second_run_does_not_touch_the_first(tmp_path):
    (tmp_path / "digits-net").mkdir()
    assert new_folder(tmp_path, "digits-net").name == "digits-net-2"
    assert new_folder(tmp_path, "other").name == "other"


def test_scratch_stands_beside_the_chosen_start(tmp_path, shipped_already):
    settings = replace(SHORT, epochs=1, compare_scratch=True, model="lenet5")
    outcome = run(settings, tmp_path, Quiet())
    assert outcome.scratch is not None
    metrics = _json(outcome, "metrics")
    assert metrics["scratch"]["accuracy"] == outcome.scratch.accuracy
    assert (outcome.folder / "scratch" / "last.safetensors").exists()
    assert set(_json(outcome, "stages")["stages"]) == set(stages_of(outcome.folder))


def test_a_latency_limit_is_measured():
    budget = Budget(max_latency_ms=10_000)
    choice = pick(replace(SHORT, model="lenet5", budget=budget), prepare(SHORT.data))
    assert choice.chosen.cost.latency_ms > 0
    with pytest.raises(BudgetError, match="ms"):
        pick(replace(SHORT, model="lenet5", budget=Budget(max_latency_ms=1e-6)), prepare("digits"))


def test_the_recipe_follows_the_start_and_the_epochs():
    chosen = pick(SHORT, prepare(SHORT.data)).chosen
    assert recipe_for(chosen, SHORT, 1437).training.epochs == 2
    photos = replace(chosen, stem=None)
    scratch = recipe_for(photos, replace(SHORT, epochs=None), 245)
    assert (scratch.training.batch_size, scratch.optimizer.lr) == (
        16,
        pytest.approx(0.1 * 16 / 256),
    )
    tuned = recipe_for(replace(photos, weights="pypi"), replace(SHORT, epochs=1), 245)
    assert (tuned.training.epochs, tuned.transfer.freeze_epochs) == (1, 0)
    with pytest.raises(OptionError, match="epochs must be 1 or more, got 0"):
        RunSettings(epochs=0)


def test_the_seed_decides_the_first_weights():
    chosen = pick(SHORT, prepare(SHORT.data)).chosen
    state = torch.random.get_rng_state()
    first, again, other = (build(chosen, 10, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(first["stem.conv.conv.weight"], again["stem.conv.conv.weight"])
    assert not torch.equal(first["stem.conv.conv.weight"], other["stem.conv.conv.weight"])
    assert torch.equal(torch.random.get_rng_state(), state)
