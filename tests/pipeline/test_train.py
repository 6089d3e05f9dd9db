"""``pipeline.train``: what a recipe freezes stays, what thaws moves, and a stop changes nothing."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from convatlas.data.source import open_source
from convatlas.errors import CheckpointError, OptionError
from convatlas.pipeline.preparation import build, lasting, prepare
from convatlas.pipeline.settings import TrainSettings, new_folder
from convatlas.pipeline.train import find_candidate, resume, train, verify
from convatlas.pipeline.trained import load_trained
from convatlas.pipeline.training import first_network, make_job, make_parts
from convatlas.pipeline.watching import Watch
from convatlas.train.checkpoint import RunFolder
from convatlas.train.interrupt import Interrupted
from convatlas.train.loop import fit
from convatlas.train.recipe import Recipe, find_recipe
from convatlas.train.schedule import lr_at
from small_digits import CLASSES, Quiet, write_digits

NET = "cifar_resnet20"
PLAIN = Recipe().override(
    {
        "training.precision": "fp32",
        "training.batch_size": 16,
        "schedule.name": "constant",
        "optimizer.lr": 0.05,
    }
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(write_digits(tmp_path_factory.mktemp("digits")))


def _settings(data, model=NET):
    return TrainSettings(data=data, model=model)


def _train(data, folder, recipe, listener=None, model=NET):
    return train(_settings(data, model), folder, listener or Quiet(), lambda *_: recipe)


def _first(data, seed=0):
    """Return the network's tensors before its first step."""
    prepared = prepare(data)
    return build(find_candidate(prepared, NET, None), CLASSES, seed).state_dict()


def _snapshots(data, recipe, folder):
    """Train, and return the network's tensors before it and after each epoch."""
    prepared = prepare(data)
    job = make_job(find_candidate(prepared, NET, None), prepared, recipe)
    model = first_network(job, folder, Watch(Quiet()))
    taken = [{k: v.clone() for k, v in model.state_dict().items()}]

    class Taker(Quiet):
        def epoch(self, report):
            taken.append({k: v.clone() for k, v in model.state_dict().items()})

    parts = make_parts(job, model)
    fit(
        model, parts.task, parts.train_batches, parts.eval_batches, recipe,
        run=RunFolder(folder), observers=[Taker()],
    )  # fmt: skip
    return taken


