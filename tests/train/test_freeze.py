from __future__ import annotations

import pytest
import torch
from torch import nn

from convatlas.errors import OptionError
from convatlas.models.anatomy import ConvNet
from convatlas.train.freeze import Frozen, freeze, frozen_until, set_training_mode, unfreeze
from convatlas.train.optim import build_optimizer, named_state, parameter_groups, start_momenta
from convatlas.train.recipe import Recipe
from convatlas.train.sections import Transfer


def conv(i: int, o: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(), nn.Dropout())


def net() -> ConvNet:
    head = nn.Sequential()
    head.add_module("conv", conv(4, 4))
    head.add_module("pool", nn.AdaptiveAvgPool2d(1))
    head.add_module("flatten", nn.Flatten())
    head.add_module("dropout", nn.Dropout())
    head.add_module("classifier", nn.Linear(4, 3))
    stages = [conv(4, 4), conv(4, 4), conv(4, 4)]
    return ConvNet(conv(1, 4), stages, head, channels=[4] * 3, strides=[1] * 3, in_channels=1)


def train(model: nn.Module, frozen: Frozen, steps: int = 3) -> None:
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(steps):
        set_training_mode(model, frozen)
        model(torch.randn(4, 1, 6, 6)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert learning


@pytest.mark.parametrize(
    ("until", "prefixes"),
    [
        ("stages.0", ("stem.",)),
        ("stages.2", ("stem.", "stages.0.", "stages.1.")),
        ("head", ("stem.", "stages.")),
        ("classifier", ("stem.", "stages.", "head.conv.")),
    ],
)
def test_parameters_and_statistics_before_the_part_stay_and_the_rest_moves(
    until: str, prefixes: tuple[str, ...]
) -> None:
    torch.manual_seed(0)
    model = net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(model, freeze(model, until))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith(prefixes), name


def test_the_frozen_part_is_deterministic_while_the_rest_drops_out() -> None:
    model = net()
    frozen = freeze(model, "classifier")
    set_training_mode(model, frozen)
    x = torch.randn(2, 1, 6, 6)
    features = [model.head.conv(model.forward_features(x)[-1]) for _ in range(2)]
    assert torch.equal(*features)
    assert model.head.dropout.training
    assert model.training


def test_unfreezing_lets_everything_move_except_what_never_had_a_gradient() -> None:
    torch.manual_seed(0)
    model = net()
    model.stem[0].bias.requires_grad_(False)
    frozen = freeze(model, "head")
    assert not any(p.requires_grad for p in model.stages.parameters())
    unfreeze(frozen)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(model, Frozen())
    moved = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    assert moved == before.keys() - {"stem.0.bias"}


def test_none_freezes_nothing() -> None:
    model = net()
    frozen = freeze(model, None)
    assert (frozen.until, frozen.modules, frozen.parameters) == (None, (), ())
    assert all(p.requires_grad for p in model.parameters())


def test_it_reports_what_still_moves() -> None:
    model = net()
    # A stage is 3·3·4·4 + 4 weights of the convolution and 2·4 of the norm, the stem has 1
    # channel in; the head has a block of the same size and a classifier of 4·3 + 3.
    stage, stem, classifier = 156, 48, 15
    frozen = freeze(model, "stages.2")
    assert frozen.moving_params == 2 * stage + classifier
    assert frozen.frozen_params == stem + 2 * stage
    assert [name.split(".")[0] for name in frozen.moving] == ["stages"] * 4 + ["head"] * 6
    unfreeze(frozen)
    assert freeze(model, "classifier").moving == ("head.classifier.weight", "head.classifier.bias")
    assert freeze(net(), None).frozen_params == 0


STAGES = ["stages.0", "stages.1", "stages.2"]


@pytest.mark.parametrize(
    ("transfer", "expected"),
    [
        (Transfer(), [None] * 4),
        (Transfer(unfreeze_every_epochs=1), [None] * 4),
        (Transfer(freeze_epochs=2), ["classifier", "classifier", None, None]),
        (Transfer(freeze_epochs=1, freeze_until="stages.1"), ["stages.1", None]),
        (
            Transfer(freeze_epochs=2, unfreeze_every_epochs=1),
            ["classifier", "classifier", "stages.2", "stages.1", "stages.0", None, None],
        ),
        (
            Transfer(freeze_epochs=1, unfreeze_every_epochs=2, freeze_until="stages.1"),
            ["stages.1", "stages.0", "stages.0", None, None],
        ),
        (
            Transfer(freeze_epochs=1, unfreeze_every_epochs=1, freeze_until="head"),
            ["head", "stages.2", "stages.1", "stages.0", None],
        ),
    ],
)
def test_the_rule_of_what_is_frozen_when(transfer: Transfer, expected: list[str | None]) -> None:
    assert [frozen_until(transfer, e, STAGES) for e in range(len(expected))] == expected


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adamw", "lamb"])
def test_an_optimizer_with_momentum_leaves_what_is_frozen_alone(name: str) -> None:
    torch.manual_seed(0)
    model = net()
    recipe = Recipe().override(
        {"optimizer.name": name, "optimizer.weight_decay": 0.5, "optimizer.momentum": 0.9}
    )
    optimizer = build_optimizer(model, recipe)

    def step() -> None:
        model(torch.randn(4, 1, 6, 6)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    set_training_mode(model, Frozen())
    step()  # so that every parameter has a momentum
    before = {key: value.clone() for key, value in model.state_dict().items()}
    momenta = {key: value.clone() for key, value in named_state(optimizer).items()}
    freeze(model, "stages.1")
    step()
    still = ("stem.", "stages.0.")
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]) == key.startswith(still), key
    for key, value in named_state(optimizer).items():
        assert torch.equal(value, momenta[key]) or not key.startswith(still), key


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
def test_a_head_whose_classifier_learned_alone_goes_on_as_plain_sgd_would(
    momentum: float, nesterov: bool
) -> None:
    nesterov = nesterov and momentum > 0
    recipe = Recipe().override(
        {"optimizer.momentum": momentum, "optimizer.nesterov": nesterov, "optimizer.lr": 0.1}
    )
    ours, theirs = net(), net()
    theirs.load_state_dict(ours.state_dict())
    optimizer = build_optimizer(ours, recipe)
    plain = torch.optim.SGD(
        parameter_groups(theirs, weight_decay=recipe.optimizer.weight_decay),
        0.1,
        momentum=momentum,
        nesterov=nesterov,
        foreach=False,  # which copes with parameters that join later
    )
    x = torch.randn(4, 1, 6, 6)
    for until in ("classifier", "classifier", None, None):
        for model, each in ((ours, optimizer), (theirs, plain)):
            frozen = freeze(model, until)
            if each is optimizer:
                start_momenta(each)
            model.eval()
            model(x).square().mean().backward()
            each.step()
            each.zero_grad()
            unfreeze(frozen)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_bad_input_is_told_in_one_line() -> None:
    with pytest.raises(
        OptionError, match=r"expected stages\.0, stages\.1, stages\.2, head, classif"
    ):
        freeze(net(), "stages.7")
    with pytest.raises(OptionError, match="needs a ConvNet with stem, stages and head, got Linear"):
        freeze(nn.Linear(2, 2), "head")
