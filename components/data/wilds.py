"""WILDS (arXiv:2012.07421) in its published layout: tables beside folders of images; splits and groups as its code has them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from components.data.listed import FIRST, Listed, Listing
from components.types import DataError, File, Run, revision

if TYPE_CHECKING:
    from components.data.source import Source

Part = Literal["train", "id_val", "id_test", "val", "test"]
REGIONS = ("Africa", "Americas", "Asia", "Europe", "Oceania", "Other")
OTHER = REGIONS.index("Other")
SELECTED, TESTED = 2013, 2016  # the years from which images of FMoW select out of distribution, and test there
# p-lambda/wilds, wilds/datasets/fmow_dataset.py (MIT), in the order of its labels
LAND_USES = (
    "airport", "airport_hangar", "airport_terminal", "amusement_park", "aquaculture", "archaeological_site", "barn", "border_checkpoint",
    "burial_site", "car_dealership", "construction_site", "crop_field", "dam", "debris_or_rubble", "educational_institution",
    "electric_substation", "factory_or_powerplant", "fire_station", "flooded_road", "fountain", "gas_station", "golf_course",
    "ground_transportation_station", "helipad", "hospital", "impoverished_settlement", "interchange", "lake_or_pond", "lighthouse",
    "military_facility", "multi-unit_residential", "nuclear_powerplant", "office_building", "oil_or_gas_facility", "park",
    "parking_lot_or_garage", "place_of_worship", "police_station", "port", "prison", "race_track", "railway_bridge", "recreational_facility",
    "road_bridge", "runway", "shipyard", "shopping_mall", "single-unit_residential", "smokestack", "solar_farm", "space_facility", "stadium",
    "storage_tank", "surface_mine", "swimming_pool", "toll_booth", "tower", "tunnel_opening", "waste_disposal", "water_treatment_facility",
    "wind_farm", "zoo",
)  # fmt: skip


@revision(1)
@dataclass(frozen=True)
class CameraTraps(Listed):
    """A part of iWildCam2020-WILDS (arXiv:2004.10340): metadata.csv beside a folder train with all images. Groups are the locations.

    val and test are of cameras that no other part has. Class names: `english` of labels.csv, which WiSE-FT's code has, or `name`, the scientific
    ones, of categories.csv, where one lies beside metadata.csv; without, the numbers. A class may have no image in a part.
    """

    url: Annotated[str, "address"]
    part: Part = "test"
    bad: float = 0.001
    pinned: Annotated[str, "content"] = ""

    def listing(self, run: Run) -> Listing:
        """ValueError where the table or images of it are missing."""
        source, where = _opened(self.url, self.pinned, run, f"CameraTraps {self.part}")
        (table, *known), rows = _table(source, where, "metadata.csv", ("split", "filename", "y", "location_remapped"))
        highest, chosen = 0, []
        for row in rows:
            highest = max(highest, _number(row["y"], where))
            if row["split"] == self.part:
                chosen.append((f"train/{row['filename']}", _number(row["y"], where), _number(row["location_remapped"], where)))
        names = {k: str(k) for k in range(highest + 1)}
        for name, column in (("categories.csv", "name"), ("labels.csv", "english")):
            if any(file.name == name for file in source.files):
                (further,), rows = _table(source, where, name, ("y", column))
                names |= {_number(row["y"], where): row[column].lower() for row in rows if _number(row["y"], where) <= highest}
                known.append(further)
        return _listing(source, where, chosen, tuple(names[k] for k in range(highest + 1)), (table, *known))


@revision(1)
@dataclass(frozen=True)
class LandUse(Listed):
    """A part of FMoW-WILDS (arXiv:1711.07846): rgb_metadata.csv and country_code_mapping.csv beside images/rgb_img_{row}.png. Groups are `REGIONS`.

    Images taken before 2013 train, and select and test in distribution; val is of 2013 to 2015, test of 2016 and later; the sequestered are not read.
    """

    url: Annotated[str, "address"]
    part: Part = "test"
    bad: float = 0.001
    pinned: Annotated[str, "content"] = ""

    def listing(self, run: Run) -> Listing:
        """ValueError where a table or images of it are missing, DataError for a category or region that is none."""
        source, where = _opened(self.url, self.pinned, run, f"LandUse {self.part}")
        countries, rows = _table(source, where, "country_code_mapping.csv", ("alpha-3", "region"))
        region = {row["alpha-3"]: row["region"] or "Other" for row in rows}
        if strange := sorted(set(region.values()) - set(REGIONS)):
            raise DataError(f"{where}: country_code_mapping.csv has the region {strange[0]!r}; the regions are {', '.join(REGIONS)}")
        table, rows = _table(source, where, "rgb_metadata.csv", ("split", "category", "country_code", "timestamp"))
        label, chosen = {name: k for k, name in enumerate(LAND_USES)}, []
        for number, row in enumerate(rows):
            if row["category"] not in label:
                raise DataError(f"{where}: rgb_metadata.csv has the category {row['category']!r} in row {number}, none of the 62; fetch it again")
            if _part(row["split"], _number(row["timestamp"][:4], where)) == self.part:
                group = REGIONS.index(region.get(row["country_code"], "Other"))
                chosen.append((f"images/rgb_img_{number}.png", label[row["category"]], group))
        return _listing(source, where, chosen, LAND_USES, (*countries, *table))


def _part(split: str, year: int) -> str:
    """The part that an image of FMoW's own split and a year belongs to, "" for none."""
    if year >= SELECTED:
        return {("val", False): "val", ("test", True): "test"}.get((split, year >= TESTED), "")
    return {"train": "train", "val": "id_val", "test": "id_test"}.get(split, "")


def _opened(url: str, pinned: str, run: Run, what: str) -> tuple[Source, str]:
    from components.data.names import shown
    from components.data.source import Source

    return Source.open(url, pinned, run), f"{what} of {shown(url)}"


def _table(source: Source, where: str, name: str, columns: tuple[str, ...]) -> tuple[tuple[File, ...], Iterator[dict[str, str]]]:
    """(its file with a digest, its rows); ValueError where it is missing, or a column of it."""
    files = source.select(name.__eq__)
    if not files:
        there = ", ".join(sorted({file.name.split("/")[0] for file in source.files})[:FIRST])
        raise ValueError(f"{where}: no {name}; give the folder that WILDS unpacks, which has it (this one has {there})")
    reader = csv.DictReader(io.StringIO(source.content(files[0]).decode("utf-8-sig"), newline=""))
    if missing := [column for column in columns if column not in (reader.fieldnames or ())]:
        raise ValueError(f"{where}: {name} has no column {missing[0]}; it has {', '.join(reader.fieldnames or ()) or 'none'}")
    return files, ({column: row[column] or "" for column in columns} for row in reader)


def _number(text: str, where: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise DataError(f"{where}: {text!r} in a table is no number; fetch it again") from None


def _listing(source: Source, where: str, chosen: list[tuple[str, int, int]], classes: tuple[str, ...], tables: tuple[File, ...]) -> Listing:
    files = {file.name: file for file in source.files}
    if missing := [name for name, _, _ in chosen if name not in files]:
        raise ValueError(f"{where}: {len(missing)} of {len(chosen)} images are missing, first {', '.join(missing[:FIRST])}; complete the download")
    names, labels, groups = zip(*sorted(chosen), strict=True) if chosen else ((), (), ())
    return Listing(source, where, tuple(files[name] for name in names), labels, classes, groups, tables=tables)
