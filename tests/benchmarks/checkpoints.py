"""Checkpoints to measure with: ViT-B/32's keys and shapes with random values, and files of any size that are nothing but holes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from components.weights import Checkpoint

WEIGHTS = "open_clip_model.safetensors"


def shapes() -> dict[str, tuple[int, ...]]:
    """Keys and shapes of ViT-B/32, written out: nothing is imported to know them."""
    found: dict[str, tuple[int, ...]] = {"positional_embedding": (77, 512), "text_projection": (512, 512), "logit_scale": ()}
    found |= {"visual.class_embedding": (768,), "visual.positional_embedding": (50, 768), "visual.proj": (768, 512)}
    found |= {"visual.conv1.weight": (768, 3, 32, 32), "token_embedding.weight": (49408, 512)}
    found |= {f"{name}.{what}": (width,) for name, width in NORMS for what in ("weight", "bias")}
    for tower, width in (("visual.transformer", 768), ("transformer", 512)):
        for block in range(12):
            at = f"{tower}.resblocks.{block}"
            for name, shape in (
                ("attn.in_proj", (3 * width, width)), ("attn.out_proj.", (width, width)),
                ("mlp.c_fc.", (4 * width, width)), ("mlp.c_proj.", (width, 4 * width)),
            ):  # fmt: skip
                joint = "" if name.endswith(".") else "_"
                found |= {f"{at}.{name}{joint}weight": shape, f"{at}.{name}{joint}bias": shape[:1]}
            found |= {f"{at}.{norm}.{what}": (width,) for norm in ("ln_1", "ln_2") for what in ("weight", "bias")}
    return found


NORMS = (("ln_final", 512), ("visual.ln_pre", 768), ("visual.ln_post", 768))
SPEC = {"kind": "open_clip", "model_cfg": {"embed_dim": 512}, "preprocess_cfg": {}, "ancestry": "generated"}


def generate(folder: Path, count: int) -> list[Checkpoint]:
    """`count` checkpoints around a common ancestor, number 0; what is there already is used again."""
    size = sum(4 * int(np.prod(shape)) for shape in shapes().values())
    room = shutil.disk_usage(folder).free + sum(file.stat().st_size for file in folder.glob(f"*/{WEIGHTS}"))
    most = int(room * 0.9 / size) - 3
    if most < count:
        print(f"the disk has room for {most} checkpoints of {size / 1e6:.0f} MB, not {count}: scaled down")
    for i in range(min(count, most)):
        if not (folder / str(i) / "open_clip_config.json").exists():
            base, own = np.random.default_rng(0), np.random.default_rng(i)
            tensors = {key: base.standard_normal(shape, np.float32) * 0.02 for key, shape in shapes().items()}
            if i:
                tensors = {key: np.asarray(value + own.standard_normal(value.shape, np.float32) * 1e-3, np.float32) for key, value in tensors.items()}
            Checkpoint.of(tensors, {**SPEC, "name": f"model {i}"}).save(str(folder / str(i)))
    return [Checkpoint(str(folder / str(i))) for i in range(min(count, most))]


def sparse(folder: Path, count: int, size: int) -> list[str]:
    """Checkpoints of about `size` bytes whose tensors are holes in their files."""
    urls, rows = [], size // 8 // 4096
    table = {f"w{k}": {"dtype": "F32", "shape": [rows, 1024], "data_offsets": [k * rows * 4096, (k + 1) * rows * 4096]} for k in range(8)}
    header = json.dumps(table).encode()
    header += b" " * (-len(header) % 8)
    for i in range(count):
        model = folder / f"sparse-{size}" / str(i)
        model.mkdir(parents=True, exist_ok=True)
        (model / "open_clip_config.json").write_text(json.dumps({"model_cfg": {}, "preprocess_cfg": {}, "stockpot": {"ancestry": "generated"}}))
        with (model / WEIGHTS).open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.truncate(8 + len(header) + 8 * rows * 4096)
        urls.append(str(model))
    return urls
