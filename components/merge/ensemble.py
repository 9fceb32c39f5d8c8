"""Ensembles of recorded answers: the honest baseline of a soup, at as many times its cost as they have members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from components.evaluate import Count
from components.merge.search import aligned, ranked, search
from components.predictions import Predictions
from components.types import revision

if TYPE_CHECKING:
    import numpy as np


@revision(1)
def ensemble(predictions: list[Predictions], members: list[int] | None = None) -> Predictions:
    """The mean of unnormalised logits over the members (None: all), summed in float64. Wortsman et al. 2022, arXiv:2203.05482."""
    chosen = list(range(len(predictions))) if members is None else members
    if not chosen or not all(0 <= i < len(predictions) for i in chosen):
        raise ValueError(f"an ensemble of members {chosen} from {len(predictions)} predictions: give at least one, each an index of them")
    aligned([predictions[i] for i in chosen])
    return replace(predictions[chosen[0]], logits=_mean([predictions[i].logits for i in chosen]))


@revision(1)
def greedy_ensemble(predictions: Annotated[list[Predictions], "selects"], accept: Literal["gt", "ge"] = "gt") -> list[int]:
    """The members that a greedy search over mean logits keeps, in the order of acceptance."""
    order, _ = ranked(predictions, predictions)
    return search(order, lambda sets, *_: [Count.of(ensemble(predictions, members)) for members in sets], accept).members


def _mean(logits: Sequence[np.ndarray]) -> np.ndarray:
    import numpy as np

    total = np.zeros(logits[0].shape, np.float64)
    for each in logits:
        total += each
    mean: np.ndarray = (total / len(logits)).astype(np.float32)
    return mean
