"""What the reference libraries call our networks, where they call them otherwise.

Imports nothing: the tools that run in the oracle environment read it too.
"""

from __future__ import annotations

_REGNETS = {
    "002": "200mf",
    "004": "400mf",
    "006": "600mf",
    "008": "800mf",
    "016": "1_6gf",
    "032": "3_2gf",
    "040": "4gf",
    "064": "6_4gf",
    "080": "8gf",
    "120": "12gf",
    "160": "16gf",
    "320": "32gf",
}

# Of timm's tf_ nets, padded as TensorFlow does, ours are the Lite ones.
OURS = {
    "legacy_senet154": "senet154",
    "legacy_xception": "xception",
    "nasnetalarge": "nasnet_a_large",
    "efficientnet_v2_l": "efficientnetv2_l",
    "efficientnet_v2_m": "efficientnetv2_m",
    "efficientnet_v2_s": "efficientnetv2_s",
    "mobilenet_v3_large": "mobilenetv3_large",
    "mobilenet_v3_small": "mobilenetv3_small",
    "mnasnet1_3": "mnasnet_130",
    "mnasnet1_0": "mnasnet_100",
    "mnasnet0_75": "mnasnet_075",
    "mnasnet0_5": "mnasnet_050",
    "mobilenet_v2": "mobilenetv2_100",
    # timm rounds the widths of regnetx_004, regnety_008 and regnety_080 otherwise.
    **{f"regnetx_{code}": f"regnet_x_{size}" for code, size in _REGNETS.items() if code != "004"},
    **{
        f"regnety_{code}": f"regnet_y_{size}"
        for code, size in _REGNETS.items()
        if code not in ("008", "080")
    },
    **{f"tf_efficientnet_lite{i}": f"efficientnet_lite{i}" for i in range(5)},
}
