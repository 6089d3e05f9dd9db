"""The table of reference networks: which library, which name, which input size.

To add a network, add its name to a line here and run ``write_fixtures.py``. Sizes are
small where the network allows it. It knows names only and imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """One network of one library, and the side of the square image it is given."""

    source: str
    model: str
    input_size: int

    @property
    def name(self) -> str:
        """Name of the fixture: source and model."""
        return f"{self.source}_{self.model}"


# The input size and the names, separated by blanks.
TORCHVISION = (
    (224, "alexnet vgg11 vgg13 vgg16 vgg19 vgg11_bn vgg13_bn vgg16_bn vgg19_bn"),
    (64, "resnet18 resnet34 resnet50 resnet101 resnet152"),
    (64, "resnext50_32x4d resnext101_32x8d resnext101_64x4d wide_resnet50_2 wide_resnet101_2"),
    (64, "densenet121 densenet161 densenet169 densenet201"),
    (96, "googlenet squeezenet1_0 squeezenet1_1"),
    (128, "inception_v3"),
    (64, "mobilenet_v2 mobilenet_v3_small mobilenet_v3_large"),
    (64, "mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3"),
    (64, "shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5 shufflenet_v2_x2_0"),
    (96, "efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3"),
    (96, "efficientnet_b4 efficientnet_b5 efficientnet_b6 efficientnet_b7"),
    (96, "efficientnet_v2_s efficientnet_v2_m efficientnet_v2_l"),
    (64, "regnet_x_400mf regnet_x_800mf regnet_x_1_6gf regnet_x_3_2gf"),
    (64, "regnet_x_8gf regnet_x_16gf regnet_x_32gf"),
    (64, "regnet_y_400mf regnet_y_800mf regnet_y_1_6gf regnet_y_3_2gf"),
    (64, "regnet_y_8gf regnet_y_16gf regnet_y_32gf regnet_y_128gf"),
    (64, "convnext_tiny convnext_small convnext_base convnext_large"),
    (64, "swin_t swin_s swin_b"),
)

TIMM = (
    (64, "mobilenetv1_100 mobilenetv1_125"),
    (64, "mobilenetv2_035 mobilenetv2_050 mobilenetv2_075 mobilenetv2_100"),
    (64, "mobilenetv2_110d mobilenetv2_120d mobilenetv2_140"),
    (64, "mobilenetv3_small_050 mobilenetv3_small_075 mobilenetv3_small_100"),
    (64, "mobilenetv3_large_075 mobilenetv3_large_100"),
    (64, "mnasnet_050 mnasnet_075 mnasnet_100 mnasnet_140 mnasnet_small"),
    (224, "tf_efficientnet_lite0"),
    (240, "tf_efficientnet_lite1"),
    (260, "tf_efficientnet_lite2"),
    (96, "tf_efficientnet_lite3 tf_efficientnet_lite4"),
    (96, "efficientnet_b0 tf_efficientnet_b0"),
    (96, "tf_efficientnetv2_b0 tf_efficientnetv2_b1 tf_efficientnetv2_b2 tf_efficientnetv2_b3"),
    (96, "tf_efficientnetv2_s tf_efficientnetv2_m tf_efficientnetv2_l"),
    (64, "resnet18 resnet34 resnet50 resnet50d resnet101 resnet152"),
    (64, "resnet18d resnet34d resnet101d resnet152d"),
    (64, "resnetv2_18 resnetv2_34 resnetv2_50 resnetv2_101 resnetv2_152"),
    (64, "wide_resnet50_2 wide_resnet101_2"),
    (64, "resnext50_32x4d resnext101_32x4d resnext101_32x8d resnext101_64x4d"),
    (64, "seresnet18 seresnet34 seresnet50 seresnet101 seresnet152"),
    (64, "seresnext50_32x4d seresnext101_32x4d legacy_senet154"),
    (64, "densenet121 densenet161 densenet169 densenet201 densenet264d"),
    (128, "inception_v3 inception_v4 inception_resnet_v2"),
    (96, "legacy_xception nasnetalarge pnasnet5large"),
    (64, "ghostnet_050 ghostnet_100 ghostnet_130"),
    (64, "regnetx_002 regnetx_004 regnetx_006 regnetx_008 regnetx_016 regnetx_032"),
    (64, "regnetx_040 regnetx_064 regnetx_080 regnetx_120 regnetx_160 regnetx_320"),
    (64, "regnety_002 regnety_004 regnety_006 regnety_008 regnety_016 regnety_032"),
    (64, "regnety_040 regnety_064 regnety_080 regnety_120 regnety_160 regnety_320"),
    (64, "repvgg_a0 repvgg_a1 repvgg_a2 repvgg_b0 repvgg_b1 repvgg_b1g4"),
    (64, "repvgg_b2 repvgg_b2g4 repvgg_b3 repvgg_b3g4"),
    (64, "convnext_tiny convnext_small convnext_base convnext_large convnext_xlarge"),
    (64, "convnextv2_atto convnextv2_femto convnextv2_pico convnextv2_nano"),
    (64, "convnextv2_tiny convnextv2_base convnextv2_large"),
)


def _rows(source: str, lines: tuple[tuple[int, str], ...]) -> list[Reference]:
    return [Reference(source, model, size) for size, names in lines for model in names.split()]


REFERENCES = (*_rows("torchvision", TORCHVISION), *_rows("timm", TIMM))
