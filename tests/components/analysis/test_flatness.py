"""The estimate of model soups' section 4: nothing to explain for linear models, close for a smooth network, closer the nearer the ends are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from components.analysis.flatness import flatness, inverse_temperature, losses
from components.predictions import Predictions

N, D, K = 400, 6, 5
FINE = [0.0, 0.49, 0.5, 0.51, 1.0]
Net = Callable[[float], np.ndarray]


def along(net: Net, labels: np.ndarray, alphas: list[float]) -> list[Mapping[str, Any]]:
    ids = np.array([str(i) for i in range(len(labels))])
    return list(flatness([Predictions(ids, labels, net(a)) for a in alphas], alphas).rows)


def drawn(seed: int = 3) -> tuple[np.random.Generator, np.ndarray, np.ndarray, np.ndarray]:
    """The generator, inputs, the linear map that labels follow with Gumbel noise, and labels."""
    random = np.random.default_rng(seed)
    x, truth = random.normal(size=(N, D)), random.normal(size=(D, K))
    return random, x, truth, (x @ truth + random.gumbel(size=(N, K))).argmax(axis=1)


def test_a_linear_model_s_soup_is_its_ensemble_and_curvature_is_doubt() -> None:
    """Both sides at beta: d2 L / da2 by differences, and beta^2 E Var of the difference of the logits, computed anew here."""
    random, x, truth, labels = drawn()
    first, second = (truth + 0.5 * random.normal(size=(D, K)) for _ in range(2))
    row = along(lambda a: x @ ((1 - a) * first + a * second), labels, FINE)[1]
    assert row["measured"] == pytest.approx(0, abs=1e-14)
    curvature, doubt = -8 * row["flatness"], 8 * row["confidence"]
    p = torch.softmax(torch.from_numpy(row["beta"] * x @ (first + second) / 2), 1).numpy()
    moved = x @ (second - first)
    golden = row["beta"] ** 2 * float(((p * moved**2).sum(1) - (p * moved).sum(1) ** 2).mean())
    assert golden > 0.1 and doubt == pytest.approx(golden, rel=1e-10)
    assert curvature == pytest.approx(golden, rel=1e-4)  # the step is 0.01


def tanh_net(eps: float) -> tuple[Net, np.ndarray]:
    """Two layers, of which the second is fitted to the labels, and the same `eps` away.

    Of this draw the two terms do not all but cancel, so that the gap itself is a measure of the error.
    """
    random, x, _, labels = drawn(5)
    w = random.normal(size=(D, 16)) / np.sqrt(D)
    v = 3 * np.linalg.lstsq(np.tanh(x @ w), np.eye(K)[labels] - 1 / K, rcond=None)[0]
    dw, dv = random.normal(size=w.shape) / 5, random.normal(size=v.shape) / 5
    return (lambda a: np.asarray(np.tanh(x @ (w + a * eps * dw)) @ (v + a * eps * dv))), labels


def test_a_smooth_network_is_predicted_and_the_better_the_nearer_its_ends() -> None:
    errors = {}
    for eps in (0.4, 0.2, 0.1, 0.05):
        row = along(*tanh_net(eps), FINE)[1]
        errors[eps] = abs(row["predicted"] - row["measured"])
        assert abs(row["measured"]) > 2e-6 and (eps > 0.2 or errors[eps] < 0.05 * abs(row["measured"]))
    assert errors[0.05] < errors[0.4]


def test_the_order_of_the_points_and_of_the_ends_changes_nothing() -> None:
    net, labels = tanh_net(0.3)
    rows = along(net, labels, [0.0, 0.25, 0.5, 1.0])
    assert along(net, labels, [1.0, 0.5, 0.0, 0.25]) == rows and [row["alpha"] for row in rows] == [0.25, 0.5]
    for row, mirrored in zip(rows, along(lambda a: net(1 - a), labels, [0.0, 0.5, 0.75, 1.0])[::-1], strict=True):
        assert {**mirrored, "alpha": 1 - mirrored["alpha"]} == pytest.approx(row, rel=1e-9)


def test_the_temperature_is_where_the_slope_vanishes() -> None:
    random, _, _, labels = drawn()
    logits = 9 * random.normal(size=(N, K)) + 3 * np.eye(K)[labels]
    beta = inverse_temperature(logits, labels)
    ends = [losses(b * logits, labels).mean() for b in (0.99 * beta, beta, 1.01 * beta)]
    assert 0 < beta < 1 and ends[1] < min(ends[0], ends[2])


@pytest.mark.parametrize("alphas", [[0.0, 1.0], [0.0, 0.5, 0.9], [0.0, 0.5, 0.5, 1.0]])
def test_other_grids_are_refused(alphas: list[float]) -> None:
    with pytest.raises(ValueError, match="from 0 to 1 with at least one between"):
        along(*tanh_net(0.1), alphas)


def test_other_examples_are_refused() -> None:
    net, labels = tanh_net(0.1)
    ids = np.array([str(i) for i in range(N)])
    with pytest.raises(ValueError, match="different examples"):
        flatness([Predictions(ids if a else ids[::-1], labels, net(a)) for a in (0.0, 0.5, 1.0)], [0.0, 0.5, 1.0])
    with pytest.raises(ValueError, match="no loss"):
        flatness([Predictions(ids, np.full(N, -1), net(a)) for a in (0.0, 0.5, 1.0)], [0.0, 0.5, 1.0])
