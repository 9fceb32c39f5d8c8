"""`show`, `verify` and `report`: what a store holds, whether it is intact, and its page made again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipelines.commands.conftest import Stockpot, line


def key_of(store: Path, function: str) -> str:
    return sorted(path.parent.name for path in store.glob(f"{function}-*/record.json"))[0]


def test_show_lists_nodes_and_runs(stockpot: Stockpot, soup: Path) -> None:
    shown = stockpot("show", "--store", soup).stdout
    assert all(path.parent.name in shown for path in soup.glob("*/record.json"))
    facts = json.loads(stockpot("show", "--store", soup, "--json").stdout)
    assert {node["state"] for node in facts["nodes"]} == {"done"}
    assert [(run["status"], "soup smoke" in run["command"]) for run in facts["runs"]] == [("finished", True)]


def test_show_tells_all_of_one_node(stockpot: Stockpot, soup: Path) -> None:
    key = key_of(soup, "greedy")
    shown = stockpot("show", key[:10], "--store", soup).stdout
    assert f"key: {key}" in shown and "rule: greedy" in shown and "leaves:" in shown and "open_clip_model.safetensors" in shown
    assert json.loads(stockpot("show", key.rsplit("-")[1][:8], "--store", soup, "--json").stdout)["key"] == key
    several = stockpot("show", "train", "--store", soup)
    assert several.returncode == 2 and "2 keys begin with it" in several.stderr


def test_show_tells_why_a_node_failed(stockpot: Stockpot, copy: Path) -> None:
    key = key_of(copy, "uniform")
    (copy / key / "record.json").unlink()
    (copy / key / "failure.json").write_text(json.dumps({"error": "weights are not finite", "kind": "Diverged"}))
    assert "failed: Diverged" in stockpot("show", "--store", copy).stdout
    assert "weights are not finite" in stockpot("show", key, "--store", copy).stdout


def test_verify_finds_every_kind_of_damage_and_names_the_file(stockpot: Stockpot, copy: Path) -> None:
    sound = stockpot("verify", "--store", copy)
    assert sound.returncode == 0 and "all as recorded" in sound.stdout
    files = [next((copy / key_of(copy, name) / "attempts").rglob("*.safetensors")) for name in ("train", "uniform", "best")]
    flipped, cut, gone = files
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 1
    flipped.write_bytes(content)
    cut.write_bytes(cut.read_bytes()[:-1])
    gone.unlink()
    torn = copy / key_of(copy, "wise_ft") / "record.json"
    torn.write_text(torn.read_text()[:100])
    done = stockpot("verify", "--store", copy)
    damaged = {line.split(": ")[1]: line for line in done.stdout.splitlines() if line.startswith("damaged: ")}
    assert done.returncode == 5 and set(damaged) == {str(path) for path in (*files, torn)}
    assert "its bytes changed" in damaged[str(flipped)] and "bytes, " in damaged[str(cut)] and "missing" in damaged[str(gone)]


def test_report_makes_the_page_again_from_records_alone(stockpot: Stockpot, copy: Path) -> None:
    shutil.rmtree(copy / "reports")
    done = stockpot("report", "soup", "smoke", "--store", copy)
    assert done.returncode == 0, done.stderr
    page = Path(done.stdout.split()[-1])
    assert page.is_file() and page.is_relative_to(copy) and "greedy soup" in page.read_text().lower()
    assert "digits %" in done.stdout


def test_report_names_what_is_missing(stockpot: Stockpot, copy: Path) -> None:
    key = key_of(copy, "tabulate")
    (copy / key / "record.json").unlink()
    done = stockpot("report", "soup", "smoke", "--store", copy)
    assert done.returncode == 2 and key in done.stderr and "1 stage in all" in done.stderr and "stockpot run soup smoke" in done.stderr


@pytest.fixture
def frozen(copy: Path) -> Iterator[Path]:
    """The store where it cannot be written: by its permissions, or for root by a mount."""
    if os.geteuid():
        copy.chmod(0o555)
        yield copy
        copy.chmod(0o755)
        return
    if subprocess.run(["mount", "--bind", str(copy), str(copy)], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    subprocess.run(["mount", "-o", "remount,ro,bind", str(copy)], check=True)
    yield copy
    subprocess.run(["umount", str(copy)], check=True)


def test_a_read_only_store_can_be_read(stockpot: Stockpot, frozen: Path) -> None:
    for words in (["show"], ["verify"], ["plan", "soup", "smoke"]):
        assert stockpot(*words, "--store", frozen).returncode == 0, words
    done = stockpot("run", "soup", "smoke", "--trials", "3", "--store", frozen, "--ray", "none")
    assert done.returncode == 4 and "cannot be written" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--store", __file__), "is a file, and a store is a folder"),
        (("--store", "foo://test/x"), "nothing here knows foo://"),
        (("--store", "s3//test/x"), "is neither a path nor a URL"),
        (("--cpus", "0"), "--cpus 0: give 1 or more"),
    ],
)
def test_a_place_that_cannot_be_one_is_told_in_a_line(stockpot: Stockpot, tmp_path: Path, words: tuple[str, ...], reason: str) -> None:
    own = () if words[0] == "--store" else ("--store", str(tmp_path / "store"))
    done = stockpot("run", "soup", "smoke", "--tracking", "none", *words, *own)
    assert done.returncode == 2 and reason in line(done)
