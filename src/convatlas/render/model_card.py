"""A finished run as a model card in Markdown, for whoever is handed the network.

It reads the run's JSON files, like the report, and the sizes of what is shipped. The sections are
those of Mitchell et al., 2019, arXiv:1810.03993, section 4. It says nothing that no file says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convatlas.errors import CheckpointError, UnknownNameError
from convatlas.files import write_text
from convatlas.models.catalogue import find_entry
from convatlas.render.markdown import markdown_environment
from convatlas.render.page_summary import confusions, paper
from convatlas.render.run_folder import FinishedRun, read_run, reading
from convatlas.render.units import MISSING, interval, percent, pixels, plural

__all__ = ["CARD_FILE", "write_model_card"]

CARD_FILE = "model-card.md"

_SHIPPED = {
    "model.onnx": "the network in single precision, with its record inside",
    "model.json": "that record: class names and preprocessing",
    "model.int8.onnx": "the network with 8-bit weights and activations",
    "model.int8.json": "the same record",
    "predict.py": "asks either of them about images",
    "trained.safetensors": "the weights for PyTorch",
    "trained.json": "what they belong to",
}
_MOST_PAIRS = 10
_FEW_IMAGES = 30  # of a class: one of them is then 3 points of its recall or more
_UNEVEN = 3  # times as many training images of the commonest class as of the rarest
_RESIZED = {
    "crop": "the shorter side resized, then the centre cropped",
    "crop_padding": "the centre cropped, then resized",
    "stretch": "the whole image resized, whatever its shape",
}


def write_model_card(run_folder: Path) -> Path:
    """Write ``model-card.md`` into the folder of a finished run, and return its path.

    What has no file in the folder is said to be unknown; only ``run.json`` must be there. Files
    are listed as they are now: write the card after them.

    Raises:
        CheckpointError: No such run, or one of its files is damaged.
        OutputError: The folder cannot be written.
    """
    from jinja2 import UndefinedError

    run = read_run(Path(run_folder))
    with reading(run.folder):
        view = _view(run)
    try:
        card = markdown_environment().get_template(f"{CARD_FILE}.j2").render(view)
    except UndefinedError as error:
        raise CheckpointError(
            f"a value is missing in the JSON files of {run.folder} ({error}): "
            "repeat the run that wrote them"
        ) from error
    path = run.folder / CARD_FILE
    write_text(path, card)
    return path


def _view(run: FinishedRun) -> dict[str, Any]:
    name, source = _network(run)
    return {
        "name": run.run["name"],
        "sentence": _sentence(run, name),
        "network": {"name": name, "paper": paper(name)},
        "start": _start(name, source),
        "created": str(run.run.get("created", MISSING))[:10],
        "versions": run.run["versions"],
        "classes": run.classes,
        "cost": run.cost,
        "data": run.data,
        "counts": (run.data or {}).get("counts"),
        "record": (run.data or {}).get("preprocessing"),
        "resizing": _resizing(run),
        "balance": _balance(run),
        "sizes": _sizes(run),
        "decided": _decided(run),
        "recipe": run.recipe,
        "procedure": _procedure(run),
        "figures": _figures(run),
        "bootstrap": _intervals(run),
        "per_class": _per_class(run),
        "pairs": confusions(run)[:_MOST_PAIRS],
        "parity": run.parity,
        "int8": (run.parity or {}).get("int8"),
        "caveats": _caveats(run),
        "files": _files(run.folder),
        "usage": _usage(run.folder),
        "command": run.run.get("command", "convatlas run"),
        "seed": run.run.get("seed", MISSING),
        "machine": run.run.get("machine", MISSING),
    }


def _sentence(run: FinishedRun, name: str) -> str:
    about = f"{name} tells {plural(len(run.classes), 'class', 'classes')} of images apart"
    if run.evaluation is None:
        return f"{about}; how well was not measured."
    share, bounds = run.evaluation["accuracy"], run.evaluation["accuracy_interval"]
    return (
        f"{about}, and was right on {percent(share)} (95 % interval {interval(bounds)}) of "
        f"{plural(run.evaluation['images'], 'held-out image')}."
    )


def _network(run: FinishedRun) -> tuple[str, str | None]:
    """Return the network's name and the source of the weights that it began with."""
    begun = run.choice["chosen"] if run.choice is not None else run.run["settings"]
    return begun.get("name") or begun.get("model") or MISSING, begun.get("weights")


