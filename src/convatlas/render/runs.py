"""Runs in the terminal and as JSON: a list of them, and some of them side by side.

A run is a mapping with the fields that ``convatlas runs --json`` prints, a difference one
with ``name`` and ``values``. It knows no folders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from convatlas.render.columns import Column, fitted_table, printable, terminal_width
from convatlas.render.data import to_json
from convatlas.render.units import MISSING, interval, percent, seconds_text, whole

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "comparison_notes",
    "comparison_tables",
    "comparison_to_json",
    "figure_rows",
    "list_notes",
    "list_table",
    "list_to_json",
    "setting_text",
]

Values = Mapping[str, Any]

_GAP = 2
_LONGEST_VALUE = 22  # letters of a setting in the terminal: two runs fit into 80
_LABELS = {
    "images": "held-out images",
    "top5_accuracy": "top-5 accuracy",
    "loss_nats": "loss (nats)",
    "expected_calibration_error": "calibration error",
    "macro_f1": "macro F1",
}


def list_table(runs: Sequence[Values], width: int | None = None) -> Table:
    """Return one row per run.

    Args:
        runs: The runs, in the order of the rows.
        width: Terminal cells; those of this terminal by default.
    """

    def texts(key: str) -> list[str]:
        return [printable(run[key]) if run[key] else MISSING for run in runs]

    columns = [
        Column("run", texts("name")),
        Column("network", texts("network"), importance=7),
        Column("data", texts("dataset"), importance=3),
        Column("recipe", texts("recipe"), importance=4),
        Column("epochs", [_epochs(run) for run in runs], is_number=True),
        Column("accuracy", [percent(run["accuracy"], 2) for run in runs], is_number=True),
        Column("95 %", [interval(r["accuracy_interval"]) for r in runs], 6, is_number=True),
        Column("best (epoch)", [_best(run) for run in runs], importance=5, is_number=True),
        Column("training", [seconds_text(run["seconds"]) for run in runs], 2, is_number=True),
        Column("state", texts("state")),
        Column("created (UTC)", [_moment(run["created"]) for run in runs], importance=1),
    ]
    return fitted_table(columns, width or terminal_width())


def list_notes(runs: Sequence[Values], foreign: Sequence[Values]) -> list[str]:
    """Return what is damaged, and which folders hold no run, one sentence each."""
    notes = [f"{run['name']}: {problem}." for run in runs for problem in run["problems"]]
    notes += [f"{folder['name']}: {folder['reason']}." for folder in foreign]
    return [printable(note) for note in notes]


def list_to_json(runs: Sequence[Values], foreign: Sequence[Values]) -> str:
    """Return the runs without their epochs, and the folders that hold none."""
    short = [{key: run[key] for key in run if key != "history"} for run in runs]
    return to_json({"runs": short, "foreign": list(foreign)})


def comparison_tables(
    runs: Sequence[Values], differences: Sequence[Values], width: int | None = None
) -> list[Table]:
    """Return what differs and the final figures, a column per run; more where it is too wide.

    Args:
        runs: The runs to compare.
        differences: The settings that are not the same in all of them.
        width: Terminal cells; those of this terminal by default.
    """
    width = width or terminal_width()
    settings = [
        (each["name"], [_cut(setting_text(value)) for value in each["values"]])
        for each in differences
    ]
    tables: list[Table] = []
    for title, rows in (("figures", figure_rows(runs)), ("what differs", settings)):
        if rows:
            tables += _side_by_side(title, [run["name"] for run in runs], rows, width)
    return tables


def comparison_notes(runs: Sequence[Values], differences: Sequence[Values]) -> list[str]:
    """Return what to keep in mind when the figures are compared."""
    notes = []
    if not differences:
        notes.append("Their settings and recipes are the same.")
    if any(each["name"].startswith("data.") for each in differences):
        notes.append(
            "Not the same held-out images: part of what differs in accuracy is the images."
        )
    early = [run for run in runs if run["final_of"] not in (None, "evaluation")]
    notes += [f"{run['name']}: not evaluated yet, figures of {run['final_of']}." for run in early]
    return [printable(note) for note in notes]


def comparison_to_json(runs: Sequence[Values], differences: Sequence[Values]) -> str:
    """Return the runs with every epoch, and what differs between them."""
    return to_json({"runs": list(runs), "differences": list(differences)})


def figure_rows(runs: Sequence[Values]) -> list[tuple[str, list[str]]]:
    """Return label and texts, one per run, of every final figure that some run has."""
    rows = [
        ("state", [run["state"] for run in runs]),
        ("epochs", [_epochs(run) for run in runs]),
        ("accuracy", [percent(run["accuracy"], 2) for run in runs]),
        ("95 % interval", [interval(run["accuracy_interval"], 2) for run in runs]),
        ("best accuracy (epoch)", [_best(run) for run in runs]),
        ("last accuracy", [percent(run["last_accuracy"], 2) for run in runs]),
    ]
    names = dict.fromkeys(name for run in runs for name in run["final"] if name != "accuracy")
    rows += [(_LABELS.get(n, n), [_figure(n, run["final"].get(n)) for run in runs]) for n in names]
    paces = [run["images_per_second"] for run in runs]
    rows += [
        ("training time", [seconds_text(run["seconds"]) for run in runs]),
        ("images per second", [MISSING if pace is None else f"{pace:,.0f}" for pace in paces]),
    ]
    return [(label, texts) for label, texts in rows if set(texts) != {MISSING}]


def setting_text(value: Any) -> str:
    """Return the value of a setting as people write it."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(setting_text, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _side_by_side(
    title: str, names: Sequence[str], rows: Sequence[tuple[str, list[str]]], width: int
) -> Iterator[Table]:
    labels = Column(title, [printable(label) for label, _ in rows])
    cells = zip(*(texts for _, texts in rows), strict=True)
    rest = [
        Column(printable(name), [printable(text) for text in column], is_number=True)
        for name, column in zip(names, cells, strict=True)
    ]
    while rest:
        room, taken = width - _width(labels), 0
        for column in rest:
            room -= _width(column) + _GAP
            if taken and room < 0:
                break
            taken += 1
        yield fitted_table([labels, *rest[:taken]], width)
        rest = rest[taken:]


def _width(column: Column) -> int:
    return max(map(len, (column.header, *column.cells)))


def _epochs(run: Values) -> str:
    return f"{run['epochs_done']}/{run['epochs'] or '?'}"


def _best(run: Values) -> str:
    if run["best_accuracy"] is None:
        return MISSING
    return f"{percent(run['best_accuracy'], 2)} ({run['best_epoch']})"


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return MISSING
    if name.endswith("accuracy"):
        return percent(value, 2)
    return whole(int(value)) if name == "images" else f"{value:.4g}"


def _cut(text: str) -> str:
    """Return ``text`` without its middle: values that differ often do at their end."""
    half = _LONGEST_VALUE // 2
    return text if len(text) <= _LONGEST_VALUE else f"{text[:half]}…{text[1 - half :]}"


def _moment(created: str | None) -> str:
    try:
        moment = datetime.fromisoformat(created or "")
    except ValueError:
        return printable(created) if created else MISSING
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC)
    return f"{moment:%Y-%m-%d %H:%M}"
