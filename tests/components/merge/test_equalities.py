"""One linear combination under many names: what the methods have in common holds bit for bit, in float64 and in float32."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from components.merge import analogy, arithmetic, lines, uniform, wise_ft
from components.merge.patch import moved
from components.merge.towers import towers
from components.weights import Checkpoint
from tests.components.merge.test_laws import same, tensors

SPEC = {"ancestry": "root"}


def models(code: str, count: int) -> list[Checkpoint]:
    return [Checkpoint.of(tensors(i, code), SPEC) for i in range(count)]


@pytest.mark.parametrize("code", ["F64", "F32"])
@pytest.mark.parametrize("n", [1, 2, 3, 8, 10])
def test_a_soup_of_task_vectors_is_a_soup(code: str, n: int) -> None:
    base, *tuned = models(code, n + 1)
    same(uniform(tuned), arithmetic(base, tuned, Fraction(1, n)))  # type: ignore[arg-type]


@pytest.mark.parametrize("code", ["F64", "F32"])
@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.3, 0.35, 0.5, 1 / 3, 1.0])
def test_wise_ft_is_the_addition_of_one_task(code: str, alpha: float) -> None:
    base, tuned = models(code, 2)
    same(wise_ft(base, tuned, alpha), arithmetic(base, [tuned], alpha), lines(base, [tuned], alpha, 0), analogy(base, tuned, base, alpha))


def test_the_ends_are_copies_and_what_has_no_part_cannot_leak() -> None:
    base, tuned = models("F64", 2)
    broken = Checkpoint.of({**tensors(3, "F64"), "visual.proj": np.full((31, 7), np.nan)}, SPEC)
    same(base, arithmetic(base, [broken, tuned], 0.0), arithmetic(base, [base, base], 0.7), analogy(broken, tuned, base, 0.0))
    same(tuned, arithmetic(base, [tuned], 1.0), analogy(broken, broken, tuned, 0.8), analogy(base, tuned, base), -(-1 * tuned))


@pytest.mark.parametrize("code", ["F64", "F32"])
@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.3, 0.5, 1 / 3, 1.0])
def test_a_patch_is_wise_ft_and_the_addition_of_one_task_on_what_is_no_head(code: str, alpha: float) -> None:
    base, tuned = models(code, 2)
    same(moved(base, [tuned], [alpha]), wise_ft(base, tuned, alpha), arithmetic(base, [tuned], alpha))
    same(moved(towers(base), [towers(tuned)], [alpha]), towers(wise_ft(base, tuned, alpha)))  # type: ignore[arg-type, list-item]


@pytest.mark.parametrize("code", ["F64", "F32"])
@pytest.mark.parametrize("n", [1, 2, 3, 8, 10])
def test_parallel_patches_with_equal_shares_are_a_soup_and_with_one_coefficient_an_addition(code: str, n: int) -> None:
    base, *tuned = models(code, n + 1)
    same(moved(base, tuned, [Fraction(1, n)] * n), uniform(tuned))
    same(moved(base, tuned, [0.3] * n), arithmetic(base, tuned, 0.3))
