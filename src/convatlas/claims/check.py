"""``check``: compute the claims' figures with our own code and judge them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from convatlas.claims import activations, fields, operations, params, spaces
from convatlas.claims.records import find_claim, list_claims
from convatlas.claims.verdicts import Computed, Outcome, judge

__all__ = ["COMPUTATIONS", "check"]

COMPUTATIONS: Mapping[str, Callable[[], Computed]] = {
    "vgg16-params": params.vgg16_params,
    "vgg16-memory": activations.vgg16_memory,
    "vgg16-blockparams": params.vgg16_blocks,
    "alexnet-shapes": activations.alexnet_shapes,
    "alexnet-vgg-cost": activations.alexnet_vgg,
    "googlenet-stem": activations.googlenet_stem,
    "inception-ops": operations.inception_operations,
    "googlenet-size": params.googlenet_size,
    "resnet-cost": operations.resnet_cost,
    "resnet-rf": fields.resnet_fields,
    "chain-3x3": fields.chains,
    "halve-double": operations.halve_double,
    "grouped": operations.grouped,
    "separable": operations.separable,
    "same-compute": operations.same_compute,
    "design-space-size": spaces.design_space_size,
    "se-overhead": operations.se_overhead,
    "gap-shift": params.gap_shift,
    "depth-layers": fields.depth_layers,
    "keras-inception-summary": params.keras_inception,
}
"""Claim → the function that computes its figures; the others need training."""


def check(
    identifiers: Iterable[str] = (), progress: Callable[[int, int], None] | None = None
) -> list[Outcome]:
    """Judge claims, in the order asked; all of them when none is named.

    Args:
        identifiers: Ids of claims.
        progress: Called with (done, total) after each claim.

    Raises:
        UnknownNameError: No such claim; the nearest names are in the message.
    """
    claims = [find_claim(name) for name in dict.fromkeys(identifiers)] or list_claims()
    outcomes = []
    for claim in claims:
        compute = COMPUTATIONS.get(claim.id)
        outcomes.append(judge(claim, compute() if compute else None))
        if progress is not None:
            progress(len(outcomes), len(claims))
    return outcomes
