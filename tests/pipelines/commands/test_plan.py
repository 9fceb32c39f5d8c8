"""`plan`: what is cached, why the rest is not, and what it would cost, without computing or importing what computes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Stockpot = Callable[..., subprocess.CompletedProcess[str]]
HEAVY = ("torch", "ray", "mlflow", "open_clip", "sklearn")


def planned(stockpot: Stockpot, *words: object) -> dict[str, Any]:
    done = stockpot("plan", *words, "--json")
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return {**facts, "by": {row["function"]: row for row in facts["stages"]}}


def test_a_finished_study_is_all_cached(stockpot: Stockpot, soup: Path) -> None:
    before = sorted(soup.rglob("*"))
    facts = planned(stockpot, "soup", "smoke", "--store", soup)
    assert facts["to_run"] == 0 and all(row["cached"] == row["total"] for row in facts["stages"])
    assert "every stage is there" in stockpot("plan", "soup", "smoke", "--store", soup).stdout
    assert sorted(soup.rglob("*")) == before


def test_why_a_stage_is_not_cached(stockpot: Stockpot, soup: Path) -> None:
    facts = planned(stockpot, "soup", "smoke", "--store", soup, "--task.steps", "12")
    row = facts["by"]["train"]
    assert (row["total"], row["cached"], row["to_run"]) == (2, 0, 2) and "steps: 6 -> 12" in row["why"][0]
    assert facts["by"]["uniform"]["why"] == ["models: a train that is to run first"]
    assert facts["by"]["pretrained"]["cached"] == 1 and facts["trials_to_run"] == facts["trials"] == 2


def test_costs_come_from_the_records_of_the_same_model(stockpot: Stockpot, soup: Path) -> None:
    facts = planned(stockpot, "soup", "smoke", "--store", soup, "--trials", "5")
    records = [json.loads(path.read_text()) for path in soup.glob("train-*/record.json")]
    assert facts["by"]["train"]["to_run"] == 3
    sizes = [sum(file["size"] for file in record["result"]["files"]) for record in records]  # a learning rate may take a digit more
    assert 3 * min(sizes) <= facts["by"]["train"]["bytes"] <= 3 * max(sizes)
    low, high = sorted(record["seconds"] for record in records)
    assert 3 * low <= facts["by"]["train"]["seconds"] <= 3 * high
    other = planned(stockpot, "soup", "smoke", "--store", soup, "--model", "OpenClip('ViT-B-32')")
    assert other["by"]["train"]["seconds"] is None and other["seconds"] is None


def test_a_plan_needs_no_store_and_makes_none(stockpot: Stockpot, tmp_path: Path) -> None:
    facts = planned(stockpot, "soup", "paper", "--store", tmp_path / "none")
    assert facts["trials"] == 72 and facts["by"]["train"]["why"] == ["never computed in this store"]
    assert any("imagenet/train" in note for note in facts["notes"])
    assert planned(stockpot, "soup", "smoke", "--store", tmp_path / "none")["by"]["train"]["to_run"] == 2 and not (tmp_path / "none").exists()


def test_other_data_at_the_same_address_is_told(stockpot: Stockpot, digits: Path, tmp_path: Path) -> None:
    from components.weights.digests import digests_of
    from infra.dag import Fingerprints
    from infra.store import Record, Store
    from infra.store.pins import Pins
    from pipelines.commands.studies import chosen

    words = ["soup", "smoke", "--task", "Own", "--task.url", str(digits)]
    plan, store = chosen(words, "run").study.plan(), Store(str(tmp_path))
    fingerprints = Fingerprints(Pins(store.place, digests_of).of(plan))
    node = next(node for node in plan.nodes() if node.function == "predict")
    store.publish(Record(fingerprints.key(node), "x", fingerprints.of(node), 1, fingerprints.arguments(node), {}, {"value": 1}))
    extra = digits / "zero" / "extra.png"
    extra.write_bytes((digits / "zero" / "0.png").read_bytes())
    try:
        assert "the data is not the same" in planned(stockpot, *words, "--store", tmp_path)["by"]["predict"]["why"][0]
    finally:
        extra.unlink()


def test_a_plan_imports_nothing_that_computes(soup: Path) -> None:
    script = (
        "import sys; from pipelines.__main__ import main; assert main(sys.argv[1:]) == 0;"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    for words in (["plan", "soup", "tiny"], ["plan", "pretrain", "smoke"], ["show"], ["verify"]):
        done = subprocess.run([sys.executable, "-c", script, *words, "--store", str(soup)], capture_output=True, text=True, timeout=60)
        assert done.stdout.strip().endswith("[]"), (words, done.stdout[-300:], done.stderr)
