"""The report's sections about the network: why this one, and what each layer costs.

Each function turns a run's files into plain values for the template of the same name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from convatlas.render import units
from convatlas.render.figures import stage_bars
from convatlas.render.limits import SHOWN, limit_text
from convatlas.render.run_folder import FinishedRun

__all__ = ["choice", "cost"]

_SHORTLIST = 8
_MEASURES = ("macs", "params", "activation_bytes")


def choice(run: FinishedRun) -> dict[str, Any] | None:
    """Return the shortlist, the dropped networks grouped by reason, and the budget."""
    if run.choice is None:
        return None
    candidates = [_candidate(each) for each in run.choice["candidates"]]
    kept = [each for each in candidates if each["kept"]]
    dropped = [each for each in candidates if not each["kept"]]
    reasons = Counter(each["reason"] for each in dropped)
    return {
        "reason": run.choice["reason"],
        "chosen": run.choice["chosen"]["name"],
        "asked": _asked(run.choice.get("budget") or {}),
        "input_size": run.choice.get("input_size"),
        "advice": run.choice.get("advice") or [],
        "neighbours": run.choice.get("neighbours") or [],
        "shortlist": kept[:_SHORTLIST],
        "others": kept[_SHORTLIST:] + dropped,
        "kept": len(kept),
        "dropped": len(dropped),
        "why_dropped": [(reason, n) for reason, n in reasons.most_common(3) if n > 1],
        "timed": any(each["latency_ms"] is not None for each in candidates),
        "predicted": any(each["is_predicted"] for each in candidates),
    }


def cost(run: FinishedRun) -> dict[str, Any] | None:
    """Return the cost per stage and per layer, with shares of the whole, and a bar per stage."""
    if run.cost is None:
        return None
    total = {measure: run.cost[measure] for measure in (*_MEASURES, "flops")}
    stages = run.cost.get("stages") or []
    return {
        "total": total,
        "is_lower_bound": run.cost.get("is_lower_bound", False),
        "uncounted": [
            f"{each['operator']} ({each['count']}×)" for each in run.cost.get("uncounted") or []
        ],
        "stages": _with_shares(stages, total),
        "layers": _with_shares(run.cost["layers"], total),
        "figures": {name: stage_bars(stages, name) for name in _MEASURES} if stages else {},
    }


def _asked(budget: Mapping[str, Any]) -> list[str]:
    """Return what was asked of the network, a few words each."""
    words = []
    for limit in SHOWN:
        if (asked := budget.get(limit.name)) is not None:
            bound = "at least" if limit.is_floor else "at most"
            counts = limit.figure in ("params", "macs")
            text = units.limit(asked) if counts else limit_text(limit, asked * limit.unit)
            words.append(f"{limit.words} {bound} {text}")
    if budget.get("min_input") is not None:
        words.append(f"inputs as small as {units.pixels(budget['min_input'])}")
    if budget.get("needs_weights"):
        words.append("pretrained weights")
    named = {"family": "family", "licence": "licence", "export": "export as"}
    words += [f"{word} {budget[key]}" for key, word in named.items() if budget.get(key)]
    return words


def _candidate(values: Mapping[str, Any]) -> dict[str, Any]:
    optional = ("params", "macs", "top1", "latency_ms", "dataset")
    latency = (values.get("figures") or {}).get("latency_ms") or {}
    return {
        "name": values["name"],
        "kept": values["kept"],
        "reason": values.get("reason") or "",
        "is_predicted": latency.get("origin") == "predicted",
        **{key: values.get(key) for key in optional},
    }


def _with_shares(
    rows: Sequence[Mapping[str, Any]], total: Mapping[str, int]
) -> list[dict[str, Any]]:
    return [
        {**row, "shares": {measure: row[measure] / (total[measure] or 1) for measure in _MEASURES}}
        for row in rows
    ]
