"""Put another part into a network: squeeze-and-excitation in every block of ResNet-50."""

from functools import partial

from convatlas import analyze, create_model
from convatlas.layers.attention import SqueezeExcite
from convatlas.models.resnet import Bottleneck

plain = analyze(create_model("resnet50"))
squeezed = analyze(create_model("resnet50", block=partial(Bottleneck, attention=SqueezeExcite)))
print(f"parameters {plain.params:,} → {squeezed.params:,}")
print(f"MACs       {plain.macs:,} → {squeezed.macs:,} (+{squeezed.macs / plain.macs - 1:.2%})")

dense = create_model("resnet50", output_stride=8)
print("strides for segmentation:", [feature.stride for feature in dense.feature_info])
