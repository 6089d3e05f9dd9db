"""The colours of pages and figures, for a light and a dark background.

Series keep apart for readers with any colour vision: blue and vermilion after Okabe and Ito
("Color Universal Design", 2008), and grey. Each stands out from its background by 3:1, and
text by 4.5:1 (WCAG 2.2, AA).
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["DARK", "FONT", "LIGHT", "MONOSPACE", "css_variables"]

FONT = 'ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif'
MONOSPACE = 'ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, monospace'

LIGHT: Mapping[str, str] = {
    "page": "#f7f7f5",
    "surface": "#ffffff",
    "sunken": "#efefec",
    "text": "#17191c",
    "muted": "#55595f",
    "rule": "#dcdcd8",
    "accent": "#00538f",
    "wash": "#e4eef6",
    "good": "#12683d",
    "care": "#845100",
    "bad": "#a8231c",
    "series-1": "#0072b2",
    "series-2": "#c2500a",
    "series-3": "#3a3d42",
    "none": "#f1f3f4",
    "hit-0": "#dcebf7",
    "hit-1": "#62a5d8",
    "miss-0": "#fce3d0",
    "miss-1": "#ee8f4a",
}

DARK: Mapping[str, str] = {
    "page": "#121417",
    "surface": "#1a1d21",
    "sunken": "#22262b",
    "text": "#e9ebed",
    "muted": "#a9b0b8",
    "rule": "#343a41",
    "accent": "#74b9f2",
    "wash": "#1d3345",
    "good": "#63cf98",
    "care": "#edc35a",
    "bad": "#ff8f85",
    "series-1": "#56b4e9",
    "series-2": "#f0934e",
    "series-3": "#e9ebed",
    "none": "#1c2024",
    "hit-0": "#1c3346",
    "hit-1": "#22659b",
    "miss-0": "#472a15",
    "miss-1": "#9c4f17",
}


def css_variables(palette: Mapping[str, str]) -> str:
    """Return the palette as CSS custom properties, ``--page: #f7f7f5; …``."""
    return " ".join(f"--{name}: {colour};" for name, colour in palette.items())
