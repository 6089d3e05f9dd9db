"""How fast networks train, next to torchvision's reference loop, and on GPUs next to timm's.

It needs the environment of the oracles, which alone has both libraries (docs/oracles.md):

    PYTHONPATH=src:tools/oracles ~/.cache/convatlas/oracles/bin/python benchmarks/training.py

or ``make bench-training``. Ours is ``fit`` itself with the recipe's defaults: precision auto,
channels-last, the allocator's thresholds, the fused optimizer. On a CPU theirs is what
torchvision's references/classification/train.py does without options: fp32, NCHW, SGD with
momentum 0.9 and weight decay 1e-4, cross-entropy. On a GPU it is the step of timm's train.py with
bfloat16, channels-last and torch.compile. Both see the same images, which lie ready in memory, so
that only the step is timed: forward, loss, backward, optimizer.

Each side has a process of its own, because the allocator's thresholds hold for a whole process;
they take turns, one optimizer step each. The ratio is their time over ours: how many times as
many images per second. On one thread the time is the processor's, otherwise the wall's.
[--turns N] [--batch N] [--threads N] [--device cuda] [names]
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection

import torch
import torch.nn.functional as F
from torch import Tensor

from convatlas.data.batches import Batch
from convatlas.models.registry import create_model
from convatlas.tasks.classify import Classification
from convatlas.train.checkpoint import RunFolder
from convatlas.train.loop import fit
from convatlas.train.recipe import Recipe
from convatlas.train.reports import EpochReport, Plan, StepReport
from convatlas.train.session import Session
from turns import compare

SIZE, CLASSES = 224, 1000
STEPS = 100_000  # more than any turn asks for

# our name → torchvision's, timm's
NETWORKS = {
    "resnet50": ("resnet50", "resnet50"),
    "mobilenetv2_100": ("mobilenet_v2", "mobilenetv2_100"),
    "efficientnet_b0": ("efficientnet_b0", "efficientnet_b0"),
}


@dataclass(frozen=True, slots=True)
class Load:
    """What a side works on."""

    name: str
    batch: int
    threads: int
    device: str

    def images(self) -> tuple[Tensor, Tensor]:
        """Return the images and labels that every step sees."""
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(self.batch, 3, SIZE, SIZE, generator=generator)
        return images, torch.randint(CLASSES, (self.batch,), generator=generator)


class Repeated:
    """The same batch, as often as it is asked for."""

    def __init__(self, load: Load) -> None:
        images, labels = load.images()
        self._batch = Batch(images, labels, torch.arange(load.batch))

    def __len__(self) -> int:
        return STEPS

    def batch(self, epoch: int, step: int) -> Batch:  # noqa: ARG002  # the protocol's
        """Return it."""
        return self._batch

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield it."""
        return (self.batch(epoch, step) for step in range(first, STEPS))


class Gate:
    """After each step, answers the other process and waits for it to ask for the next."""

    def __init__(self, line: Connection) -> None:
        self._line = line
        self._line.recv()

    def start(self, plan: Plan) -> None:
        """Take the start of the run."""

    def step(self, report: StepReport | None) -> None:  # noqa: ARG002  # an observer's
        """Wait between two steps."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self._line.send((time.process_time(), peak_mib))
        self._line.recv()

    def epoch(self, report: EpochReport) -> None:
        """Take the end of an epoch."""

    def stop(self) -> None:
        """Take the end of the run."""


def ours(line: Connection, load: Load) -> None:
    """Run ``fit`` with the defaults of a recipe, one step at a time."""
    torch.set_num_threads(load.threads)
    gate = Gate(line)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        fit(
            create_model(load.name, num_classes=CLASSES),
            Classification(),
            Repeated(load),
            [],
            Recipe(),
            run=RunFolder(folder),
            observers=[gate],
            session=Session(checkpoint_minutes=0),
        )


def torchvision_loop(line: Connection, load: Load) -> None:
    """Run a step as torchvision's reference script does by default."""
    from foreign import build
    from table import Reference

    torch.set_num_threads(load.threads)
    gate = Gate(line)
    model = build(Reference("torchvision", NETWORKS[load.name][0], SIZE)).train()
    images, labels = load.images()
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    while True:
        loss = criterion(model(images), labels)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        loss.item()  # it logs the loss of every step
        gate.step(None)


def timm_loop(line: Connection, load: Load) -> None:
    """Run a step as timm's train.py does with --amp, --channels-last and --torchcompile."""
    from foreign import build
    from table import Reference

    gate = Gate(line)
    model = build(Reference("timm", NETWORKS[load.name][1], SIZE)).train()
    model.to(load.device)
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
    images, labels = (each.to(load.device) for each in load.images())
    images = images.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.05, momentum=0.9, weight_decay=2e-5, nesterov=True
    )
    compiled: Callable[[Tensor], Tensor] = torch.compile(model)
    while True:
        with torch.autocast(load.device, torch.bfloat16):
            loss = F.cross_entropy(compiled(images), labels)
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        gate.step(None)


class Side:
    """A process that does one step when it is asked to."""

    def __init__(self, loop: Callable[[Connection, Load], None], load: Load) -> None:
        context = multiprocessing.get_context("spawn")
        self._line, other = context.Pipe()
        self._process = context.Process(target=loop, args=(other, load), daemon=True)
        self._process.start()
        other.close()
        self.seconds, self.peak_mib = 0.0, 0.0

    def step(self) -> None:
        """Have one step done."""
        self._line.send(None)
        self.seconds, self.peak_mib = self._line.recv()

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()


def row(load: Load, turns: int) -> None:
    """Print the row of one network."""
    theirs_loop = torchvision_loop if load.device == "cpu" else timm_loop
    mine, other = Side(ours, load), Side(theirs_loop, load)

    def processor_seconds() -> float:
        return mine.seconds + other.seconds

    alone = load.threads == 1 and load.device == "cpu"
    clock = processor_seconds if alone else time.perf_counter
    try:
        comparison = compare(other.step, mine.step, turns, clock)
    finally:
        mine.stop()
        other.stop()
    rates = [1000 * load.batch / ms for ms in (comparison.theirs_ms, comparison.ours_ms)]
    print(
        f"{load.name:<18}{rates[0]:>10.1f}{rates[1]:>10.1f}{comparison.ratio:>8.2f}   "
        f"{comparison.low:.2f}–{comparison.high:.2f}{mine.peak_mib:>12.0f}{other.peak_mib:>12.0f}",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(NETWORKS))
    parser.add_argument("--turns", type=int, default=8, help="pairs of steps per row")
    parser.add_argument("--batch", type=int, default=32, help="images per step")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    arguments = parser.parse_args()
    where = torch.cuda.get_device_name() if arguments.device == "cuda" else "CPU"
    print(f"torch {torch.__version__}, {where}, {arguments.threads} threads, {SIZE}×{SIZE}")
    print(
        f"{'network':<18}{'ours im/s':>10}{'theirs':>10}{'ratio':>8}   {'middle half':<11}"
        f"{'ours MiB':>10}{'theirs MiB':>12}"
    )
    for name in arguments.names:
        row(Load(name, arguments.batch, arguments.threads, arguments.device), arguments.turns)


if __name__ == "__main__":
    main()
