"""The page of results: its verdicts, what a failed exhibit does to a claim, and claims on tables as the components make them."""

from __future__ import annotations

import numpy as np
import pytest

from components.analysis.cosine import cosines, task_cosines
from components.analysis.forgetting import forgetting
from components.predictions import Predictions
from components.weights import Checkpoint
from tests.benchmarks.results.claims import CLAIMS, Claim, apart, negated, swings
from tests.benchmarks.results.page import claims, measured, page
from tests.benchmarks.results.runs import SEEDS, STUDIES
from tests.benchmarks.results.told import Missing, Told
from tests.benchmarks.results.why import WHY

GAP = Claim("soup", "one is ahead", "here", lambda told: told.gap("one", "two"), least=1.0)
SPEC = {"model_cfg": {}, "ancestry": "root"}


def run(*top1: float) -> Told:
    rows = [{"model": m, "split": s, "top1": x} for m, x in zip(("one", "two"), top1, strict=False) for s in ("here", "mean")]
    return Told({"table": rows}, "here", "mean", ("one", "two"))


@pytest.mark.parametrize(
    ("ahead", "verdict"), [((0.02, 0.03, 0.04), "**reproduced**"), ((0.0, 0.005, -0.01), "contradicted"), ((0.0, 0.02, 0.03), "open")]
)
def test_a_verdict_asks_the_whole_interval(ahead: tuple[float, ...], verdict: str) -> None:
    assert measured(GAP, [run(0.5 + gap, 0.5) for gap in ahead])[1] == verdict


def test_a_run_without_the_number_is_left_out_and_shown() -> None:
    undefined = Claim("soup", "nothing", "here", lambda told: float("nan"))
    runs = [run(0.6, 0.5), run(0.6), run(0.7, 0.5)]
    assert measured(GAP, runs) == ("+15.0 (+10.0 to +20.0) points", "**reproduced**", "+10.0, none, +20.0")
    assert measured(GAP, runs[:2])[:2] == measured(undefined, runs)[:2] == ("", "not measured")
    with pytest.raises(Missing, match="pairs has no row"):
        runs[0].column("pairs", "angle")
    with pytest.raises(KeyError, match="top5"):  # a wrong name is our mistake, and no exhibit that failed
        runs[0].column("table", "top5")


def test_the_page_tells_every_claim_even_where_nothing_was_recorded() -> None:
    told = claims({study: [Told({}, "", "mean", ())] * 2 for study in STUDIES})
    assert sum("not measured" in line for line in told if line.startswith("| ")) == len(CLAIMS)
    text = page({"soup": [run(0.6, 0.5)] * 5})
    assert "| one | 60.0 (60.0 to 60.0) | 60.0 (60.0 to 60.0) |" in text and f"of {len(CLAIMS)} claims" in text


def test_claims_have_texts_of_their_own_and_reasons_are_of_claims() -> None:
    texts = [claim.text for claim in CLAIMS]
    assert len(set(texts)) == len(texts) and set(WHY) <= set(texts) and {claim.study for claim in CLAIMS} <= set(STUDIES)
    seeds = [seed for own in SEEDS.values() for seed in own]
    assert len(set(seeds)) == len(seeds) == 5 and 0 not in seeds


def answers(right: int) -> Predictions:
    return Predictions(np.arange(100).astype(str), np.zeros(100, np.int64), np.eye(2, dtype=np.float32)[(np.arange(100) >= right).astype(int)])


def test_claims_on_task_vectors_read_the_tables_as_they_are_made() -> None:
    base, one, two = (Checkpoint.of({"w": np.random.default_rng(i).normal(size=(4, 3))}, SPEC) for i in range(3))
    methods = ["pretrained", "random vector", "negative task vector"]
    target = {"a": [answers(80), answers(78), answers(50)], "b": [answers(60), answers(62), answers(40)]}
    tables = {
        "task_cosines": task_cosines(base, {"a": one, "b": two}).rows,
        "negations": forgetting(target, target, dict.fromkeys(target, [base] * 3), methods).rows,
    }
    told = Told(tables, "", "mean of tasks", ())
    assert apart(told) == pytest.approx(cosines([one, two], base)[0][1])
    assert swings(told) == pytest.approx((30 + 20) / 2) and negated(told, "target_accuracy", "random vector") == pytest.approx((28 + 22) / 2)
