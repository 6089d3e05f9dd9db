"""What an exported file says about itself: its model, its classes, its preprocessing.

The same JSON stands in the file's metadata and beside it, so whoever runs the file
prepares images exactly as training did.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from convatlas.data.preprocess import Preprocessing
from convatlas.errors import ConvAtlasError, ExportError

__all__ = ["METADATA_KEY", "ExportRecord"]

METADATA_KEY = "convatlas"


@dataclass(frozen=True, slots=True)
class ExportRecord:
    """The record of one exported classifier.

    Attributes:
        model: Name of the architecture, or whatever the exporter's caller chose.
        classes: Class names in the order of the logits.
        preprocessing: From an image to the tensor that the file takes.
    """

    model: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing

    def to_json(self) -> str:
        """Return the record as one JSON object."""
        content = {
            "model": self.model,
            "classes": list(self.classes),
            "preprocessing": self.preprocessing.to_dict(),
        }
        return json.dumps(content, ensure_ascii=False, indent=2)

    @classmethod
    def from_json(cls, text: str) -> ExportRecord:
        """Read a record that ``to_json`` wrote.

        Raises:
            ExportError: The text is no such record.
        """
        try:
            content = json.loads(text)
            preprocessing = Preprocessing.from_dict(content["preprocessing"])
            classes = tuple(str(name) for name in content["classes"])
            return cls(str(content["model"]), classes, preprocessing)
        except (ConvAtlasError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ExportError(
                f"expected a record with model, classes and preprocessing, got one that cannot be "
                f"read ({type(error).__name__}: {error}): export the model again"
            ) from error
