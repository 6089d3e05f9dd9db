"""Where a published weight file is: an address, or a repository of the Hugging Face Hub.

The Hub is reached by plain https: one file per network needs no client of its own, and goes
through the same cache, mirror and check as every other file. Does not import torch.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from convatlas.errors import WeightsError
from convatlas.fetch import Remote, cache_folder

__all__ = ["HUB", "remote_weights", "weights_folder"]

HUB = "hub:"
_FILE = "model.safetensors"
_PART = r"[A-Za-z0-9_][\w.-]*"
_REPOSITORY = re.compile(rf"{HUB}({_PART})/({_PART})(?:@({_PART}(?:/{_PART})*))?", re.ASCII)


def weights_folder() -> Path:
    """Return the folder of the cache that downloaded weights go to."""
    return cache_folder() / "weights"


def remote_weights(location: str, sha256: str = "") -> Remote:
    """Return the file at ``location``.

    Args:
        location: An https address, or ``hub:owner/name`` with ``@revision`` if not the main
            branch: the ``model.safetensors`` of that repository.
        sha256: Its digest, or the first digits, or "".

    Raises:
        WeightsError: Not a repository of the Hub.
    """
    if not location.startswith(HUB):
        return Remote(location, location.rpartition("/")[2], sha256)
    found = _REPOSITORY.fullmatch(location)
    if found is None:
        raise WeightsError(
            f"expected {HUB}owner/name or {HUB}owner/name@revision, got {location!r}: correct it"
        )
    owner, name, revision = found.groups()
    base = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    url = f"{base}/{owner}/{name}/resolve/{revision or 'main'}/{_FILE}"
    version = f"@{revision.replace('/', '--')}" if revision else ""
    return Remote(url, f"{owner}--{name}{version}.safetensors", sha256)
