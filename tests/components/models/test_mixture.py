"""A mixture's module: gradients of coefficients, the simplex, what is mixed at all, and bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.nn.functional import cross_entropy

from components.data.digits import CLASSES
from components.models.heads import zero_shot
from components.models.mixture import Mixture
from components.models.module import build
from components.models.openclip import Config, fresh
from components.types import Local
from components.weights import Checkpoint, NotFinite, Policy, mean

FROZEN = "visual.conv1.weight"


def trained(key: str) -> bool:
    return key.startswith(("visual.", "head.")) and key != FROZEN


def moved(base: Any, seed: int, scale: float = 0.05, dtype: Any = np.float32) -> Checkpoint:
    """`base` with noise in the visual tower and the head, but for one tensor."""
    random = np.random.default_rng(seed)
    changed = {
        key: (array + scale * random.normal(size=array.shape)).astype(dtype) if trained(key) and array.dtype == np.float32 else array
        for key, array in base.tensors()
    }
    return Checkpoint.of(changed, base.spec, base.extras)


def same(one: Any, other: Any) -> bool:
    left, right = dict(one.tensors()), dict(other.tensors())
    return left.keys() == right.keys() and all(left[key].tobytes() == right[key].tobytes() for key in left)


@pytest.mark.filterwarnings("ignore:.*mixed dtypes")
@pytest.mark.parametrize("by", ["model", "layer"])
def test_gradients_are_those_of_finite_differences(zero: Any, by: Any) -> None:
    """In float64, at coefficients that are not equal, through ingredients of two dtypes; slabs that do not divide a tensor."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("components.models.mixture.SLAB", 1000)
        mixture = Mixture((moved(zero, 0), moved(zero, 1, dtype=np.float16), moved(zero, 2)), by)
        module: Any = build(mixture).double()
        random = np.random.default_rng(3)
        images, labels = torch.from_numpy(random.normal(size=(6, 3, 32, 32))), torch.from_numpy(random.integers(0, 10, 6))
        with torch.no_grad():
            module.alpha.copy_(torch.from_numpy(random.normal(size=module.alpha.shape)))
            module.log_beta.fill_(0.3)
        cross_entropy(module(images), labels).backward()
        for slot in module.slots().values():
            found = slot.grad.reshape(-1)
            for at in random.choice(len(found), min(4, len(found)), replace=False):
                ends = []
                for step in (-1e-6, 1e-6):
                    with torch.no_grad():
                        slot.view(-1)[at] += step
                        ends.append(float(cross_entropy(module(images), labels)))
                        slot.view(-1)[at] -= step
                assert float(found[at]) == pytest.approx((ends[1] - ends[0]) / 2e-6, rel=1e-4, abs=1e-9)


