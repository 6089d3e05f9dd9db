"""``predict.py``: a script beside an exported file that needs neither convatlas nor torch.

It reads images and prepares them as ``data.decode`` and ``data.preprocess`` do, by the record in
the ONNX file; tests hold the two against each other.
"""

from __future__ import annotations

from pathlib import Path

from convatlas import __version__
from convatlas.deploy.record import METADATA_KEY
from convatlas.files import write_text

__all__ = ["SCRIPT_FILE", "write_script"]

SCRIPT_FILE = "predict.py"


def write_script(folder: Path, model_name: str) -> Path:
    """Write ``predict.py`` into a folder with ``model.onnx``, and return its path.

    Args:
        folder: The run folder.
        model_name: What the script says it asks.

    Raises:
        OutputError: The folder cannot be written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(  # noqa: S701 (it writes Python, not HTML)
        loader=PackageLoader("convatlas.deploy"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    text = environment.get_template(f"{SCRIPT_FILE}.j2").render(
        model=model_name, version=__version__, metadata_key=METADATA_KEY
    )
    path = folder / SCRIPT_FILE
    write_text(path, text)
    return path
