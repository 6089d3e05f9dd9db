from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from convatlas.analysis.memory import TrainingMemory, predict_memory
from convatlas.errors import OptionError
from convatlas.train import out_of_memory
from convatlas.train.checkpoint import RunFolder
from convatlas.train.loop import fit
from convatlas.train.recipe import Recipe
from small_training import STEPS, Batches, Held, Images, Sign, net

TORCH = "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory"
ERRORS = [MemoryError(), torch.OutOfMemoryError("CUDA out of memory."), RuntimeError(TORCH)]
RECIPE = Recipe().override({"training.epochs": 2, "training.precision": "fp32"})


class Greedy(Sign):
    """Runs out of memory in the second step of the second epoch."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error
        self.calls = 0

    def loss(self, model: nn.Module, batch: Images) -> tuple[Tensor, Tensor]:
        self.calls += 1
        if self.calls == STEPS + 2:
            raise self.error
        return super().loss(model, batch)


def message_of(tmp_path: Path, error: Exception) -> str:
    with pytest.raises(OptionError) as caught:
        fit(net(), Greedy(error), Batches(), Held(), RECIPE, run=RunFolder(tmp_path))
    return str(caught.value)


def memory_for(monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    """Leave as much memory as a step of ``batch`` images needs beside what is there all along."""
    training = TrainingMemory("momentum")
    report = predict_memory(net().train(), 8, batch=batch, training=training, channels_last=True)
    free = report.peak_bytes - report.parameter_bytes - report.optimizer_bytes
    # A tenth of what is free is left as a margin.
    monkeypatch.setattr(out_of_memory, "free_bytes", lambda _: free / 0.9 + 1)


@pytest.mark.parametrize("error", ERRORS)
def test_it_says_batch_and_what_is_predicted_to_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    memory_for(monkeypatch, 5)
    message = message_of(tmp_path, error)
    assert message.startswith("out of memory at step 5 with 8 images of 1×8×8 at once, ")
    assert "batch_size=5, the largest that is predicted to fit" in message
    assert "\n" not in message
    assert RunFolder(tmp_path).load_last().metadata["epochs_done"] == 1


def test_when_the_batch_should_have_fitted_it_promises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory_for(monkeypatch, 9)
    assert "at once: halve batch_size or free memory; " in message_of(tmp_path, MemoryError())


def test_where_nobody_knows_what_is_free_it_promises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out_of_memory, "free_bytes", lambda _: None)
    assert "at once: halve batch_size or free memory; " in message_of(tmp_path, MemoryError())


def test_another_error_of_a_step_is_left_alone(tmp_path: Path) -> None:
    task = Greedy(RuntimeError("mat1 and mat2"))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        fit(net(), task, Batches(), Held(), RECIPE, run=RunFolder(tmp_path))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_what_is_free_is_what_the_system_says() -> None:
    free = out_of_memory.free_bytes(torch.device("cpu"))
    assert free is not None
    assert 0 < free < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert out_of_memory.free_bytes(torch.device("meta")) is None


REAL = """
import resource, sys
from pathlib import Path
import torch
import torch.nn.functional as F
from small_training import Batches, Held, Images, Sign, net
from convatlas.errors import OptionError
from convatlas.train.checkpoint import RunFolder
from convatlas.train.loop import fit
from convatlas.train.recipe import Recipe

batch, folder = int(sys.argv[1]), Path(sys.argv[2])

class Large(Batches):
    def batch(self, epoch, step):
        images = torch.zeros(batch, 1, 64, 64)
        return Images(images, torch.zeros(batch, dtype=torch.long), torch.arange(batch))

torch.set_num_threads(1)
torch.optim.SGD([torch.zeros(1)])
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 800_000_000, resource.RLIM_INFINITY))
recipe = Recipe().override({"training.epochs": 1, "training.precision": "fp32"})
try:
    fit(net(), Sign(), Large(1), Held(), recipe, run=RunFolder(folder))
except OptionError as error:
    sys.stdout.write(str(error))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space")
def test_a_real_limit_is_told_and_the_predicted_batch_trains(tmp_path: Path) -> None:
    def told(batch: int) -> str:
        done = subprocess.run(
            [sys.executable, "-c", REAL, str(batch), tmp_path / str(batch)],
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": str(Path(__file__).parents[1]),
            },
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    message = told(6000)
    assert message.startswith("out of memory at step 1 with 6000 images of 1×64×64 at once, 0.")
    found = re.search(r"batch_size=(\d+)", message)
    assert found, message
    assert told(int(found[1])) == ""
