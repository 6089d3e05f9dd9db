"""How much memory DenseNet's training keeps for the backward pass, as a dense block deepens.

Every layer reads the concatenation of all maps before it. Stored, those concatenations grow with
the square of the depth; with ``checkpointing=True`` they are computed again in the backward pass,
and what is left grows with the depth. Counted are the storages that operators made in the
forward pass and that still exist after it, parameters not among them: bytes, not times, so that
every machine prints the same. Run: python benchmarks/densenet_memory.py [--size 28] [depths]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from convatlas.models.densenet import DenseBlock

IN_CHANNELS = 64
GROWTH = 32


class Storages(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch types no part of it
    """Watches the storages that operators make, for as long as something holds them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch types no part of it
        self.seen: dict[int, tuple[Any, int]] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        outputs = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(outputs):
            storage = tensor.untyped_storage()
            reference = StorageWeakRef(storage)  # type: ignore[no-untyped-call]  # nor of this
            self.seen[storage._cdata] = (reference, storage.nbytes())
        return outputs

    def bytes_alive(self, without: nn.Module) -> int:
        """Return the bytes that are still held, less those of a module's parameters and buffers."""
        own = {tensor.untyped_storage()._cdata for tensor in without.state_dict().values()}
        kept = (kept for key, kept in self.seen.items() if key not in own)
        return sum(size for storage, size in kept if not storage.expired())


def kept_bytes(depth: int, size: int, *, checkpointing: bool) -> int:
    """Return what a dense block's forward pass leaves behind, of one map of ``size`` pixels."""
    block = DenseBlock(IN_CHANNELS, GROWTH, depth, checkpointing=checkpointing).train()
    image = torch.randn(1, IN_CHANNELS, size, size, requires_grad=True)
    with Storages() as storages:
        output = block(image)  # it holds all that the backward pass needs
    kept = storages.bytes_alive(without=block)
    del output
    return kept


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("depths", nargs="*", type=int, default=[6, 12, 24, 48], help="layers")
    parser.add_argument("--size", type=int, default=28, help="side of the map, in pixels")
    arguments = parser.parse_args()
    print(f"{'layers':>7}{'stored MiB':>12}{'ratio':>7}{'checkpointed MiB':>18}{'ratio':>7}")
    before: tuple[int, ...] = ()
    for depth in arguments.depths:
        now = tuple(kept_bytes(depth, arguments.size, checkpointing=c) for c in (False, True))
        ratios = [f"{n / b:.2f}" for n, b in zip(now, before, strict=True)] if before else ["", ""]
        stored, spared = (size / 2**20 for size in now)
        print(f"{depth:>7}{stored:>12.1f}{ratios[0]:>7}{spared:>18.1f}{ratios[1]:>7}")
        before = now


if __name__ == "__main__":
    main()
