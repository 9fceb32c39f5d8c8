"""How candidates do on several held-out sets: what the choice of a coefficient is made from. Integer counts, never floats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from components.evaluate import answers, lent, opened
from components.predictions import Predictions
from components.predictors.head import Head
from components.types import Dataset, Diverged, Run
from components.weights import Checkpoint, Combination, NotFinite


@dataclass(frozen=True)
class Tally:
    """A candidate's correct answers on each set; error: why there are none, where its weights or answers are not finite."""

    correct: tuple[int, ...]
    error: str = ""


def tallies(candidates: Sequence[Combination | Checkpoint], data: Sequence[Dataset], heads: Sequence[Checkpoint], run: Run) -> list[Tally]:
    """The counts of each candidate, through `run.map`. heads: the model whose classifier answers on each set.

    No file is written, and the weights of a candidate are read once, however many sets there are. ValueError where there is no set, or not
    one head for each.
    """
    if not data or len(data) != len(heads):
        raise ValueError(f"{len(data)} held-out sets and {len(heads)} heads: give one or more sets, and the model whose head answers on each")
    return run.map(tally, [{"checkpoint": one, "data": list(data), "heads": list(heads), "run": run} for one in candidates])


def tally(checkpoint: Combination | Checkpoint, data: Sequence[Dataset], heads: Sequence[Checkpoint], run: Run) -> Tally:
    """The counts of one candidate: an item of a `run.map`."""
    try:
        return Tally(tuple(int(each.correct.sum()) for each in outputs_by_head(checkpoint, data, heads, run)))
    except (NotFinite, Diverged) as error:
        return Tally((0,) * len(data), str(error))


def outputs_by_head(checkpoint: Combination | Checkpoint, data: Sequence[Dataset], heads: Sequence[Checkpoint], run: Run) -> Iterator[Predictions]:
    """What `outputs` returns for each dataset with its head, to the last bit."""
    from components.models.module import tensor

    with lent(checkpoint.with_head(heads[0])) as module:
        for each, head in zip(data, heads, strict=True):
            side = {key: tensor(array) for key, array in head.only("head.*").tensors()}
            module.equip(checkpoint.with_head(head).spec, {**module.kept, **side})
            yield answers(module, Head(), opened(each, run), run, name=str(checkpoint))
