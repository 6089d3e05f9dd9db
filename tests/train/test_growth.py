from __future__ import annotations

import pytest
import torch

from convatlas.errors import OptionError
from convatlas.layers.residual import DropPath
from convatlas.models.registry import create_model
from convatlas.train.growth import shallow_recipe, side_of, sizes_of
from convatlas.train.network import network_options
from convatlas.train.recipe import Recipe, find_recipe

recipe_of = Recipe().override


def test_the_shallow_network_is_trained_with_the_same_recipe_first() -> None:
    recipe = find_recipe("vgg-2014").override({"growth.epochs": 20})
    first = shallow_recipe(recipe)
    assert first is not None
    assert first.training.epochs == 20
    back = {"training.epochs": 74, "growth.network": "vgg11", "growth.epochs": 20}
    assert first.override(back) == recipe
    assert shallow_recipe(first) is None


def test_without_a_length_of_its_own_it_is_trained_as_long_as_the_deep_one() -> None:
    first = shallow_recipe(recipe_of({"growth.network": "vgg11", "training.epochs": 7}))
    assert first is not None
    assert first.training.epochs == 7


def test_no_growth_is_no_first_phase() -> None:
    assert shallow_recipe(find_recipe("resnet-2015")) is None


@pytest.mark.parametrize(
    ("sizes", "epochs", "expected"),
    [
        ([], 3, (224, 224, 224)),
        ([160], 2, (160, 160)),
        ([128, 192], 4, (128, 128, 192, 192)),
        ([128, 192], 5, (128, 128, 192, 192, 192)),
        ([96, 128, 160], 4, (96, 128, 160, 160)),
        ([96, 128, 160], 7, (96, 96, 128, 128, 160, 160, 160)),
        ([96, 128, 160], 2, (128, 160)),
        ([96, 128, 160], 1, (160,)),
    ],
)
def test_sizes_share_the_run_and_the_last_epoch_has_the_last(
    sizes: list[int], epochs: int, expected: tuple[int, ...]
) -> None:
    recipe = recipe_of({"input.sizes": sizes, "training.epochs": epochs})
    assert sizes_of(recipe, 224) == expected
    assert side_of(recipe, epochs - 1, 224) == expected[-1]


def rates(name: str, options: dict[str, float]) -> list[float]:
    with torch.device("meta"):
        model = create_model(name, **options)
    return [m.probability for m in model.modules() if isinstance(m, DropPath)]


def test_stochastic_depth_rises_linearly_over_the_blocks_of_a_resnet() -> None:
    options = network_options(find_recipe("strikes-back-a1"), "resnet50")
    assert options == {"drop_path": 0.05}
    assert rates("resnet50", options) == pytest.approx([0.05 * i / 15 for i in range(16)])
    assert rates("resnet50", {}) == []


@pytest.mark.parametrize("name", ["seresnet50", "regnet_y_400mf", "wrn_28_10", "resnext50_32x4d"])
def test_stochastic_depth_reaches_every_block_with_a_sum(name: str) -> None:
    blocks = {"seresnet50": 16, "regnet_y_400mf": 16, "wrn_28_10": 12, "resnext50_32x4d": 16}[name]
    found = rates(name, {"drop_path": 0.3})
    assert found == pytest.approx([0.3 * i / (blocks - 1) for i in range(blocks)])


def test_stochastic_depth_keeps_the_proportions_that_a_network_has() -> None:
    own = rates("convnext_tiny", {})
    assert (own[0], own[-1]) == (0, 0.1)
    assert rates("convnext_tiny", {"drop_path": 0.4}) == pytest.approx([4 * rate for rate in own])


def test_what_the_papers_leave_to_the_network_is_in_the_network() -> None:
    for name in ("efficientnet", "convnext-2022"):
        assert network_options(find_recipe(name), "resnet50") == {}
    assert max(rates("convnext_tiny", {})) == 0.1
    assert max(rates("convnext_small", {})) == 0.4
    assert max(rates("convnext_base", {})) == 0.5
    # B0 has 16 blocks; block 15, the last with a shortcut, leaves out .2 · 14 / 16.
    assert max(rates("efficientnet_b0", {})) == pytest.approx(0.2 * 14 / 16)
    for name, dropout in (("efficientnet_b0", 0.2), ("efficientnet_b7", 0.5)):
        with torch.device("meta"):
            head = create_model(name).head
        assert [m.p for m in head.modules() if isinstance(m, torch.nn.Dropout)] == [dropout]


def test_dropout_goes_to_the_network() -> None:
    assert network_options(find_recipe("vgg-2014"), "vgg16") == {"dropout": 0.5}


def test_a_network_without_branches_drops_none_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    recipe = find_recipe("strikes-back-a2")
    assert network_options(recipe, "vgg16") == {}
    assert caplog.messages == ["vgg16 has no branches to drop: stochastic depth is left out"]
    with pytest.raises(OptionError, match="vgg16 has no branches to drop, got regularization"):
        network_options(recipe, "vgg16", ["optimizer.lr", "regularization.drop_path"])
    none = recipe.override({"regularization.drop_path": 0.0})
    assert network_options(none, "vgg16", ["regularization.drop_path"]) == {}
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_stochastic_depth_is_a_probability(rate: float) -> None:
    with pytest.raises(OptionError, match=r"drop_path must be in \[0, 1\)"):
        create_model("cifar_resnet20", drop_path=rate)


def test_stochastic_depth_changes_no_names_and_no_answers() -> None:
    torch.manual_seed(0)
    plain, deep = create_model("cifar_resnet20"), create_model("cifar_resnet20", drop_path=0.5)
    deep.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(plain.eval()(x), deep.eval()(x))
    with torch.no_grad():
        first, second = deep.train()(x), deep(x)
    assert not torch.equal(first, second)
