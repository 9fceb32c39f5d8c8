import numpy as np
import pytest

from components.analysis.robustness import Line, Outcomes, effective, effective_robustness, fit, logit
from components.analysis.table import MEAN
from components.predictions import Predictions


def test_the_line_of_baselines_is_recovered_and_the_golden_effective_robustness() -> None:
    truth = Line(0.8, -0.6)
    x = [0.55, 0.6, 0.7, 0.75, 0.9]
    line = fit(x, [truth(v) for v in x])
    assert line == pytest.approx(truth, abs=1e-12)
    assert effective(line, 0.76, 0.70) == pytest.approx(0.120153, abs=1e-6)
    assert effective(line, 0.6, truth(0.6)) == pytest.approx(0, abs=1e-12)


def test_the_logit_of_a_perfect_small_split_is_that_of_half_a_mistake() -> None:
    assert logit(1.0, 50) == pytest.approx(np.log(99)) and logit(0.0, 50) == pytest.approx(-np.log(99))
    with pytest.raises(ValueError, match="give n"):
        logit(1.0)


def test_no_line_through_one_point() -> None:
    with pytest.raises(ValueError, match="at least two"):
        fit([0.5, 0.5], [0.4, 0.3])


N = 200


def answers(correct: np.ndarray, prefix: str = "") -> Predictions:
    labels = np.arange(len(correct)) % 3
    logits = np.eye(3, dtype=np.float32)[np.where(correct, labels, labels - 2)]
    return Predictions(np.array([f"{prefix}{i}" for i in range(len(labels))]), labels, logits)


def row(seed: int, *shares: float) -> list[Predictions]:
    """Answers on a test split, a corruption of the same images, and images of another source, with exactly these shares right."""
    random = np.random.default_rng(seed)
    return [answers(random.permutation(N) < share * N, "x" if k == 2 else "") for k, share in enumerate(shares)]


SPLITS = ["test", "noise", "other"]
BASELINES = [row(1, 0.6, 0.5, 0.4), row(2, 0.8, 0.65, 0.5), row(3, 0.9, 0.7, 0.6)]


def test_rho_is_the_height_above_the_line_of_the_baselines_on_each_shift_and_on_their_mean() -> None:
    models = {"a": row(4, 0.7, 0.6, 0.7), "b": row(5, 0.85, 0.6, 0.5)}
    table = effective_robustness(models, BASELINES, SPLITS)
    assert [(r["split"], r["model"]) for r in table.rows] == [(s, m) for s in (MEAN, "noise", "other") for m in "ab"]
    for r, (x, y, baseline) in zip(
        table.rows,
        [(0.7, 0.65, (0.45, 0.575, 0.65)), (0.85, 0.55, (0.45, 0.575, 0.65)), (0.7, 0.6, (0.5, 0.65, 0.7)), (0.85, 0.6, (0.5, 0.65, 0.7)),
         (0.7, 0.7, (0.4, 0.5, 0.6)), (0.85, 0.5, (0.4, 0.5, 0.6))],
        strict=True,
    ):  # fmt: skip
        line = fit([0.6, 0.8, 0.9], baseline)
        assert r["rho"] == pytest.approx(effective(line, x, y), abs=1e-6) and r["predicted"] == pytest.approx(line(x), abs=1e-6)
        assert r["rho_low"] < r["rho"] < r["rho_high"]
    assert "60.0 to 90.0 %" in table.notes[0] and "extrapolated" not in table.notes[0]
    assert effective_robustness(models, BASELINES, SPLITS) == table


def test_rho_of_what_is_on_the_line_is_0_and_its_interval_too() -> None:
    """Of two baselines the line goes through both, in every bootstrap sample; a perfect model is judged by half a mistake."""
    table = effective_robustness({"copy": BASELINES[0], "perfect": row(7, 1.0, 1.0, 1.0)}, BASELINES[:2], SPLITS)
    for r in table.rows:
        if r["model"] == "copy":
            assert max(abs(r["rho"]), abs(r["rho_low"]), abs(r["rho_high"])) < 1e-6
    assert "extrapolated: perfect" in table.notes[0] and all(np.isfinite(r["rho_low"]) for r in table.rows)


def test_an_example_counts_alike_in_all_splits_that_hold_it() -> None:
    """Equal answers on a corruption of the same images move as the accuracy in distribution does; those on another source do not."""
    one = answers(np.arange(N) < 120)
    drawn = Outcomes.of({"a": [one, one, answers(np.arange(N) < 120, "x")]}, SPLITS).resampled(150, 0)[:, 0]
    assert np.array_equal(drawn[:, 0], drawn[:, 2]) and not np.array_equal(drawn[:, 0], drawn[:, 3])
    assert drawn[:, 0].std() == pytest.approx(np.sqrt(0.6 * 0.4 / N), rel=0.2) and drawn[:, 0].mean() == pytest.approx(0.6, abs=0.02)


def test_the_order_of_the_examples_does_not_matter() -> None:
    order = np.random.default_rng(0).permutation(N)
    moved = [Predictions(p.ids[order], p.labels[order], p.logits[order]) for p in BASELINES[1]]
    assert effective_robustness({"a": moved}, BASELINES, SPLITS).rows == effective_robustness({"a": BASELINES[1]}, BASELINES, SPLITS).rows


def test_what_does_not_fit_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match="at least two of different accuracy"):
        effective_robustness({"a": row(4, 0.7, 0.6, 0.7)}, [BASELINES[0], BASELINES[0]], SPLITS)
    with pytest.raises(ValueError, match="b and a answered different examples of noise: predict both on the same data"):
        effective_robustness({"a": BASELINES[0], "b": [BASELINES[1][0], *BASELINES[1][:0:-1]]}, BASELINES, SPLITS)
    with pytest.raises(ValueError, match="on 1 splits: give the one in distribution, one or more shifts"):
        effective_robustness({"a": BASELINES[0][:1]}, BASELINES, SPLITS[:1])
