"""The folder of a finished run, written without running anything, with values worked by hand."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

EVIL = '</script><img src=x onerror="alert(1)"> & “猫” {{ 7*7 }} $x$'
CLASSES = ["zero", EVIL, "two"]
CONFUSION = [[0, 0, 9], [0, 1, 1], [1, 0, 3], [1, 1, 7], [2, 2, 10]]  # true, predicted, images
OPTIONAL = ("data", "choice", "metrics", "cost", "explain", "parity", "plan")


def write_json(folder, name, value):
    (folder / name).write_text(json.dumps(value), encoding="utf-8")


def evaluation():
    classes = [
        {"label": 0, "precision": 0.75, "recall": 0.9, "f1": 0.818, "support": 10},
        {"label": 1, "precision": 0.875, "recall": 0.7, "f1": 0.778, "support": 10},
        {"label": 2, "precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 10},
    ]
    return {
        "images": 30,
        "accuracy": 26 / 30,
        "accuracy_interval": [0.703, 0.947],
        "top5_accuracy": None,
        "loss_nats": 0.41,
        "expected_calibration_error": 2 / 30,
        "macro_f1": 0.865,
        "classes": classes,
        "confusion_cells": CONFUSION,
        "mistakes": [],
    }


def calibration():
    """Ten answers with 70 % confidence, six of them right, and twenty with 95 %, all right.

    The distances are 0.1 and 0.05, so their mean over the images is (1 + 1) / 30.
    """
    bins = [
        {"low": 0.0, "high": 0.6, "count": 0, "confidence": None, "accuracy": None},
        {"low": 0.6, "high": 0.8, "count": 10, "confidence": 0.7, "accuracy": 0.6},
        {"low": 0.8, "high": 1.0, "count": 20, "confidence": 0.95, "accuracy": 1.0},
    ]
    return {
        "expected_calibration_error": 2 / 30,
        "max_calibration_error": 0.1,
        "loss_nats": 0.41,
        "brier_score": 0.2,
        "bins": bins,
    }


def candidate(name, kept, **figures):
    return {
        "name": name,
        "params": 269_722,
        "macs": 40_551_040,
        "top1": 91.25 if kept else None,
        "latency_ms": figures.get("latency_ms", {}).get("value"),
        "kept": kept,
        "reason": "within the budget" if kept else "made for <photos>",
        "weights": None,
        "options": {},
        "figures": figures,
    }


def _layer(name, field):
    return {
        "name": name,
        "operator": "conv2d",
        "output_shape": [1, 16, 8, 8],
        "params": 432,
        "macs": 27_648,
        "flops": 55_296,
        "activation_bytes": 4_096,
        "receptive_field": field,
    }


def _cost():
    totals = {"params": 864, "macs": 55_296, "flops": 110_592, "activation_bytes": 8_192}
    stages = [
        {"name": name, "params": 432, "macs": 27_648, "activation_bytes": 4_096}
        for name in ("stem", "head")
    ]
    return {
        **totals,
        "is_lower_bound": True,
        "uncounted": [{"operator": "grid_sample", "count": 2}],
        "layers": [_layer("stem.conv", 3), _layer("head.conv", None)],
        "stages": stages,
    }


def parity(**changed):
    return {
        "images": 30,
        "max_logit_difference": 5.7e-6,
        "max_relative_difference": 4.1e-7,
        "max_probability_difference": 2.4e-7,
        "top1_agreement": 1.0,
        "disagreements": 0,
        "preprocessing_difference": 0.0,
        "end_to_end_difference": 2.4e-7,
        "torch_accuracy": 26 / 30,
        "onnx_accuracy": 26 / 30,
        "torch_latency_ms": 12.31,
        "onnx_latency_ms": 4.07,
        "threads": 2,
        "file_bytes": 1_089_432,
        "passed": True,
        "file": "model.onnx",
        "opset": 18,
        "bytes": 1_089_432,
        **changed,
    }


def plan():
    return {
        "batch_size": 16,
        "recipe_batch_size": 32,
        "epochs": 3,
        "recipe_epochs": 30,
        "steps": 24,
        "peak_bytes": 51_200_000,
        "memory_bytes": 60_000_000,
        "step_ms": 25.0,
        "frozen_step_ms": 25.0,
        "seconds": 179.0,
        "reserve_seconds": 21.0,
        "time_limit": 300.0,
    }


def int8(**changed):
    return {
        "status": "accepted",
        "reason": "accuracy does not fall",
        "file": "model.int8.onnx",
        "max_drop": 0.01,
        "calibration_images": 123,
        "images": 30,
        "accuracy": 26 / 30,
        "fp32_accuracy": 26 / 30,
        "drop": 0.0,
        "top1_agreement": 29 / 30,
        "max_probability_difference": 0.03,
        "latency_ms": 1.52,
        "fp32_latency_ms": 4.05,
        "threads": 1,
        "bytes": 301_000,
        "fp32_bytes": 1_089_432,
        **changed,
    }


def data():
    return {
        "name": "digits & more",
        "origin": "somewhere",
        "classes": CLASSES,
        "counts": {"train": [40, 41, 42], "validation": [10, 10, 10]},
        "channels": 1,
        "image_size": {"smallest": [8, 8], "median": [8, 8.5], "largest": [9, 12]},
        "preprocessing": {
            "input_size": 8,
            "channels": 1,
            "mean": [0.3],
            "std": [0.4],
            "interpolation": "bilinear",
            "resize_mode": "stretch",
            "crop_fraction": 0.875,
        },
    }


def _explain(folder):
    (folder / "images").mkdir()
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(pixels).save(folder / "images" / "a.png")
    for name in ("a-cam", "filters", "field"):
        Image.fromarray(np.stack([pixels] * 3, -1)).save(folder / "images" / f"{name}.png")
    base = {"image": "images/a.png", "overlay": "images/a-cam.png", "confidence": 0.97}
    return {
        "stage": "stages.2",
        "pictures": [
            {**base, "kind": "mistake", "true": EVIL, "predicted": "zero", "source": "a\udcff.png"},
            {**base, "kind": "right", "true": "two", "predicted": "two", "source": "#2"},
        ],
        "filters": {
            "image": "images/filters.png",
            "layer": "stem.conv",
            "count": 200,
            "shown": 128,
            "size_px": [3, 3],
            "channels": 1,
            "alt": "128 of 200 filters of stem.conv as tiles",
        },
        "field": {
            "image": "images/field.png",
            "layer": "stages.2",
            "position": [1, 1],
            "input_size_px": [8, 8],
            "theoretical_size_px": [49, 49],
            "theoretical_box_px": [-20, -20, 28, 28],
            "theoretical_note": "",
            "effective_size_px": [6.5, 6.1],
            "effective_centre_px": [4.0, 4.0],
            "effective_area_side_px": 5.0,
            "source": "#2",
            "alt": "#2 in grey, with the pixels that stages.2 listens to",
        },
    }


def write_run(folder):
    """Write every file that a run leaves, and return ``folder``."""
    folder.mkdir()
    run = {
        "name": "digits-cifar_resnet20",
        "command": "convatlas run --data digits",
        "created": "2026-11-21T09:14:03+00:00",
        "versions": {"convatlas": "0.1.0", "torch": "2.13.0", "python": "3.11.9"},
        "machine": "x86_64, 2 threads",
        "seed": 0,
        "seconds": {"train": 143.2, "export": 7.9},
    }
    predicted = {"value": 3.2, "origin": "predicted", "source": "", "low": 2.5, "high": 4.1}
    choice = {
        "budget": {"max_macs": 3e8, "max_params": None, "max_latency_ms": None, "min_top1": 70},
        "input_size": 8,
        "chosen": candidate("cifar_resnet20", True),
        "reason": "cifar_resnet20 has the fewest multiply-accumulates.",
        "candidates": [
            candidate("cifar_resnet20", True, latency_ms=predicted),
            candidate("resnet50", False),
        ],
        "neighbours": [{"name": "cifar_resnet32", "sentence": "+1.2 points for 1.7x the MACs"}],
        "advice": ["Too few images to train a deeper network from scratch."],
    }
    scratch = {"accuracy": 0.5, "accuracy_interval": [0.33, 0.66]}
    epochs = [
        {"kind": "epoch", "epoch": n, "loss": 1 / n, "metrics": {"accuracy": 1 - 0.5 / n},
         "best": True}
        for n in (1, 2, 3)
    ]  # fmt: skip
    write_json(folder, "run.json", run)
    write_json(folder, "data.json", data())
    write_json(folder, "choice.json", choice)
    metrics = {"evaluation": evaluation(), "calibration": calibration(), "scratch": scratch}
    write_json(folder, "metrics.json", metrics)
    write_json(folder, "cost.json", _cost())
    write_json(folder, "explain.json", _explain(folder))
    write_json(folder, "plan.json", plan())
    write_json(folder, "parity.json", parity(int8=int8()))
    (folder / "recipe.toml").write_text('[training]\nkeep = "best"\n', encoding="utf-8")
    (folder / "predict.py").write_text("", encoding="utf-8")
    lines = [json.dumps(line) + "\n" for line in ({"kind": "step", "step": 1}, *epochs)]
    (folder / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder
