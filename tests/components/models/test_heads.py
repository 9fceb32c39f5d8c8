from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from components.data.digits import CLASSES, Digits
from components.models import build
from components.models.heads import blank, zero_shot
from components.types import Local


def rows(checkpoint: Any) -> np.ndarray:
    return dict(checkpoint.tensors())["head.weight"]


def test_the_formula(base: Any, run: Local) -> None:
    prompts = ("a {} here", "{}!", "the {}")
    found = zero_shot(base, ("cat", "big_dog"), prompts, run=run)
    module = build(base)
    for row, name in zip(rows(found), ("cat", "big dog"), strict=True):
        with torch.no_grad():
            each = [module.model.encode_text(module.tokenise([prompt.format(name)]))[0].double() for prompt in prompts]
            mean = torch.stack([feature / feature.norm() for feature in each]).mean(0)
            expected = mean / mean.norm() * module.model.logit_scale.exp().double()
        assert row == pytest.approx(expected.numpy(), abs=1e-5)
        assert np.linalg.norm(row) == pytest.approx(1 / 0.07, rel=1e-5)
    assert not dict(found.tensors())["head.bias"].any()
    assert found.spec["classes"] == ["cat", "big_dog"] and found.spec["prompts"] == list(prompts)


def test_the_order_and_number_of_prompts_do_not_matter(base: Any, run: Local) -> None:
    one = rows(zero_shot(base, ("a", "b"), ("x {}", "y {}"), run=run))
    assert rows(zero_shot(base, ("a", "b"), ("y {}", "x {}"), run=run)) == pytest.approx(one, abs=1e-5)
    assert rows(zero_shot(base, ("a", "b"), ("x {}", "y {}") * 2, run=run)) == pytest.approx(one, abs=1e-5)


def test_a_head_replaces_the_head_and_nothing_else(base: Any, zero: Any, run: Local) -> None:
    other = zero_shot(zero, ("a", "b", "c"), ("{}",), run=run)
    assert rows(other).shape == (3, 16)
    after = dict(other.tensors())
    assert all(after[key].tobytes() == value.tobytes() for key, value in base.tensors())
    assert other.spec["ancestry"] == base.spec["ancestry"]


def test_a_blank_head_knows_nothing_of_the_classes(base: Any, zero: Any, run: Local) -> None:
    for model in (base, zero):
        found = blank(model, (), Digits(), run=run)
        after = dict(found.tensors())
        assert after["head.weight"].shape == (10, 16) and not after["head.weight"].any() and not after["head.bias"].any()
        assert found.spec["classes"] == list(CLASSES) and found.spec["ancestry"] == base.spec["ancestry"]
        assert all(after[key].tobytes() == value.tobytes() for key, value in base.tensors())
        assert not build(found)(torch.zeros(2, 3, 32, 32)).any()
    with pytest.raises(ValueError, match="two classes and only cat is known"):
        blank(base, ("cat",), run=run)


def test_class_names_come_from_the_data(base: Any, run: Local) -> None:
    assert zero_shot(base, (), ("{}",), Digits(), run=run).spec["classes"] == list(CLASSES)


def test_bad_classes_and_prompts(base: Any, run: Local) -> None:
    for classes, known in (((), "none"), (("cat",), "only cat")):
        with pytest.raises(ValueError, match=f"two classes and {known} is known"):
            zero_shot(base, classes, ("{}",), run=run)
    for prompts in ((), ("a photo",), ("{} and {}",)):
        with pytest.raises(ValueError, match="no place for the class name"):
            zero_shot(base, ("a", "b"), prompts, run=run)
