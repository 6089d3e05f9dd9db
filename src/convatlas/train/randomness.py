"""What is drawn at random while a network trains: seeded before each step, given back after.

So no generator's state needs to be in a checkpoint. The batches draw from generators of their
own (``data/``), by seed, epoch and image.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["kept_random_state", "seed_with"]


def seed_with(text: str, device: torch.device) -> None:
    """Seed the generators of torch, numpy and Python, so that draws depend on ``text`` alone."""
    # Hashed, because the generators take 32 bits and near seeds start alike.
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest())
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 -- for those who draw from the global generator
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


@contextmanager
def kept_random_state(device: torch.device) -> Iterator[None]:
    """Put the generators' states back at the end, as they were at the start."""
    devices = range(torch.cuda.device_count()) if device.type == "cuda" else ()
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 -- as above
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002 -- as above
