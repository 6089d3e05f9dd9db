from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, ImageEnhance
from sklearn.datasets import load_digits, load_sample_image
from torch import Tensor

from augmentations import DIGITS, PHOTOS
from convatlas.data.augment import varied, views_of
from convatlas.data.augmentation import Augmentation
from convatlas.data.draws import draw
from convatlas.data.warp import Rectangles, Views, erase, recolor, resample
from convatlas.errors import DataError

EVERYTHING = Augmentation(
    crop_scale=(0.3, 1.0),
    shift=3 / 56,
    rotate_degrees=20,
    zoom=0.2,
    flip=True,
    brightness=0.3,
    contrast=0.3,
    saturation=0.3,
    random_erase=0.5,
)
GREY = (0.5, 0.5, 0.5)


def photos(count: int, side: int = 64) -> Tensor:
    photo = load_sample_image("china.jpg")
    places = [(7 * i % 300, 31 * i % 500) for i in range(count)]
    return torch.from_numpy(np.stack([photo[y : y + side, x : x + side] for y, x in places]))


def apply(
    augmentation: Augmentation, images: Tensor, indices: list[int], size: int = 56, epoch: int = 0
) -> Tensor:
    places = np.array(indices, dtype=np.int64)
    u = draw(augmentation, 1, epoch, places)
    return varied(augmentation, u, views_of(augmentation, u, images, size, size), GREY)


def views(n: int = 1, **changes: float) -> Views:
    values = {"center_y": 32, "center_x": 32, "height": 64, "width": 64, "radians": 0, **changes}
    mirrored = np.full(n, bool(values.pop("mirrored", False)))
    return Views(**{k: np.full(n, float(v)) for k, v in values.items()}, mirrored=mirrored)


def as_image(x: Tensor) -> np.ndarray:
    return x.permute(1, 2, 0).numpy() * 255


def test_nothing_is_the_centre() -> None:
    images = photos(3, 65)
    x = apply(Augmentation(), images, [0, 1, 2], size=56)
    expected = images[:, 4:60, 4:60].permute(0, 3, 1, 2) / 255  # (65 − 56)/2 = 4.5 → 4
    assert torch.equal(x, expected)
    assert x.is_contiguous()


@pytest.mark.parametrize("augmentation", [EVERYTHING, PHOTOS, DIGITS])
def test_neighbours_do_not_matter(augmentation: Augmentation) -> None:
    images = photos(12)
    together = apply(augmentation, images, list(range(12)))
    assert together.shape == (12, 3, 56, 56)
    assert together.dtype == torch.float32
    backwards = apply(augmentation, images.flip(0), list(range(11, -1, -1)))
    assert torch.equal(backwards.flip(0), together)
    for i in range(12):
        alone = apply(augmentation, images[i : i + 1], [i])
        assert torch.equal(alone[0], together[i])


def test_threads_do_not_matter() -> None:
    threads = torch.get_num_threads()
    images = photos(12, 240)  # above the size from which torch shares out the sum over an image
    together = apply(EVERYTHING, images, list(range(12)), 224)
    try:
        torch.set_num_threads(3)
        for i in range(12):
            alone = apply(EVERYTHING, images[i : i + 1], [i], 224)
            assert torch.equal(alone[0], together[i])
    finally:
        torch.set_num_threads(threads)


def test_epochs_seeds_and_images_differ() -> None:
    image = photos(1).expand(2, -1, -1, -1)
    first = apply(EVERYTHING, image, [0, 1])
    assert not torch.allclose(first[0], first[1], atol=0.05)
    assert not torch.allclose(apply(EVERYTHING, image, [0, 1], epoch=1), first, atol=0.05)
    assert torch.equal(apply(EVERYTHING, image, [0, 1]), first)


