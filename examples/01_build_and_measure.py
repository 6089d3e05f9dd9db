"""Build a network by name, look at its anatomy, and count what it costs."""

import torch

from convatlas import analyze, create_model, list_models

print(list_models("resnet*", max_macs=5e9))

model = create_model("resnet50", num_classes=10)
for feature in model.feature_info:
    print(feature.name, feature.channels, feature.stride)

report = analyze(model, 224)
print(f"{report.params:,} parameters, {report.macs:,} MACs, {report.flops:,} FLOPs")
for stage in report.by_stage():
    print(f"{stage.name:12} {stage.macs / report.macs:6.1%} of the MACs")

logits = model.eval()(torch.randn(1, 3, 224, 224))
print(logits.shape)
