"""What follows on a training, rehearsed: the count of passes by hand, and a real rehearsal."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from convatlas.errors import ExportError
from convatlas.pipeline import rehearsal
from convatlas.pipeline.preparation import pick, prepare, recipe_for
from convatlas.pipeline.rehearsal import Rehearsal, Reserve, rehearse
from convatlas.pipeline.settings import RunSettings
from convatlas.pipeline.training import make_job
from small_digits import write_digits

MEASURED = Rehearsal(
    judge_ms=1.0,
    explain_seconds=10.0,
    ship_seconds=20.0,
    image_ms=100.0,
    photo_ms=7.0,
    calibration_ms=1000.0,
)


def made(folder, **images):
    settings = RunSettings(data=str(write_digits(folder, **images)))
    prepared = prepare(settings.data)
    chosen = pick(replace(settings, model="lenet5"), prepared).chosen
    return make_job(chosen, prepared, recipe_for(chosen, settings, prepared.train.images))


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return made(tmp_path_factory.mktemp("digits"))


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still unless it is moved on."""
    clock = SimpleNamespace(seconds=0.0)
    stopped = SimpleNamespace(perf_counter=lambda: clock.seconds)
    monkeypatch.setattr(rehearsal, "time", stopped)
    return clock


@pytest.mark.parametrize(
    ("training", "held_out", "networks", "seconds"),
    [
        # 32 s of pages, pictures and exports; 50 · 0.1 s to explain; 50 · 0.507 s to compare
        (100, 50, 1, 32 + 50 * 0.101 + 5 + 50 * 0.507 + 100),
        (100, 50, 2, 32 + 2 * 50 * 0.101 + 5 + 50 * 0.507 + 100),
        # at most 1,000 images are compared, and 256 find ranges
        (9000, 4000, 1, 32 + 4000 * 0.101 + 400 + 1000 * 0.507 + 256),
    ],
)
def test_passes_are_counted(training, held_out, networks, seconds):
    assert MEASURED.seconds(training, held_out, networks) == pytest.approx(seconds)


def test_a_fifth_is_kept_besides_what_was_measured():
    assert Reserve.with_safety(50.0, "rehearsal").seconds == pytest.approx(60.0)


def test_a_rehearsal_measures_everything_and_leaves_nothing(job, tmp_path):
    state = torch.random.get_rng_state()
    found = rehearse(job, tmp_path)
    measured = (found.judge_ms, found.explain_seconds, found.ship_seconds, found.image_ms)
    assert all(0 < each < 1e5 for each in (*measured, found.photo_ms, found.calibration_ms))
    assert list(tmp_path.iterdir()) == []
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_network_that_cannot_be_shipped_can_be_trained(job, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise ExportError("torch cannot write this network as ONNX")

    monkeypatch.setattr(rehearsal, "ship", refuse)
    assert rehearse(job, tmp_path).calibration_ms == 0
    assert list(tmp_path.iterdir()) == []


def test_a_killed_rehearsal_leaves_nothing_for_good(job, tmp_path):
    (tmp_path / ".rehearsal-abc" / "images").mkdir(parents=True)
    (tmp_path / ".rehearsal-abc" / "model.onnx").touch()
    rehearse(job, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_folder_is_there_while_packages_are_imported(job, tmp_path, monkeypatch):
    loaded = []

    def load(name):
        assert list(tmp_path.iterdir()) == []
        loaded.append(name)

    monkeypatch.setattr(rehearsal, "import_module", load)
    rehearse(job, tmp_path)
    assert {name.partition(".")[0] for name in loaded} == {"torch", "onnx", "onnxruntime"}


def test_what_the_first_export_loads_is_not_counted(job, tmp_path, monkeypatch, clock):
    export, seconds = torch.onnx.export, iter((100.0, 7.0))

    def loading(*given, **named):
        clock.seconds += next(seconds)
        return export(*given, **named)

    monkeypatch.setattr(torch.onnx, "export", loading)
    assert rehearse(job, tmp_path).ship_seconds == 7


@pytest.mark.parametrize(("val", "seconds"), [(2, 6.0), (6, 16.0)])  # of 3 classes
def test_no_more_pictures_are_counted_than_there_are_images(
    tmp_path, monkeypatch, clock, val, seconds
):
    def explain(model, few, folder):
        clock.seconds += 6
        return {"pictures": [{}] * 6}

    monkeypatch.setattr(rehearsal, "explain", explain)
    found = rehearse(made(tmp_path / "images", val=val), tmp_path)
    assert found.explain_seconds == pytest.approx(seconds)
