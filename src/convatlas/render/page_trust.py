"""Whether a run's figures may be relied on: a few checks, each with its verdict and its reason.

Turns a run's files into plain sentences; what the limits are stands in them. It draws nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log10, pi, sqrt
from typing import Any

from convatlas.render.run_folder import FinishedRun
from convatlas.render.units import interval, percent, plural, scientific, whole

__all__ = ["Check", "baseline", "chance_error", "mean_confidence", "trust"]

_NARROW, _WIDE = 0.05, 0.20  # widths of the accuracy's interval
_FEW_OF_A_CLASS = 10
_CALIBRATED = 0.05
_HEADLINES = {
    "good": "Its figures can be relied on, for images like these",
    "care": "With care",
    "bad": "No, not yet",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One reason to rely on the figures, or not to.

    Attributes:
        question: What was asked, in a few words.
        verdict: ``"good"``, ``"care"`` or ``"bad"``.
        answer: The figure that decides, in a few words.
        reason: What follows from it, in a sentence or two.
        section: The part of the page that tells more.
    """

    question: str
    verdict: str
    answer: str
    reason: str
    section: str


def trust(run: FinishedRun) -> dict[str, Any] | None:
    """Return the checks that the run's files allow, and the verdict of the worst of them."""
    asked = (_better_than_guessing, _enough_images, _fresh_images, _calibrated, _same_file)
    checks = [check for ask in asked if (check := ask(run)) is not None]
    if not checks:
        return None
    verdicts = {check.verdict for check in checks}
    if run.evaluation is None:  # whatever holds, the main figure is missing
        verdicts.add("care")
    verdict = next(each for each in ("bad", "care", "good") if each in verdicts)
    return {
        "verdict": verdict,
        "headline": _HEADLINES[verdict],
        "checks": checks,
        "hold": sum(check.verdict == "good" for check in checks),
    }


def baseline(run: FinishedRun) -> tuple[str, float] | None:
    """Return the commonest class of the held-out images, and its share of them."""
    if run.evaluation is None:
        return None
    supports = [scores["support"] for scores in run.evaluation["classes"]]
    commonest = max(range(len(supports)), key=supports.__getitem__)
    return run.classes[commonest], supports[commonest] / (sum(supports) or 1)


def chance_error(bins: Sequence[Mapping[str, Any]]) -> float:
    """Return the calibration error that perfectly calibrated answers would show by chance.

    With n answers of confidence p in a bin, the share of right ones misses p by √(2p(1−p)/πn)
    on average (the mean size of a normal error); the bins count by their images.
    """
    total = sum(each["count"] for each in bins) or 1
    filled = [(each["count"], each["confidence"]) for each in bins if each["count"]]
    missed = sum(n * sqrt(2 * max(p * (1 - p), 0) / (pi * n)) for n, p in filled)
    return float(missed / total)


def mean_confidence(bins: Sequence[Mapping[str, Any]]) -> float:
    """Return the mean probability of the answers that were given."""
    total = sum(each["count"] for each in bins) or 1
    said = sum(each["count"] * each["confidence"] for each in bins if each["count"])
    return float(said / total)


def _better_than_guessing(run: FinishedRun) -> Check | None:
    guess = baseline(run)
    if run.evaluation is None or guess is None:
        return None
    (name, share), accuracy = guess, run.evaluation["accuracy"]
    low = run.evaluation["accuracy_interval"][0]
    if low > share:
        verdict, reason = "good", f"Even the lower end of the interval, {percent(low)}, is above it"
    elif accuracy > share:
        verdict = "care"
        reason = f"The interval reaches down to {percent(low)}, so chance may explain the gain"
    else:
        verdict, reason = "bad", "The network has learned nothing that this guess does not know"
    return Check(
        question="Better than guessing",
        verdict=verdict,
        answer=f"{percent(accuracy)} against {percent(share)} for always answering “{name}”",
        reason=f"{reason}.",
        section="evaluation",
    )


