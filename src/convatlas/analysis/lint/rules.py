"""The rules: each a record with its sources, its thresholds and their reasons.

The checks are in ``cost_rules.py``, ``map_rules.py`` and ``wiring_rules.py``.
"""

from __future__ import annotations

from convatlas.analysis.lint import cost_rules, map_rules, wiring_rules
from convatlas.analysis.lint.rule import Limit, Rule

__all__ = ["MACHINE_BALANCE", "RULES"]

_COMENIUS = "Comenius University, NN for Computer Vision, 8: CNN Architectures (2022)"
_IIT = "IIT Hyderabad, Deep Learning, 9: Evolution of CNN Architectures (2023)"
_POLIMI = "Politecnico di Milano, Famous CNN Architectures and CNN Visualization (2023)"
_STANFORD = "Stanford, CS231n Lecture 6, part 1: CNN Architectures (2024)"
_HACETTEPE = "Hacettepe University, CMP784 Lecture 5: Convolutional Neural Networks (2024)"

MACHINE_BALANCE = 12.5
"""FLOPs per byte: an NVIDIA A100 40 GB does 19.5 TFLOP/s in float32 and moves 1.555 TB/s."""

_BOTTLENECK = Rule(
    id="tight-bottleneck",
    title="The data volume H×W×C falls too fast",
    severity="warning",
    sources=(
        f"{_HACETTEPE}: design guideline, avoid tight bottlenecks",
        "Szegedy et al., Rethinking the Inception Architecture, 2016, arXiv 1512.00567, section 2",
    ),
    saying="{before:shape} = {before_values:count} values become {after:shape} = "
    "{after_values:count}, {times:decimal} times fewer, and no shortcut passes the rest on.",
    advice="Widen the layer that shrinks the map (twice the channels at half the sides), spread "
    "the reduction over more layers, or add a shortcut around it.",
    check=map_rules.tight_bottlenecks,
    limits=(
        Limit(
            "max_fall",
            5,
            "a 2×2 pooling without more channels leaves 1/4, as VGG's last one, and a 3×3/2 "
            "pooling of 13×13 to 6×6, as AlexNet's last one, 1/4.7; both are proven",
        ),
    ),
)
_LARGE = Rule(
    id="large-filter",
    title="A large dense filter where a chain of 3×3 is cheaper",
    severity="warning",
    sources=(
        f"{_HACETTEPE}: design guideline, prefer chains of small filters",
        f"{_STANFORD}: three 3×3 layers see 7×7 with 27C² instead of 49C² weights",
        "Simonyan, Zisserman, Very Deep Convolutional Networks, 2014, arXiv 1409.1556, section 2.3",
    ),
    saying="a {kernel:shape} filter with {weights:count} weights ({macs_share:percent} of the "
    "MACs); {chain} layers of 3×3 see as much with {chain_weights:count}.",
    advice="Replace it by the chain, with a non-linearity after each layer; the inner maps may be "
    "as wide as the narrower end.",
    check=cost_rules.large_filters,
    limits=(
        Limit("min_saved", 0.01, "of all MACs, by all such layers together; less is not worth it"),
    ),
)
_COARSE = Rule(
    id="coarse-first-filter",
    title="Very large filters on the image",
    severity="info",
    sources=(
        f"{_STANFORD}: ZFNet's 7×7/2 in place of AlexNet's 11×11/4",
        "Zeiler, Fergus, Visualizing and Understanding Convolutional Networks, 2013, "
        "arXiv 1311.2901, section 4.1",
        "Xiao et al., Early Convolutions Help Transformers See Better, 2021, arXiv 2106.14881",
    ),
    saying="the first filters are {kernel:shape} with stride {stride:shape} "
    "({weights:count} weights).",
    advice="Take 7×7 filters with stride 2, or three 3×3 layers, the first with stride 2.",
    check=cost_rules.coarse_first_filters,
    limits=(
        Limit(
            "max_side", 7, "ZFNet went down to 7×7 because 11×11/4 left dead and aliased filters"
        ),
    ),
)
_WIDE = Rule(
    id="wide-layer",
    title="One layer's channel counts dominate the cost",
    severity="info",
    sources=(
        f"{_HACETTEPE}: design guideline, keep the number of channels at bay",
        "He et al., Deep Residual Learning, 2015, arXiv 1512.03385, section 4.1",
    ),
    saying="a dense {kernel:shape} layer from {in_channels} to {out_channels} channels does "
    "{macs_share:percent} of all MACs.",
    advice="Put a 1×1 layer before it that cuts the channels to a quarter and one behind it that "
    "restores them (17/16 C² weights instead of 9 C²), or split it into groups.",
    check=cost_rules.wide_layers,
    limits=(
        Limit(
            "min_channels", 256, "ResNet's bottleneck blocks narrow maps of 256 channels and more"
        ),
        Limit(
            "min_share",
            0.1,
            "VGG-16's widest layers do 12 % each; no layer of ResNet-50 does more than 3 %",
        ),
    ),
)
_GROUPS = Rule(
    id="unmixed-groups",
    title="Channel groups that never exchange information",
    severity="warning",
    sources=(
        f"{_HACETTEPE}: design guidelines on filter groups, mix information across groups",
        "Zhang et al., ShuffleNet, 2017, arXiv 1707.01083, section 3.1",
    ),
    saying="{groups} groups read what {previous} computed in {previous_groups} groups, and "
    "nothing between them mixes the groups.",
    advice="Put a dense 1×1 layer or a channel shuffle between them.",
    check=wiring_rules.unmixed_groups,
)
_SMALL_FIELD = Rule(
    id="input-beyond-field",
    title="The input is larger than the receptive field",
    severity="warning",
    sources=(f"{_COMENIUS}: the input should not be larger than the receptive field",),
    saying="the last map sees {field_px:px} of an input of {input_px:px}; only the pooling joins "
    "its values.",
    advice="Make the input smaller, or add layers, strides or dilation so that the last map sees "
    "all of it.",
    check=map_rules.field_too_small,
)
_LARGE_FIELD = Rule(
    id="input-below-field",
    title="The input is far smaller than the receptive field",
    severity="info",
    sources=(
        f"{_COMENIUS}: input size against receptive field, adjust the stem",
        "Richter et al., Should You Go Deeper?, 2021, arXiv 2106.12307",
    ),
    saying="the last map of {map_px:shape} sees {field_px:px} of an input of {input_px:px}; "
    "{late_share:percent} of the MACs come after every value has seen all of it.",
    advice="Take larger images, a stem with less stride (stem='small'), or fewer layers.",
    check=map_rules.field_too_large,
    limits=(
        Limit(
            "min_share",
            0.9,
            "the deepest networks for 224 pixels, ConvNeXt-B and ResNetV2-200, stay at 85 % "
            "and 75 %",
        ),
        Limit("min_times", 4, "with a smaller share, a field of four times the input"),
        Limit("max_map", 3, "and a last map on which every 3×3 window but one meets the padding"),
    ),
)
_FULLY_CONNECTED = Rule(
    id="fc-params",
    title="Most parameters are in fully connected layers",
    severity="warning",
    sources=(
        f"{_POLIMI}: VGG-16 has 11 % of its parameters in convolutions, 89 % in fully connected "
        "layers",
        f"{_STANFORD}: the same count, layer by layer",
        "Lin et al., Network In Network, 2013, arXiv 1312.4400, section 3.2",
    ),
    saying="{fc_params:whole} of {params:whole} parameters ({fc_share:percent}) are in {layers} "
    "fully connected layers.",
    advice="Pool the last map globally and classify its channels with one layer.",
    check=cost_rules.fully_connected,
    limits=(
        Limit(
            "min_share",
            0.5,
            "most of the parameters; a classifier behind global pooling does not count, for "
            "every network needs one",
        ),
    ),
)
_EARLY = Rule(
    id="early-memory",
    title="The first layers hold most of the activation memory",
    severity="info",
    sources=(
        f"{_IIT}: from 224 to 28 pixels VGG-16 holds 42.9 MB and GoogLeNet 7.5 MB",
        f"{_STANFORD}: the memory of VGG-16, layer by layer",
    ),
    saying="maps of at least half the input's sides hold {early_bytes:bytes} of "
    "{activation_bytes:bytes} ({early_share:percent}).",
    advice="Shrink the map early, with a stem of stride 4, and keep the first layers narrow.",
    check=cost_rules.early_memory,
    limits=(
        Limit("min_share", 0.5, "most of the memory; ResNet-50 holds 7 % there and GoogLeNet 18 %"),
        Limit("min_total_stride", 16, "networks for small images keep large maps on purpose"),
    ),
)
_DEPTHWISE = Rule(
    id="memory-bound-depthwise",
    title="Depthwise layers wait for memory",
    severity="info",
    sources=(
        f"{_POLIMI}: a depthwise separable layer costs 1/N + 1/D² of a full one",
        "Ma et al., ShuffleNet V2, 2018, arXiv 1807.11164, section 2",
        "Williams et al., Roofline, Communications of the ACM 52(4), 2009",
    ),
    saying="{layers} depthwise layers do {macs_share:percent} of the MACs and move "
    "{traffic_share:percent} of the bytes, at {intensity:decimal} FLOPs per byte; below "
    "{balance:decimal} the memory sets the time.",
    advice="Compare measured times, not MACs; fuse norm and activation into the layer, use half "
    "precision, or dense layers where maps are large and narrow.",
    check=cost_rules.memory_bound,
    limits=(
        Limit(
            "balance",
            MACHINE_BALANCE,
            "FLOPs per byte of an A100 40 GB: 19.5 TFLOP/s in float32, 1.555 TB/s",
        ),
        Limit(
            "min_share", 0.1, "a tenth of the traffic; with less, little time is to be won there"
        ),
    ),
)
_BIAS = Rule(
    id="bias-before-norm",
    title="A bias that the next normalisation cancels",
    severity="info",
    sources=(
        "Ioffe, Szegedy, Batch Normalization, 2015, arXiv 1502.03167, section 3.2",
        f"{_HACETTEPE}: batch normalisation after every convolution of a ResNet",
    ),
    saying="{biases:whole} biases are added before {norm} subtracts the mean of each channel.",
    advice="Build the layer with bias=False; the normalisation has a shift of its own.",
    check=wiring_rules.cancelled_biases,
)
_SKIPPED = Rule(
    id="skipped-pixels",
    title="A stride larger than the filter: pixels that nothing reads",
    severity="warning",
    sources=(
        f"{_HACETTEPE}: output size and stride arithmetic",
        "He et al., Bag of Tricks, 2018, arXiv 1812.01187, section 4",
    ),
    saying="{kernel:shape} windows with stride {stride:shape} leave {unread_share:percent} of a "
    "map of {map_px:px} unread, and nothing else reads them.",
    advice="Give the stride to a filter at least as wide, such as the 3×3 of a bottleneck block, "
    "or pool before it.",
    check=map_rules.skipped_pixels,
)
_LOST = Rule(
    id="lost-resolution",
    title="The map is down to one pixel before the pooling",
    severity="serious",
    sources=(
        f"{_COMENIUS}: choosing a model, input size, adjust the stem",
        f"{_HACETTEPE}: output size and stride arithmetic",
    ),
    saying="an input of {input_px:px} is down to one pixel before the pooling; {layers} layers "
    "slide filters over that pixel, so that {wasted_share:percent} of all parameters meet only "
    "padding.",
    advice="Take larger images, stem='small', a smaller output stride, or a network with fewer "
    "stages.",
    check=map_rules.lost_resolution,
)
_BURST = Rule(
    id="stride-burst",
    title="Strides directly after each other",
    severity="info",
    sources=(
        f"{_HACETTEPE}: design guideline, avoid tight bottlenecks",
        "Zeiler, Fergus, Visualizing and Understanding Convolutional Networks, 2013, "
        "arXiv 1311.2901, section 4.1",
    ),
    saying="{layers} layers in a row ({row}) divide the sides by {total}, with no layer between "
    "that looks around at the new resolution.",
    advice="Put a 3×3 layer with stride 1 between two strides, or take the stride out of one.",
    check=map_rules.stride_bursts,
    limits=(
        Limit("min_total", 8, "7×7/2 and pooling /2, which divide by 4, are the stem of ResNet"),
    ),
)

RULES: tuple[Rule, ...] = (
    _BOTTLENECK,
    _LARGE,
    _COARSE,
    _WIDE,
    _GROUPS,
    _SMALL_FIELD,
    _LARGE_FIELD,
    _FULLY_CONNECTED,
    _EARLY,
    _DEPTHWISE,
    _BIAS,
    _SKIPPED,
    _LOST,
    _BURST,
)
