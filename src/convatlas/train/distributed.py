"""Several processes that train one network: equal replicas, each with its share of the batch.

torchrun or ``accelerate launch`` starts them. Gradients and the statistics of batch norms are
those of the whole batch, so that the weights are those of one process with the same batch, up to
the order of sums. The first process alone writes, evaluates and reports. In a single process all
of this does nothing.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from convatlas.errors import ConvAtlasError, OptionError, WorkerError
from convatlas.train.contracts import Task, TrainBatches

__all__ = ["SharedStatistics", "Workers"]

_T = TypeVar("_T")
# For a process that hangs or a network that fails; one that ends is noticed at once.
_TIMEOUT = timedelta(minutes=30)
_LOST = ("closed by peer", "reset by peer", "Broken pipe", "Timed out", "timed out", "NCCL")


class Workers:
    """The processes of a run, this one among them.

    Attributes:
        accelerator: Backward and clipping.
        device: Where this process trains.
        rank: Which process this is, from 0.
        count: How many there are.
    """

    def __init__(self) -> None:
        # Without being told, accelerate starts no group on a machine without accelerators.
        several = int(os.environ.get("WORLD_SIZE", "1")) > 1
        self.accelerator = Accelerator(
            cpu=several and not torch.accelerator.is_available(),
            mixed_precision="no",
            kwargs_handlers=[InitProcessGroupKwargs(timeout=_TIMEOUT)],
        )
        # accelerate says cpu:0, which torch takes for another device than that of tensors there.
        device = self.accelerator.device
        self.device = torch.device("cpu") if device.type == "cpu" else device
        self.rank: int = self.accelerator.process_index
        self.count: int = self.accelerator.num_processes
        self._bound: tuple[tuple[bool, ...], Any] | None = None

    @property
    def is_first(self) -> bool:
        """Whether this process writes, evaluates and reports."""
        return self.rank == 0

    def share(self, batches: TrainBatches) -> TrainBatches:
        """Return this process's share of the training batches.

        Raises:
            OptionError: The batches cannot be shared, or not evenly.
        """
        if self.count == 1:
            return batches
        shard = getattr(batches, "shard", None)
        if shard is None:
            raise OptionError(
                f"expected batches with shard(rank, world_size) for {self.count} processes, got "
                f"{type(batches).__name__}: train in one process"
            )
        part: TrainBatches = shard(self.rank, self.count)
        return part

    def bind(
        self, model: nn.Module, task: Task, *, compiles: bool = False
    ) -> Callable[[Any], Tensor]:
        """Return the function from a batch to its loss whose gradients all processes average.

        To be called anew when other parameters learn than before. Several processes compile
        nothing, because batch norms would wait for each other inside.
        """
        if self.count == 1:
            compiled: Any = torch.compile(model) if compiles else model
            return lambda batch: task.loss(compiled, batch)[0]
        learning = tuple(parameter.requires_grad for parameter in model.parameters())
        if self._bound is None or self._bound[0] != learning:
            self.release()
            replica = self.accelerator.prepare_model(_Loss(model, task), device_placement=False)
            self._bound = learning, replica
        loss_of: Callable[[Any], Tensor] = self._bound[1]
        return loss_of

    def release(self) -> None:
        """Let go of the replica: gradients are this process's own again."""
        if self._bound is not None:
            self._bound = None
            self.accelerator.free_memory()  # its hooks on the gradients live as long as it

    def mean(self, loss: Tensor) -> Tensor:
        """Return the mean of a scalar over the processes."""
        if self.count == 1:
            return loss
        total = loss.detach().clone()
        dist.all_reduce(total)
        return total / self.count

    def gather(self, indices: Tensor) -> Tensor:
        """Return the indices of all processes, in the order of the whole batch."""
        if self.count == 1:
            return indices
        mine = indices.to(self.device)
        parts = [torch.empty_like(mine) for _ in range(self.count)]
        dist.all_gather(parts, mine)
        return torch.stack(parts, dim=1).flatten()

    def any(self, flag: bool) -> bool:
        """Tell whether a flag is set in any process; all get the same answer."""
        if self.count == 1:
            return flag
        flags = torch.tensor([flag], dtype=torch.int32, device=self.device)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags.item())

    def from_first(self, make: Callable[[], _T]) -> _T:
        """Return in all processes what ``make`` gives in the first, or raise what it raises."""
        if self.count == 1:
            return make()
        answer: list[Any] = [None, None]
        if self.is_first:
            try:
                answer = [make(), None]
            except (ConvAtlasError, KeyboardInterrupt) as error:
                answer = [None, error]
        dist.broadcast_object_list(answer, device=self.device)
        if answer[1] is not None:
            raise answer[1]
        value: _T = answer[0]
        return value

    def statistics(self) -> Any:
        """Return the context in which batch norms see the whole batch."""
        return nullcontext() if self.count == 1 else SharedStatistics(self.count)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Turn the loss of another process into one line.

        The other end of a connection is gone, or torchrun, which saw it first, asks this process
        to end too.

        Raises:
            WorkerError: Another process ended or does not answer.
        """
        if self.count == 1:
            yield
            return
        lost = WorkerError(
            f"process {self.rank} of {self.count} lost another one of the run, which was killed, "
            "failed or cannot be reached: resume from the last checkpoint"
        )
        with _raised_at_sigterm(lost):
            try:
                yield
            except RuntimeError as error:
                if not any(words in str(error) for words in _LOST):
                    raise
                raise lost from error


@contextmanager
def _raised_at_sigterm(error: WorkerError) -> Iterator[None]:
    """Raise ``error`` when this process is asked to end, where signals can be had."""
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def stop(*_: object) -> None:
        raise error

    signal.signal(signal.SIGTERM, stop)
    after = signal.SIG_DFL
    try:
        yield
    except WorkerError:
        after = signal.SIG_IGN  # torchrun's signal must not come before the message is out
        raise
    finally:
        signal.signal(signal.SIGTERM, after)


class _Loss(nn.Module):
    """A network up to its loss, so that replicas need to know nothing but a forward."""

    def __init__(self, model: nn.Module, task: Task) -> None:
        super().__init__()
        self.model = model
        self._task = task

    def forward(self, batch: Any) -> Tensor:
        loss, _ = self._task.loss(self.model, batch)
        return loss


class SharedStatistics(TorchFunctionMode):
    """While entered, batch norms in training mode normalise over the batches of all processes.

    Mean and variance, and their gradients, are those of one process with the whole batch, as in
    torch's SyncBatchNorm, which works on GPUs alone. Every process must have as many values.

    Args:
        count: Number of processes.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run ``func``, or the shared batch norm in its place."""
        kwargs = kwargs or {}
        if func is F.batch_norm:
            return self._batch_norm(*args, **kwargs)
        return func(*args, **kwargs)

    def _batch_norm(
        self,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training:
            return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
        axes = [axis for axis in range(x.ndim) if axis != 1]
        shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
        n = x.numel() // x.shape[1] * self._count
        values = x.float()
        mean = _sum_over_processes(values.sum(axes)) / n
        centred = values - mean.view(shape)
        variance = _sum_over_processes(centred.square().sum(axes)) / n
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                running_mean.lerp_(mean, momentum)
                running_var.lerp_(variance * (n / (n - 1)), momentum)
        y = centred * (variance + eps).rsqrt().view(shape)
        if weight is not None and bias is not None:
            y = y * weight.view(shape) + bias.view(shape)
        return y.to(x.dtype)


class _SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over all processes; so is its gradient."""

    @staticmethod
    def forward(_context: Any, values: Tensor) -> Tensor:
        total = values.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total


def _sum_over_processes(values: Tensor) -> Tensor:
    total: Tensor = _SumOverProcesses.apply(values)  # type: ignore[no-untyped-call]  # torch's is untyped
    return total
