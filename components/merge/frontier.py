"""Patches on test data: along their lines, and on any sets. For reports alone, never for a choice."""

from __future__ import annotations

from math import sqrt
from typing import Annotated

from components.merge.held_out import Tally, tallies
from components.merge.patch import ALPHAS, chosen_from, labelled, moved
from components.metrics import Z, wilson
from components.types import Dataset, Run, Table, maps, revision
from components.weights import Checkpoint

Reports = Annotated[list[Dataset], "reports"]


@maps
@revision(1)
def frontiers(
    base: Checkpoint,
    tuned: list[Checkpoint],
    patched: list[Checkpoint],
    tasks: list[str],
    data: Reports,
    heads: list[Checkpoint],
    alphas: tuple[float, ...] = ALPHAS,
    *,
    run: Run,
) -> Table:
    """What each patch gains on its task and costs on the supported ones, for every alpha from 0 to 1, on test data.

    tuned, patched, tasks: one each of T patches from `base`; data, heads: first those of the T tasks, then those of the supported ones.
    Columns: task, alpha, supported (the mean over the supported sets, with its normal 95 % interval over examples), patching (with Wilson's),
    chosen (`yes` at the alpha that `patch` took, which was chosen on other data). An alpha whose model is not finite has no row. Ilharco et
    al. 2022, arXiv:2208.05592.
    """
    count, sizes, rows = len(tuned), labelled(data, run), []
    if not 0 < count < len(data) or not count == len(patched) == len(tasks):
        raise ValueError(f"{count} fine-tuned, {len(patched)} patched, {len(tasks)} tasks, {len(data)} sets: one each, then the supported sets")
    steps = tuple(sorted({0.0, *chosen_from(alphas), 1.0}))
    for t, (one, after, name) in enumerate(zip(tuned, patched, tasks, strict=True)):
        line, n = [moved(base, [one], (alpha,)) for alpha in steps], [sizes[t], *sizes[count:]]
        found = tallies(line, [data[t], *data[count:]], [heads[t], *heads[count:]], run)
        taken = after.spec["facts"]["alpha"]
        for alpha, tally in zip(steps, found, strict=True):
            if not tally.error:
                low, high = wilson(tally.correct[0], n[0])
                own = {"patching": tally.correct[0] / n[0], "patching_low": low, "patching_high": high}
                rows.append({"task": name, "alpha": alpha, **_supported(tally, n), **own, "chosen": "yes" if alpha == taken else ""})
    return Table(tuple(rows))


def _supported(tally: Tally, n: list[int]) -> dict[str, float]:
    """The mean accuracy over the supported sets, whose examples are independent draws."""
    shares = [correct / size for correct, size in zip(tally.correct[1:], n[1:], strict=True)]
    value = sum(shares) / len(shares)
    half = Z * sqrt(sum(share * (1 - share) / size for share, size in zip(shares, n[1:], strict=True))) / len(shares)
    return {"supported": value, "supported_low": max(0.0, value - half), "supported_high": min(1.0, value + half)}


@maps
@revision(1)
def accuracies(
    models: list[Checkpoint],
    names: list[str],
    sets: list[str],
    data: Reports,
    heads: list[Checkpoint],
    *,
    run: Run,
) -> Table:
    """The accuracy of each model on each set, with Wilson's 95 % interval: columns set, n, model, accuracy.

    sets, data, heads: the name, the examples and the head of each set. A model that is not finite has no row.
    """
    sizes, found = labelled(data, run), tallies([one.combination() for one in models], data, heads, run)
    rows = []
    for s, (name, n) in enumerate(zip(sets, sizes, strict=True)):
        for model, tally in zip(names, found, strict=True):
            if not tally.error:
                low, high = wilson(tally.correct[s], n)
                rows.append({"set": name, "n": n, "model": model, "accuracy": tally.correct[s] / n, "accuracy_low": low, "accuracy_high": high})
    return Table(tuple(rows))
