"""Claims about shapes and the memory of feature maps: AlexNet, VGG-16, GoogLeNet's stem."""

from __future__ import annotations

from functools import cache

from convatlas.analysis.report import LayerCost
from convatlas.claims.measuring import (
    WEIGHTED,
    Measured,
    activations,
    activations_step,
    macs_step,
    measure,
    network,
    params_step,
)
from convatlas.claims.verdicts import Computed, Reading, Step
from convatlas.models.registry import Common
from convatlas.models.vgg import Variant, vgg

__all__ = ["alexnet_shapes", "alexnet_vgg", "googlenet_stem", "vgg16_memory"]

_BYTES = 4  # of one value in single precision
_MIB = 2**20
_SHORT = "the third stage has two 3×3 convolutions where VGG-16 has three"


def vgg16_memory() -> Computed:
    """Add up the values of VGG-16's feature maps, as the lectures' table lists them."""
    net = network("vgg16")
    image = net.report.input_shape[1:]
    rows = net.rows(*WEIGHTED, "max_pool2d")
    outputs = activations(rows)
    pixels = image[0] * image[1] * image[2]
    total = pixels + outputs
    inputs = sum([_inputs(row) for row in net.rows(*WEIGHTED)])
    doubled = total + inputs
    twice = (
        "the input of every convolution and fully connected layer is counted once more beside "
        "all outputs"
    )
    rounded = round(doubled / 1e6) * 1e6 * _BYTES
    return Computed(
        {"values": total, "bytes": _BYTES * total},
        [
            Step("image", "·".join(map(str, (*image[1:], image[0]))), pixels),
            *map(activations_step, rows),
            Step("all", f"{pixels} + {outputs}", total),
            Step("bytes", f"{_BYTES}·{total}", _BYTES * total),
            Step("inputs of the 16 layers with weights", "counted", inputs),
            Step("outputs and these inputs", f"{total} + {inputs}", doubled),
        ],
        [
            Reading("values", doubled, twice),
            Reading("bytes", rounded, "these are rounded to millions before they are multiplied "
                    "by four"),
        ],
        [
            "No lecture says that it counts so; but where CS231n's notes print the same 24 M they "
            f"print 93 MB, and these values are {_BYTES * doubled / _MIB:.1f} MiB."
        ],
    )  # fmt: skip


def _inputs(row: LayerCost) -> int:
    """Return the number of values that a layer reads from the map before it."""
    return row.read_bytes // _BYTES - row.params


def alexnet_shapes() -> Computed:
    """Follow the shapes through AlexNet at 227 pixels, and count its parameters."""
    tower, groups = network("alexnet_2012_one_tower"), network("alexnet_2012")
    rows = tower.rows("conv2d", "max_pool2d")
    shapes = [size for row in rows for size in (*row.output_shape[2:], row.output_shape[1])]
    conv = sum([row.params for row in tower.rows("conv2d")])
    full = sum([row.params for row in tower.rows("linear")])
    two = groups.report.params
    two_conv = sum([row.params for row in groups.rows("conv2d")])
    return Computed(
        {
            "shapes": shapes,
            "conv1": rows[0].params,
            "conv": conv,
            "full": full,
            "params": tower.report.params,
        },
        [
            *(activations_step(row) for row in rows),
            *(params_step(tower, row) for row in tower.rows(*WEIGHTED)),
            Step("convolutions", "sum", conv),
            Step("fully connected", "sum", full),
            Step("one tower", f"{conv} + {full}", tower.report.params),
            Step("two groups: convolutions", "sum", two_conv),
            Step("two groups: all", f"{two_conv} + {full}", two),
        ],
        [
            Reading(
                "params",
                two,
                "the network is the paper's on two GPUs, whose groups leave only "
                f"{two_conv:,} parameters in the convolutions",
                is_fair=True,
            )
        ],
    )


@cache
def _short_vgg() -> Measured:
    """Return VGG-16 less the third convolution of its third stage."""
    return measure(lambda: vgg(Variant((2, 2, 2, 3, 3)), Common()), 224)