def _enough_images(run: FinishedRun) -> Check | None:
    if run.evaluation is None:
        return None
    images, (low, high) = run.evaluation["images"], run.evaluation["accuracy_interval"]
    width = high - low
    supports = [scores["support"] for scores in run.evaluation["classes"]]
    fewest = min(supports, default=0)
    verdict = "good" if width <= _NARROW else "care" if width <= _WIDE else "bad"
    reason = f"The interval, {interval((low, high))}, is {100 * width:.1f} points wide"
    if width > _NARROW:
        wanted = _rounded_up(images * (width / _NARROW) ** 2)
        reason += f"; about {whole(wanted)} held-out images would narrow it to 5"
    if fewest < _FEW_OF_A_CLASS:
        verdict = "care" if verdict == "good" else verdict
        rarest = run.classes[supports.index(fewest)]
        reason += f". Of “{rarest}” there {'is' if fewest == 1 else 'are'} only {fewest}"
        reason += ": figures of single classes say little"
    return Check(
        question="Enough held-out images",
        verdict=verdict,
        answer=f"{whole(images)}, accuracy known to ± {50 * width:.1f} points",
        reason=f"{reason}.",
        section="evaluation",
    )


def _fresh_images(run: FinishedRun) -> Check | None:
    if run.evaluation is None or run.decided is None:
        return None
    decided = " and ".join(run.decided)
    return Check(
        question="Images that decided nothing",
        verdict="care" if decided else "good",
        answer=f"they decided {decided}" if decided else "used for measuring alone",
        reason="So the accuracy on these same images is slightly flattering; images set apart anew "
        "would tell."
        if decided
        else "The held-out images chose neither the weights nor when to stop.",
        section="training",
    )


def _calibrated(run: FinishedRun) -> Check | None:
    error = run.calibration_error
    if error is None or run.evaluation is None:
        return None
    reason = f"An expected calibration error up to {percent(_CALIBRATED, 0)} counts as good here"
    good, answer = error <= _CALIBRATED, f"confidence is off by {100 * error:.1f} points on average"
    bins = (run.calibration or {}).get("bins")
    if bins:
        gap = run.evaluation["accuracy"] - mean_confidence(bins)
        answer += ", too low" if gap > error / 2 else ", too high" if gap < -error / 2 else ""
        by_chance = chance_error(bins)
        good = good or error <= by_chance
        reason += (
            f"; were calibration perfect, so many images would still show {percent(by_chance)}"
        )
    return Check(
        question="Confidence can be believed",
        verdict="good" if good else "care",
        answer=f"{answer} (ECE)",
        reason=f"{reason}. The answers themselves do not depend on it.",
        section="calibration" if bins else "evaluation",
    )


def _same_file(run: FinishedRun) -> Check | None:
    parity = run.parity
    if parity is None:
        return None
    passed, difference = parity["passed"], parity.get("max_probability_difference")
    apart = (
        "" if difference is None else f"; probabilities differ by at most {scientific(difference)}"
    )
    if run.compares_nothing:
        return Check(
            question="Exported file agrees",
            verdict="care",
            answer="not conclusive",
            reason="The network gives all held-out images the same logits, so any comparison of "
            "them proves nothing: train it longer, or with a lower learning rate.",
            section="export",
        )
    return Check(
        question="Exported file agrees",
        verdict="good" if passed else "bad",
        answer=f"same answer on {percent(parity['top1_agreement'])} of "
        f"{plural(parity['images'], 'held-out image')}",
        reason=f"Compared with PyTorch, from the image files to the answers{apart}."
        + ("" if passed else " Do not ship it."),
        section="export",
    )


def _rounded_up(number: float) -> int:
    """Return ``number`` rounded up to two digits."""
    step: int = 10 ** max(0, int(log10(number)) - 1)
    return ceil(number / step) * step
