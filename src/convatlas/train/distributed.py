"""Several processes that train one network: equal replicas, each with its share of the batch.

torchrun or ``accelerate launch`` starts them. Gradients and the statistics of batch norms are
those of the whole batch, so that the weights are those of one process with the same batch, up to
the order of sums. The first process alone writes, evaluates and reports. In a single process all
of this does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
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
        accelerator: Device and backward of this process.
        rank: Which process this is, from 0.
        count: How many there are.
    """

    def __init__(self) -> None:
        replicas = DistributedDataParallelKwargs(broadcast_buffers=False)
        group = InitProcessGroupKwargs(timeout=_TIMEOUT)
        # Without being told, accelerate starts no group on a machine without accelerators.
        several = int(os.environ.get("WORLD_SIZE", "1")) > 1
        self.accelerator = Accelerator(
            cpu=several and not torch.accelerator.is_available(),
            mixed_precision="no",
            kwargs_handlers=[replicas, group],
        )
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

    def bind(self, model: nn.Module, task: Task) -> Callable[[Any], Tensor]:
        """Return the function from a batch to its loss whose gradients all processes average.

        To be called anew when other parameters learn than before.
        """
        if self.count == 1:
            return lambda batch: task.loss(model, batch)[0]
        learning = tuple(parameter.requires_grad for parameter in model.parameters())
        if self._bound is None or self._bound[0] != learning:
            self.release()
            self._bound = learning, self.accelerator.prepare_model(_Loss(model, task))
        replica: Callable[[Any], Tensor] = self._bound[1]
        return replica

    def release(self) -> None:
        """Let go of the replica: gradients are this process's own again."""
        if self._bound is not None:
            self.accelerator._models.remove(self._bound[1])  # its hooks live as long as it
            self._bound = None

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
        mine = indices.to(self.accelerator.device)
        parts = [torch.empty_like(mine) for _ in range(self.count)]
        dist.all_gather(parts, mine)
        return torch.stack(parts, dim=1).flatten()

    def any(self, flag: bool) -> bool:
        """Tell whether a flag is set in any process; all get the same answer."""
        if self.count == 1:
            return flag
        flags = torch.tensor([flag], dtype=torch.int32, device=self.accelerator.device)
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
        dist.broadcast_object_list(answer, device=self.accelerator.device)
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

        Raises:
            WorkerError: Another process ended or does not answer.
        """
        try:
            yield
        except RuntimeError as error:
            if self.count == 1 or not any(words in str(error) for words in _LOST):
                raise
            raise WorkerError(
                f"process {self.rank} of {self.count} lost another one of the run: see what ended "
                "it, and resume from the last checkpoint"
            ) from error


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


def _sum_over_processes(values: Tensor) -> Tensor:
    """Return the sum over all processes; so are its gradients."""
    from torch.distributed.nn.functional import all_reduce

    total: Tensor = all_reduce(values)  # type: ignore[no-untyped-call]  # torch's is untyped
    return total
