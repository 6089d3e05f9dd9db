"""The report's sections for whoever ships or repeats the run.

Each function turns a run's files into plain values for the template of the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from convatlas.render.run_folder import FinishedRun

__all__ = ["export", "reproduce", "snippet"]

_SCRIPT = "predict.py"


def export(run: FinishedRun) -> dict[str, Any] | None:
    """Return the exported file, its comparison with PyTorch, and how to use it."""
    if run.parity is None:
        return None
    record = (run.data or {}).get("preprocessing")
    return {
        "parity": run.parity,
        "passed": run.parity["passed"],
        "inconclusive": run.compares_nothing,
        "int8": run.parity.get("int8"),
        "script": _SCRIPT if (run.folder / _SCRIPT).is_file() else None,
        "file": run.parity.get("file", "model.onnx"),
        "opset": run.parity.get("opset"),
        "snippet": snippet(record, run.parity.get("file", "model.onnx")) if record else None,
    }


def reproduce(run: FinishedRun) -> dict[str, Any]:
    """Return command, seed, versions, machine and the time that each stage took."""
    return {
        "command": run.run.get("command"),
        "seed": run.run.get("seed"),
        "versions": run.run.get("versions") or {},
        "machine": run.run.get("machine"),
        "created": _moment(run.run.get("created")),
        "seconds": {name: s for name, s in (run.run.get("seconds") or {}).items() if s is not None},
    }


def snippet(record: Mapping[str, Any], file: str) -> str:
    """Return Python that runs the exported file with ONNX Runtime, NumPy and Pillow alone.

    It prepares the image exactly as the preprocessing ``record`` says.
    """
    size, channels = record["input_size"], record["channels"]
    mean, std = (_column(record[key]) for key in ("mean", "std"))
    pixels = "np.float32(image)" + ("[None]" if channels == 1 else ".transpose(2, 0, 1)")
    return "\n".join(
        [
            "import json",
            "import numpy as np",
            "import onnxruntime as ort",
            "from PIL import Image, ImageOps",
            "",
            f"session = ort.InferenceSession({file!r})",
            'classes = json.loads(session.get_modelmeta().custom_metadata_map["convatlas"])'
            '["classes"]',
            'image = ImageOps.exif_transpose(Image.open("photo.jpg"))'
            f'.convert("{"L" if channels == 1 else "RGB"}")',
            *_resizing(record, size),
            f"x = ({pixels} / 255 - {mean}) / {std}",
            'logits = session.run(None, {"images": np.float32(x)[None]})[0][0]',
            "print(classes[logits.argmax()])",
        ]
    )


def _moment(written: str | None) -> dict[str, str] | None:
    """Return an ISO time for machines and, to the minute, for people."""
    if written is None:
        return None
    moment = datetime.fromisoformat(written)
    zone = f" {moment.tzname()}" if moment.tzinfo else ""
    return {"iso": written, "text": f"{moment:%Y-%m-%d %H:%M}{zone}"}


def _column(values: list[float]) -> str:
    return f"np.reshape({list(values)}, (-1, 1, 1))"


def _resizing(record: Mapping[str, Any], size: int) -> list[str]:
    """Return the lines that bring ``image`` to the input's size, rounded as the record rounds."""
    resample = f"Image.Resampling.{record['interpolation'].upper()}"
    if record["resize_mode"] == "stretch":
        lines = [f"image = image.resize(({size}, {size}), {resample})"]
    elif record["resize_mode"] == "crop_padding":
        lines = [
            f"side = max(1, int({size} / ({size} + 32) * min(image.size)))",
            "left, top = (image.width - side + 1) // 2, (image.height - side + 1) // 2",
            "image = image.crop((left, top, left + side, top + side))",
            f"image = image.resize(({size}, {size}), {resample})",
        ]
    else:
        shorter = int(size / record["crop_fraction"] + 1e-6)
        lines = [
            f"width, height = (int({shorter} * s / min(image.size)) for s in image.size)",
            f"left, top = round((width - {size}) / 2), round((height - {size}) / 2)",
            f"image = image.resize((width, height), {resample})",
            f"image = image.crop((left, top, left + {size}, top + {size}))",
        ]
    return [f"if image.size != ({size}, {size}):", *(f"    {line}" for line in lines)]
