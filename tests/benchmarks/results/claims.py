"""The published claims, as they were fixed before any of these runs: what is measured, and from where on it counts as reproduced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tests.benchmarks.results.told import Told


@dataclass(frozen=True)
class Claim:
    """One row: a claim with its source, and the number that a run gives for it. It holds where the number is above `least`.

    Over seeds it is reproduced where the whole interval is above `least`, contradicted where it is below, and open in between.
    """

    study: str
    text: str
    source: str
    measure: Callable[[Told], float]
    unit: str = "points"
    least: float = 0.0


SOUPS, WISE, ARITHMETIC, PAINT, RATATOUILLE = (f"arXiv:{number}" for number in ("2203.05482", "2109.01903", "2212.04089", "2208.05592", "2212.10445"))


def ranked(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's rank correlation."""
    from scipy.stats import spearmanr

    return float(spearmanr(one, other).statistic)


CLAIMS: tuple[Claim, ...] = ()