def _moved(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("weights", [None, "pypi"])
def test_statistics_that_are_learnt_anew_span_an_epoch_at_most(data, weights):
    prepared = prepare(data)
    candidate = find_candidate(prepared, "mnasnet_050", None)
    model = build(candidate, CLASSES)
    job = make_job(candidate, prepared, PLAIN.override({"training.batch_size": 2}))
    make_parts(replace(job, candidate=replace(candidate, weights=weights)), model)
    expected = 1 - 0.9997 if weights else 1 / (CLASSES * 16 / 2)
    norms = [each for each in model.modules() if isinstance(each, torch.nn.BatchNorm2d)]
    assert [norm.momentum for norm in norms] == pytest.approx([expected] * len(norms))


def test_the_folder_holds_a_network_with_the_reported_accuracy(data, tmp_path):
    outcome = _train(data, tmp_path, PLAIN.override({"training.epochs": 2}))
    trained = load_trained(outcome.folder)
    held = open_source(data).validation
    batch = torch.stack([trained.preprocessing(held.load(i)) for i in range(len(held))])
    with torch.inference_mode():
        right = trained.model(batch).argmax(1) == torch.tensor(held.labels)
    assert outcome.evaluation.accuracy == pytest.approx(right.double().mean().item())
    metrics = json.loads((outcome.folder / "metrics.json").read_text())
    assert metrics["evaluation"]["accuracy"] == outcome.evaluation.accuracy
    record = json.loads((outcome.folder / "run.json").read_text())
    assert record["kind"] == "train"
    assert record["settings"]["model"] == NET
    assert set(record["seconds"]) == {"train", "evaluate"}
    assert list((outcome.folder / "tensorboard").glob("events.*"))


def test_the_recipe_of_the_folder_reproduces_the_run(data, tmp_path):
    recipe = PLAIN.override({"training.epochs": 2, "augmentation.shift": 0.1, "training.seed": 3})
    first = _train(data, tmp_path, recipe)
    kept = find_recipe(first.folder / "recipe.toml")
    assert kept == recipe
    again = _train(data, tmp_path, kept)
    assert again.folder != first.folder
    one, two = (load_trained(each.folder).model.state_dict() for each in (first, again))
    assert not _moved(one, two)


def test_an_interrupted_training_resumes_to_the_same_weights(data, tmp_path):
    recipe = PLAIN.override({"training.epochs": 2, "regularization.ema_decay": 0.5})
    whole = _train(data, tmp_path / "whole", recipe)
    with pytest.raises(Interrupted) as caught:
        _train(data, tmp_path / "stopped", recipe, Quiet(stop_after=4))
    (folder,) = (tmp_path / "stopped").iterdir()
    assert str(caught.value).endswith(f"; go on with: convatlas train --resume {folder}")
    resumed = resume(folder, Quiet())
    one, two = (load_trained(each.folder).model.state_dict() for each in (whole, resumed))
    assert not _moved(one, two)
    assert resumed.evaluation == whole.evaluation


def test_images_that_changed_since_are_noticed(tmp_path):
    data = write_digits(tmp_path / "data")
    recipe = PLAIN.override({"training.epochs": 2})
    with pytest.raises(Interrupted):
        _train(str(data), tmp_path / "runs", recipe, Quiet(stop_after=4))
    (folder,) = (tmp_path / "runs").iterdir()
    next((data / "train" / "class1").iterdir()).unlink()
    with pytest.raises(CheckpointError, match=r"data set has changed.*class1 has 15 images"):
        resume(folder, Quiet())
    assert resume(folder, Quiet(), accept_changed_data=True).evaluation.images == 18


def test_held_out_images_that_changed_since_are_noticed(tmp_path):
    data = write_digits(tmp_path / "data")
    recipe = PLAIN.override({"training.epochs": 2})
    with pytest.raises(Interrupted):
        _train(str(data), tmp_path / "runs", recipe, Quiet(stop_after=4))
    (folder,) = (tmp_path / "runs").iterdir()
    images = sorted((data / "val" / "class1").iterdir())
    images[0].write_bytes(images[1].read_bytes())
    with pytest.raises(CheckpointError, match=r"validation: 1 image has other contents: class1/"):
        resume(folder, Quiet())


def test_a_recipe_that_was_changed_to_nonsense_is_told_as_such(data, tmp_path):
    with pytest.raises(Interrupted):
        _train(data, tmp_path, PLAIN, Quiet(stop_after=4))
    (folder,) = tmp_path.iterdir()
    recipe = folder / "recipe.toml"
    recipe.write_text(f"{recipe.read_text()}\n[nonsense]\nx = 1\n")
    with pytest.raises(OptionError, match=r"recipe\.toml: a recipe has no value 'nonsense\.x'"):
        resume(folder, Quiet())


def test_runs_that_start_at_once_get_a_folder_each(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: new_folder(tmp_path, "digits-net"), range(32)))
    assert len(set(made)) == 32


def test_a_loss_that_is_not_finite_names_the_files(data, tmp_path):
    recipe = PLAIN.override({"training.epochs": 3, "optimizer.lr": 1e12})
    with pytest.raises(OptionError, match=r"on images \d+ \(class\d/[^)]+\.png\), "):
        _train(data, tmp_path, recipe)


def test_a_resume_is_verified_of_the_network_itself_without_its_growth(data):
    recipe = PLAIN.override({"growth.network": "vgg11"})  # from which this network cannot grow
    assert verify(_settings(data), 4, Quiet(), lambda *_: recipe).exact


def test_no_name_leads_out_of_the_folder_of_runs(tmp_path):
    assert new_folder(tmp_path, "a/../../b\n\\c").name == "a-..-..-b--c"


def test_a_linear_probe_leaves_the_body_bit_for_bit(data, tmp_path):
    recipe = lasting(find_recipe("linear-probe"), 3).override({"training.precision": "fp32"})
    listener = Quiet()
    outcome = _train(data, tmp_path, recipe, listener)
    trained = load_trained(outcome.folder).model.state_dict()
    assert _moved(_first(data), trained) == {"head.classifier.weight", "head.classifier.bias"}
    (news,) = [line for line in listener.lines if "tensors move" in line]
    params = {name for name, _ in load_trained(outcome.folder).model.named_parameters()}
    total = sum(trained[name].numel() for name in params)
    assert news == (
        f"epoch 1: frozen until classifier, 2 of {len(params)} tensors move "
        f"({64 * CLASSES + CLASSES} of {total:,} parameters)"
    )


