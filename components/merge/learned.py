"""Learned soups: the coefficients are trained on held-out data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from components.data.views import Augment
from components.objectives.classification import CrossEntropy
from components.train import train
from components.types import Dataset, Run, Update, revision
from components.updates.sgd import AdamW
from components.weights import Checkpoint, Combination, Policy

if TYPE_CHECKING:
    from components.predictions import Predictions

LEARN = AdamW(lr=0.05, weight_decay=0.0, batch=256, warmup=0, clip=0.0)


@revision(1)
def learned(
    models: list[Checkpoint],
    data: Annotated[Dataset, "selects"],
    by: Literal["model", "layer"] = "model",
    epochs: int = 5,
    update: Update = LEARN,
    policy: Policy = Policy(),  # noqa: B008
    *,
    run: Run,
) -> Combination:
    """The mixture whose coefficients, trained on held-out data, have the least cross-entropy.

    They lie on the simplex and start equal: 0 epochs are the uniform soup. An inverse temperature, positive, is trained beside them and left
    out of the soup. A step streams the models twice and holds none of them. What was learned on `data` is no evidence there against a
    greedy soup. Facts: alphas, beta, and loss and correct answers on `data` of the uniform and the learned soup. Wortsman et al. 2022,
    arXiv:2203.05482, appendix.

    by: one coefficient for each model, or for each model and tensor
    epochs: passes over the data
    update: of the coefficients; its rate falls along a cosine
    """
    from components.evaluate import opened, outputs
    from components.models.mixture import Mixture

    if epochs < 0:
        raise ValueError(f"{epochs} epochs: give 0 or more")
    mixture = Mixture(tuple(models), by, policy, f"{run.dir}/ingredients")
    steps = -(-epochs * len(opened(data, run)) // update.batch)  # type: ignore[attr-defined]
    soup = mixture.collapse(train(mixture, data, CrossEntropy(views=Augment(scale=1.0)), update=update, steps=steps, run=run))
    told: dict[str, Any] = {"rule": "learned", "members": list(range(len(models))), "steps": steps}
    for name, one, beta in (("uniform", mixture.uniform, 1.0), ("learned", soup, soup.facts["beta"])):
        told[name] = fit(outputs(one, data, run=run), beta)
    return soup.describe(**told)


def fit(predictions: Predictions, beta: float) -> dict[str, Any]:
    """The mean cross-entropy of beta times the logits, and the number of correct answers."""
    import numpy as np

    logits = beta * predictions.logits.astype(np.float64)
    own = np.take_along_axis(logits, predictions.labels[:, None], axis=1)[:, 0]
    most = logits.max(axis=1)
    losses = most + np.log(np.exp(logits - most[:, None]).sum(axis=1)) - own
    return {"loss": round(float(losses.mean()), 6), "correct": int(predictions.correct.sum()), "n": len(losses)}
