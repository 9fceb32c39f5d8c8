"""Names of tensors as the libraries give them, and how deep they lie."""

from __future__ import annotations

from fractions import Fraction

import pytest

from components.weights.depth import depths, layer

LAYERS = {
    "visual.conv1.weight": "visual embeddings",
    "visual.class_embedding": "visual embeddings",
    "visual.ln_pre.bias": "visual embeddings",
    "visual.transformer.resblocks.11.mlp.c_fc.weight": "visual.transformer.resblocks.11",
    "visual.ln_post.weight": "visual output",
    "visual.proj": "visual output",
    "token_embedding.weight": "embeddings",
    "positional_embedding": "embeddings",
    "transformer.resblocks.0.attn.in_proj_bias": "transformer.resblocks.0",
    "text_projection": "output",
    "logit_scale": "output",
    "visual.layer3.5.bn1.weight": "visual.layer3",  # CLIP's ResNet
    "visual.bn2.weight": "visual embeddings",
    "visual.attnpool.positional_embedding": "visual output",
    "visual.trunk.patch_embed.proj.weight": "visual embeddings",  # timm inside open_clip
    "visual.trunk.blocks.7.norm1.weight": "visual.trunk.blocks.7",
    "visual.trunk.stages.2.blocks.5.mlp.fc1.weight": "visual.trunk.stages.2",
    "visual.trunk.stem.0.weight": "visual embeddings",
    "visual.trunk.head.norm.weight": "visual output",
    "text.transformer.embeddings.word_embeddings.weight": "text embeddings",  # a text tower from transformers
    "text.transformer.encoder.layer.3.attention.self.key.weight": "text.transformer.encoder.layer.3",
    "text_decoder.resblocks.2.ln_1.weight": "text_decoder.resblocks.2",
    "blocks.3.attn.qkv.weight": "blocks.3",  # timm alone
    "cls_token": "embeddings",
    "layer1.0.conv2.weight": "layer1",
    "fc.weight": "output",
    "head.weight": "head",
    "objective.context": "objective",
}


@pytest.mark.parametrize("key", LAYERS)
def test_layers_by_name(key: str) -> None:
    assert layer(key).name == LAYERS[key]


def test_towers_have_depths_of_their_own() -> None:
    keys = [f"visual.transformer.resblocks.{i}.ln_1.bias" for i in range(12)] + [f"transformer.resblocks.{i}.ln_1.bias" for i in range(3)]
    keys += ["visual.conv1.weight", "visual.proj", "token_embedding.weight", "logit_scale", "head.weight"]
    found = depths(keys)
    assert [found[key] for key in keys[:12]] == [Fraction(i, 11) for i in range(12)]
    assert [found[key] for key in keys[12:15]] == [0, Fraction(1, 2), 1]
    assert [found[key] for key in keys[15:]] == [0, 1, 0, 1, 1]
    assert depths(["only.blocks.4.w"]) == {"only.blocks.4.w": 0}
