"""``convatlas see``: a picture of what a layer sees, and its figures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from skimage import data as photos

from convatlas.analysis.cost import analyze
from convatlas.cli.main import main
from convatlas.models.registry import create_model


def convatlas(*arguments):
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return exit_.value.code


@pytest.fixture
def cat(tmp_path):
    Image.fromarray(photos.chelsea()).save(tmp_path / "cat.png")
    return tmp_path / "cat.png"


def test_both_fields_of_real_weights_on_a_real_photo(cat, tmp_path, capsys):
    picture = tmp_path / "out" / "seen.png"
    layer = "stages.2"
    command = ("see", "efficientnet_lite0", cat, "--layer", layer, "--output", picture, "--json")
    assert convatlas(*command) == 0
    seen = json.loads(capsys.readouterr().out)
    rows = analyze(create_model("efficientnet_lite0"), 224).layers
    field = [row.receptive_field for row in rows if row.name.startswith(f"{layer}.")][-1]
    assert seen["theoretical_size_px"] == list(field.size)
    assert seen["position"] == [14, 14]
    left, top, right, bottom = seen["theoretical_box_px"]
    assert (bottom - top + 1, right - left + 1) == field.size
    centre_y, centre_x = seen["effective_centre_px"]
    assert top < centre_y < bottom
    assert left < centre_x < right
    assert all(8 < side < field.size[0] for side in seen["effective_size_px"])
    pixels = np.asarray(Image.open(picture))
    assert min(pixels.shape[:2]) >= 640
    blue = (pixels == (90, 200, 250)).all(-1)
    rows_with_blue = blue.any(1).nonzero()[0]
    factor = pixels.shape[0] / 224
    assert rows_with_blue.min() == pytest.approx(top * factor, abs=factor)
    assert rows_with_blue.max() == pytest.approx((bottom + 1) * factor, abs=factor)


def test_a_layer_after_a_global_operation_has_no_theoretical_field(cat, tmp_path, capsys):
    picture = tmp_path / "seen.png"
    command = ("see", "efficientnet_lite0", cat, "--layer", "head.pool", "--output", picture)
    assert convatlas(*command) == 0
    assert "reads the whole map" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--layer", "stage.2"), "did you mean stages"),
        (("--layer", "stages.2", "--position", "three"), "a row and a column such as 3,4"),
        (("--layer", "stages.2", "--position", "99,0"), "within 28×28, got 99,0"),
        (("--layer", "head.classifier"), "take a layer before the pooling"),
    ],
)
def test_wrong_arguments_are_one_line(cat, tmp_path, arguments, message, capsys):
    picture = tmp_path / "seen.png"
    assert convatlas("see", "efficientnet_lite0", cat, *arguments, "--output", picture) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
    assert not picture.exists()


def test_a_layer_with_a_slash_makes_no_folder(cat, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert convatlas("see", "efficientnet_lite0", cat, "--layer", "stages/2") == 2
    assert list(tmp_path.iterdir()) == [cat]


def test_a_truncated_photo_is_one_line(cat, tmp_path, capsys):
    cat.write_bytes(cat.read_bytes()[:2000])
    assert convatlas("see", "efficientnet_lite0", cat, "--layer", "stages.2") == 2
    assert "cat.png" in capsys.readouterr().err
