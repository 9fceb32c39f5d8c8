import numpy as np
import pytest

from components.analysis.robustness import Line, effective, fit, logit


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
