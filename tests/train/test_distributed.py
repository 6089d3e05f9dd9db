from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from convatlas.errors import CheckpointError, OptionError
from convatlas.train.distributed import SharedStatistics, Workers
from small_training import Batches, Sign, net

SCRIPT = Path(__file__).with_name("distributed_training.py")
LAUNCH = [sys.executable, "-m", "torch.distributed.run"]
ALONE = ["--standalone", "--nproc-per-node", "2"]
# Sums of single precision in another order; measured 4e-6 of a tensor's largest value.
TOLERANCE = 5e-5
PATIENCE = 300  # seconds until a process that hangs is given up


def start(launcher: list[str], *options: object) -> subprocess.Popen[str]:
    return begin([*launcher, str(SCRIPT), *map(str, options)])


def begin(command: list[str]) -> subprocess.Popen[str]:
    variables = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    return subprocess.Popen(
        command,
        env={**variables, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        _, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    return process.returncode, errors


def train(launcher: list[str], *options: object) -> tuple[int, str]:
    return finish(start(launcher, *options))


def largest_difference(first: Path, second: Path) -> float:
    one, other = load_file(first), load_file(second)
    assert one.keys() == other.keys()
    return max(
        float((one[name] - other[name]).abs().max() / one[name].abs().max().clamp(min=1e-3))
        for name in one
    )


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("straight")
    for launcher, name in (([sys.executable], "one"), ([*LAUNCH, *ALONE], "two")):
        code, errors = train(launcher, folder / name, folder / f"{name}.safetensors")
        assert code == 0, errors
    return folder


def test_two_processes_learn_what_one_learns_from_the_same_batches(straight: Path) -> None:
    difference = largest_difference(straight / "one.safetensors", straight / "two.safetensors")
    assert 0 < difference < TOLERANCE  # not 0: the sums really were split


def test_the_first_process_alone_writes(straight: Path) -> None:
    lines = {}
    for name in ("one", "two"):
        text = (straight / name / "metrics.jsonl").read_text(encoding="utf-8")
        lines[name] = [json.loads(line) for line in text.splitlines()]
    for one, two in zip(lines["one"], lines["two"], strict=True):
        assert (one["epoch"], one["step"]) == (two["epoch"], two["step"])
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)


def test_a_run_of_two_processes_goes_on_bit_for_bit(straight: Path, tmp_path: Path) -> None:
    launcher, result = [*LAUNCH, *ALONE], tmp_path / "result.safetensors"
    assert train(launcher, tmp_path / "run", result, "--stop", 5)[0] == 0
    assert not result.exists()
    code, errors = train(launcher, tmp_path / "run", result, "--resume")
    assert code == 0, errors
    assert largest_difference(result, straight / "two.safetensors") == 0


def test_a_killed_process_ends_the_run_with_one_line_and_it_goes_on(
    straight: Path, tmp_path: Path
) -> None:
    launcher, result = [*LAUNCH, *ALONE], tmp_path / "result.safetensors"
    code, errors = train(launcher, tmp_path / "run", result, "--die", 6)
    assert code != 0
    told = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert told == [
        "error: process 0 of 2 lost another one of the run, which was killed, failed or cannot "
        "be reached: resume from the last checkpoint"
    ]
    code, errors = train(launcher, tmp_path / "run", result, "--resume")
    assert code == 0, errors
    assert largest_difference(result, straight / "two.safetensors") == 0


def test_two_nodes_learn_what_one_process_learns(straight: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    result = tmp_path / "result.safetensors"
    meeting = ["--rdzv-backend=c10d", "--rdzv-id=atlas", f"--rdzv-endpoint=localhost:{port}"]
    node = [*LAUNCH, "--nnodes=2", "--nproc-per-node=1", *meeting, "--local-addr=localhost"]
    agents = [start([*node, f"--node-rank={rank}"], tmp_path / "run", result) for rank in range(2)]
    for code, errors in map(finish, agents):
        assert code == 0, errors
    assert largest_difference(result, straight / "one.safetensors") < TOLERANCE


def test_the_command_trains_in_two_processes_and_the_first_alone_speaks(tmp_path: Path) -> None:
    said = {}
    for name, launcher in (("one", [sys.executable]), ("two", [*LAUNCH, *ALONE])):
        out = tmp_path / name
        command = ["-m", "convatlas", "train", "lenet5", "--epochs", "1", "--out", str(out)]
        process = begin([*launcher, *command, "--set", "training.precision=fp32"])
        said[name], errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, errors
        assert errors.count("run: ") == 1
    assert said["one"].count("accuracy") == 1
    assert said["two"] == said["one"]
    weights = [next((tmp_path / name).glob("*/trained.safetensors")) for name in ("one", "two")]
    assert 0 < largest_difference(*weights) < TOLERANCE


@pytest.fixture
def group(tmp_path: Path) -> object:
    dist.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1
    )
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.usefixtures("group")
def test_shared_statistics_of_one_process_are_those_of_torch(affine: bool) -> None:
    """By hand they cannot differ: one process sees the whole batch either way."""
    torch.manual_seed(0)
    gradient = torch.randn(4, 3, 5, 5)

    def run(x: Tensor, mean: Tensor, variance: Tensor) -> list[Tensor]:
        weight = torch.tensor([1.0, 2.0, -0.5], requires_grad=True) if affine else None
        bias = torch.tensor([0.1, 0.0, 3.0], requires_grad=True) if affine else None
        x = x.clone().requires_grad_()
        y = F.batch_norm(x, mean, variance, weight, bias, True, 0.3, 1e-3)
        y.backward(gradient)
        grads = [each.grad for each in (x, weight, bias) if each is not None]
        return [y.detach(), mean, variance, *grads]

    x = 5 + 3 * torch.randn(4, 3, 5, 5)
    expected = run(x, torch.zeros(3), torch.ones(3))
    with SharedStatistics(1):
        got = run(x, torch.zeros(3), torch.ones(3))
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_alone_nothing_is_shared() -> None:
    workers, batches, indices = Workers(), Batches(), torch.arange(3)
    assert (workers.rank, workers.count, workers.is_first) == (0, 1, True)
    assert workers.share(batches) is batches
    assert workers.gather(indices) is indices
    assert [workers.any(flag) for flag in (True, False)] == [True, False]
    loss = workers.bind(net().train(), Sign())(batches.batch(0, 0))
    assert workers.mean(loss) is loss


def test_a_network_is_compiled_where_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda model: compiled.append(model) or model)
    workers, model = Workers(), net().train()
    for asked, expected in ((False, []), (True, [model])):
        workers.bind(model, Sign(), compiles=asked)(Batches().batch(0, 0))
        assert compiled == expected


def test_batches_that_cannot_be_shared_are_refused() -> None:
    workers = Workers()
    workers.count = 2
    with pytest.raises(
        OptionError, match=r"shard\(rank, world_size\) for 2 processes, got Batches"
    ):
        workers.share(Batches())


def test_what_the_first_process_raises_is_raised_everywhere() -> None:
    def fail() -> None:
        raise CheckpointError("no checkpoint")

    with pytest.raises(CheckpointError, match="no checkpoint"):
        Workers().from_first(fail)


def test_the_shards_of_the_page_are_halves_in_two_processes(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "distributed.md").read_text(encoding="utf-8")
    script = tmp_path / "sharded.py"
    script.write_text(page.split("```python\n")[1].split("```")[0], encoding="utf-8")
    done = subprocess.run(
        [*LAUNCH, *ALONE, script],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "134,861 of 269,722 parameters here, 116 tensors to save\n"
