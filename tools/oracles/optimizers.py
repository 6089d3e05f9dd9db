"""Write the fixture of the optimizers: where timm's LAMB and RMSProp take a small problem.

Runs in the environment that ``build_environment.py`` makes. Three parameters, a kernel, a norm and
one that begins at 0, go through fixed gradients in double precision, with a learning rate that
changes on the way, and the fixture holds them after every step.
"""

from __future__ import annotations

import json
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from operator_schemas import declare_operator_schemas
from torch import Tensor

FIXTURE = Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "optimizers.json"
RATES = (0.1, 0.1, 0.05, 0.01)
DECAY = 0.02
SHAPES = {"kernel": (2, 3), "norm": (3,), "zero": (2, 2)}


def begin() -> dict[str, Tensor]:
    """Return the parameters: a quarter per position, with alternating signs, and a zero."""
    made = {}
    for name, shape in SHAPES.items():
        count = torch.Size(shape).numel()
        values = [0.25 * (i + 1) * (-1) ** i for i in range(count)]
        tensor = torch.tensor(values, dtype=torch.float64).reshape(shape)
        made[name] = (tensor * (name != "zero")).requires_grad_()
    return made


def gradient(shape: tuple[int, ...], step: int) -> Tensor:
    """Return the gradient of a step: small fractions that differ in size and sign."""
    count = torch.Size(shape).numel()
    values = [((7 * i + 3 * step + 1) % 11 - 5) / 10 for i in range(count)]
    return torch.tensor(values, dtype=torch.float64).reshape(shape)


def path_of(parameters: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> list[Any]:
    """Return the parameters after every step."""
    path = []
    for number, rate in enumerate(RATES):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for tensor in parameters.values():
            tensor.grad = gradient(tuple(tensor.shape), number)
        optimizer.step()
        path.append({name: tensor.tolist() for name, tensor in parameters.items()})
    return path


def groups_of(parameters: dict[str, Tensor]) -> list[dict[str, Any]]:
    """Return one group that decays and one that does not."""
    spared = [parameters["norm"]]
    decayed = [parameters["kernel"], parameters["zero"]]
    return [
        {"params": decayed, "weight_decay": DECAY},
        {"params": spared, "weight_decay": 0.0},
    ]


def main() -> None:
    """Write the fixture."""
    declare_operator_schemas()
    timm = import_module("timm.optim")
    lamb, rmsprop = begin(), begin()
    fixture = {
        "source": "timm",
        "version": version("timm"),
        "rates": RATES,
        "weight_decay": DECAY,
        "begin": {name: tensor.tolist() for name, tensor in begin().items()},
        "gradients": [
            {name: gradient(shape, step).tolist() for name, shape in SHAPES.items()}
            for step in range(len(RATES))
        ],
        "lamb": path_of(lamb, timm.Lamb(groups_of(lamb), lr=0.1, eps=1e-6, max_grad_norm=None)),
        "rmsprop": path_of(
            rmsprop, timm.RMSpropTF(groups_of(rmsprop), lr=0.1, alpha=0.9, eps=1e-3, momentum=0.9)
        ),
    }
    FIXTURE.write_text(json.dumps(fixture) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
