"""The greedy soup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from components.evaluate import Count, counted
from components.merge.search import ranked, search
from components.predictions import Predictions
from components.types import Dataset, Run, maps, revision
from components.weights import Checkpoint, Combination, Policy, mean

if TYPE_CHECKING:
    import numpy as np


@maps
@revision(1)
def greedy(
    models: list[Checkpoint],
    predictions: Annotated[list[Predictions], "selects"],
    data: Annotated[Dataset, "selects"],
    accept: Literal["gt", "ge"] = "gt",
    policy: Policy = Policy(),  # noqa: B008
    *,
    run: Run,
) -> Combination:
    """Models in the order of their held-out accuracy, each kept where the mean with those kept before answers more of `data` correctly.

    predictions: of each model on `data`, for the order of models and of examples alone: the first model is evaluated anew, on the path of
    all candidates. accept: `gt` as in the authors' code, `ge` as in the paper's text. Wortsman et al. 2022, arXiv:2203.05482. Members and
    order are those of the plain algorithm, with less work: a candidate is left as soon as the examples that it has not been shown could
    not save it, and `run.parallel` candidates are tried at once. facts: `images` shown one candidate at a time, `plain` without leaving.
    """
    order, correct = ranked(models, predictions)
    right, unknown = [each.correct for each in predictions], predictions[0].labels < 0
    rounds: list[int] = []

    def attempts(sets: list[list[int]], best: Count | None, needed: int) -> list[Count]:
        shared = {"data": data, "needed": needed, "run": run}
        items = [{"checkpoint": soup(s), "order": visits(right, unknown, s[-1], best), **shared} for s in sets]
        counts = run.map(counted, items)
        rounds.append(sum(count.shown for count in counts))
        run.log(len(rounds) - 1, images=rounds[-1], correct=max([best.most if best else 0, *(c.most for c in counts if c.complete)]))
        return counts

    def soup(members: list[int]) -> Combination:
        return mean([models[i] for i in members], policy)

    found = search(order, attempts, accept, run.parallel)
    run.log(len(rounds), discarded=found.discarded)
    images, n = [entry["images"] for entry in found.trace], len(unknown)
    return soup(found.members).describe(
        rule="greedy", accept=accept, members=found.members, correct=correct, n=n, search=found.trace,
        images=sum(images), plain=n * sum(map(bool, images)),
    )  # fmt: skip


def visits(right: Sequence[np.ndarray], unknown: np.ndarray, index: int, best: Count | None) -> np.ndarray:
    """The examples in the order that soonest shows a candidate's mistakes: int32 [N].

    First those that the soup so far gets wrong, then those that the model itself gets wrong, then by how few single models are right (`right`
    of each, bool [N]), ties by index. Without a label there is no mistake to find: last. All are integers, so that last bits of logits
    do not change the order.
    """
    import numpy as np

    hardness = np.sum(right, axis=0)
    keys = (hardness, right[index], best.right if best else np.zeros_like(unknown), unknown)
    return np.lexsort(keys).astype(np.int32)
