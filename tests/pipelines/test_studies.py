"""Every study, smoke, twice: a table, then all hits without torch, Ray or MLflow, and nothing written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.commands.studies import presets, studies

RUN = [sys.executable, "-m", "pipelines", "run"]
FAST = ["--ray", "none", "--tracking", "none"]
MORE = {"soup": ["--others", "[Drawn('garments', n=200, steps=2), Drawn('shapes', n=200, steps=2)]"]}  # what the smoke preset leaves out
AGAIN = """
import json, sys
from pipelines.__main__ import main
code = main(sys.argv[1:])
heavy = [name for name in ("torch", "ray", "mlflow", "open_clip", "matplotlib", "sklearn") if name in sys.modules]
print(json.dumps({"code": code, "heavy": heavy}))
"""


def listing(store: Path) -> dict[str, int]:
    return {str(path.relative_to(store)): path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {**os.environ, "STOCKPOT_CACHE": str(tmp_path_factory.mktemp("cache"))}


@pytest.mark.parametrize("study", list(studies()))
def test_a_study_runs_and_then_answers_from_its_store(study: str, tmp_path: Path, cache: dict[str, str]) -> None:
    assert {"smoke", "tiny", "paper"} <= set(presets(study))
    store = tmp_path / "store"
    words = [study, "smoke", "--store", str(store), *FAST, *MORE.get(study, [])]
    first = subprocess.run([*RUN, *words], env=cache, capture_output=True, text=True, timeout=300)
    assert first.returncode == 0, first.stderr + first.stdout
    head = re.search(r"^model .* %", first.stdout, re.MULTILINE)
    assert head, first.stdout
    table, page = first.stdout[head.start() :], Path(first.stdout.split()[-1])
    assert page.is_file() and page.parent.joinpath("figures").is_dir()

    before = listing(store)
    again = subprocess.run([sys.executable, "-c", AGAIN, "run", *words], env=cache, capture_output=True, text=True, timeout=60)
    *shown, facts = again.stdout.strip().splitlines()
    assert json.loads(facts) == {"code": 0, "heavy": []}, again.stderr
    assert "\n".join(shown).endswith(table.strip())
    assert listing(store) == before


def test_the_winner_opens_in_open_clip_and_tells_its_lineage(tmp_path: Path, cache: dict[str, str]) -> None:
    words = ["soup", "smoke", "--store", str(tmp_path / "store"), *FAST]
    done = subprocess.run([*RUN, *words], env=cache, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    winner = next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("model   /"))
    import open_clip
    import torch

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{winner}")
    assert preprocess is not None
    with torch.inference_mode():
        assert torch.isfinite(model.eval().encode_image(torch.zeros(1, 3, 32, 32))).all()
    assert "base_model:" in Path(winner, "card.md").read_text()