def alexnet_vgg() -> Computed:
    """Compare AlexNet with VGG-16: maps of the convolutions, parameters, multiply-adds."""
    nets = {
        "AlexNet": network("alexnet", 227),
        "VGG-16": network("vgg16"),
        "VGG-16 less one": _short_vgg(),
    }
    maps = {name: _BYTES * activations(net.rows("conv2d")) for name, net in nets.items()}
    macs = {name: net.report.macs for name, net in nets.items()}
    figures = {
        f"{key}_{what}": value
        for key, name in (("alexnet", "AlexNet"), ("vgg", "VGG-16"))
        for what, value in (
            ("maps", maps[name]),
            ("params", nets[name].report.params),
            ("macs", macs[name]),
        )
    }
    steps = []
    for name, net in nets.items():
        steps += [
            Step(f"{name}: outputs of the convolutions, bytes", "counted", maps[name]),
            Step(f"{name}: parameters", "counted", net.report.params),
            Step(f"{name}: MACs", "counted", macs[name]),
        ]
    third = nets["VGG-16"].rows("conv2d", prefix="stages.2")[-1]
    return Computed(
        figures,
        [*steps, macs_step(nets["VGG-16"], third), activations_step(third)],
        [
            Reading("vgg_maps", maps["VGG-16 less one"], _SHORT),
            Reading("vgg_macs", macs["VGG-16 less one"], _SHORT),
        ],
        [
            "AlexNet is the one-tower net of 2014 at 227 pixels; MiB are meant by MB, and only "
            "the outputs of convolutions are counted."
        ],
    )


def googlenet_stem() -> Computed:
    """Compare what GoogLeNet and VGG-16 spend between 224 and 28 pixels."""
    google, vgg16, short = network("googlenet_2014"), network("vgg16"), _short_vgg()
    stem = google.rows("conv2d", "max_pool2d")[:5]
    convs = [row for row in stem if row.macs]
    early, fewer = _spent(_before_28(vgg16)), _spent(_before_28(short))
    spent = _spent(stem)
    comparisons = 9 * activations([row for row in stem if not row.macs])
    both = spent["macs"] + comparisons
    exchanged, millions = _last_digits_exchanged(both), round(both / 1e6)
    return Computed(
        {
            **{f"google_{what}": value for what, value in spent.items()},
            **{f"vgg_{what}": value for what, value in early.items()},
        },
        [
            *map(activations_step, stem),
            *(params_step(google, row) for row in convs),
            *(macs_step(google, row) for row in convs),
            Step("GoogLeNet: MACs", "sum", spent["macs"]),
            Step(
                "with nine comparisons per pooled value", f"{spent['macs']} + {comparisons}", both
            ),
            *(macs_step(vgg16, row) for row in _before_28(vgg16)),
            Step("VGG-16: MACs", "sum", early["macs"]),
            Step("VGG-16 less one: MACs", "sum", fewer["macs"]),
        ],
        [
            Reading(
                "google_macs",
                exchanged,
                f"the last two digits of {millions} M, which convolutions and poolings take "
                "together, are exchanged",
            ),
            *(Reading(f"vgg_{what}", value, _SHORT) for what, value in fewer.items()),
        ],
        [
            "MiB are meant by MB; the poolings' outputs are counted in GoogLeNet's maps and not "
            "in VGG-16's."
        ],
    )


def _spent(rows: list[LayerCost]) -> dict[str, int]:
    """Return the bytes of the outputs, the parameters and the multiply-accumulates."""
    return {
        "maps": _BYTES * activations(rows),
        "params": sum([row.params for row in rows]),
        "macs": sum([row.macs for row in rows]),
    }


def _last_digits_exchanged(value: int) -> int:
    """Return a number rounded to millions, its last two digits exchanged: 481 M → 418 M."""
    hundreds, rest = divmod(round(value / 1e6), 100)
    tens, ones = divmod(rest, 10)
    return (100 * hundreds + 10 * ones + tens) * 10**6


def _before_28(net: Measured) -> list[LayerCost]:
    """Return the convolutions on maps larger than 28×28."""
    return [row for row in net.rows("conv2d") if row.output_shape[-1] > 28]
