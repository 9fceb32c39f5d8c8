"""The table of domain generalisation: each method on each domain that its models never saw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np

from components.predictions import Predictions
from components.types import Table, revision

NOTES = (
    "± is one standard error: of a method over the examples of a domain (binomial), of `mean of single runs` over its runs",
    "mean: over the held-out domains, each of equal weight",
)


@revision(1)
def by_domain(
    methods: Annotated[Mapping[str, list[Predictions]], "reports"],
    runs: Annotated[Mapping[str, list[list[Predictions]]], "reports"],
    domains: list[str],
) -> Table:
    """One row for each method and for the mean of each kind of single runs; a column for each held-out domain, and their mean, all top-1 shares.

    methods: predictions by name, one for each domain, of models that were trained without it; runs: likewise, for each domain several runs, the
    j-th everywhere with the same hyper-parameters. Columns: model, runs (how many models a number is the mean of), then x and x_se by domain.
    ValueError where a name is missing.
    """
    for name, entries in {**{name: len(row) for name, row in methods.items()}, **{name: len(row) for name, row in runs.items()}}.items():
        if entries != len(domains):
            raise ValueError(f"{name} has {entries} entries for {len(domains)} domains: give one for each")
    several = {name: np.array([[_top1(answers)[0] for answers in domain] for domain in row]) for name, row in runs.items()}  # [domains, runs]
    rows = [_over_runs(f"mean of single runs, {name}", values, domains) for name, values in several.items()]
    rows += [_over_examples(name, [_top1(answers) for answers in row], domains) for name, row in methods.items()]
    return Table(tuple(rows), NOTES)


def _top1(answers: Predictions) -> tuple[float, int]:
    known = answers.labels >= 0
    return float(answers.correct[known].mean()), int(known.sum())


def _over_examples(name: str, scores: list[tuple[float, int]], domains: list[str]) -> dict[str, Any]:
    errors = [np.sqrt(share * (1 - share) / n) for share, n in scores]
    row: dict[str, Any] = {"model": name, "runs": 1}
    for domain, (share, _), error in zip(domains, scores, errors, strict=True):
        row |= {domain: share, f"{domain}_se": float(error)}
    return row | {"mean": float(np.mean([share for share, _ in scores])), "mean_se": float(np.sqrt(np.sum(np.square(errors))) / len(errors))}


def _over_runs(name: str, values: np.ndarray, domains: list[str]) -> dict[str, Any]:
    n = values.shape[1]
    row: dict[str, Any] = {"model": name, "runs": n}
    for domain, shares in zip((*domains, "mean"), (*values, values.mean(axis=0)), strict=True):
        row |= {domain: float(shares.mean()), f"{domain}_se": float(shares.std(ddof=1) / np.sqrt(n)) if n > 1 else None}
    return row
