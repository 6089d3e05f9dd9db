"""What a network may cost, and by how much one misses it."""

from __future__ import annotations

from dataclasses import dataclass

from convatlas.errors import OptionError

__all__ = ["Budget", "Cost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one network costs for one image.

    Attributes:
        params: Number of trainable parameters.
        macs: Multiply-accumulates of convolutions and linear layers.
        latency_ms: Measured milliseconds on this machine, or None when not measured.
    """

    params: int
    macs: int
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Upper limits; None means no limit.

    Attributes:
        max_params: Number of trainable parameters.
        max_macs: Multiply-accumulates for one image.
        max_latency_ms: Median milliseconds for one image on this machine.
    """

    max_params: float | None = None
    max_macs: float | None = None
    max_latency_ms: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_params", "max_macs", "max_latency_ms"):
            limit = getattr(self, name)
            if limit is not None and not limit > 0:
                raise OptionError(
                    f"{name} must be more than 0, got {limit:g}: leave it out or raise it"
                )

    def excess(self, cost: Cost) -> float:
        """Return the largest ratio of a cost to its limit; up to 1 the network fits."""
        pairs = (
            (cost.params, self.max_params),
            (cost.macs, self.max_macs),
            (cost.latency_ms, self.max_latency_ms),
        )
        return max(
            (value / limit for value, limit in pairs if value is not None and limit is not None),
            default=0.0,
        )

    def broken_limit(self, cost: Cost) -> str:
        """Return the limit that ``cost`` breaks most, as words, or ``""`` when it breaks none."""
        excess = self.excess(cost)
        if excess <= 1:
            return ""
        if self.max_params is not None and cost.params / self.max_params == excess:
            return f"{cost.params / 1e6:.3g} M parameters, limit {self.max_params / 1e6:.3g} M"
        if self.max_macs is not None and cost.macs / self.max_macs == excess:
            return f"{cost.macs / 1e6:.4g} M MACs, limit {self.max_macs / 1e6:.4g} M"
        return f"{cost.latency_ms:.3g} ms, limit {self.max_latency_ms:.3g} ms"
