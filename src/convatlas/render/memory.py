"""Predicted memory as tables for the terminal: what is held at the peak, and layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convatlas.render.columns import Column, fitted_table, terminal_width
from convatlas.render.units import bytes_text, percent, plural, whole

if TYPE_CHECKING:
    from rich.table import Table

    from convatlas.analysis.memory import MemoryReport

__all__ = ["memory_table", "timeline_table"]


def memory_table(
    report: MemoryReport, limit_bytes: int | None = None, width: int | None = None
) -> Table:
    """Return where the bytes are at the peak.

    Args:
        report: The prediction.
        limit_bytes: What may be held, if the largest batch was looked for.
        width: Terminal cells; those of this terminal by default.
    """
    parts = [
        ("weights and buffers", report.parameter_bytes),
        ("images", report.input_bytes),
        ("optimizer", report.optimizer_bytes),
        ("averaged weights", report.ema_bytes),
        ("gradients of weights", report.peak.gradient_bytes),
        ("activations and scratch", report.activation_bytes),
    ]
    shown = [(name, size) for name, size in parts if size]
    columns = [
        Column("held at the peak", [*(name for name, _ in shown), "together"]),
        Column(
            "bytes",
            [bytes_text(size) for size in (*(size for _, size in shown), report.peak_bytes)],
            is_number=True,
        ),
        Column(
            "share",
            [
                percent(size / report.peak_bytes)
                for size in (*(s for _, s in shown), report.peak_bytes)
            ],
            is_number=True,
        ),
    ]
    is_training = any(moment.phase == "update" for moment in report.timeline)
    title = (
        f"{'Training step' if is_training else 'Inference'}: "
        f"{plural(report.batch, 'image')}, {report.precision}"
    )
    return fitted_table(
        columns,
        width or terminal_width(),
        title=title,
        totals=True,
        notes=_notes(report, limit_bytes),
    )


def timeline_table(report: MemoryReport, width: int | None = None) -> Table:
    """Return the bytes held while each layer runs, in order.

    Args:
        report: The prediction.
        width: Terminal cells; those of this terminal by default.
    """
    moments = report.timeline
    columns = [
        Column("layer", [moment.layer or "(whole network)" for moment in moments]),
        Column("phase", [moment.phase for moment in moments]),
        Column("held", [bytes_text(moment.held_bytes) for moment in moments], is_number=True),
        Column(
            "of the peak",
            [percent(moment.held_bytes / report.peak_bytes) for moment in moments],
            0,
            is_number=True,
        ),
    ]
    return fitted_table(columns, width or terminal_width())


def _notes(report: MemoryReport, limit_bytes: int | None) -> list[str]:
    where = report.peak.layer or "the whole network"
    notes = [f"Peak in the {report.peak.phase} of {where}. 1 MB = 10⁶ bytes."]
    if limit_bytes is not None:
        from convatlas.analysis.memory import MOST_SAMPLES

        tried = ", the largest that was tried" if report.batch == MOST_SAMPLES else ""
        notes.append(
            f"The largest batch within {bytes_text(limit_bytes)}: {whole(report.batch)}{tried}; "
            f"{bytes_text(limit_bytes - report.peak_bytes)} are left."
        )
    return notes
