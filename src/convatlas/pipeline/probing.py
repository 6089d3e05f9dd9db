"""How far the features of each layer carry: a linear probe on every stage of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from convatlas.errors import OptionError
from convatlas.explain.activations import require_layers
from convatlas.models.registry import create_model
from convatlas.pipeline.features import extract
from convatlas.pipeline.prediction import load_network
from convatlas.pipeline.preparation import Prepared, prepare
from convatlas.pipeline.trained import TrainedModel
from convatlas.pipeline.watching import Listener
from convatlas.tasks.bootstrap import bootstrap_intervals
from convatlas.tasks.metrics import Predictions
from convatlas.tasks.probe import fit_probe
from convatlas.tasks.transferred import ProbedLayer

__all__ = ["accuracy_of", "all_layers", "probe_layers"]


def probe_layers(
    model: str, data: str, layers: Sequence[str], listener: Listener, *, seed: int = 0
) -> list[ProbedLayer]:
    """Fit a probe on each layer of a pretrained network, and of the same one untrained.

    Args:
        model: A run folder, or a network with weights at hand.
        data: What ``open_source`` opens.
        layers: Paths of layers; ``["all"]`` for the stem, every stage and what the classifier
            gets.
        listener: Who is told.
        seed: Decides the held-out images, the untrained weights and the probes' own split.

    Raises:
        ConvAtlasError: Data, network or layers that cannot be used.
    """
    network = load_network(model)
    asked = all_layers(network) if list(layers) == ["all"] else list(dict.fromkeys(layers))
    if not asked:
        raise OptionError("expected layers such as stages.2,stages.3 or all, got none: name some")
    require_layers(network.model, asked)
    prepared = prepare(data, listener.progress("reading the images"), seed=seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        untrained = replace(network, model=create_model(network.name, **network.options).eval())
    trained = _probed(network, prepared, asked, listener, seed)
    random = _probed(untrained, prepared, asked, listener, seed)
    found = []
    for layer in asked:
        channels, predictions = trained[layer]
        accuracy, interval = accuracy_of(predictions)
        found.append(
            ProbedLayer(layer, channels, accuracy, interval, *accuracy_of(random[layer][1]))
        )
    return found


def all_layers(network: TrainedModel) -> list[str]:
    """Return the stem, every stage and what the classifier gets, those that are there."""
    stem, head = network.model.stem, network.model.head
    names = ["stem"] if any(True for _ in stem.parameters()) else []
    names += [feature.name for feature in network.model.feature_info]
    *before, last = head.named_children()
    # A head that only pools hands on the features of the last stage.
    if last[0] == "classifier" and any(True for _, part in before for _ in part.parameters()):
        names.append(f"head.{before[-1][0]}")
    return names


def accuracy_of(predictions: Predictions) -> tuple[float, tuple[float, float]]:
    """Return the accuracy and its 95 % bootstrap interval."""
    right = predictions.logits.argmax(dim=1) == predictions.labels
    return right.double().mean().item(), bootstrap_intervals(predictions).accuracy


def _probed(
    network: TrainedModel, prepared: Prepared, layers: Sequence[str], listener: Listener, seed: int
) -> dict[str, tuple[int, Predictions]]:
    """Return the number of features of each layer, and what a probe on them predicts."""
    progress = listener.progress("computing features")
    train = extract(network, prepared.splits.train, layers, progress)
    judged = extract(network, prepared.splits.validation, layers, progress)
    found = {}
    for layer in layers:
        x, held = (part.layers[layer].flatten(1) for part in (train, judged))
        probe = fit_probe(x, train.labels, held, judged.labels, seed=seed)
        found[layer] = x.shape[1], probe.predictions
    return found
