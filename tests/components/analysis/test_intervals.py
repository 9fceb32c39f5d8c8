from math import erf, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.analysis.intervals import Z, mean_accuracy, mean_difference, over_seeds, paired, share


def _log_likelihood(gained: int, lost: int, n: int, p: float, d: float) -> float:
    cells = ((gained, p + d), (lost, p), (n - gained - lost, 1 - 2 * p - d))
    return sum(k * np.log(max(q, 1e-300)) for k, q in cells if k)


def _score(gained: int, lost: int, n: int, d: float) -> float:
    """Tango's statistic with the nuisance share found by brute force."""
    grid = np.linspace(max(0.0, -d), (1 - d) / 2, 20_001)
    p = max(grid, key=lambda q: _log_likelihood(gained, lost, n, q, d))
    return (gained - lost - n * d) / sqrt(n * (2 * p + d * (1 - d)))


def test_the_interval_of_airway_reactivity_is_the_published_one() -> None:
    """Fagerland, Lydersen and Laake 2014: 1 and 7 discordant pairs of 21, Tango's interval -0.517 to -0.026, mid-p 0.039."""
    found = paired(1, 7, 21)
    assert [round(v, 3) for v in found] == [-0.286, -0.517, -0.026, 0.039]


@pytest.mark.parametrize(("gained", "lost", "n"), [(9, 4, 60), (0, 3, 40), (12, 0, 50), (5, 5, 30)])
def test_the_ends_are_where_a_brute_force_score_test_just_rejects(gained: int, lost: int, n: int) -> None:
    found = paired(gained, lost, n)
    for end, side in ((found.low, 1), (found.high, -1)):
        assert _score(gained, lost, n, end) == pytest.approx(side * Z, abs=5e-3)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 3000)
    .flatmap(lambda n: st.tuples(st.integers(0, n), st.integers(0, n), st.just(n)))
    .filter(lambda t: t[0] + t[1] <= t[2])
)
def test_paired_intervals_are_mirror_images_that_hold_the_estimate(counts: tuple[int, int, int]) -> None:
    gained, lost, n = counts
    one, other = paired(gained, lost, n), paired(lost, gained, n)
    assert -1 <= one.low <= one.value <= one.high <= 1
    assert one.low == pytest.approx(-other.high, abs=1e-12) and one.p == other.p
    assert one.low < one.high


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60))
def test_the_verdict_is_mcnemars_test(gained: int, lost: int) -> None:
    """At a difference of 0, Tango's statistic is McNemar's."""
    verdict = paired(gained, lost, 400).verdict
    rejects = (gained - lost) ** 2 > Z * Z * (gained + lost)
    assert verdict == (("better" if gained > lost else "worse") if rejects else "no evidence")


def test_two_models_that_never_disagree_are_not_known_to_be_equal() -> None:
    found = paired(0, 0, 450)
    assert found.p == 1 and found.verdict == "no evidence"
    assert (-found.low, found.high) == pytest.approx([Z * Z / (450 + Z * Z)] * 2, rel=1e-6)


def test_impossible_counts_are_refused() -> None:
    for counts in ((-1, 0, 5), (3, 3, 5), (0, 0, 0)):
        with pytest.raises(ValueError, match="no paired interval"):
            paired(*counts)


def _ids(n: int, start: int = 0) -> np.ndarray:
    return np.array([f"{i:05d}" for i in range(start, start + n)])


def test_copies_of_the_same_examples_add_no_certainty() -> None:
    rng = np.random.default_rng(0)
    values = (rng.random(400) < 0.8).astype(int)
    once, eight = mean_accuracy([(_ids(400), values)]), mean_accuracy([(_ids(400), values)] * 8)
    assert eight == pytest.approx(once)
    assert once == pytest.approx(share(values.sum(), 400), abs=1e-12)
    fresh = mean_accuracy([(_ids(400, 1000 * k), rng.permutation(values)) for k in range(8)])
    assert (fresh.high - fresh.low) == pytest.approx((once.high - once.low) / sqrt(8), rel=0.02)


def test_the_mean_weighs_splits_not_examples() -> None:
    assert mean_accuracy([(_ids(10), np.ones(10)), (_ids(1000, 50), np.zeros(1000))]).value == 0.5


def test_certain_splits_keep_an_interval() -> None:
    found = mean_accuracy([(_ids(50), np.ones(50, int))] * 3)
    assert found == share(50, 50) and found.low < 1


@pytest.mark.parametrize("alike", [0.0, 0.9])
def test_the_clustered_interval_covers_the_truth_as_often_as_it_says(alike: float) -> None:
    """600 experiments with 5 shifts of the same 150 examples, the true mean difference known."""
    rng, truth = np.random.default_rng(3), 0.5 * (1 + erf(0.3 / sqrt(2))) - 0.5
    hits = 0
    for _ in range(600):
        common = rng.normal(size=150)
        parts = []
        for _ in range(5):
            latent = sqrt(alike) * common + sqrt(1 - alike) * rng.normal(size=150)
            parts.append((_ids(150), (latent < 0.3).astype(int) - (latent < 0).astype(int)))
        found = mean_difference(parts)
        hits += found.low <= truth <= found.high
    assert 0.92 <= hits / 600 <= 0.975


def test_no_difference_at_all() -> None:
    assert mean_difference([(_ids(5), np.zeros(5))]) == (0, 0, 0, 1)


def test_seeds_give_an_interval_that_is_wider_than_the_percentiles() -> None:
    values = [0.91, 0.93, 0.92, 0.95, 0.90]
    found = over_seeds(values)
    assert found == over_seeds(values) and found.value == pytest.approx(0.922)
    assert min(values) <= found.low < 0.908 and 0.939 < found.high <= max(values)
    assert over_seeds([v + 0.01 for v in values]) == pytest.approx([v + 0.01 for v in found])
    with pytest.raises(ValueError, match="at least two"):
        over_seeds([0.9])
