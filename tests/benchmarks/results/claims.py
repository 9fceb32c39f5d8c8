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


def swings(told: Told) -> float:
    """The mean of how many points a target loses by negation."""
    rows = {method: told.column("negations", "target_accuracy", method=method) for method in ("pretrained", "negative task vector")}
    return 100 * float((rows["pretrained"] - rows["negative task vector"]).mean())


def negated(told: Told, column: str, other: str) -> float:
    """How many points higher the column is for another method than for the negative task vector, the mean over targets."""
    return 100 * float((told.column("negations", column, method=other) - told.column("negations", column, method="negative task vector")).mean())


def normalised(told: Told, pairs: bool) -> float:
    """The mean normalised accuracy in percent of sums of two tasks, or that of the sum of all."""
    rows = [row for row in told.rows("additions") if (" + " in row["tasks"]) == pairs and (pairs or row["tasks"].endswith("task arithmetic"))]
    return 100 * float(np.mean([row["normalised"] for row in rows]))


def apart(told: Told) -> float:
    """The mean cosine between two different task vectors."""
    return float(np.mean([cosine for row in told.rows("task_cosines") for other, cosine in row.items() if other not in ("task", row["task"])]))


def shared(told: Told, column: str, group: str) -> float:
    return float(told.column("pairs", column, group=group).mean())


def kin(told: Told, where: str, patch: str, other: str = "unpatched") -> float:
    """How many points a patch is ahead of another model on a set of kin."""
    return 100 * float(told.column("kin", "accuracy", set=where, model=patch)[0] - told.column("kin", "accuracy", set=where, model=other)[0])


def both(told: Told, model: str, tasks: tuple[str, ...], supported: tuple[str, ...]) -> float:
    """The mean of mean patching and mean supported accuracy, in percent."""
    return (float(np.mean([told.top1(model, task) for task in tasks])) + float(np.mean([told.top1(model, task) for task in supported]))) / 2


def complete(told: Told, group: str, *columns: str) -> tuple[np.ndarray, ...]:
    """Columns of the pairs of a group that have them all."""
    rows = [row for row in told.rows("pairs", group=group) if all(row[name] is not None for name in columns)]
    return tuple(np.array([row[name] for row in rows], dtype=np.float64) for name in columns)


PATCHED, SUPPORTED = ("typographic", "scaled", "counting"), ("garments", "shapes", "typefaces")


def patched(told: Told, model: str) -> float:
    return both(told, model, PATCHED, SUPPORTED)


def tuned(told: Told) -> float:
    """How far the single patches are ahead of the fine-tunes they were made from, on the mean of own task and supported tasks."""
    gaps = [both(told, f"{t} patch", (t,), SUPPORTED) - both(told, f"fine-tuned on {t}", (t,), SUPPORTED) for t in PATCHED]
    return float(np.mean(gaps))


