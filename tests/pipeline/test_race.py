"""A race of the shortlist: rungs, figures, stops of every kind, and what is left on disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from convatlas.data.source import Splits
from convatlas.errors import CheckpointError, DataError, OptionError, OutputError
from convatlas.pipeline import race as racing_module
from convatlas.pipeline.preparation import fitting_recipe, prepare, task_of
from convatlas.pipeline.race import (
    RACE_FILE,
    STUDY_FILE,
    RaceSettings,
    race,
    race_shortlist,
)
from convatlas.pipeline.race_study import RaceStudy
from convatlas.pipeline.race_training import race_recipe
from convatlas.pipeline.sole import LOCK_FILE
from convatlas.pipeline.training import make_job, train
from convatlas.pipeline.watching import Watch
from convatlas.search.budget import Budget
from convatlas.search.choose import Choice, choose
from convatlas.search.figures import Figure
from convatlas.search.halving import rungs
from convatlas.tasks.metrics import wilson_interval
from convatlas.train.checkpoint import RunFolder
from convatlas.train.interrupt import Interrupted
from convatlas.train.verification import compare_checkpoints
from racing import NAMES, SETTINGS, Counting, candidates, run_race
from small_digits import write_digits

SCRIPT = Path(__file__).with_name("killed_race.py")
# 96 images to train on are 3 steps: 4 networks for 3 steps, 2 for 3 more, 1 for 6 more.
STEPS = 4 * 3 + 2 * 3 + 1 * 6


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(write_digits(tmp_path_factory.mktemp("photos"), classes=4, train=30, val=3))


@pytest.fixture(scope="module")
def prepared(data):
    return prepare(data)


@pytest.fixture(scope="module")
def raced(prepared, tmp_path_factory):
    folder, listener = tmp_path_factory.mktemp("race"), Counting()
    return run_race(prepared, folder, listener), folder, listener


def timeless(report):
    """The report as JSON values without its seconds."""
    values = json.loads(json.dumps(asdict(report)))
    del values["seconds"]
    for racer in values["racers"]:
        for stint in racer["stints"]:
            del stint["seconds"]
    return values


def trials(folder):
    """Name → trial, as Optuna reads any study's file."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(study_name="race", storage=f"sqlite:///{folder / STUDY_FILE}")
    return {trial.params["network"]: trial for trial in study.trials}


def test_halves_of_the_networks_train_on_for_twice_as_long(raced):
    report, _, listener = raced
    assert [(rung.networks, rung.epochs) for rung in report.rungs] == [(4, 1), (2, 2), (1, 4)]
    assert [[s.epochs for s in each.stints] for each in report.racers] == [
        [1, 2, 4],
        [1, 2],
        [1],
        [1],
    ]
    assert listener.steps == STEPS  # nothing is trained twice
    after_one = [each.stints[0].accuracy for each in report.racers]
    assert min(after_one[:2]) >= max(after_one[2:])
    after_two = [each.stints[1].accuracy for each in report.racers[:2]]
    assert after_two[0] >= after_two[1]


def test_every_figure_has_its_images_and_its_interval(raced, prepared):
    report, _, _ = raced
    assert (report.train_images, report.judged_images) == (96, 24)  # a fifth of 4 × 30
    assert report.chance == 6 / 24
    for each in report.racers:
        for stint in each.stints:
            assert stint.images == 24
            right = round(stint.accuracy * 24)
            assert stint.accuracy == right / 24
            assert stint.interval == wilson_interval(right, 24)
        assert [s.seconds for s in each.stints] == sorted(s.seconds for s in each.stints)
    assert report.seconds == pytest.approx(sum(each.stints[-1].seconds for each in report.racers))


def test_the_record_is_the_report(raced):
    report, folder, _ = raced
    record = json.loads((folder / RACE_FILE).read_text())
    assert record == json.loads(json.dumps(asdict(report)))
    assert record["recommended"] in NAMES


def test_the_study_is_one_that_optuna_reads(raced):
    report, folder, _ = raced
    found = trials(folder)
    assert sorted(found) == sorted(NAMES)
    states = [found[each.name].state.name for each in report.racers]
    assert states == ["COMPLETE", "PRUNED", "PRUNED", "PRUNED"]
    for each in report.racers:
        steps = {stint.epochs: stint.accuracy for stint in each.stints}
        assert found[each.name].intermediate_values == steps
        assert found[each.name].value == each.stints[-1].accuracy