def test_an_option_does_not_change_what_others_draw() -> None:
    images = photos(6)
    geometry = Augmentation(crop_scale=(0.3, 1.0), rotate_degrees=20, flip=True)
    plain = apply(geometry, images, list(range(6)))
    lighter = apply(replace(geometry, brightness=1e-9), images, list(range(6)))
    assert_allclose(plain, lighter, atol=1e-6)
    erased = apply(replace(geometry, random_erase=1.0), images, list(range(6)))
    changed = (erased != plain).any(dim=1)
    assert_allclose(erased[changed[:, None].expand_as(erased)], 0.5)
    assert 0 < changed.float().mean() < 0.4


def test_values_stay_in_range() -> None:
    strong = Augmentation(brightness=1, contrast=1, saturation=1)
    x = apply(strong, photos(8), list(range(8)))
    assert x.min() >= 0
    assert x.max() <= 1


def test_flips_are_exact_mirrors_half_of_the_time() -> None:
    image = photos(1, 56).expand(200, -1, -1, -1)
    x = apply(Augmentation(flip=True), image, list(range(200)))
    plain = image[0].permute(2, 0, 1) / 255
    same, mirrored = (
        (x - expected).abs().amax(dim=(1, 2, 3)) < 1e-4 for expected in (plain, plain.flip(2))
    )
    assert (same ^ mirrored).all()
    assert 70 < mirrored.sum() < 130  # within 4 deviations of 100


def test_shifts_are_whole_pixels_with_zeros_or_edges() -> None:
    images = torch.from_numpy(load_digits().images[:60, :, :, None].astype(np.uint8) * 15)
    seen = set()
    for padding in ("zeros", "edge"):
        augmentation = Augmentation(shift=1 / 8, padding=padding)
        x = apply(augmentation, images, list(range(60)), size=8) * 255
        mode = "edge" if padding == "edge" else "constant"
        for image, moved in zip(images.numpy()[..., 0], x[:, 0].numpy(), strict=True):
            wide = np.pad(image, 1, mode=mode)
            fits = {
                (dy, dx)
                for dy in range(3)
                for dx in range(3)
                if np.abs(wide[dy : dy + 8, dx : dx + 8] - moved).max() < 1e-2
            }
            assert fits
            seen |= fits
    assert len(seen) == 9


def test_a_shift_shows_the_margin_of_a_larger_image() -> None:
    images = photos(20, 64)
    x = apply(Augmentation(shift=4 / 56), images, list(range(20)), size=56) * 255
    for image, moved in zip(images.numpy(), x.permute(0, 2, 3, 1).numpy(), strict=True):
        best = min(
            np.abs(image[top : top + 56, left : left + 56] - moved).max()
            for top in range(9)
            for left in range(9)
        )
        assert best < 0.01


def test_crops_have_the_area_and_ratio_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Views] = []

    def record(images: Tensor, some: Views, size: int, padding: str) -> Tensor:
        seen.append(some)
        return resample(images, some, size)

    monkeypatch.setattr("convatlas.data.augment.resample", record)
    crops = Augmentation(crop_scale=(0.3, 0.5), crop_ratio=(0.8, 1.25))
    apply(crops, torch.zeros(500, 64, 80, 3, dtype=torch.uint8), list(range(500)), size=8)
    view = seen[0]
    area, ratio = view.height * view.width / (64 * 80), view.width / view.height
    for values, low, high in ((area, 0.3, 0.5), (ratio, 0.8, 1.25)):
        assert low <= values.min() < low + 0.01
        assert high - 0.01 < values.max() <= high
    assert abs(area.mean() - 0.4) < 0.01
    assert abs(np.log(ratio).mean()) < 0.03
    starts = []
    for center, length, whole in (
        (view.center_y, view.height, 64),
        (view.center_x, view.width, 80),
    ):
        start = (center - length / 2) / (whole - length)
        assert -1e-9 <= start.min() < 0.01
        assert 0.99 < start.max() <= 1 + 1e-9
        starts.append(start)
    assert abs(np.corrcoef(starts)[0, 1]) < 0.15  # 500 independent pairs: 0.045 a deviation


