"""Named tasks: what is trained on, selected on and reported on, with the words for it; and named search spaces."""

from __future__ import annotations

from pipelines.tasks.base import Domains, Task, corrupted, named
from pipelines.tasks.digits import Fashion, Handwriting
from pipelines.tasks.domains import Lettering, Styles
from pipelines.tasks.microworld import Drawn
from pipelines.tasks.own import PHOTO, Own, images, unsigned
from pipelines.tasks.patching import Attacked, Counting, Scaled
from pipelines.tasks.published import EIGHT, NINE, SUPPORTED, Published
from pipelines.tasks.spaces import CLIP, FINETUNE

__all__ = [
    "AUXILIARIES", "CLIP", "COUNTING", "DIGITS", "EIGHT", "FINETUNE", "GARMENTS", "IMAGENET", "LETTERS", "NINE", "PHOTO", "SCALED", "SHAPES",
    "SMOKE", "STYLES", "SUPPORTED", "TYPEFACES", "TYPOGRAPHIC", "Attacked", "Counting", "Domains", "Drawn", "Fashion", "Handwriting", "Lettering",
    "Own", "Published", "Scaled", "Styles", "Task", "corrupted", "images", "named", "unsigned",
]  # fmt: skip

DIGITS = Handwriting()
SMOKE = Handwriting(steps=6, limit=60)
IMAGENET = Own(url="imagenet/train", test_url="imagenet/val", shift_urls={"sketch": "imagenet-sketch"}, held_out_share=0.02, steps=40_000)
GARMENTS = Drawn("garments")
SHAPES = Drawn("shapes")
TYPEFACES = Drawn("digits", fonts="held_out", style="plain", prompts=("the digit {}",))
TYPOGRAPHIC = Attacked()
SCALED = Scaled()
COUNTING = Counting()
LETTERS = Lettering()
STYLES = Styles()
AUXILIARIES = (GARMENTS, SHAPES, LETTERS, COUNTING)