def _start(name: str, source: str | None) -> dict[str, Any]:
    """Return what the network began with, and what that means for the licence."""
    if source is None:
        return {
            "pretrained": False,
            "words": "none: trained from random numbers",
            "licence": "no licence of other weights applies; that of the images may",
        }
    try:
        entry = find_entry(name)
    except UnknownNameError:
        entry = None
    known = {each.source: each.licence for each in entry.weights} if entry else {}
    return {
        "pretrained": True,
        "words": f"pretrained, source {source}",
        "licence": _licence(known.get(source)),
        "dataset": entry.dataset if entry and source in known else "not known",
    }


def _licence(stated: str | None) -> str:
    """Return what is known of the first weights' licence."""
    if stated is None:
        return "that of the first weights is not in the catalogue: look it up before shipping"
    if stated == "not stated":
        return "the publisher of the first weights states none: ask before shipping"
    commercial = ", which forbids commercial use" if "-NC" in stated else ""
    return (
        f"the first weights are published under {stated}{commercial}; that of the images may "
        "apply too"
    )


def _resizing(run: FinishedRun) -> str:
    record = (run.data or {}).get("preprocessing")
    return MISSING if record is None else f"{_RESIZED[record['resize_mode']]}"


def _balance(run: FinishedRun) -> str:
    """Return how evenly the training images are spread over the classes."""
    counts = list((run.data or {}).get("counts", {}).get("train", ()))
    if not counts:
        return "Images per class were not counted."
    fewest, most = min(counts), max(counts)
    if fewest == most:
        return f"Each class has {plural(fewest, 'of them', 'of them')}."
    names = run.classes
    return (
        f"From {fewest:,} ({names[counts.index(fewest)]}) to {most:,} "
        f"({names[counts.index(most)]}) of a class."
    )


def _sizes(run: FinishedRun) -> str:
    """Return the heights and widths of the training images."""
    if run.data is None:
        return MISSING
    sizes = run.data["image_size"]
    low, middle, high = (pixels(sizes[name]) for name in ("smallest", "median", "largest"))
    return low if low == high else f"{low} to {high} (height × width, median {middle})"


def _decided(run: FinishedRun) -> str:
    """Return what the held-out images had a say in."""
    if run.decided is None:
        return "Whether they had a say in the training is not recorded."
    if run.decided:
        return (
            f"They decided {' and '.join(run.decided)}, so the figures on them are a little "
            "flattering."
        )
    return "They had no say in the training."


def _procedure(run: FinishedRun) -> list[tuple[str, Any]]:
    """Return the main values of the recipe."""
    recipe = run.recipe
    if recipe is None:
        return []
    training, optimizer, transfer = (
        recipe.get(name, {}) for name in ("training", "optimizer", "transfer")
    )
    epochs = training.get("epochs")
    rows = [
        ("recipe", recipe.get("name")),
        ("epochs", f"{len(run.epochs)} of {epochs}" if epochs and run.epochs else epochs),
        ("of them with a frozen backbone", transfer.get("freeze_epochs")),
        ("images per batch", training.get("batch_size")),
        ("optimiser", optimizer.get("name")),
        ("peak learning rate", optimizer.get("lr")),
        ("schedule", recipe.get("schedule", {}).get("name")),
        ("loss", recipe.get("loss", {}).get("name")),
        ("seed", training.get("seed")),
    ]
    return [row for row in rows if row[1] is not None]


