"""Fusing: a random point among pretrained and auxiliary models, from which one run of many starts."""

from __future__ import annotations

from fractions import Fraction
from functools import reduce
from operator import add

from components.types import maps, revision
from components.weights import Checkpoint, Combination

DIGITS = 4  # of exp(r u), so that the coefficients are exact fractions of small numbers


def weights(n: int, r: float, seed: int, index: int) -> list[Fraction]:
    """lambda_i = kappa_i / sum kappa with kappa_i = exp(r u_i), u_i uniform in [0, 1) from (seed, index, i): n fractions that sum to exactly 1."""
    import numpy as np

    from components.data import chance

    kappas = np.exp(r * chance.uniform(seed, index, np.arange(n)))
    whole = [Fraction(round(kappa * 10**DIGITS)) for kappa in kappas.tolist()]
    return [kappa / sum(whole) for kappa in whole]


@maps
@revision(1)
def fused(models: list[Checkpoint], r: float = 4.0, seed: int = 0, index: int = 0) -> Combination:
    """sum of lambda_i models_i with random lambda, the `index`-th draw of `seed`; r = 0 is the uniform mean.

    The pretrained model is one of `models`. Choshen et al. 2022, arXiv:2204.03044, as drawn by Rame et al. 2023, arXiv:2212.10445.
    ValueError where there is no model, or r is below 0 or beyond 16.
    """
    if not models:
        raise ValueError("fusing of no models: give at least one")
    if not 0 <= r <= 16:
        raise ValueError(f"r is {r}: the weights of fusing are proportional to exp(r u), u in [0, 1); give 0 (uniform) to 16")
    shares = weights(len(models), r, seed, index)
    mix = reduce(add, [model * share for model, share in zip(models, shares, strict=True)])
    return mix.describe(rule="fused", members=list(range(len(models))), weights=[float(share) for share in shares])
