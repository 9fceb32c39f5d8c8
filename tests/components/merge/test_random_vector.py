"""The random vector: as long as the task vector in every tensor, normal, and nowhere dependent on how it was cut."""

from __future__ import annotations

import numpy as np
import pytest

from components.merge.random_vector import Gaussian, random_vector
from components.weights import Checkpoint, Policy, engine
from tests.components.merge.test_ties import SPEC, WIDE, model, of

FROZEN = Checkpoint.of({**of(model(1)), "v": of(model(0))["v"], "ids": np.arange(3)}, SPEC)


def test_every_tensor_moves_as_far_as_in_the_task_vector_and_no_other() -> None:
    base, found = of(model(0)), of(random_vector(model(0), FROZEN, policy=WIDE))
    for key, start in base.items():
        expected = np.linalg.norm(of(FROZEN)[key] - start)
        assert np.linalg.norm(found[key] - start) == pytest.approx(expected, rel=1e-6)
    assert found["v"].tobytes() == base["v"].tobytes()
    assert dict(random_vector(model(0), FROZEN).tensors())["ids"].tolist() == [0, 1, 2]
    cosine = np.vdot(found["w"] - base["w"], of(FROZEN)["w"] - base["w"]) / np.linalg.norm(found["w"] - base["w"]) ** 2
    assert abs(cosine) < 5 / np.sqrt(base["w"].size)


def test_the_coefficient_scales_it_and_0_is_the_base() -> None:
    base, whole, half = (of(one) for one in (model(0), *(random_vector(model(0), FROZEN, c, policy=WIDE) for c in (1.0, -0.5))))
    np.testing.assert_allclose(half["w"] - base["w"], -0.5 * (whole["w"] - base["w"]), rtol=1e-9, atol=1e-12)
    assert of(random_vector(model(0), FROZEN, 0.0))["w"].tobytes() == base["w"].tobytes()


def test_the_seed_and_the_model_decide_the_direction() -> None:
    one, again, seed, other = (
        of(random_vector(model(0), tuned, seed=seed))["w"].tobytes() for tuned, seed in ((FROZEN, 0), (FROZEN, 0), (FROZEN, 1), (model(2), 0))
    )
    assert one == again and len({one, seed, other}) == 3


def test_the_stream_is_normal_and_any_part_of_it_is_the_same() -> None:
    method, n = Gaussian(1.0, 3, "digest"), 200_001
    whole = np.concatenate([block for _, block in method.blocks("w", 0, n)])
    assert len(whole) == n and np.isfinite(whole).all()
    for moment, expected in ((whole.mean(), 0), ((whole**2).mean(), 1), ((whole**3).mean(), 0), ((whole**4).mean(), 3)):
        assert abs(moment - expected) < 5 * np.sqrt(96 / n)
    assert abs((whole[:-1] * whole[1:]).mean()) < 5 / np.sqrt(n)
    for low, count in ((0, 1), (1, 7), (65_535, 3), (65_537, 70_000), (5, 0), (n - 3, 3)):
        places = [(at, block.copy()) for at, block in method.blocks("w", low, count)]
        assert [at for at, _ in places] == list(np.cumsum([0, *(len(block) for _, block in places)])[:-1])
        assert np.concatenate([*(block for _, block in places), []]).tobytes() == whole[low : low + count].tobytes()


def test_neither_slabs_nor_threads_show(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = of(random_vector(model(0), FROZEN))
    monkeypatch.setattr(engine, "SLAB", 37)
    monkeypatch.setattr(engine, "BLEND", 37 * 8 * 2)
    cut = of(random_vector(model(0), FROZEN, policy=Policy()))
    assert all(cut[key].tobytes() == array.tobytes() for key, array in whole.items())
