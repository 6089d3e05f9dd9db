"""Run folders written by hand, read back: whatever stands in them, they are listed."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from convatlas.errors import CheckpointError, OptionError, UnknownNameError
from convatlas.pipeline.runs import Run, differences, find_runs
from convatlas.render.runs import (
    comparison_notes,
    comparison_tables,
    comparison_to_json,
    list_notes,
    list_table,
    list_to_json,
)
from convatlas.render.runs_page import runs_html
from convatlas.train.reports import EpochReport, Plan, StepReport
from convatlas.train.tracking import MetricsFile

ACCURACIES = (0.5, 0.75, 0.625)
SECONDS = (2.0, 3.0, 5.0)
PACES = (100.0, 50.0, 20.0)


def write(folder: Path, name: str, value: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(value))


def recipe(epochs: int = 3, lr: float = 0.1) -> dict[str, Any]:
    return {
        "name": "tiny",
        "paper": f"a paper about {lr}",
        "training": {"epochs": epochs, "batch_size": 8},
        "optimizer": {"lr": lr, "nesterov": True},
        "input": {"sizes": [32, 64]},
    }


def make(
    folder: Path,
    *,
    done: int = 3,
    created: str = "2026-03-01T10:00:00+00:00",
    seed: int = 0,
    lr: float = 0.1,
    accuracy: float | None = None,
) -> Path:
    """Write what a run leaves behind; with ``accuracy``, its evaluation too."""
    settings = {"data": "digits", "model": "lenet5", "seed": seed}
    versions = {"torch": "2.13.0"}
    record = {"kind": "train", "created": created, "settings": settings, "versions": versions}
    write(folder, "run.json", record)
    write(folder, "data.json", {"name": "digits", "origin": f"held out with seed {seed}"})
    write(folder, "last.json", {"epochs_done": done, "recipe": recipe(lr=lr)})
    metrics = MetricsFile(folder / "metrics.jsonl", every=1)
    metrics.start(Plan(3, 2))
    for number in range(1, done + 1):
        metrics.step(StepReport(number, 2 * number, 1.0, 0.1, 8))
        metrics.epoch(
            EpochReport(
                epoch=number,
                step=2 * number,
                loss=1 / number,
                lr=0.1,
                headline=ACCURACIES[number - 1],
                metrics={"images": 8, "accuracy": ACCURACIES[number - 1], "loss_nats": 0.25},
                best=number < 3,
                seconds=SECONDS[number - 1],
                images_per_second=PACES[number - 1],
            )
        )
    metrics.stop()
    if accuracy is not None:
        interval = [accuracy - 0.125, accuracy + 0.125]
        evaluation = {"accuracy": accuracy, "accuracy_interval": interval, "images": 16}
        write(folder, "metrics.json", {"evaluation": {**evaluation, "classes": []}})
    return folder


def only(folder: Path) -> Run:
    (run,) = find_runs(folder).runs
    return run


def test_a_finished_run_is_read_whole(tmp_path: Path) -> None:
    make(tmp_path / "a", accuracy=0.875)
    run = only(tmp_path)
    assert (run.name, run.kind, run.network, run.dataset) == ("a", "train", "lenet5", "digits")
    assert (run.recipe, run.epochs_done, run.epochs, run.state) == ("tiny", 3, 3, "finished")
    assert (run.accuracy, run.accuracy_interval) == (0.875, (0.75, 1.0))
    assert (run.last_accuracy, run.best_accuracy, run.best_epoch) == (0.625, 0.75, 2)
    assert run.created == "2026-03-01T10:00:00+00:00"
    assert run.seconds == 2 + 3 + 5
    assert run.images_per_second == (2 * 100 + 3 * 50 + 5 * 20) / 10
    assert (run.final, run.final_of) == (
        {"accuracy": 0.875, "images": 16.0},
        "evaluation",
    )
    assert [e["train_loss"] for e in run.history] == [1, 1 / 2, 1 / 3]
    assert run.problems == ()


def test_a_stopped_run_shows_its_last_epoch(tmp_path: Path) -> None:
    make(tmp_path / "a", done=2)
    run = only(tmp_path)
    assert (run.state, run.epochs_done, run.epochs) == ("stopped", 2, 3)
    assert (run.accuracy, run.accuracy_interval, run.final_of) == (0.75, None, "epoch 2")
    assert run.final["loss_nats"] == 0.25


def test_the_state_is_what_the_files_say(tmp_path: Path) -> None:
    folder = make(tmp_path / "a")
    assert only(tmp_path).state == "trained"  # every epoch done, but no evaluation
    metrics = MetricsFile(folder / "metrics.jsonl")
    metrics.start(Plan(3, 2, 3, 6))
    assert only(tmp_path).state == "running"
    metrics.stop()
    assert only(tmp_path).state == "trained"
    (folder / "run.json").unlink()  # training alone, by the library: nothing is to follow
    assert only(tmp_path).state == "finished"
    (folder / "last.json").unlink()
    assert only(tmp_path).state == "unknown"


def test_a_run_that_has_only_begun_takes_its_recipe_from_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    write(folder, "run.json", {"settings": {"model": "lenet5"}})
    text = 'name = "tiny"\n[training]\nepochs = 7\n'
    (folder / "recipe.toml").write_text(text)
    run = only(tmp_path)
    assert (run.recipe, run.epochs, run.epochs_done, run.state) == ("tiny", 7, 0, "stopped")
    write(folder, "recipe.json", {**tomllib.loads(text), "name": "other"})
    assert only(tmp_path).recipe == "other"


def test_runs_are_sorted_and_nested_ones_found(tmp_path: Path) -> None:
    make(tmp_path / "b", created="2026-03-02T00:00:00+00:00", accuracy=0.25)
    make(tmp_path / "a" / "scratch", done=1)
    make(tmp_path / "a", created="2026-03-03T00:00:00+00:00", accuracy=0.5)
    write(tmp_path / "c", "run.json", {})
    names = {
        order: [run.name for run in find_runs(tmp_path, order).runs]
        for order in ("name", "created", "accuracy")
    }
    assert names["name"] == ["a", "a/scratch", "b", "c"]
    assert names["created"] == ["a", "b", "a/scratch", "c"]
    assert names["accuracy"] == ["a", "a/scratch", "b", "c"]
    assert only(tmp_path / "b").name == "b"


def test_folders_without_a_run_are_listed_with_the_reason(tmp_path: Path) -> None:
    make(tmp_path / "deep" / "down" / "a")
    (tmp_path / "empty").mkdir()
    write(tmp_path / "photos", "cat.json", 1)
    os.symlink(tmp_path, tmp_path / "photos" / "loop")
    found = find_runs(tmp_path)
    assert [run.name for run in found.runs] == ["deep/down/a"]
    assert [(f.name, f.reason.split(":")[0]) for f in found.foreign] == [
        ("empty", "empty"),
        ("photos", "no run"),
    ]


GARBAGE = [
    b"",
    b"\xff\x00\xfe",
    b"[]",
    b"null",
    b'{"a": ',
    b"[" * 5000,
    b'{"settings": 3, "chosen": [], "name": {}, "recipe": "x", "history": {"a": 1}}',
    b'{"settings": {"model": [1], "data": 2}, "created": 5, "versions": [], "kind": 7}',
    b'{"evaluation": {"accuracy": "high", "accuracy_interval": [1, "x"], "images": NaN}}',
    b'{"evaluation": [1], "epochs_done": "many", "recipe": {"training": {"epochs": true}}}',
    b'{"kind": "epoch"}\n{"kind": "epoch", "epoch": 1, "metrics": 3, "loss": Infinity}\n7\n{"k',
    b'{"kind": "epoch", "epoch": "1"}\n\xff\n{"kind": ["epoch"], "epoch": 2}',
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda garbage: repr(garbage[:12]))
@pytest.mark.parametrize(
    "file", ["run.json", "data.json", "last.json", "metrics.jsonl", "metrics.json", "choice.json"]
)
def test_no_damage_is_fatal(tmp_path: Path, file: str, garbage: bytes) -> None:
    make(tmp_path / "good", accuracy=0.875)
    make(tmp_path / "bad", accuracy=0.875)
    (tmp_path / "bad" / file).write_bytes(garbage)
    found = find_runs(tmp_path, "name")
    assert [run.name for run in found.runs] == ["bad", "good"]
    assert found.runs[1].accuracy == 0.875
    rows = [run.to_dict() for run in found.runs]
    assert list_table(rows).row_count == 2
    assert json.loads(list_to_json(rows, []))["runs"][1]["accuracy"] == 0.875
    differing = [{"name": d.name, "values": d.values} for d in differences(found.runs)]
    assert comparison_tables(rows, differing)
    assert comparison_notes(rows, differing) is not None
    assert json.loads(comparison_to_json(rows, differing))
    assert runs_html(rows, differing).endswith("</html>")


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("run.json", b'{"a": ', "run.json is damaged"),
        ("last.json", b"[]", "last.json holds no JSON object"),
        ("metrics.jsonl", b'{"kind\n{}\n', "metrics.jsonl has 1 damaged line"),
    ],
)
def test_damage_is_named(tmp_path: Path, file: str, content: bytes, problem: str) -> None:
    make(tmp_path / "a", accuracy=0.875)
    (tmp_path / "a" / file).write_bytes(content)
    run = only(tmp_path)
    assert run.problems == (problem,)
    assert list_notes([run.to_dict()], []) == [f"a: {problem}."]


def test_half_a_last_line_is_no_damage(tmp_path: Path) -> None:
    folder = make(tmp_path / "a", done=2)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "ep')
    run = only(tmp_path)
    assert (run.problems, run.epochs_done) == ((), 2)


def test_a_folder_in_place_of_a_file_is_a_problem(tmp_path: Path) -> None:
    folder = make(tmp_path / "a", done=2)
    (folder / "data.json").unlink()
    (folder / "data.json").mkdir()
    assert only(tmp_path).problems == ("data.json cannot be read: Is a directory",)


def test_what_differs_has_dotted_names(tmp_path: Path) -> None:
    make(tmp_path / "a", seed=1, accuracy=0.875)
    make(tmp_path / "b", seed=2, lr=0.2, done=2)
    found = find_runs(tmp_path, "name")
    differing = differences(found.runs)
    assert {d.name: d.values for d in differing} == {
        "data.origin": ("held out with seed 1", "held out with seed 2"),
        "recipe.optimizer.lr": (0.1, 0.2),
        "settings.seed": (1, 2),
    }
    rows = [run.to_dict() for run in found.runs]
    notes = comparison_notes(rows, [{"name": d.name, "values": d.values} for d in differing])
    assert notes[0].startswith("Not the same held-out images")
    assert notes[1] == "b: not evaluated yet, figures of epoch 2."
    assert differences(found.runs[:1]) == ()


def test_a_setting_that_only_one_run_has_differs(tmp_path: Path) -> None:
    write(tmp_path / "a", "run.json", {"settings": {"old": 1, "same": {"x": [1]}}})
    write(tmp_path / "b", "run.json", {"settings": {"same": {"x": [1]}}})
    (difference,) = differences(find_runs(tmp_path, "name").runs)
    assert (difference.name, difference.values) == ("settings.old", (1, None))


def test_settings_of_different_commands_are_compared_as_far_as_both_have_them(
    tmp_path: Path,
) -> None:
    asked = {"model": "lenet5", "weights": None, "seed": 1, "holdout": 0.2}
    write(tmp_path / "a", "run.json", {"kind": "train", "settings": asked})
    asked = {"model": None, "seed": 2, "pretrained": True}
    write(tmp_path / "b", "run.json", {"kind": "run", "settings": asked})
    write(tmp_path / "b", "choice.json", {"chosen": {"name": "lenet5", "weights": None}})
    found = differences(find_runs(tmp_path, "name").runs)
    assert {d.name: d.values for d in found} == {
        "kind": ("train", "run"),
        "settings.model": ("lenet5", None),
        "settings.seed": (1, 2),
    }


def test_wrong_questions_are_answered(tmp_path: Path) -> None:
    make(tmp_path / "digits-lenet5")
    with pytest.raises(OptionError, match="--sort expects one of created, accuracy, name"):
        find_runs(tmp_path, "size")
    with pytest.raises(CheckpointError, match="expected a folder with runs"):
        find_runs(tmp_path / "nowhere")
    with pytest.raises(UnknownNameError, match="did you mean digits-lenet5"):
        find_runs(tmp_path).chosen(["digits-lenet"])