GREEDY, UNIFORM, SINGLE = "greedy soup", "uniform soup", "best single"
CLAIMS: tuple[Claim, ...] = (
    Claim("soup", "The greedy soup is more accurate than the best single model: 81.0 against 80.4", SOUPS, lambda t: t.gap(GREEDY, SINGLE)),
    Claim("soup", "The greedy soup is more robust: 50.8 against 47.8 on the mean of five shifts", SOUPS, lambda t: t.ahead(GREEDY, SINGLE)),
    Claim("soup", "The uniform soup is less accurate than the best single model: 80.0 against 80.4", SOUPS, lambda t: -t.gap(UNIFORM, SINGLE)),
    Claim("soup", "The uniform soup is more robust than the greedy one: 51.5 against 50.8", SOUPS, lambda t: t.ahead(UNIFORM, GREEDY)),
    Claim("soup", "Soups learned by layer are more accurate than greedy ones: 81.4 against 81.0", SOUPS, lambda t: t.gap("learned by layer", GREEDY)),
    Claim("soup", "The greedy ensemble is more accurate than the greedy soup: 81.9 against 81.0", SOUPS, lambda t: t.gap("greedy ensemble", GREEDY)),
    Claim("soup", "The greedy soup is more robust than the greedy ensemble: 50.8 against 49.4", SOUPS, lambda t: t.ahead(GREEDY, "greedy ensemble")),
    Claim("soup", "The larger the angle between two fine-tunes, the more their mean gains (rank correlation)", SOUPS,
          lambda t: ranked(t.column("pairs", "angle"), t.column("pairs", "advantage")), "rho"),
    Claim("soup", "Flatness and confidence predict the loss of the soup less that of the ensemble (correlation along the line)", SOUPS,
          lambda t: float(np.corrcoef(t.column("flatness", "measured"), t.column("flatness", "predicted"))[0, 1]), "r"),
    Claim("soup", "A soup of backbones tuned on other tasks is better on an unseen task than the base: +6.4", SOUPS,
          lambda t: 100 * float(t.column("transfer", "difference", model="soup of these")[0])),
    Claim("wise_ft", "Fine-tuning costs robustness", WISE, lambda t: t.ahead("zero-shot", "fine-tuning")),
    Claim("wise_ft", "Alpha 0.5 is more robust than fine-tuning", WISE, lambda t: t.ahead("WiSE-FT 0.5", "fine-tuning")),
    Claim("wise_ft", "Alpha 0.5 is no less accurate than fine-tuning", WISE, lambda t: t.gap("WiSE-FT 0.5", "fine-tuning")),
    Claim("wise_ft", "The held-out alpha is more robust than fine-tuning", WISE, lambda t: t.ahead("WiSE-FT, held-out", "fine-tuning")),
    Claim("wise_ft", "Alpha 0.5 has more effective robustness than fine-tuning", WISE, lambda t: 100 * float(
        t.column("robustness", "rho", model="WiSE-FT 0.5", split=t.mean)[0] - t.column("robustness", "rho", model="fine-tuning", split=t.mean)[0])),
    Claim("wise_ft", "Of the classifier alone, alpha 0.5 is more robust than its fine-tune", WISE,
          lambda t: t.ahead("WiSE-FT head 0.5", "head only")),
    Claim("arithmetic", "Negation lowers the target: -24 to -46", ARITHMETIC, swings, least=10.0),
    Claim("arithmetic", "... and leaves the control: at least 95 % of it, on test data", ARITHMETIC,
          lambda t: 100 * float(t.column("negations", "kept", method="negative task vector").min()), "percent", 95.0),
    Claim("arithmetic", "A random vector of the same length lowers the target less", ARITHMETIC,
          lambda t: negated(t, "target_accuracy", "random vector")),
    Claim("arithmetic", "Gradient ascent destroys the control", ARITHMETIC, lambda t: -negated(t, "control_accuracy", "gradient ascent")),
    Claim("arithmetic", "Sums of two tasks keep most of both: 98.9 % of the fine-tunes", ARITHMETIC, lambda t: normalised(t, True), "percent", 90.0),
    Claim("arithmetic", "The sum of all tasks is better on their mean than the base", ARITHMETIC, lambda t: t.ahead("task arithmetic", "zero-shot")),
    Claim("arithmetic", "Task vectors are nearly orthogonal (1 less the mean cosine)", ARITHMETIC, lambda t: 1 - apart(t), "", 0.7),
    Claim("arithmetic", "TIES is better than the plain sum: 72.2 against 68.0", "arXiv:2306.01708, numbers of FusionBench",
          lambda t: t.ahead("TIES", "task arithmetic")),
    Claim("arithmetic", "An analogy is better on its task than the base", ARITHMETIC, lambda t: 100 * float(
        t.column("analogy", "accuracy", model="analogy")[0] - t.column("analogy", "accuracy", model="zero-shot")[0])),
    Claim("patch", "Patches raise their tasks: +15 to +60", PAINT,
          lambda t: 100 * float(t.column("distances", "patching change").mean()), least=15.0),
    Claim("patch", "... and supported tasks lose at most a point", PAINT,
          lambda t: 100 * float(t.column("distances", "supported change").mean()), least=-1.0),
    Claim("patch", "The patch is better on both together than the fine-tune it was made from", PAINT, tuned),
    Claim("patch", "A joint patch is better than parallel ones", PAINT, lambda t: patched(t, "joint patch") - patched(t, "parallel patches")),
    Claim("patch", "Sequential patches are better than parallel ones", PAINT,
          lambda t: patched(t, "sequential patches") - patched(t, "parallel patches")),
    Claim("patch", "Patching one task helps a related one (scaled digits, patched on typographic ones)", PAINT,
          lambda t: t.gap("typographic patch", "unpatched", "scaled")),
    Claim("patch", "A patch on rendered words protects other images with words (typefaces)", PAINT,
          lambda t: kin(t, "typographic: typefaces with a word", "typographic patch")),
    Claim("patch", "A patch on some counts helps with others that were held out", PAINT, lambda t: kin(t, "counting: counts 3, 5", "counting patch")),
    Claim("recycle", "DiWA is better than ERM: 67.6 against 65.6 on five data sets", RATATOUILLE, lambda t: t.ahead("DiWA uniform", "ERM")),
    Claim("recycle", "Ratatouille is better than DiWA: 68.1 against 67.6", RATATOUILLE, lambda t: t.ahead("Ratatouille uniform", "DiWA uniform")),
    Claim("recycle", "Ratatouille is better than inter-training: 68.1 against 65.6", RATATOUILLE,
          lambda t: t.ahead("Ratatouille uniform", "inter-training")),
    Claim("recycle", "Ratatouille is better than fusing: 68.1 against 65.8", RATATOUILLE, lambda t: t.ahead("Ratatouille uniform", "fusing")),
    Claim("recycle", "Recycled runs are more diverse than those of one start (ratio-error)", RATATOUILLE,
          lambda t: shared(t, "ratio_error", "recycled") - shared(t, "ratio_error", "same start"), ""),
    Claim("recycle", "The more diverse two runs, the more their mean gains (rank correlation among runs of one kind)", RATATOUILLE,
          lambda t: float(np.mean([ranked(*complete(t, group, "ratio_error", "advantage")) for group in ("same start", "recycled")])), "rho"),
)  # fmt: skip

