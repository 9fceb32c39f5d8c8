"""A small architecture of one's own that opens anywhere: a tower that timm registers, a narrow text transformer, its own vocabulary."""

from __future__ import annotations

from dataclasses import dataclass

from components.models.openclip import VOCABULARY, Architecture, Blueprint
from components.types import Run, revision


@revision(1)
@dataclass(frozen=True)
class Small(Architecture):
    """A CLIP whose vocabulary holds the merges that `words` use and nothing else; any other text is read byte by byte.

    tower: any model of timm. side: of the images in pixels. embed: dimensions of the joint space. width, layers, heads, context: of the
    text transformer, the last in tokens with start and end. Pixels are shown as (x / 255 - 0.5) / 0.25.
    """

    words: str
    tower: str = "test_convnext3"
    side: int = 32
    embed: int = 64
    width: int = 64
    layers: int = 2
    heads: int = 4
    context: int = 14

    def blueprint(self, run: Run) -> Blueprint:
        """Everything but the weights; the merges are a subset of those that the installed open_clip ships."""
        from components.models import tokenizer

        merges = tokenizer.vocabulary([self.words])
        vision = {
            "timm_model_name": self.tower,
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "linear",
            "image_size": self.side,
        }
        text = {
            "context_length": self.context,
            "vocab_size": tokenizer.size(merges),
            "width": self.width,
            "heads": self.heads,
            "layers": self.layers,
        }
        preprocess = {"mean": [0.5] * 3, "std": [0.25] * 3}
        return Blueprint({"embed_dim": self.embed, "vision_cfg": vision, "text_cfg": text}, preprocess, {VOCABULARY: merges})