def _figures(run: FinishedRun) -> list[dict[str, str]]:
    """Return name, value and interval of each figure that was measured."""
    evaluation = run.evaluation
    if evaluation is None:
        return []
    bounds = _intervals(run) or {}
    calibration = run.calibration or {}
    ece = evaluation["expected_calibration_error"]
    rows = [
        ("accuracy", evaluation["accuracy"], evaluation["accuracy_interval"], True),
        ("top-5", evaluation.get("top5_accuracy"), evaluation.get("top5_interval"), True),
        ("macro F1", evaluation["macro_f1"], bounds.get("macro_f1"), True),
        ("ECE", ece, bounds.get("expected_calibration_error"), True),
        ("loss, nats", evaluation["loss_nats"], bounds.get("loss_nats"), False),
        ("Brier score", calibration.get("brier_score"), bounds.get("brier_score"), False),
    ]
    return [_figure(*row) for row in rows if row[1] is not None]


def _figure(
    name: str, value: float, bounds: Sequence[float] | None, is_share: bool
) -> dict[str, str]:
    if is_share:
        return {"name": name, "value": percent(value), "interval": interval(bounds)}
    between = MISSING if bounds is None else f"{bounds[0]:.3f}–{bounds[1]:.3f}"
    return {"name": name, "value": f"{value:.3f}", "interval": between}


def _intervals(run: FinishedRun) -> Mapping[str, Any] | None:
    """Return the bootstrap intervals of the figures, if there are any."""
    return None if run.metrics is None else run.metrics.get("intervals")


def _per_class(run: FinishedRun) -> list[dict[str, Any]]:
    if run.evaluation is None:
        return []
    counts = list((run.data or {}).get("counts", {}).get("train", ()))
    return [
        {**scores, "name": name, "train": counts[place] if counts else None}
        for place, (name, scores) in enumerate(
            zip(run.classes, run.evaluation["classes"], strict=True)
        )
    ]


def _caveats(run: FinishedRun) -> list[str]:
    """Return what the data themselves warn of."""
    found = [*_class_caveats(run), *_training_caveats(run)]
    if run.data is not None:
        found.append(
            f"Trained on images of {_sizes(run)}; others may show the same things at another scale."
        )
        if run.data["channels"] == 1:
            found.append("Trained on grey images; the colour of others is not looked at.")
    int8 = (run.parity or {}).get("int8")
    if int8 and int8["status"] != "accepted":
        found.append("There is no 8-bit file, for the reason above: use single precision.")
    return found


def _class_caveats(run: FinishedRun) -> list[str]:
    if run.evaluation is None:
        return ["How good it is was not measured."]
    scores = run.evaluation["classes"]
    found = []
    weakest = min(range(len(scores)), key=lambda place: scores[place]["recall"])
    if scores[weakest]["recall"] < 1:
        found.append(
            f"Weakest on {run.classes[weakest]}: {percent(scores[weakest]['recall'])} of its "
            f"{plural(scores[weakest]['support'], 'held-out image')} were found."
        )
    few = sum(each["support"] < _FEW_IMAGES for each in scores)
    if few:
        found.append(
            f"{few} of {plural(len(scores), 'class', 'classes')} have fewer than {_FEW_IMAGES} "
            "held-out images: one image moves their recall by 3 points or more."
        )
    return found


def _training_caveats(run: FinishedRun) -> list[str]:
    found = []
    if run.decided:
        found.append(
            f"The held-out images decided {' and '.join(run.decided)}: judge by others before "
            "relying on the figures."
        )
    counts = list((run.data or {}).get("counts", {}).get("train", ()))
    if counts and max(counts) >= _UNEVEN * max(1, min(counts)):
        common, rare = (counts.index(end(counts)) for end in (max, min))
        times = max(counts) / max(1, min(counts))
        found.append(
            f"The class {run.classes[common]} has {times:.0f} times as many "
            f"training images as {run.classes[rare]}: expect it to be named more readily."
        )
    return found


def _files(folder: Path) -> list[dict[str, Any]]:
    """Return the shipped files that are there, with their sizes and digests."""
    found = []
    for name, what in _SHIPPED.items():
        path = folder / name
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = path.stat().st_size
            found.append({"name": name, "what": what, "bytes": size, "sha256": digest})
    return found


def _usage(folder: Path) -> str:
    lines = ["pip install onnxruntime numpy pillow", "python predict.py photo.jpg"]
    if (folder / "model.int8.onnx").is_file():
        lines.append("python predict.py photo.jpg --model model.int8.onnx")
    return "\n".join(lines)