def test_a_crop_is_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = photos(1, 64)
    box = (10.25, 5.5, 50.75, 41.0)  # left, top, right, bottom
    view = views(
        center_x=(box[0] + box[2]) / 2, center_y=(box[1] + box[3]) / 2, width=40.5, height=35.5
    )
    expected = Image.fromarray(photo[0].numpy()).transform(
        (48, 48), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR
    )
    assert_allclose(as_image(resample(photo, view, 48)[0]), np.asarray(expected), atol=1.01)


def test_a_quarter_turn_is_exact() -> None:
    photo = photos(1, 64)
    for quarter in (1, 2, 3):
        turned = resample(photo, views(radians=quarter * np.pi / 2), 64)
        expected = np.rot90(photo[0].numpy(), -quarter)  # clockwise
        assert_allclose(as_image(turned[0]), expected, atol=0.05)


def test_a_rotation_is_pillows() -> None:
    photo = photos(1, 64)
    for degrees in (15, -40):
        turned = as_image(resample(photo, views(radians=np.radians(degrees)), 64)[0])
        pillow = Image.fromarray(photo[0].numpy()).rotate(-degrees, Image.Resampling.BILINEAR)
        y, x = np.mgrid[:64, :64] - 31.5
        inside = np.hypot(x, y) < 30
        assert_allclose(turned[inside], np.asarray(pillow)[inside], atol=1.5)


def test_mirror_comes_after_the_turn() -> None:
    photo = photos(1, 64)
    turned = resample(photo, views(radians=0.5), 64)
    both = resample(photo, views(radians=0.5, mirrored=True), 64)
    assert_allclose(both.flip(3), turned, atol=1e-4)


def test_zoom_magnifies_about_the_centre() -> None:
    image = torch.zeros(1, 64, 64, 1, dtype=torch.uint8)
    image[:, 24:40, 24:40] = 255
    areas = [apply(Augmentation(zoom=1.0), image, [i], size=64).sum().item() for i in range(100)]
    assert 256 / 4 * 0.95 < min(areas) < 256 / 3
    assert 256 * 3 < max(areas) < 256 * 4 * 1.05
    x = resample(image, views(height=32, width=32), 64)
    assert x[0, 0, 17:47, 17:47].min() == 1
    assert x[0, 0, :15].max() == 0


@pytest.mark.parametrize(
    ("enhancement", "place"),
    [(ImageEnhance.Brightness, 0), (ImageEnhance.Contrast, 1), (ImageEnhance.Color, 2)],
)
@pytest.mark.parametrize("factor", [0.3, 0.9, 1.4])
def test_colour_is_pillows_enhancement(enhancement: type, place: int, factor: float) -> None:
    photo = photos(1, 64)
    factors = [np.ones(1)] * 3
    factors[place] = np.array([factor])
    x = recolor(photo.permute(0, 3, 1, 2) / 255, *factors)
    pillow = np.asarray(enhancement(Image.fromarray(photo[0].numpy())).enhance(factor))
    # Pillow cuts decimals off, of the luma too
    assert np.abs(as_image(x[0]) - pillow).max() < 2


def test_colour_is_brightness_then_contrast_then_saturation() -> None:
    photo = photos(2, 64).permute(0, 3, 1, 2) / 255
    factors = [np.array([0.8, 1.0]), np.array([0.7, 1.1]), np.array([1.2, 0.5])]
    x = recolor(photo, *factors)
    for i in range(2):
        b, c, s = (values[i] for values in factors)
        bright = photo[i].double().numpy() * b
        middle = (np.array([0.299, 0.587, 0.114]) @ bright.reshape(3, -1)).mean()
        contrasting = middle + c * (bright - middle)
        luma = np.tensordot([0.299, 0.587, 0.114], contrasting, 1)
        expected = (luma + s * (contrasting - luma)).clip(0, 1)
        assert_allclose(x[i], expected, atol=1e-6)


