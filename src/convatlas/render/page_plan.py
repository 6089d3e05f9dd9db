"""The report's section about what was predicted of the training, beside what came of it.

It turns ``plan.json`` and what was measured since into plain values for ``plan.html.j2``.
"""

from __future__ import annotations

from typing import Any

from convatlas.render.run_folder import FinishedRun

__all__ = ["plan"]


def plan(run: FinishedRun) -> dict[str, Any] | None:
    """Return predicted and measured time and memory; None without a plan."""
    if run.plan is None:
        return None
    # A step was predicted of epochs in which everything learns; frozen ones are faster.
    frozen = ((run.recipe or {}).get("transfer") or {}).get("freeze_epochs") or 0
    done = [epoch for epoch in run.epochs[frozen:] if epoch.get("seconds") is not None]
    steps = len(done) * run.plan["steps"] / run.plan["epochs"]
    taken = (run.run.get("seconds") or {}).get("train")
    comparable = taken and run.plan["seconds"] and len(run.epochs) == run.plan["epochs"]
    return {
        "plan": run.plan,
        "seconds": taken,
        "off": taken / run.plan["seconds"] - 1 if comparable else None,
        "step_ms": 1e3 * sum(epoch["seconds"] for epoch in done) / steps if done else None,
        "epochs": len(run.epochs),
    }
