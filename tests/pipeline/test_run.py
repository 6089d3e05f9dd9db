"""The main job on real digits: figures that agree with each other, stops, and resumes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from convatlas.data.source import open_source
from convatlas.deploy.runtime import OnnxClassifier
from convatlas.errors import BudgetError, CheckpointError, OptionError
from convatlas.pipeline.prediction import predict_files
from convatlas.pipeline.preparation import build, pick, prepare, recipe_for
from convatlas.pipeline.run import resume, run
from convatlas.pipeline.settings import RunSettings, new_folder, read_record
from convatlas.pipeline.trained import load_trained
from convatlas.search.budget import Budget
from convatlas.train.interrupt import Interrupted
from small_digits import Quiet

SHORT = RunSettings(epochs=2)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    return run(SHORT, tmp_path_factory.mktemp("runs"), Quiet())


def _json(outcome, name):
    return json.loads((outcome.folder / f"{name}.json").read_text(encoding="utf-8"))


def test_the_digits_choose_a_small_net_and_leave_every_file(outcome):
    assert outcome.folder.name == "digits-cifar_resnet20"
    names = {path.name for path in outcome.folder.iterdir()}
    assert names >= {
        *("run.json", "data.json", "choice.json", "recipe.toml", "cost.json", "metrics.json"),
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


def test_an_interrupted_run_resumes_to_the_same_weights(outcome, tmp_path):
    listener = Quiet(stop_after=30)
    with pytest.raises(Interrupted) as stopped:
        run(SHORT, tmp_path, listener)
    (folder,) = tmp_path.iterdir()
    assert str(stopped.value).startswith("stopped after 30 steps")
    assert str(stopped.value).endswith(f"; go on with: convatlas run --resume {folder}")
    assert not (folder / "report.html").exists()
    with pytest.raises(CheckpointError, match="convatlas run --resume"):
        load_trained(folder)
    resumed = resume(folder, Quiet())
    first, second = (load_trained(o.folder).model.state_dict() for o in (outcome, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert resumed.evaluation == outcome.evaluation


def test_a_resumed_run_keeps_the_weights_it_began_with(outcome, monkeypatch):
    settings, begun = read_record(outcome.folder)
    assert settings == SHORT
    assert begun == {"name": "cifar_resnet20", "weights": None, "input_size": 8, "in_channels": 1}
    chosen = outcome.choice.chosen
    downloaded = replace(chosen, weights="timm", input_size=224, in_channels=3)
    job = "convatlas.pipeline.run"
    monkeypatch.setattr(f"{job}.pick", lambda *_: replace(outcome.choice, chosen=downloaded))
    monkeypatch.setattr(f"{job}._guided", lambda _settings, _prepared, choice, *_: choice.chosen)
    assert resume(outcome.folder, Quiet()) == chosen


def test_a_second_run_does_not_touch_the_first(tmp_path):
    (tmp_path / "digits-net").mkdir()
    assert new_folder(tmp_path, "digits-net").name == "digits-net-2"
    assert new_folder(tmp_path, "other").name == "other"


def test_scratch_stands_beside_the_chosen_start(tmp_path):
    settings = replace(SHORT, epochs=1, compare_scratch=True, model="lenet5")
    outcome = run(settings, tmp_path, Quiet())
    assert outcome.scratch is not None
    metrics = _json(outcome, "metrics")
    assert metrics["scratch"]["accuracy"] == outcome.scratch.accuracy
    assert (outcome.folder / "scratch" / "last.safetensors").exists()


def test_a_latency_limit_is_measured():
    budget = Budget(max_latency_ms=10_000, max_macs=50e6)
    choice = pick(replace(SHORT, budget=budget), prepare(SHORT.data))
    assert all(c.cost.latency_ms > 0 for c in choice.candidates if c.kept)
    with pytest.raises(BudgetError, match=r"ms, limit 1e-06 ms"):
        pick(replace(SHORT, budget=Budget(max_latency_ms=1e-6)), prepare(SHORT.data))


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
