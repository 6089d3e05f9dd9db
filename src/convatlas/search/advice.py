"""What the data say beside the choice: resolution, amount, balance and export, with numbers.

It changes no choice. It imports torch only where a network has to be built to know.
"""

from __future__ import annotations

from dataclasses import replace

from convatlas.models.catalogue import find_entry
from convatlas.models.costs import find_costs
from convatlas.search.budget import PERMISSIVE, Budget
from convatlas.search.candidate import Candidate, Task
from convatlas.search.rules import MANY_PHOTOS, is_few

__all__ = ["advice_on"]

_IMAGENET_IMAGES = 1_281_167
_CIFAR_IMAGES = 50_000
_ENLARGED = 1.25  # input per image size from which enlarging is worth a word
_SHRUNK = 2.0  # image per input size from which lost detail is
_UNEVEN = 10.0  # largest per smallest class
_EXPORTS = {
    "onnx": "Every network of the atlas can be exported to ONNX.",
    "int8": (
        "For int8, convolutions and linear layers are quantised after the ranges of their "
        "inputs were found on training images; no published accuracy holds for that: measure it "
        "on held-out images."
    ),
}


def advice_on(chosen: Candidate, data: Task | None, budget: Budget) -> tuple[str, ...]:
    """Return what else is worth knowing, one sentence each.

    Args:
        chosen: The network to take.
        data: What the images are; None for nothing about them.
        budget: Its export is spoken of; its licence bars weights from being recommended.
    """
    found = [_EXPORTS[budget.export]] if budget.export else []
    if data is not None:
        found += [_resolution(chosen, data), _field(chosen), _stem(chosen, data)]
        found += [_amount(chosen, data, budget), _balance(data)]
    return tuple([sentence for sentence in found if sentence])


def _resolution(chosen: Candidate, data: Task) -> str:
    """Name enlarging and shrinking as what they are."""
    size, own = data.image_size, find_entry(chosen.name).input_size
    if data.small and chosen.input_size < 2 * size:
        large = max(own, 224)
        return (
            f"Images of {size} px would be enlarged {_fold(large / size)} for a network with an "
            f"input of {large} px: no detail is gained, and each costs "
            f"{_round((large / size) ** 2)} times the multiply-accumulates; {chosen.name} takes "
            f"{chosen.input_size} px."
        )
    ratio = chosen.input_size / size
    if ratio >= _ENLARGED:
        why = f", the size that the {chosen.weights} weights know" if chosen.weights else ""
        return (
            f"Images of {size} px are enlarged {_fold(ratio)} to {chosen.input_size} px{why}: no "
            f"detail is gained, and each costs {_round(ratio**2)} times the multiply-accumulates."
        )
    if 1 / ratio >= _SHRUNK:
        return (
            f"Images of {size} px are shrunk {_fold(1 / ratio)} to {chosen.input_size} px: if "
            f"classes differ by details of less than {_round(1 / ratio)} px, crop them or take a "
            "larger input."
        )
    return ""


def _field(chosen: Candidate) -> str:
    """Hold the input against what the last stage sees of it."""
    if chosen.stem is None:
        field = find_costs(chosen.name).receptive_field
    else:
        from convatlas.search.costing import last_field, without_weights

        field = last_field(without_weights(chosen, 2), chosen.input_size)
    if field is None:
        return ""
    size = chosen.input_size
    if field < size:
        return (
            f"A place of {chosen.name}'s last stage sees {field} of the {size} px: what is larger "
            "is judged by the average of its parts."
        )
    return (
        f"A place of {chosen.name}'s last stage sees {field} px, so the whole input of {size} px."
    )


def _stem(chosen: Candidate, data: Task) -> str:
    """Say what the stem for small images does, or would do."""
    if chosen.weights or (chosen.stem is None and chosen.input_size < _ENLARGED * data.image_size):
        return ""
    from convatlas.search.costing import cost_of, without_weights

    small = replace(chosen, stem="small", input_size=min(chosen.input_size, data.image_size))
    size = max(small.input_size, 8)
    with_it = without_weights(small, data.num_classes)
    without = without_weights(replace(chosen, stem=None), data.num_classes)
    stride, own = (model.feature_info[-1].stride for model in (with_it, without))
    if stride == own:
        return ""
    if chosen.stem:
        return (
            f'stem="small" is taken: with the stem of its paper {chosen.name} shrinks {size} px '
            f"{own}-fold, to {_places(size, own)}; so {_places(size, stride)} remain."
        )
    ratio = cost_of(with_it, size).macs / chosen.cost.macs
    return (
        f'stem="small" would show {chosen.name} these images in their own {size} px, with '
        f"{_places(size, stride)} in its last stage, for {ratio:.2g}× the multiply-accumulates."
    )


def _amount(chosen: Candidate, data: Task, budget: Budget) -> str:
    """Say whether the images are enough to train from scratch, and what to do if not."""
    count = f"{data.train_images:,} images, {_round(data.train_images / data.num_classes)} a class"
    each = f"{_round(chosen.cost.params / max(data.train_images, 1))} parameters of {chosen.name}"
    if is_few(data):
        return (
            f"{count}, are few: CIFAR-10's published accuracies took {_CIFAR_IMAGES:,}. There are "
            f"{each} for each of them."
        )
    if data.small or data.train_images >= MANY_PHOTOS:
        return ""
    few = (
        f"{count}, are too few to train from scratch: ImageNet's published accuracies took "
        f"{_IMAGENET_IMAGES:,}, and convatlas asks for {MANY_PHOTOS:,}. There are {each} for each "
        "of them"
    )
    if chosen.weights:
        return f"{few}: the {chosen.weights} weights are fine-tuned."
    published = find_entry(chosen.name).weights
    allowed = (each for each in published if not budget.licence or each.licence in PERMISSIVE)
    source = next(allowed, None)
    if source is None:
        return f"{few}: fine-tune a network that has pretrained weights."
    return f'{few}: fine-tune it, weights="{source.source}" downloads a start.'


def _balance(data: Task) -> str:
    """Warn of classes that differ much in number."""
    if not data.per_class:
        return ""
    most, least = max(data.per_class), min(data.per_class)
    if most < _UNEVEN * least:
        return ""
    share = most / max(sum(data.per_class), 1)
    return (
        f"The largest class has {most:,} images and the smallest {least:,}: whoever always says "
        f"the largest is right in {share:.0%}; judge by the recall of each class."
    )


def _places(size: int, stride: int) -> str:
    side = -(-size // stride)
    return f"{side} × {side} places"


def _fold(ratio: float) -> str:
    return f"{_round(ratio)}-fold"


def _round(value: float) -> str:
    """Return two digits below ten, whole numbers above."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