def test_only_the_last_rung_keeps_its_weights(raced):
    report, folder, _ = raced
    kept = {path.parent.name for path in folder.rglob("*.safetensors")}
    assert kept == {report.racers[0].name}


def test_a_promoted_network_is_the_one_that_was_never_stopped(raced, prepared, tmp_path):
    report, folder, _ = raced
    winner = report.racers[0]
    (candidate,) = candidates(prepared, [winner.name])
    parted = racing_module._parted(prepared, SETTINGS, Counting())
    recipe = race_recipe(candidate, 96, report.rungs, seed=0)
    assert recipe.training.epochs == 4
    train(make_job(candidate, parted, recipe), tmp_path, Watch(Counting()))
    straight, stopped = (RunFolder(path).load_last() for path in (tmp_path, folder / winner.name))
    stopped = replace(stopped, metadata={**stopped.metadata, "data": straight.metadata["data"]})
    assert compare_checkpoints(straight, stopped) == []


def test_a_finished_race_is_not_run_again(raced, prepared):
    report, folder, _ = raced
    listener = Counting()
    assert run_race(prepared, folder, listener) == report
    assert (listener.steps, listener.lines) == (0, [])


def test_the_held_out_images_are_never_looked_at(raced, prepared, tmp_path):
    class Sealed:
        name = "sealed"

        def __getattr__(self, name):
            raise AssertionError(f"the race asked the held-out images for {name}")

    sealed = replace(prepared, splits=Splits(prepared.splits.train, Sealed(), "sealed"))
    first, other = (
        run_race(sealed, tmp_path / str(seed), Counting(), replace(SETTINGS, seed=seed), NAMES[:2])
        for seed in (0, 1)
    )
    assert first.judged_images == other.judged_images == 24
    assert timeless(first)["racers"] != timeless(other)["racers"]


@pytest.mark.parametrize("stop_at", [3, 8, STEPS])
def test_a_stopped_race_ends_like_the_one_left_in_peace(raced, prepared, tmp_path, stop_at):
    report, folder, _ = raced
    stopped = Counting(stop_at)
    with pytest.raises(Interrupted, match=f"; the same command goes on from {tmp_path}"):
        run_race(prepared, tmp_path, stopped)
    resumed = Counting()
    # in another order, which must not matter either
    found = run_race(prepared, tmp_path, resumed, names=NAMES[::-1])
    assert timeless(found) == timeless(report)
    assert resumed.steps == STEPS - stop_at
    one, other = (RunFolder(each / report.racers[0].name) for each in (folder, tmp_path))
    assert compare_checkpoints(one.load_last(), other.load_last()) == []


