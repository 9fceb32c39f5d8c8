"""PAINT: patching a model by interpolating with its fine-tuned self. Ilharco et al. 2022, arXiv:2208.05592."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Any

from components.evaluate import opened
from components.merge.coefficient import Tried, finite, grid, trace
from components.merge.held_out import Tally, tallies
from components.types import Dataset, Run, maps, revision
from components.weights import Checkpoint, Combination

ALPHAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
CYCLES = 2
Selects = Annotated[list[Dataset], "selects"]


@maps
@revision(1)
def patch(
    base: Checkpoint,
    tuned: Checkpoint,
    supported: Selects,
    supported_heads: list[Checkpoint],
    patching: Selects,
    patching_heads: list[Checkpoint],
    alphas: tuple[float, ...] = ALPHAS,
    *,
    run: Run,
) -> Combination:
    """base + alpha (tuned - base) with the alpha that serves both the tasks that the base supports and those it is patched on.

    It is the one with the largest mean of (mean accuracy on `supported`, mean accuracy on `patching`), both held-out sets; the means are
    exact fractions of counts, and of equals the smallest alpha wins. Each set is answered with the head of its task; base and tuned have
    none (`towers`), so that no head moves. A joint patch is a patch on several sets. An alpha whose model is not finite is passed over.
    facts: alpha, and the counts of every alpha.
    """
    data, heads = [*supported, *patching], [*supported_heads, *patching_heads]
    sizes = labelled(data, run)
    tried = grid(lambda alpha: moved(base, [tuned], (alpha,)), chosen_from(alphas), data, heads, run)
    alpha = chosen(tried, sizes, len(supported))
    return moved(base, [tuned], (alpha,)).describe(rule="patch", alpha=alpha, n=sizes, trace=trace(tried))


@maps
@revision(1)
def patch_parallel(
    base: Checkpoint,
    models: list[Checkpoint],
    supported: Selects,
    supported_heads: list[Checkpoint],
    patching: Selects,
    patching_heads: list[Checkpoint],
    alphas: tuple[float, ...] = ALPHAS,
    *,
    run: Run,
) -> Combination:
    """base + the sum of alpha_t (model_t - base), one coefficient for each patch: task addition with coefficients of their own.

    The coefficients are searched together, on held-out sets, for what `patch` maximises: from the best coefficient that all share, one
    after another takes the best value of `alphas` while the others stay (of equals the smallest), at most twice around or until none
    changes. That is at most |alphas| (1 + 2 T) evaluations instead of |alphas|^T, and a local optimum; the search is ours. facts: alphas,
    the counts of every combination that was tried.
    """
    if not models:
        raise ValueError("a parallel patch of no models: give one or more")
    data, heads, sizes = [*supported, *patching], [*supported_heads, *patching_heads], labelled([*supported, *patching], run)
    known: dict[tuple[float, ...], Tally] = {}

    def values(candidates: Sequence[tuple[float, ...]]) -> list[Fraction | None]:
        new = tallies([moved(base, models, each) for each in candidates], data, heads, run)
        known.update(zip(candidates, new, strict=True))
        return [None if tally.error else balance(tally, sizes, len(supported)) for tally in new]

    alphas = ascent(values, chosen_from(alphas), len(models))
    return moved(base, models, alphas).describe(rule="patch_parallel", alphas=list(alphas), n=sizes, trace=told(known))


def ascent(values: Callable[[Sequence[tuple[float, ...]]], list[Fraction | None]], alphas: Sequence[float], count: int) -> tuple[float, ...]:
    """The coordinate ascent of `patch_parallel` over `count` coefficients. values: of combinations, each asked once; None is passed over."""
    known: dict[tuple[float, ...], Fraction | None] = {}

    def best(candidates: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
        if new := [each for each in candidates if each not in known]:
            known.update(zip(new, values(new), strict=True))
        left = [(value, each) for each in candidates if (value := known[each]) is not None]
        if not left:
            raise ValueError("no coefficients give a model with finite answers: leave out the model that diverged")
        return max(left, key=lambda one: one[0])[1]

    current = best([(alpha,) * count for alpha in alphas])
    for _ in range(CYCLES):
        before = current
        for t in range(count):
            current = best([(*current[:t], alpha, *current[t + 1 :]) for alpha in alphas])
        if current == before:
            break
    return current


def chosen(tried: Tried, sizes: Sequence[int], supported: int) -> float:
    """The alpha of the best balance; of equals the first, which is the smallest."""
    return max(finite(tried), key=lambda one: balance(one[1], sizes, supported))[0]


def moved(base: Checkpoint, models: Sequence[Checkpoint], alphas: Sequence[float | Fraction]) -> Combination:
    """base + the sum of alpha_t (model_t - base): WiSE-FT's line on what the models share, which holds no head."""
    return sum((alpha * (one - base) for alpha, one in zip(alphas, models, strict=True)), start=base.combination())


def chosen_from(alphas: Sequence[float]) -> tuple[float, ...]:
    """The alphas to try, rising. ValueError where there is none, or one is outside [0, 1]."""
    if not alphas or not all(0 <= alpha <= 1 for alpha in alphas):
        raise ValueError(f"alphas are {', '.join(map(str, alphas)) or 'none'}: give one or more from 0, the base, to 1, the fine-tuned model")
    return tuple(sorted(set(map(float, alphas))))


def balance(tally: Tally, sizes: Sequence[int], supported: int) -> Fraction:
    """The mean of the mean accuracy on the first `supported` sets and that on the others, exactly. ValueError where one kind is missing."""
    shares = [Fraction(correct, n) for correct, n in zip(tally.correct, sizes, strict=True)]
    if not 0 < supported < len(shares):
        raise ValueError(f"{supported} supported sets of {len(shares)}: a patch weighs at least one supported task against one that it patches")
    return (sum(shares[:supported], Fraction()) / supported + sum(shares[supported:], Fraction()) / (len(shares) - supported)) / 2


def labelled(data: Sequence[Dataset], run: Run) -> list[int]:
    """How many examples of each set have a label. ValueError where none has."""
    sizes = [int((opened(each, run).labels >= 0).sum()) for each in data]
    if 0 in sizes:
        raise ValueError(f"held-out set {sizes.index(0)} has no labelled example: give labels, or leave it out")
    return sizes


def told(known: Mapping[tuple[float, ...], Tally]) -> list[dict[str, Any]]:
    """What was tried, as facts (JSON): one entry a combination, with the correct answers on each set or the error."""
    return [{"alphas": list(a), **({"error": t.error} if t.error else {"correct": list(t.correct)})} for a, t in known.items()]
