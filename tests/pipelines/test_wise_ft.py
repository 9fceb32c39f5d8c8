"""The study of WiSE-FT as a plan: what it refuses, and what it shares."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from infra.dag import Fingerprints
from pipelines.wise_ft import PRESETS

TINY = PRESETS["tiny"]


@pytest.mark.parametrize("alphas", [(), (-0.1, 0.5), (0.5, 1.1), (float("nan"),)])
def test_places_that_are_not_on_the_line_are_refused(alphas: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"give one or more, each from 0 \(zero-shot\) to 1 \(fine-tuned\)"):
        replace(TINY, alphas=alphas).plan()


@pytest.mark.parametrize("baselines", [(), (10,), (10, 10)])
def test_one_baseline_carries_no_line(baselines: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="two or more different numbers of steps"):
        replace(TINY, baselines=baselines).plan()


def test_the_command_says_it_in_one_line() -> None:
    done = subprocess.run([sys.executable, "-m", "pipelines", "plan", "wise_ft", "--alphas", "0.5,1.5"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stderr.strip().count("\n") == 0 and "alphas [0.5, 1.5]: give one or more" in done.stderr


def candidates(study: Any) -> dict[str, str]:
    """{row of the table: identity of its model}."""
    prints = Fingerprints()
    return {one.name: prints.key(one.node) for one in study.plan().about.candidates}


def test_the_ends_of_the_lines_are_the_models_and_the_order_of_alphas_is_none() -> None:
    found = candidates(TINY)
    assert found["WiSE-FT 0"] == found["zero-shot"] and found["WiSE-FT 1"] == found["fine-tuning"]
    assert candidates(replace(TINY, alphas=(*TINY.alphas[::-1], 0.5))) == found
    more = candidates(replace(TINY, alphas=(*TINY.alphas, 0.75)))
    assert {name for name in found if more[name] != found[name]} == {f"WiSE-FT{line}, held-out" for line in ("", " head", " Fisher")}


def test_the_seed_reaches_every_training_and_no_baseline_is_a_judged_model() -> None:
    one, other = candidates(TINY), candidates(replace(TINY, seed=1))
    assert [name for name in one if one[name] == other[name]] == ["zero-shot", "WiSE-FT 0"]
    assert one["150 steps"] != one["fine-tuning"] and one["150 steps"] == other["fine-tuning"]