@pytest.mark.parametrize("method", ["note", "end"])
def test_a_stop_while_the_study_is_written_loses_nothing(
    raced, prepared, tmp_path, monkeypatch, method
):
    report, _, _ = raced
    original, calls = getattr(RaceStudy, method), []

    def stopping(self, *args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(RaceStudy, method, stopping)
        with pytest.raises(KeyboardInterrupt, match="stopped; the same command goes on"):
            run_race(prepared, tmp_path, Counting())
    assert timeless(run_race(prepared, tmp_path, Counting())) == timeless(report)
    assert {t.state.name for t in trials(tmp_path).values()} == {"COMPLETE", "PRUNED"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_a_killed_race_ends_like_the_one_left_in_peace_and_imports_optuna_late(
    raced, data, tmp_path
):
    done = subprocess.run(
        [sys.executable, SCRIPT, data, tmp_path, "2", "5", "11"],
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [False, *[-signal.SIGKILL] * 3, 0]
    record = json.loads((tmp_path / RACE_FILE).read_text())
    for values in (record, *(stint for each in record["racers"] for stint in each["stints"])):
        del values["seconds"]
    assert record == timeless(raced[0])


def test_another_race_in_the_folder_is_refused(raced, prepared):
    _, folder, _ = raced
    with pytest.raises(CheckpointError, match=r"holds another race \(seed 0 → 1.*choose another"):
        run_race(prepared, folder, Counting(), replace(SETTINGS, seed=1))
    with pytest.raises(CheckpointError, match=r"networks without cifar_plain32 at 8 px from scr"):
        run_race(prepared, folder, Counting(), names=NAMES[:3])
    swapped = (*NAMES[:3], "cifar_resnet44")
    with pytest.raises(
        CheckpointError, match=r"without cifar_plain32 .*, small stem and with cifar_"
    ):
        run_race(prepared, folder, Counting(), names=swapped)
    train = prepared.splits.train
    fewer = racing_module.hold_out(train, 0, 0.1).train
    other = replace(prepared, splits=replace(prepared.splits, train=fewer))
    with pytest.raises(CheckpointError, match=r"another race \(data "):
        run_race(other, folder, Counting())


def test_a_network_that_cannot_be_trained_is_out_and_the_others_go_on(prepared, tmp_path):
    sound, alexnet = candidates(prepared, ["cifar_resnet20", "alexnet"])
    small = replace(alexnet, stem=None)  # its own stem is for larger images
    listener = Counting()
    report = race([small, sound], prepared, SETTINGS, tmp_path, listener)
    assert report.recommended == "cifar_resnet20"
    failed = report.racers[-1]
    assert (failed.name, failed.stints) == ("alexnet", ())
    assert "alexnet is out: " + failed.failure in listener.lines
    assert report.notes[-1] == f"alexnet could not be trained: {failed.failure}"
    assert trials(tmp_path)["alexnet"].state.name == "FAIL"
    again = Counting()
    assert race([small, sound], prepared, SETTINGS, tmp_path, again) == report
    assert again.steps == 0
    with pytest.raises(OptionError, match="none of the 1 networks could be trained; alexnet: "):
        race([small], prepared, SETTINGS, tmp_path / "alone", Counting())


def test_a_choice_is_raced_by_its_best_networks(prepared, data, tmp_path):
    shortlist = candidates(prepared)
    dropped = replace(shortlist[0], kept=False)
    choice = Choice(
        chosen=shortlist[1], reason="", candidates=(*shortlist[1:], dropped), budget=Budget()
    )
    settings = RaceSettings(networks=2, epochs=1, factor=2)
    report = race_shortlist(choice, data, tmp_path, Counting(), settings)
    assert {each.name for each in report.racers} == set(NAMES[1:3])
    with pytest.raises(OptionError, match="expected --out outside of the images"):
        race_shortlist(choice, data, Path(data) / "race", Counting(), settings)


def test_a_race_goes_on_with_its_networks_though_times_have_changed(prepared, data, tmp_path):
    settings = RaceSettings(networks=2, epochs=1, factor=2)
    task = task_of(prepared)

    def chosen(slow, limit=10.0):
        """A choice that measures: 5 ms for all networks but the slow ones."""

        def timer(each):
            return Figure(20.0 if each.name in slow else 5.0, "measured")

        return choose(Budget(max_latency_ms=limit, max_macs=20e6), task, timer=timer)

    first, later = chosen(()), chosen(("cifar_resnet20",))
    names = [[e.name for e in choice.candidates if e.kept][:2] for choice in (first, later)]
    assert names == [["cifar_resnet20", "cifar_resnet32"], ["cifar_resnet32", "cifar_resnet44"]]
    whole = race_shortlist(first, data, tmp_path / "whole", Counting(), settings)
    with pytest.raises(Interrupted):
        race_shortlist(first, data, tmp_path / "two", Counting(stop_at=5), settings)
    found = race_shortlist(later, data, tmp_path / "two", Counting(), settings)
    assert timeless(found) == timeless(whole)
    other = chosen(("cifar_resnet20",), limit=11.0)
    with pytest.raises(CheckpointError, match=r"holds another race .*with cifar_resnet44"):
        race_shortlist(other, data, tmp_path / "two", Counting(), settings)


def test_odd_names_of_folders_are_only_names(prepared, tmp_path):
    folder = tmp_path / "a?b=1&c %20 {SCHEMA_VERSION} #é"
    run_race(prepared, folder, Counting(), names=NAMES[:1])
    assert {path.name for path in folder.iterdir()} == {LOCK_FILE, RACE_FILE, STUDY_FILE, NAMES[0]}


def test_what_cannot_be_raced_is_said_in_one_line(prepared, tmp_path):
    with pytest.raises(OptionError, match="expected different networks to race, got none"):
        run_race(prepared, tmp_path, Counting(), names=[])
    with pytest.raises(OptionError, match="got lenet5, lenet5: name each once"):
        run_race(prepared, tmp_path, Counting(), names=["lenet5", "lenet5"])
    with pytest.raises(OptionError, match="factor of 2 or more"):
        RaceSettings(factor=1)
    with pytest.raises(OptionError, match="seed must be 0 or more, got -1"):
        RaceSettings(seed=-1)
    with pytest.raises(OptionError, match="2 images or more in a race, got 1"):
        RaceSettings(images=1)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write"):
        run_race(prepared, tmp_path / "file", Counting())
    lone = racing_module.hold_out(prepared.splits.train, 0, 0.97).train
    other = replace(prepared, splits=replace(prepared.splits, train=lone))
    with pytest.raises(DataError, match="at least 2 images of class"):
        run_race(other, tmp_path / "lone", Counting())


def test_a_damaged_study_is_told_in_one_line(prepared, tmp_path):
    (tmp_path / STUDY_FILE).write_bytes(b"no database " * 100)
    with pytest.raises(CheckpointError, match=r"expected the record of a race in .*move it away"):
        run_race(prepared, tmp_path, Counting())


def test_the_first_rung_shows_enough_images_and_the_last_is_no_longer_than_the_recipe(prepared):
    shortlist = candidates(prepared)  # recipes of 30 epochs; factor 3 makes rungs of 4 and 1

    def epochs(images, **options):
        found = RaceSettings(**options).rungs_for(shortlist, images)
        return [rung.epochs for rung in found]

    assert epochs(60_000) == [1, 3]
    assert epochs(1_500) == [2, 6]
    assert epochs(100) == [5, 15]
    assert epochs(100, factor=2) == [5, 10, 20]
    many = shortlist[:1] * 27
    assert [rung.epochs for rung in RaceSettings().rungs_for(many, 100)] == [1, 3, 9, 27]
    assert epochs(100, epochs=7) == [7, 21]


def test_of_many_images_some_are_raced_with_every_class_among_them(prepared):
    train = prepared.splits.train  # 30 of each of 4 classes
    assert racing_module._some(train, 120, 0) is train
    some = racing_module._some(train, 40, 0)
    assert sorted(some.labels) == sorted([0, 1, 2, 3] * 10)
    assert len({some.describe(index) for index in range(40)}) == 40
    other = racing_module._some(train, 40, 1)
    assert {some.describe(i) for i in range(40)} != {other.describe(i) for i in range(40)}
    assert sorted(racing_module._some(train, 1, 0).labels) == sorted([0, 1, 2, 3] * 2)
    parted = racing_module._parted(prepared, RaceSettings(images=40), Counting())
    assert (parted.train.images, parted.validation.images) == (32, 8)


def test_a_pretrained_body_is_frozen_in_the_first_rung_at_most(prepared):
    (candidate,) = candidates(prepared, ["efficientnet_lite0"])
    pretrained = replace(candidate, weights="pypi")
    assert fitting_recipe(pretrained, 500).transfer.freeze_epochs == 4
    frozen = [
        race_recipe(pretrained, 500, rungs(9, 3, epochs), 0).transfer.freeze_epochs
        for epochs in (1, 2, 5)
    ]
    assert frozen == [1, 2, 4]
    assert race_recipe(pretrained, 500, rungs(1, 3, 1), 7).transfer.freeze_epochs == 0
    assert race_recipe(pretrained, 500, rungs(1, 3, 1), 7).training.seed == 7


def test_optuna_keeps_quiet_in_a_race_and_speaks_as_before_after_it(prepared, tmp_path, capfd):
    import optuna

    before = optuna.logging.INFO
    optuna.logging.set_verbosity(before)
    run_race(prepared, tmp_path, Counting(), names=NAMES[:1])
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr() == ("", "")
