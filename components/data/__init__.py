"""Where examples come from: sources by URL, splits of them, their shifts. Importing this reads no data and loads no framework."""

from components.data.captions import Captions
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
from components.data.domains import Domain
from components.data.folder import Folder, Images
from components.data.idx import Idx
from components.data.imagenet import Numbered, ObjectNet, Synsets
from components.data.mnist import Dealt, Tinted
from components.data.npz import Npz
from components.data.parquet import Parquet
from components.data.split import Mixture, Sample, Split
from components.data.views import Augment
from components.data.webdataset import WebDataset
from components.data.wilds import CameraTraps, LandUse

__all__ = [
    "SHIFTS",
    "Augment",
    "CameraTraps",
    "Captions",
    "Colour",
    "Corrupted",
    "Corruption",
    "Dealt",
    "Digits",
    "Domain",
    "Folder",
    "Idx",
    "Images",
    "Invert",
    "LandUse",
    "LowContrast",
    "Mixture",
    "Noise",
    "Npz",
    "Numbered",
    "ObjectNet",
    "Occlusion",
    "Parquet",
    "Rotate",
    "Sample",
    "Scale",
    "Split",
    "Synsets",
    "Texture",
    "Tinted",
    "WebDataset",
]
