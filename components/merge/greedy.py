"""The greedy soup."""

from __future__ import annotations

from typing import Annotated, Literal

from components.merge.search import ranked, search
from components.predictions import Predictions
from components.types import Dataset, Run, revision
from components.weights import Checkpoint, Combination, Policy, mean


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

    predictions: of each model on `data`, for the order alone: the first model is evaluated anew, on the path of all candidates.
    accept: `gt` as in the authors' code, `ge` as in the paper's text. Wortsman et al. 2022, arXiv:2203.05482.
    """
    from components.evaluate import outputs

    def soup(members: list[int]) -> Combination:
        return mean([models[i] for i in members], policy)

    def correct(members: list[int]) -> int:
        count: int = outputs(soup(members), data, run=run).summary()["correct"]
        run.log(len(tried), correct=count)
        tried.append(count)
        return count

    tried: list[int] = []
    order, counts = ranked(models, predictions)
    found = search(order, correct, accept)
    return soup(found.members).describe(
        rule="greedy", accept=accept, members=found.members, correct=counts, n=len(predictions[0]), search=found.trace
    )
