"""``lint``: holds a network against the design guidelines, without running it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import Tensor, nn

from convatlas.analysis.cost import traced
from convatlas.analysis.lint.network import network_of
from convatlas.analysis.lint.rule import SEVERITIES, LintReport
from convatlas.analysis.lint.rules import MACHINE_BALANCE, RULES
from convatlas.errors import OptionError, UnknownNameError

__all__ = ["lint"]


def lint(
    model: nn.Module,
    input_size: int | tuple[int, ...] = 224,
    *,
    in_channels: int | None = None,
    inputs: Sequence[Tensor] | None = None,
    ignore: Collection[str] = (),
    machine_balance: float = MACHINE_BALANCE,
) -> LintReport:
    """Say which design guidelines ``model`` breaks at this input size, and by which numbers.

    Sizes and costs are those of :func:`~convatlas.analysis.cost.analyze`; the model is left
    as found.

    Args:
        model: Any module.
        input_size: As for ``analyze``.
        in_channels: As for ``analyze``.
        inputs: As for ``analyze``.
        ignore: Ids of rules that keep silent.
        machine_balance: FLOPs that the machine does while it moves one byte; layers below it
            wait for memory.

    Raises:
        UnknownNameError: An id in ``ignore`` that no rule has.
        InputSizeError: An input that is too small, or has the wrong number of channels.
        OptionError: A model or an input that cannot be analysed, or a balance that is none.
    """
    known = [rule.id for rule in RULES]
    for unknown in (name for name in ignore if name not in known):
        raise UnknownNameError.of("rule", unknown, known)
    if not machine_balance > 0:
        raise OptionError(
            f"expected a machine balance above 0 FLOPs per byte, got {machine_balance}: divide "
            "the machine's FLOP/s by its bytes/s"
        )
    network = network_of(traced(model, input_size, in_channels=in_channels, inputs=inputs))
    checked = tuple(rule for rule in RULES if rule.id not in ignore)
    changed = {"balance": machine_balance}
    findings = [found for rule in checked for found in rule.findings(network, changed)]
    findings.sort(key=lambda found: SEVERITIES.index(found.rule.severity))
    return LintReport(
        input_shape=network.report.input_shape,
        findings=tuple(findings),
        checked=checked,
        ignored=tuple(name for name in known if name in ignore),
    )
