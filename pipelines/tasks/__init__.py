"""Named tasks: what is trained on, selected on and reported on, with the words for it; and named search spaces."""

from __future__ import annotations

from pipelines.tasks.base import Domains, Task, corrupted, named
from pipelines.tasks.digits import Fashion, Handwriting
from pipelines.tasks.domainbed import PACS, VLCS, DomainFolders, DomainNet, OfficeHome, TerraIncognita
from pipelines.tasks.domains import Lettering, Pooled, Styles
from pipelines.tasks.imagenet import FAMILY, ImageNet
from pipelines.tasks.microworld import Drawn
from pipelines.tasks.mnist import ColoredMNIST, RotatedMNIST
from pipelines.tasks.own import PHOTO, Own, images, unsigned
from pipelines.tasks.patching import Attacked, Counting, Scaled
from pipelines.tasks.published import EIGHT, NINE, SUPPORTED, Published
from pipelines.tasks.spaces import CLIP, FINETUNE, MILD
from pipelines.tasks.wilds import FMoW, IWildCam

__all__ = [
    "AUXILIARIES", "CLIP", "COUNTING", "DIGITS", "DOMAINBED", "EIGHT", "FINETUNE", "GARMENTS", "IMAGENET", "LETTERS", "MILD", "NINE", "PACS",
    "PHOTO", "SCALED", "SHAPES", "SMOKE", "STYLES", "SUPPORTED", "TYPEFACES", "TYPOGRAPHIC", "VLCS", "Attacked", "ColoredMNIST", "Counting",
    "DomainFolders", "DomainNet", "Domains", "Drawn", "FMoW", "Fashion", "Handwriting", "IWildCam", "ImageNet", "Lettering", "OfficeHome", "Own",
    "Pooled", "Published", "RotatedMNIST", "Scaled", "Styles", "Task", "TerraIncognita", "corrupted", "images", "named", "unsigned",
]  # fmt: skip

DIGITS = Handwriting()
SMOKE = Handwriting(steps=6, limit=60)
IMAGENET = ImageNet(shift_urls=FAMILY)
GARMENTS = Drawn("garments")
SHAPES = Drawn("shapes")
TYPEFACES = Drawn("digits", fonts="held_out", style="plain", prompts=("the digit {}",))
TYPOGRAPHIC = Attacked()
SCALED = Scaled()
COUNTING = Counting()
LETTERS = Lettering()
STYLES = Styles()
AUXILIARIES = (GARMENTS, SHAPES, LETTERS, COUNTING)
DOMAINBED = (Pooled(VLCS()), Pooled(OfficeHome()), Pooled(TerraIncognita()), Pooled(DomainNet()))  # auxiliary to PACS
