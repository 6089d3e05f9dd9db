"""A training in several processes: run by test_distributed.py, under torchrun.

    torchrun --nproc-per-node 2 distributed_training.py FOLDER RESULT [options]

``--stop`` ends it after a step as Ctrl-C does; ``--die`` kills the second process in that step.
The first process writes the weights to RESULT.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator

import torch
from safetensors.torch import save_file
from torch import nn

from convatlas.errors import ConvAtlasError
from convatlas.models.anatomy import ConvNet
from convatlas.train.checkpoint import RunFolder
from convatlas.train.loop import fit
from convatlas.train.session import Session
from small_training import Batches, Held, Images, Sign, recipe_of

RECIPE = recipe_of(
    {
        "training.epochs": 2,
        "training.batch_size": 8,
        "training.keep": "last",
        "optimizer.lr": 0.1,
        "regularization.ema_decay": 0.9,
        "regularization.clip_norm": 1.0,
        "transfer.freeze_epochs": 1,
    }
)


class Shared(Batches):
    """The random images, each process its share of them."""

    rank, world_size = 0, 1

    def shard(self, rank: int, world_size: int) -> Shared:
        part = Shared(self.steps)
        part.rank, part.world_size = rank, world_size
        return part

    def batch(self, epoch: int, step: int) -> Images:
        whole = super().batch(epoch, step)
        mine = slice(self.rank, None, self.world_size)
        return Images(whole.images[mine], whole.labels[mine], whole.indices[mine])

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Images]:
        return (self.batch(epoch, step) for step in range(first, self.steps))


class Deadly(Sign):
    """The task; in one step it kills the second process."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._left = step

    def loss(self, model: nn.Module, batch: Images) -> tuple[torch.Tensor, torch.Tensor]:
        self._left -= 1
        if self._left == 0 and os.environ.get("RANK") == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().loss(model, batch)


def net() -> ConvNet:
    """Return a network with batch norms, but without dropout, whose draws differ by process."""
    torch.manual_seed(7)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))

    def block(i: int, o: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU()
        )

    return ConvNet(
        block(1, 4),
        [block(4, 4), block(4, 6)],
        head,
        channels=[4, 6],
        strides=[1, 1],
        in_channels=1,
    )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("result")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--stop", type=int, default=0)
    parser.add_argument("--die", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = net()
    session = Session(resume=options.resume, stop_after_steps=options.stop, checkpoint_steps=1)
    run = RunFolder(options.folder)
    try:
        fit(model, Deadly(options.die), Shared(4), Held(), RECIPE, run=run, session=session)
    except ConvAtlasError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        return 0
    if os.environ.get("RANK", "0") == "0":
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, options.result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
