"""Numbers about any module: cost per layer and receptive field, as frozen dataclasses."""
