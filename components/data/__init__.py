"""Where examples come from: sources by URL, splits of them, their shifts. Importing this reads no data and loads no framework."""

from components.data.corruptions import (
    SHIFTS,
    Colour,
    Corrupted,
    Corruption,
    Invert,
    LowContrast,
    Noise,
    Occlusion,
    Rotate,
    Scale,
    Texture,
)
from components.data.digits import Digits
from components.data.split import Mixture, Sample, Split
from components.data.views import Augment

__all__ = [
    "SHIFTS",
    "Augment",
    "Colour",
    "Corrupted",
    "Corruption",
    "Digits",
    "Invert",
    "LowContrast",
    "Mixture",
    "Noise",
    "Occlusion",
    "Rotate",
    "Sample",
    "Scale",
    "Split",
    "Texture",
]