def test_stages_thaw_one_by_one_and_nothing_else_moves(data, tmp_path):
    recipe = PLAIN.override(
        {
            "training.epochs": 6,
            "transfer.freeze_epochs": 1,
            "transfer.unfreeze_every_epochs": 1,
        }
    )
    taken = _snapshots(data, recipe, tmp_path)
    thawed = ["head.", "stages.2.", "stages.1.", "stages.0.", "stem.", "stem."]
    for epoch, (before, after) in enumerate(pairwise(taken)):
        learning = tuple(thawed[: epoch + 1])
        assert _moved(before, after) == {n for n in before if n.startswith(learning)}, epoch


def test_the_phases_are_told(data, tmp_path):
    listener = Quiet()
    recipe = PLAIN.override({"training.epochs": 3, "transfer.freeze_epochs": 2})
    _train(data, tmp_path, recipe.override({"transfer.freeze_until": "stages.2"}), listener)
    first, second = [line for line in listener.lines if "tensors move" in line]
    assert first.startswith("epoch 1: frozen until stages.2, ")
    assert second.startswith("epoch 3: all thawed, ")
    moving, total = second.split()[4], second.split()[6]
    assert moving == total
    _train(data, tmp_path, PLAIN.override({"training.epochs": 1}), listener)
    assert len([line for line in listener.lines if "tensors move" in line]) == 2


def test_a_deeper_stage_learns_faster_by_the_factor(data, tmp_path):
    single = {  # one step of plain descent, whose length is the learning rate's
        "training.epochs": 1,
        "training.batch_size": 16 * CLASSES,
        "optimizer.momentum": 0.0,
        "optimizer.weight_decay": 0.0,
        "optimizer.lr": 0.5,
    }
    recipe = PLAIN.override(single)
    start, even = _snapshots(data, recipe, tmp_path / "even")
    slowed = recipe.override({"transfer.stage_lr_decay": 0.5})
    _, uneven = _snapshots(data, slowed, tmp_path / "uneven")
    distances = {"head": 0, "stages.2": 1, "stages.1": 2, "stages.0": 3, "stem": 4}
    for part, distance in distances.items():
        names = [n for n in start if n.startswith(f"{part}.") and n.endswith("weight")]
        assert names
        for name in names:
            full, slow = even[name] - start[name], uneven[name] - start[name]
            torch.testing.assert_close(slow, full * 0.5**distance, rtol=0.02, atol=2e-6)


def test_what_cannot_be_frozen_is_said_before_an_epoch_is_lost(data, tmp_path):
    recipe = PLAIN.override({"training.epochs": 2, "transfer.freeze_epochs": 1})
    with pytest.raises(OptionError, match=r"got 'stages\.9'; did you mean stages\.2"):
        _train(data, tmp_path, recipe.override({"transfer.freeze_until": "stages.9"}))


def test_lasting_keeps_a_probe_frozen_to_the_end():
    probe = find_recipe("linear-probe")
    for epochs in (1, 5, 40):
        assert lasting(probe, epochs).transfer.freeze_epochs == epochs
    halved = lasting(find_recipe("finetune"), 6)
    assert (halved.transfer.freeze_epochs, halved.schedule.warmup_epochs) == (2, 0.5)


@pytest.mark.parametrize("changes", [{"training.epochs": 8}, {"transfer.freeze_epochs": 0}])
def test_a_network_that_all_learns_never_gets_the_classifiers_rate(changes):
    recipe = find_recipe("finetune").override({"transfer.freeze_epochs": 0} | changes)
    short = lasting(find_recipe("finetune"), 1)
    assert short.transfer.freeze_epochs == 0
    for each in (recipe, short):
        steps = range(10 * each.training.epochs)
        assert max(lr_at(each, step, 10) for step in steps) == pytest.approx(3e-4, rel=0.05)


def test_pretrained_weights_bring_their_own_size_and_cost(data):
    found = find_candidate(prepare(data), "efficientnet_lite0", "pypi")
    assert (found.input_size, found.in_channels, found.stem) == (224, 3, None)
    assert found.cost.macs > 300e6  # 8-pixel digits would take less than a million


def test_settings_return_from_their_file(data, tmp_path):
    settings = replace(_settings(data), seed=2)
    assert TrainSettings(**json.loads(json.dumps(settings.to_dict()))) == settings
