"""What training varies of photos and of digits, for tests."""

from __future__ import annotations

from convatlas.data.augmentation import Augmentation

PHOTOS = Augmentation(
    crop_scale=(0.35, 1.0), flip=True, brightness=0.2, contrast=0.2, saturation=0.2
)
DIGITS = Augmentation(shift=1 / 14, rotate_degrees=10.0, zoom=0.1, padding="zeros")
