"""Prediction with weights that were asked for by their source."""

from __future__ import annotations

import pytest
from PIL import Image
from safetensors.torch import save

from convatlas.errors import FetchError, OptionError, WeightsError
from convatlas.models.registry import create_model
from convatlas.pipeline.prediction import predict_files
from local_server import Answer, serve


@pytest.fixture
def photo(tmp_path):
    Image.new("RGB", (300, 260), "orange").save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_weights_are_fetched_for_a_prediction(photo, tmp_path, monkeypatch):
    monkeypatch.delenv("CONVATLAS_OFFLINE")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)  # which tests of datasets set
    monkeypatch.setenv("CONVATLAS_CACHE", str(tmp_path / "cache"))
    name = "mobilenetv2_050"
    body = save(create_model(name).state_dict())
    path = "/timm/mobilenetv2_050.lamb_in1k/resolve/main/model.safetensors"
    with serve({path: Answer(body)}) as (base, asked):
        monkeypatch.setenv("HF_ENDPOINT", base)
        (first,) = predict_files([photo], name, weights="timm")
    (again,) = predict_files([photo], name)  # now they are at hand
    assert asked == [path]
    assert first == again
    assert len(first.classes) == 5


def test_what_could_be_downloaded_is_said_where_nothing_is_at_hand(photo):
    with pytest.raises(WeightsError, match=r"none at hand: download them by weights 'torchvision'"):
        predict_files([photo], "resnet18")
    with pytest.raises(WeightsError, match=r"none at hand: take efficientnet_lite0"):
        predict_files([photo], "lenet5")
    with pytest.raises(FetchError, match="closes the network"):
        predict_files([photo], "resnet18", weights="torchvision")
    with pytest.raises(WeightsError, match="got resnet18: it has torchvision, timm"):
        predict_files([photo], "resnet18", weights="hub:me/net")


def test_a_run_has_weights_of_its_own(photo, tmp_path):
    with pytest.raises(OptionError, match="leave out 'timm'"):
        predict_files([photo], str(tmp_path), weights="timm")
