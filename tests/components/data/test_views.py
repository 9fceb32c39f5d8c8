"""Views: to the bit what open_clip shows, and augmentation that is a function of (image, seed)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from components.data import Augment, Corrupted, Digits, Invert, Split, crops, randaugment, views
from components.data.examples import Rows
from components.types import Local


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def rows(images: list[np.ndarray], digest: str) -> Rows:
    return Rows(np.array([str(i) for i in range(len(images))]), np.zeros(len(images), np.int64), images, digest)  # type: ignore[arg-type]


def as_open_clip_shows(image: np.ndarray, preprocess: dict) -> np.ndarray:
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from torchvision.transforms.functional import pil_to_tensor

    transform = image_transform_v2(PreprocessCfg(**preprocess), is_train=False)
    picture = Image.fromarray(image)
    for part in transform.transforms[:-2]:  # without ToTensor and Normalize
        picture = part(picture)
    return pil_to_tensor(picture).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [32, 24, (20, 28)])
@settings(deadline=None, max_examples=25)
@given(height=st.integers(5, 90), width=st.integers(5, 90))
def test_the_evaluation_view_is_open_clips_to_the_bit(mode: str, interpolation: str, size, height: int, width: int) -> None:
    preprocess = {"size": size, "resize_mode": mode, "interpolation": interpolation, "fill_color": 7}
    image = noise(height, width, height * 100 + width)
    assert np.array_equal(crops.Frame.of(preprocess).view(image), as_open_clip_shows(image, preprocess))


def test_views_are_kept_by_content(tmp_path: Path) -> None:
    images = [noise(20 + i, 30, i) for i in range(600)]
    run = Local(str(tmp_path))
    first = views.evaluation(rows(images, "a"), {"size": 16}, run)
    assert first.shape == (600, 16, 16, 3) and not first.flags.writeable
    assert np.array_equal(first[599], crops.Frame.of({"size": 16}).view(images[599]))
    again = views.evaluation(rows([], "a"), {"size": 16}, run)[:0]  # the same digest is found, not rebuilt
    assert len(again) == 0
    other = views.evaluation(rows(images, "a"), {"size": 16, "interpolation": "bilinear"}, run)
    assert not np.array_equal(first, other)


def test_images_of_the_right_size_are_not_copied(tmp_path: Path) -> None:
    digits = Digits().open(Local(str(tmp_path)))
    assert views.evaluation(digits, {"size": 32}, Local(str(tmp_path))) is digits.pixels


def test_split_and_corruption_have_views_of_their_own(tmp_path: Path) -> None:
    run = Local(str(tmp_path))
    half, negative = Split(Digits(), 0, 0.5), Corrupted(Split(Digits(), 0, 0.5), Invert())
    plain, inverted = (views.evaluation(data.open(run), {"size": 32}, run) for data in (half, negative))
    assert np.array_equal(plain, 255 - inverted)


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 2**64 - 1), scale=st.sampled_from([0.08, 0.5, 0.9, 1.0]), flip=st.booleans(), operations=st.integers(0, 3),
    magnitude=st.integers(0, 30),
)  # fmt: skip
def test_a_view_depends_on_its_own_image_and_seed_alone(seed: int, scale: float, flip: bool, operations: int, magnitude: int) -> None:
    augment = Augment(scale, flip, operations, magnitude)
    images = [noise(32, 32), noise(9, 40), noise(50, 7)]
    seeds = np.array([1, seed, 3], np.uint64)
    together = augment(images, {"size": 32}, seeds)
    alone = augment(images[1:2], {"size": 32}, seeds[1:2])
    assert together.dtype == torch.uint8 and together.shape == (3, 3, 32, 32)
    assert torch.equal(together[1], alone[0])


def test_scale_one_is_the_evaluation_view() -> None:
    image = noise(40, 60)
    shown = Augment(scale=1.0)([image], {"size": 32}, np.array([9], np.uint64))[0].permute(1, 2, 0).numpy()
    assert np.array_equal(shown, crops.Frame.of({"size": 32}).view(image))


def test_half_of_the_views_are_mirrored() -> None:
    image = noise(32, 32)
    shown = Augment(scale=1.0, flip=True)([image] * 400, {"size": 32}, np.arange(400, dtype=np.uint64)).permute(0, 2, 3, 1).numpy()
    mirrored = [np.array_equal(view, image[:, ::-1]) for view in shown]
    assert 140 < sum(mirrored) < 260
    assert all(flipped or np.array_equal(view, image) for flipped, view in zip(mirrored, shown, strict=True))


@pytest.mark.parametrize("size", [(32, 32), (300, 200), (10, 100), (100, 10)])
def test_random_boxes_have_the_area_and_shape_asked_for(size: tuple[int, int]) -> None:
    seeds = np.arange(2000, dtype=np.uint64)
    boxes = crops.random_boxes(np.repeat([size], 2000, 0), seeds, 0.25)
    top, left, height, width = boxes.T
    assert (boxes >= 0).all() and (top + height <= size[0]).all() and (left + width <= size[1]).all()
    assert ((height > 0) & (width > 0)).all()
    if size == (300, 200):
        share, ratio = height * width / (size[0] * size[1]), width / height
        assert 0.24 < share.min() < 0.3 and share.max() > 0.85
        assert 0.74 < ratio.min() < 0.8 and 1.25 < ratio.max() < 1.35
        assert len(np.unique(boxes, axis=0)) > 1900
    if size == (100, 10):  # nothing fits: the largest centred crop that is not too thin
        assert (boxes == [43, 0, 13, 10]).all()


@pytest.mark.parametrize(("index", "magnitude"), [(i, m) for i in range(14) for m in (-30, -9, 0, 9, 30) if m >= 0 or 0 < i < 10])
def test_every_operation_is_torchvisions(index: int, magnitude: int) -> None:
    from torchvision.transforms import InterpolationMode, RandAugment
    from torchvision.transforms.autoaugment import _apply_op

    width, height = 40, 30
    space = RandAugment()._augmentation_space(31, (height, width))
    name = list(space)[index]
    strengths, signed = space[name]
    assert signed == (index in randaugment.SIGNED)
    strength = float(strengths[abs(magnitude)]) if strengths.ndim else 0.0
    smooth = Image.fromarray(noise(height, width)).resize((width, height), Image.Resampling.BICUBIC)
    theirs = _apply_op(smooth, name, -strength if magnitude < 0 else strength, InterpolationMode.NEAREST, None)
    ours = randaugment.operation(randaugment.NAMES[index], magnitude, smooth.size)(smooth)
    assert np.array_equal(np.asarray(ours), np.asarray(theirs))


def test_all_operations_are_drawn() -> None:
    drawn = randaugment.draw(np.arange(400, dtype=np.uint64), 2, 9, (32, 32))
    image = Image.fromarray((30 + 0.8 * noise(32, 32)).astype(np.uint8))
    results = {changes[0](image).tobytes() for changes in drawn}
    assert len(results) == 14 + 9  # nine have two signs


def test_golden_view() -> None:
    """Part of every training result: a change here is a new revision of Augment."""
    image = np.add.outer(np.arange(40) * 3, np.arange(40) * 2)[..., None].repeat(3, 2).astype(np.uint8)
    shown = Augment(scale=0.5, flip=True)([image] * 3, {"size": 8}, np.arange(3, dtype=np.uint64))
    assert shown[:, 0, 4, 4].tolist() == GOLDEN


@pytest.mark.parametrize("wrong", [{"scale": 0.0}, {"scale": 1.1}, {"operations": -1}, {"magnitude": 31}])
def test_wrong_knobs_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="magnitude is 0 to 30"):
        Augment(**wrong)


def test_unknown_preprocessing_is_refused() -> None:
    with pytest.raises(ValueError, match="resize_mode 'fit'"):
        crops.Frame.of({"size": 32, "resize_mode": "fit"})


GOLDEN = [106, 99, 102]