def test_the_module_answers_as_its_collapsed_soup(zero: Any) -> None:
    mixture = Mixture(tuple(moved(zero, seed) for seed in range(3)), "layer")
    module: Any = build(mixture)
    with torch.no_grad():
        module.alpha.copy_(torch.from_numpy(np.random.default_rng(0).normal(size=module.alpha.shape)))
    soup = mixture.collapse(Checkpoint.of({key: slot.detach().numpy() for key, slot in module.slots().items()}, zero.spec))
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (5, 3, 32, 32), np.uint8))
    with torch.inference_mode():
        torch.testing.assert_close(module(images), build(soup)(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("by", ["model", "layer"])
def test_before_training_it_is_the_uniform_soup_to_the_bit(zero: Any, by: Any) -> None:
    models = tuple(moved(zero, seed) for seed in range(7))
    mixture = Mixture(models, by)
    soup = mixture.collapse(mixture)
    assert same(soup, mean(models)) and soup.facts["beta"] == 1
    assert mixture.spec["classes"] == list(CLASSES)
    with pytest.raises(ValueError, match="kind 'mixture' is unknown"):
        mixture.save("nowhere")


@given(arrays(np.float32, (3, 5), elements=st.floats(-30, 30, width=32)))
def test_coefficients_lie_on_the_simplex_exactly(alpha: Any) -> None:
    models = tuple(Checkpoint.of({key: np.float32([m]) for key in ("a[1]", "b", "c*")}, {"ancestry": "root"}) for m in range(5))
    mixture = Mixture(models, "layer")
    soup = mixture.collapse(Checkpoint.of({"alpha": alpha, "log_beta": np.float32(0)}, {}))
    softmax = torch.softmax(torch.from_numpy(alpha).double(), dim=1).numpy()
    assert mixture.layers == ("a[1]", "b", "c*")
    for key, row in zip(mixture.layers, softmax, strict=True):
        numbers = [rule.at(key) for _, rule in soup.terms]
        assert sum(numbers) == 1 and min(numbers) >= 0
        assert max(number.denominator for number in numbers) <= 1_000_010
        assert [float(number) for number in numbers] == pytest.approx(row, abs=3e-6)
    assert {rule.at("frozen") for _, rule in soup.terms} == {Fraction(1, 5)}


def test_only_tensors_that_differ_are_mixed(zero: Any) -> None:
    mixture = Mixture((zero, moved(zero, 1), zero), "layer")
    expected = {key for key, _ in zero.tensors() if trained(key)}
    assert set(mixture.layers) == expected
    assert dict(mixture.tensors())["alpha"].shape == (len(expected), 3)
    with pytest.raises(ValueError, match="nothing to learn between 2 models with equal weights"):
        build(Mixture((zero, zero)))
    broken = moved(zero, 1, np.inf)
    with pytest.raises(NotFinite):
        build(Mixture((zero, broken)))


def test_batch_norm_is_the_policys(run: Local) -> None:
    tower = Config(16, json.dumps({"timm_model_name": "test_resnet", "image_size": 32}), json.dumps({"width": 16, "heads": 2, "layers": 1}))
    init = zero_shot(fresh(tower, 0, run=run), CLASSES, ("{}",), run=run)
    tensors = dict(init.tensors())
    statistics = {key: array + 1 for key, array in tensors.items() if key.endswith("running_var")}
    other = moved(Checkpoint.of({**tensors, **statistics}, init.spec), 1)
    with pytest.raises(ValueError, match="BatchNorm was trained"):
        Mixture((init, other)).layers  # noqa: B018
    assert set(Mixture((init, other), policy=Policy(bn="average")).layers) >= statistics.keys()
    taken = Mixture((init, other), policy=Policy(bn="from_base"))
    assert taken.layers and not statistics.keys() & set(taken.layers)
    module: Any = build(taken)
    module(torch.zeros(2, 3, 32, 32)).sum().backward()
    assert module.alpha.grad.abs().sum() > 0
    counted = dict(taken.collapse(taken).tensors())
    assert all(counted[key].tobytes() == array.tobytes() for key, array in tensors.items() if key.endswith("num_batches_tracked"))


def test_models_at_a_url_are_copied_once_to_this_machine(zero: Any, tmp_path: Path) -> None:
    import fsspec

    remote = []
    for seed in range(2):
        moved(zero, seed).save(f"memory://mixture/{seed}")
        remote.append(Checkpoint(f"memory://mixture/{seed}"))
    mixture = Mixture(tuple(remote), scratch=str(tmp_path))
    module, soup = build(mixture), mixture.collapse(mixture)
    assert same(soup, mean([moved(zero, seed) for seed in range(2)]))
    fsspec.filesystem("memory").rm("/mixture", recursive=True)
    images = torch.zeros(1, 3, 32, 32)
    module(images).sum().backward()


STEP = """
import resource, sys, torch
from components.models.mixture import Mixture
from components.models.module import build
from components.weights import Checkpoint
torch.set_num_threads(1)
for n in (4, 16):
    module = build(Mixture(tuple(Checkpoint(f"{sys.argv[1]}/{i}") for i in range(n)), "layer"))
    module(torch.zeros(2, 3, 32, 32)).sum().backward()
    del module
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_does_not_grow_with_the_number_of_models(tmp_path: Path, run: Local) -> None:
    """A step of 4 and of 16 models of 26 MB: twelve more take less than one. In a child process, because a peak is the process's."""
    vision = {"image_size": 32, "layers": 2, "width": 512, "head_width": 64, "patch_size": 8}
    tower = Config(16, json.dumps(vision), json.dumps({"context_length": 10, "width": 16, "heads": 2, "layers": 1}))
    base = zero_shot(fresh(tower, 0, run=run), CLASSES, ("{}",), run=run)
    start = dict(base.tensors())
    for i in range(16):
        shifted = {key: array + np.float32(i / 1000) if trained(key) else array for key, array in start.items()}
        Checkpoint.of(shifted, base.spec).save(f"{tmp_path}/{i}")
    size = sum(file.stat().st_size for file in (tmp_path / "0").iterdir()) >> 20
    few, many = map(int, subprocess.run([sys.executable, "-c", STEP, str(tmp_path)], capture_output=True, text=True, check=True).stdout.split())
    assert size > 20 and many - few < size, (size, few, many)
