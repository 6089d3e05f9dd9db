"""One pass or training step on tensors that have a shape, a dtype and a device, but no memory.

The model's own code runs, and autograd with it, so everything that a real step would hold is
held here for as long, at no cost but time. The model is left exactly as found. Knows nothing
about bytes; ``allocations.py`` counts them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)

from convatlas.analysis.allocations import Allocations
from convatlas.analysis.isolation import lend, modules_of
from convatlas.analysis.operation import tensors_in
from convatlas.errors import ConvAtlasError, OptionError
from convatlas.layers.checkpointing import checkpointed

__all__ = ["Rehearsal"]

_CPU = torch.device("cpu")


class Rehearsal:
    """A model with tensors that have no memory, and where in it the program is.

    Args:
        model: Any module.
        images: Its inputs; only their shapes and dtypes are read.
        channels_last: Whether images and weights are in that layout.
        device: ``"cpu"`` or ``"cuda"``: how its allocator and its kernels use memory.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Sequence[Tensor],
        *,
        channels_last: bool = False,
        device: str = "cpu",
    ) -> None:
        self.model, self.device, self._modules = model, device, modules_of(model)
        self._channels_last = channels_last
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._paths, self._phase = [""], "forward"
        self._path_of_node: dict[int, str] = {}
        self.allocations = Allocations(self._place, device)
        with self._fake:
            self.parameters = {id(p): self._parameter(p) for p in model.parameters()}
            self.buffers = {id(b): self._without_memory(b) for b in model.buffers()}
            self.images = [self._without_memory(image) for image in images]

    def forward(self, precision: torch.dtype) -> None:
        """Run one forward in eval mode without gradients."""
        with torch.no_grad(), self._running(training=False):
            self._called(precision)

    def step(
        self,
        precision: torch.dtype,
        loss: Callable[[Any], Tensor] | None,
        *,
        checkpointing: bool = False,
    ) -> None:
        """Run forward, loss and backward as in training; the gradients stay."""
        forgetful = checkpointed(self.model) if checkpointing else nullcontext()
        with torch.enable_grad(), forgetful, self._running(training=None):
            output = self._called(precision)
            value = _mean_of(output) if loss is None else loss(output)
            del output
            self._phase = "backward"
            if value.requires_grad:
                with _gradients_kept(_leaves_of(value), self.parameters.values()):
                    value.backward()  # type: ignore[no-untyped-call]  # torch's is untyped

    def _called(self, precision: torch.dtype) -> Any:
        mixed = precision != torch.float32
        with torch.autocast("cpu", precision if mixed else torch.bfloat16, enabled=mixed):
            return self.model(*self.images)

    @contextmanager
    def _running(self, *, training: bool | None) -> Iterator[None]:
        self._phase = "forward"
        try:
            with lend(self._modules, self._framed, training=training):
                for _, module in self._modules:
                    self._furnish(module)
                with self._fake, self.allocations:
                    yield
        except ConvAtlasError:
            raise
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            raise OptionError(
                f"{type(self.model).__name__} cannot be rehearsed: {self._where} needs the values "
                "of a tensor, and a rehearsal knows only its shape: measure a real step"
            ) from error
        except Exception as error:
            line = (str(error).strip() or type(error).__name__).splitlines()[0]
            shapes = ", ".join("×".join(map(str, image.shape)) for image in self.images)
            raise OptionError(
                f"{type(self.model).__name__} cannot be rehearsed on a {shapes} input: "
                f"{self._where} failed with {type(error).__name__}: "
                f"{line.rstrip('.')}; change input_size or batch, or pass the inputs of forward"
            ) from error
        finally:
            del self._paths[1:]

    @property
    def _where(self) -> str:
        """The module that runs, in words."""
        return self._paths[-1] or "forward"

    def _furnish(self, module: nn.Module) -> None:
        """Put the tensors without memory in the place of the module's own, while it is lent."""
        twins: dict[int, Tensor] = {**self.parameters, **self.buffers}
        tensors: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for own in tensors:
            own.update({name: twins[id(t)] for name, t in own.items() if t is not None})
        for name, value in module.__dict__.items():
            if not name.startswith("_") or name == "_flat_weights":
                module.__dict__[name] = _replaced(value, twins)

    def _framed(
        self, path: str, module: nn.Module, forward: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Return ``forward`` with the program's place noted, also for the backward to come."""
        del module
        paths, path_of_node = self._paths, self._path_of_node

        def run(*args: Any, **kwargs: Any) -> Any:
            paths.append(path)
            output = forward(*args, **kwargs)
            paths.pop()
            for tensor in tensors_in((output,)):
                if tensor.grad_fn is not None:
                    path_of_node.setdefault(tensor.grad_fn._sequence_nr(), path)
            return output

        return run

    def _place(self) -> tuple[str, str]:
        if self._phase == "forward":
            return self._paths[-1], self._phase
        node = torch._C._current_autograd_node()
        if node is not None:
            self._paths[-1] = self._path_of_node.get(node._sequence_nr(), self._paths[-1])
        return self._paths[-1], self._phase

    def _parameter(self, parameter: Tensor) -> nn.Parameter:
        twin = nn.Parameter(self._without_memory(parameter), parameter.requires_grad)
        if twin.requires_grad:
            note = self.allocations.note_gradient
            twin.register_post_accumulate_grad_hook(note)  # type: ignore[no-untyped-call]  # torch's
        return twin

    def _without_memory(self, tensor: Tensor) -> Tensor:
        twin = torch.empty(tensor.shape, dtype=tensor.dtype, device=_CPU)
        if self._channels_last and twin.dim() == 4:
            return twin.to(memory_format=torch.channels_last)
        return twin


def _leaves_of(value: Tensor) -> list[Tensor]:
    """Return the tensors whose ``grad`` a backward from ``value`` fills."""
    pending, seen, leaves = [value.grad_fn], set[Any](), []
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            leaves.append(node.variable)
        pending += [following for following, _ in node.next_functions]
    return leaves


@contextmanager
def _gradients_kept(leaves: Iterable[Tensor], ours: Iterable[Tensor]) -> Iterator[None]:
    """Give leaves that are no twins their gradients back: tensors that no module registers."""
    twins = set(map(id, ours))
    strangers = [(leaf, leaf.grad) for leaf in leaves if id(leaf) not in twins]
    try:
        yield
    finally:
        for leaf, gradient in strangers:
            leaf.grad = gradient


def _replaced(value: Any, twins: dict[int, Tensor]) -> Any:
    """Return an attribute with twins of the module's tensors, and copies of all others."""
    if isinstance(value, Tensor):
        return twins[id(value)] if id(value) in twins else value.detach().clone()
    if type(value) in (list, tuple):
        return type(value)(_replaced(item, twins) for item in value)
    if type(value) is dict:
        return {key: _replaced(item, twins) for key, item in value.items()}
    return value


def _mean_of(output: Any) -> Tensor:
    """Return a number that depends on every floating output."""
    means = [t.float().mean() for t in tensors_in((output,)) if t.is_floating_point()]
    if not means:
        raise OptionError(
            "expected a model that returns floating tensors to train, got none: pass loss="
        )
    return torch.stack(means).sum()
