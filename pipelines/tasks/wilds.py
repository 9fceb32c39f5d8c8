"""Two tasks of WILDS (arXiv:2012.07421) in its published layout, each with the metric that it is reported by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from components.data.wilds import LAND_USES, OTHER, CameraTraps, LandUse
from components.metrics import MacroF1, WorstGroup
from components.types import Dataset, Metric
from pipelines.tasks.base import Task

# Of WiSE-FT's 16 prompts for FMoW (mlfoundations/wise-ft, src/templates/fmow_template.py, MIT) those that need no article; arXiv:2109.01903.
VIEWS = ("satellite photo of a {}", "aerial photo of a {}")
OVERHEAD = (*(f"{view}{where}." for where in ("", " in asia", " in africa", " in the americas", " in europe", " in oceania") for view in VIEWS),
            "a photo of a {}.", "{}.")  # fmt: skip
Selects = Literal["id_val", "val"]


@dataclass(frozen=True)
class IWildCam(Task):
    """iWildCam2020-WILDS: animals at camera traps, reported by macro F1, on cameras that were trained on and on others.

    `url`: the folder iwildcam_v2.0 with metadata.csv and train. `select`: id_val, the cameras of training, or val, other ones.
    `classes` () are read from the tables: 182, many of them rare. Prompts: WiSE-FT's (mlfoundations/wise-ft, MIT).
    """

    url: str = "iwildcam_v2.0"
    select: Selects = "id_val"
    steps: int = 20_000
    classes: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ("a photo of {}.", "{} in the wild.")

    @property
    def name(self) -> str:
        return "iWildCam"

    @property
    def metric(self) -> Metric:
        return MacroF1()

    @property
    def train(self) -> Dataset:
        return CameraTraps(self.url, "train")

    @property
    def held_out(self) -> Dataset:
        return CameraTraps(self.url, self.select)

    @property
    def test(self) -> Dataset:
        return CameraTraps(self.url, "id_test")

    @property
    def shifts(self) -> Mapping[str, Dataset]:
        return {"other cameras": CameraTraps(self.url, "test")}


@dataclass(frozen=True)
class FMoW(Task):
    """FMoW-WILDS: 62 uses of land from above, reported by the accuracy of the worst region, in the years of training and later.

    `url`: the folder fmow_v1.1 with rgb_metadata.csv, country_code_mapping.csv and images. `select`: id_val, or val, later years.
    """

    url: str = "fmow_v1.1"
    select: Selects = "id_val"
    steps: int = 20_000
    classes: tuple[str, ...] = LAND_USES
    prompts: tuple[str, ...] = OVERHEAD

    @property
    def name(self) -> str:
        return "FMoW"

    @property
    def metric(self) -> Metric:
        return WorstGroup(ignored=(OTHER,))

    @property
    def train(self) -> Dataset:
        return LandUse(self.url, "train")

    @property
    def held_out(self) -> Dataset:
        return LandUse(self.url, self.select)

    @property
    def test(self) -> Dataset:
        return LandUse(self.url, "id_test")

    @property
    def shifts(self) -> Mapping[str, Dataset]:
        return {"later years": LandUse(self.url, "test")}
