"""DARE: which elements fall, that nothing is lost in expectation, and the definition with the masks written out."""

from __future__ import annotations

import numpy as np
import pytest

from components.merge.dare import dare
from components.merge.drop import Drop
from components.merge.ties import ties
from components.weights import Checkpoint, Policy, mean
from tests.components.merge.test_ties import SPEC, WIDE, defined, flat, model, of

MODELS = [model(i + 1) for i in range(3)]


def masked(p: float, seed: int = 0) -> tuple[np.ndarray, list[np.ndarray]]:
    """(base, base + tau_i') in float64, one tensor at a time."""
    base, ranked = of(model(0)), sorted(MODELS, key=lambda one: one.digest)
    drop = Drop(p, seed, tuple(one.digest for one in ranked))
    tau = [
        np.concatenate([
            np.where(drop.keep(i, key, 0, base[key].size), (of(one)[key] - base[key]).ravel(), 0) / (1 - drop.cut / 65536)
            for key in sorted(base)
        ])
        for i, one in enumerate(ranked)
    ]  # fmt: skip
    return flat(model(0)), [flat(model(0)) + one for one in tau]


def test_the_masks_are_fair_and_belong_to_their_model_tensor_and_seed() -> None:
    drop, n = Drop(0.9, 0, ("a", "b")), 400_000
    keep = drop.keep(0, "w", 0, n)
    others = [drop.keep(1, "w", 0, n), drop.keep(0, "v", 0, n), Drop(0.9, 1, ("a", "b")).keep(0, "w", 0, n)]
    for one in (keep, *others):
        assert abs(one.mean() - 0.1) < 5 * np.sqrt(0.09 / n)
        assert all(abs(one[lane::4].mean() - 0.1) < 5 * np.sqrt(0.36 / n) for lane in range(4))
    for one in (*others, np.roll(keep, 1), np.roll(keep, 4)):
        assert abs((keep & one).mean() - 0.01) < 5 * np.sqrt(0.0099 / n)
    assert np.array_equal(Drop(0.9, 0, ("b",)).keep(0, "w", 0, n), others[0]), "the place of a model does not count"


def test_any_slab_of_a_mask_is_the_same() -> None:
    drop = Drop(0.5, 3, ("a",))
    whole = drop.keep(0, "w", 0, 1000)
    for low, count in ((0, 1), (1, 7), (3, 2), (4, 4), (5, 0), (997, 3), (123, 456)):
        assert np.array_equal(drop.keep(0, "w", low, count), whole[low : low + count])


def test_nothing_is_lost_in_expectation() -> None:
    """The mean over 300 seeds lies within five standard errors of tau nearly everywhere, and the mean over all elements within five."""
    base = Checkpoint.of({"w": np.zeros(50)}, SPEC)
    tuned = Checkpoint.of({"w": np.ones(50)}, SPEC)
    found = np.stack([of(dare(base, [tuned], 0.9, seed, policy=WIDE))["w"] for seed in range(300)])
    assert set(np.unique(found)) == {0.0, Drop(0.9, 0, ("",)).scale} and abs(Drop(0.9, 0, ("",)).scale - 10) < 1e-3
    error = 3 / np.sqrt(300)  # each is 10 with probability 0.1
    assert (np.abs(found.mean(axis=0) - 1) < 5 * error).all() and abs(found.mean() - 1) < 5 * error / np.sqrt(50)


def test_it_is_the_definition() -> None:
    for p in (0.5, 0.9):
        base, left = masked(p)
        got = flat(dare(model(0), MODELS, p, coefficient=0.6, policy=WIDE))
        np.testing.assert_allclose(got, base + 0.6 * (np.mean(left, axis=0) - base), atol=1e-12)
        for k in (3.0, 40.0, 100.0):
            got = flat(dare(model(0), MODELS, p, method="ties", k=k, policy=WIDE))
            np.testing.assert_allclose(got, defined(base, left, k), atol=1e-12)


def test_dropping_nothing_is_the_plain_method() -> None:
    base = model(0)
    assert flat(dare(base, MODELS, 0.0)).tobytes() == flat(mean(MODELS)).tobytes()
    assert flat(dare(base, MODELS, 0.0, method="ties", k=30)).tobytes() == flat(ties(base, MODELS, k=30)).tobytes()


def test_the_order_of_the_models_cannot_show_and_the_seed_does() -> None:
    base = model(0)
    one, turned, other = (flat(dare(base, models, seed=seed)) for models, seed in ((MODELS, 0), (MODELS[::-1], 0), (MODELS, 1)))
    assert one.tobytes() == turned.tobytes() != other.tobytes()


def test_what_makes_no_sense_is_refused() -> None:
    for p in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="at least 0 and less than 1"):
            dare(model(0), MODELS, p)
    with pytest.raises(ValueError, match="no models"):
        dare(model(0), [])
    with pytest.raises(ValueError, match="linear or ties"):
        dare(model(0), MODELS, method="mean")  # type: ignore[arg-type]
    assert Policy() == dare(model(0), MODELS).policy
