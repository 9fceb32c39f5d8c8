"""Images and captions of the microworld, a chunk at a time: chunk c is a function of (recipe, seed, c) alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from components.data.microworld import captions
from components.data.microworld.atlas import SIDE, drawings
from components.data.microworld.captions import COLOURS

if TYPE_CHECKING:
    from numpy.random import Generator

CHUNK = 500  # images drawn together
SIZE = 32
WHITE, BLACK = list(COLOURS).index("white"), list(COLOURS).index("black")


@dataclass(frozen=True)
class Recipe:
    """What a chunk shows: weights of the subjects, which fonts, and whether everything is white on black without nuisances."""

    mix: tuple[tuple[str, float], ...]
    fonts: str = "train"
    plain: bool = False


@dataclass(frozen=True)
class Scene:
    """What was drawn, in numbers: [B] indices of subject, class, ink colour and ground, and flags that the captions name."""

    subject: np.ndarray
    label: np.ndarray
    ink: np.ndarray
    paper: np.ndarray
    ground: np.ndarray
    size: np.ndarray
    shift: np.ndarray  # [B, 2], in half images
    effect: np.ndarray  # 0 none, 1 noise, 2 blur, 3 pixelation


def chunk(recipe: Recipe, seed: int, index: int) -> tuple[np.ndarray, np.ndarray, list[tuple[str, ...]]]:
    """Images uint8 [CHUNK, 32, 32, 3], labels int64 over the classes of the mix in order, three captions each."""
    rng = np.random.Generator(np.random.Philox(key=[seed, index]))
    scene = _scene(recipe, rng)
    ink = _ink(recipe, scene, rng)
    palette = np.array(list(COLOURS.values()), dtype=np.float32) / 255
    images = _paper(scene, palette, rng)
    images += ink * (torch.from_numpy(palette[scene.ink])[:, :, None, None] - images)
    images = _effects(images, scene, rng)
    pixels = (images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    offsets = 10 * np.arange(len(recipe.mix))
    return pixels, offsets[scene.subject] + scene.label, captions.write(recipe, scene, rng)


def _scene(recipe: Recipe, rng: Generator) -> Scene:
    weights = np.array([w for _, w in recipe.mix])
    coloured = (rng.random(CHUNK) < 0.5) & (not recipe.plain)
    ink, step = rng.integers(12, size=CHUNK), rng.integers(1, 12, size=CHUNK)
    noise, blur, pixels = rng.random((3, CHUNK)) < np.array([[0.3], [0.2], [0.1]])
    effect = np.select([pixels, blur, noise], [3, 2, 1], 0)
    return Scene(
        subject=rng.choice(len(weights), CHUNK, p=weights / weights.sum()),
        label=rng.integers(10, size=CHUNK),
        ink=np.where(coloured, ink, WHITE),
        paper=np.where(coloured, (ink + step) % 12, BLACK),
        ground=np.where(coloured, rng.integers(5, size=CHUNK), 0),
        size=rng.uniform(0.7, 1.2, CHUNK).astype(np.float32),
        shift=rng.uniform(-0.2, 0.2, (CHUNK, 2)).astype(np.float32),
        effect=np.where(recipe.plain, 0, effect),
    )


def _angle(rng: Generator) -> np.ndarray:
    """Degrees: 80 % within 14, 12 % within 45, 8 % a multiple of 90."""
    kind, u = rng.random(CHUNK), rng.uniform(-1, 1, CHUNK)
    return np.select([kind < 0.8, kind < 0.92], [14 * u, 45 * u], 90.0 * rng.integers(1, 4, CHUNK))


def _ink(recipe: Recipe, scene: Scene, rng: Generator) -> torch.Tensor:
    """Ink in [0, 1], [B, 1, 32, 32]: a drawing, its strokes thickened, turned, sheared, scaled, moved and bent."""
    source = np.empty((CHUNK, 1, SIDE, SIDE), dtype=np.float32)
    variant = rng.random(CHUNK)
    for i, (subject, _) in enumerate(recipe.mix):
        atlas, mine = drawings(subject, recipe.fonts), scene.subject == i
        source[mine, 0] = atlas[scene.label[mine], (variant[mine] * atlas.shape[1]).astype(np.int64)]
    flat = torch.from_numpy(source)
    thick = torch.from_numpy(np.maximum(rng.uniform(-1, 1, (CHUNK, 1, 1, 1)), 0).astype(np.float32))
    flat = torch.lerp(flat, F.max_pool2d(flat, 3, 1, 1), thick)
    angle = np.deg2rad(np.where(recipe.plain, 14 * rng.uniform(-1, 1, CHUNK), _angle(rng)))
    cos, sin, shear = np.cos(angle), np.sin(angle), rng.uniform(-0.2, 0.2, CHUNK)
    stretch = rng.uniform(0.85, 1.15, CHUNK)
    inverse = np.stack([cos * stretch, (sin + shear) * stretch, (shear - sin) / stretch, cos / stretch], 1).reshape(-1, 2, 2)
    inverse = (inverse / scene.size[:, None, None]).astype(np.float32)
    theta = np.concatenate([inverse, -inverse @ scene.shift[:, :, None]], 2)
    grid = F.affine_grid(torch.from_numpy(theta), [CHUNK, 1, SIZE, SIZE], align_corners=False)
    bend = torch.from_numpy(rng.standard_normal((CHUNK, 2, 5, 5), dtype=np.float32) * 0.05)
    grid += F.interpolate(bend, size=(SIZE, SIZE), mode="bilinear", align_corners=True).permute(0, 2, 3, 1)
    return F.grid_sample(flat, grid, align_corners=False)


def _paper(scene: Scene, palette: np.ndarray, rng: Generator) -> torch.Tensor:
    """Backgrounds, [B, 3, 32, 32]: a colour, or two of them shaded, striped, checked or cloudy."""
    angle, rate = rng.uniform(0, np.pi, CHUNK).astype(np.float32), rng.uniform(4, 12, CHUNK).astype(np.float32)
    line = np.linspace(-1, 1, SIZE, dtype=np.float32)
    along = np.cos(angle)[:, None, None] * line + np.sin(angle)[:, None, None] * line[:, None]
    wave = np.sin(rate[:, None, None] * along) > 0
    check = np.sin(rate[:, None] * line) > 0
    cloud = torch.from_numpy(rng.random((CHUNK, 1, 5, 5), dtype=np.float32))
    clouds = F.interpolate(cloud, size=(SIZE, SIZE), mode="bilinear", align_corners=True)[:, 0].numpy()
    second = (scene.ink + rng.integers(1, 12, CHUNK)) % 12
    kinds: Sequence[np.ndarray] = [np.zeros_like(along), (along + 1.4) / 2.8, wave, check[:, None] ^ check[:, :, None], clouds]
    mixed = np.select([(scene.ground == k)[:, None, None] for k in range(5)], kinds).astype(np.float32)
    share = torch.from_numpy(mixed * rng.uniform(0.2, 0.6, (CHUNK, 1, 1)).astype(np.float32))[:, None]
    first, other = (torch.from_numpy(palette[c])[:, :, None, None] for c in (scene.paper, second))
    return first + share * (other - first)


def _effects(images: torch.Tensor, scene: Scene, rng: Generator) -> torch.Tensor:
    """Noise, blur and pixelation, each on its own part of the chunk."""
    noisy, blurred, coarse = (np.flatnonzero(scene.effect == k) for k in (1, 2, 3))
    level = rng.uniform(0.03, 0.2, (len(noisy), 1, 1, 1)).astype(np.float32)
    images[noisy] += torch.from_numpy(level * rng.standard_normal((len(noisy), 3, SIZE, SIZE), dtype=np.float32))
    images[blurred] = F.avg_pool2d(F.avg_pool2d(images[blurred], 3, 1, 1, count_include_pad=False), 3, 1, 1, count_include_pad=False)
    small = F.interpolate(images[coarse], size=(11, 11), mode="area")
    images[coarse] = F.interpolate(small, size=(SIZE, SIZE), mode="bicubic", align_corners=False)
    return images