def test_colour_of_grey_images() -> None:
    x = torch.tensor([[[[0.2, 0.6]]]])
    one = np.ones(1)
    # 0.5 · x, then 2 · (value − 0.2) + 0.2
    assert_allclose(recolor(x, one / 2, 2 * one, 0 * one).flatten(), [0.0, 0.4], atol=1e-7)
    thrice = x.expand(1, 3, 1, 2)
    grey = recolor(x, one * 1.2, one * 0.7, one)
    assert_allclose(recolor(thrice, one * 1.2, one * 0.7, one * 0.1), grey.expand(1, 3, 1, 2))


def test_erasing_by_hand() -> None:
    x = torch.zeros(2, 1, 4, 4)
    corners = [
        np.array([1.0, 0.0]),
        np.array([0.0, 0.0]),
        np.array([3.0, 0.0]),
        np.array([2.0] * 2),
    ]
    top, left, bottom, right = corners
    erased = erase(x, Rectangles(top=top, left=left, bottom=bottom, right=right), (0.25,))
    expected = torch.zeros(2, 1, 4, 4)
    expected[0, 0, 1:3, 0:2] = 0.25
    assert torch.equal(erased, expected)


def test_erasing_as_often_and_as_large_as_the_paper() -> None:
    black = torch.zeros(400, 40, 40, 3, dtype=torch.uint8)
    x = apply(Augmentation(random_erase=0.25), black, list(range(400)), size=40)
    share = (x > 0).float().mean(dim=(1, 2, 3)).numpy()
    erased = share[share > 0]
    assert 65 < len(erased) < 135  # within 4 deviations of 100
    assert erased.min() > 0.01
    assert erased.max() < 0.36


def test_light_moves_along_the_axes_of_imagenets_colours() -> None:
    photo = photos(1, 64).expand(2000, -1, -1, -1)[:, :1, :1]
    x = apply(Augmentation(pca_colour=0.1), photo, list(range(2000)), size=1)
    change = (x - photo.permute(0, 3, 1, 2) / 255)[:, :, 0, 0].double().numpy()
    # Σ αᵢ λᵢ pᵢ with α ~ N(0, 0.1): the covariance is P diag((0.1 λ)²) Pᵀ (AlexNet, section 4.1)
    axes = np.array(
        [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
    )
    spread = 0.1 * np.array([0.2175, 0.0188, 0.0045])
    expected = axes @ np.diag(spread**2) @ axes.T
    assert_allclose(np.cov(change.T), expected, rtol=0.15)
    assert np.abs(change.mean(axis=0)).max() < 4 * spread[0] / np.sqrt(2000)
    along = change @ axes / spread  # each a standard normal number, independent of the others
    assert_allclose(np.corrcoef(along.T), np.eye(3), atol=0.09)
    assert_allclose((np.abs(along) < 1).mean(axis=0), 0.6827, atol=0.045)


def test_light_leaves_grey_images() -> None:
    images = photos(4)[..., :1]
    plain = apply(Augmentation(), images, [0, 1, 2, 3])
    assert torch.equal(apply(Augmentation(pca_colour=0.5), images, [0, 1, 2, 3]), plain)


def test_smaller_inputs_show_the_same_scene_without_aliasing() -> None:
    """Progressive resizing: what evaluation would see, shrunk as Pillow shrinks it."""
    images = photos(2, 128)
    u = draw(Augmentation(), 0, 0, np.arange(2))
    x = views_of(Augmentation(), u, images, input_size=112, size=56)
    for image, view in zip(images.numpy(), x, strict=True):
        small = Image.fromarray(image).resize((64, 64), Image.Resampling.BILINEAR)
        assert_allclose(
            as_image(view), np.asarray(small)[4:60, 4:60], atol=1.01
        )  # Pillow rounds twice


def test_images_must_cover_the_input() -> None:
    with pytest.raises(DataError, match="at least 80×80 to augment, got 64×64"):
        apply(EVERYTHING, photos(2), [0, 1], size=80)


def test_no_image_is_no_error() -> None:
    assert_array_equal(apply(PHOTOS, photos(3)[:0], []).shape, (0, 3, 56, 56))
