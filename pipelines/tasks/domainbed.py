"""DomainBed's image datasets (arXiv:2007.01434), each from a folder `url/domain/class/images`, as its script downloads them.

The folders' names are those of facebookresearch/DomainBed (domainbed/scripts/download.py, domainbed/misc), in the order of its environments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from components.data.domains import Domain
from components.types import Dataset
from pipelines.tasks.base import Domains
from pipelines.tasks.own import PHOTO


@dataclass(frozen=True)
class DomainFolders(Domains):
    """Images of your own in several domains, by path or URL: `url/domain/class/images`; `names` are the folders of the domains."""

    url: str
    names: tuple[str, ...] = ()
    steps: int = 5000
    classes: tuple[str, ...] = ()
    prompts: tuple[str, ...] = PHOTO

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names) or len(self.names) < 2:
            raise ValueError(f"{type(self).__name__}: {len(self.names)} names of domains; name at least two folders below url, each once")

    @property
    def name(self) -> str:
        return self.url.rstrip("/").rpartition("/")[2] if type(self) is DomainFolders else type(self).__name__

    @property
    def domains(self) -> Mapping[str, Dataset]:
        return {name: Domain(self.url, name, self.names) for name in self.names}


@dataclass(frozen=True)
class PACS(DomainFolders):
    """PACS (arXiv:1710.03077): art, cartoons, photos and sketches."""

    url: str = "PACS"
    names: tuple[str, ...] = ("art_painting", "cartoon", "photo", "sketch")


@dataclass(frozen=True)
class VLCS(DomainFolders):
    """VLCS (Fang et al. 2013): four collections of photographs, of 1,415, 2,656, 3,282 and 3,376 images."""

    url: str = "VLCS"
    names: tuple[str, ...] = ("Caltech101", "LabelMe", "SUN09", "VOC2007")


@dataclass(frozen=True)
class OfficeHome(DomainFolders):
    """Office-Home (arXiv:1706.07522): art, clip art, products and photographs of things in an office and at home."""

    url: str = "office_home"
    names: tuple[str, ...] = ("Art", "Clipart", "Product", "Real World")


@dataclass(frozen=True)
class TerraIncognita(DomainFolders):
    """Terra Incognita (arXiv:1807.04975): animals at four camera traps; the order is that of DomainBed, by name."""

    url: str = "terra_incognita"
    names: tuple[str, ...] = ("location_100", "location_38", "location_43", "location_46")


@dataclass(frozen=True)
class DomainNet(DomainFolders):
    """DomainNet (arXiv:1812.01754): six styles, without the duplicates that DomainBed's script removes."""

    url: str = "domain_net"
    names: tuple[str, ...] = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
    steps: int = 15_000
