"""What is sent to a cluster, what is refused before, and which run a person means; nothing here starts or asks one."""

from __future__ import annotations

import hashlib
import shlex
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from infra import settings, source
from infra.backends.cluster.jobs import Submission, address_of
from infra.errors import INFRASTRUCTURE
from pipelines.commands import limit
from pipelines.commands.status import picked, report
from pipelines.commands.studies import chosen, presets, studies
from pipelines.commands.submit import Asked, identity, main, told, unseen, words_of
from tests.pipelines.commands.conftest import Stockpot

ROOT = Path(__file__).resolve().parents[3]
STORE = "s3://bucket/store"


def words(*given: str) -> list[str]:
    return words_of(chosen(given, "submit", Asked), STORE)


@pytest.mark.parametrize("study", studies())
def test_every_preset_is_itself_after_it_was_sent(study: str) -> None:
    for preset in presets(study):
        assert words(study, preset) == ["run", study, preset, f"--store={STORE}", "--ray=auto"]


@pytest.mark.parametrize(
    "flags",
    [
        ("--trials", "3", "--update.lr", "1e-5", "--accept", "gt"),
        ("--others", "[]", "--alphas", "0.1,0.25"),
        ("--others", "SHAPES, Own('s3://b/x; rm -rf $HOME')", "--seed", "7"),
        ("--task", "Own", "--task.url", "s3://b/x", "--task.shift_urls", "{it's: s3://b/y}", "--task.prompts", "a {}.,the \"{}\""),
        ("--space", "CLIP", "--task.steps", "9", "--task.prompts", "ein schönes {}, \\n"),
        ("--model.name", "ViT-B-32", "--model.pretrained", "openai", "--checkpoint_every", "5", "--quiet"),
        ("--on.gpus", "0.5", "--on.memory", "16e9", "--on.accelerator", "L4", "--on.exact", "true"),
    ],
)
def test_fields_and_options_arrive_as_they_were_typed(flags: tuple[str, ...]) -> None:
    sent, there = words("soup", "smoke", *flags), chosen(["soup", "smoke", *flags], "run", limit.Asked)
    arrived = chosen(sent[1:], "run", limit.Asked)
    assert arrived.study == there.study and arrived.options.store == STORE and arrived.options.ray == "auto"
    assert all(getattr(arrived.options, name) == getattr(there.options, name) for name in ("checkpoint_every", "quiet", "on"))
    assert not any("\n" in word for word in sent)


def test_a_file_of_fields_stays_here_and_what_it_says_is_sent(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("trials: 5\nupdate: {lr: 1e-4}\n")
    sent = words("soup", "smoke", "--config", str(tmp_path / "mine.yaml"), "--trials", "6", "--yes", "--limit_hours", "3")
    assert sent[3:-2] == ["--update.lr=0.0001", "--trials=6"]


def plan(*given: str) -> str:
    return identity(chosen(given, "submit", Asked).study.plan(), STORE)


def test_what_computes_the_same_is_one_plan() -> None:
    assert plan("soup", "smoke") == plan("soup", "smoke", "--quiet", "--tracking", "none", "--trials", "2")
    assert len({plan("soup", "smoke"), plan("soup", "smoke", "--seed", "1"), plan("soup"), plan("wise_ft", "smoke")}) == 4
    assert identity(presets("soup")["smoke"].plan(), "s3://bucket/other") != plan("soup", "smoke")


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--store", "./store"), "--store ./store: is on this machine; a cluster's store is a bucket"),
        (("--store", "store", "--shared"), "under a path from /"),
        (("--task", "Own", "--task.url", "./flowers"), "./flowers: is on this machine; copy it to the bucket and give its URL"),
        (("--tracking", "sqlite:///x.db"), "is not a server that a cluster could reach; give its http:// address, or none"),
        (("--ray", "none"), "--ray and --cpus are of a run on this machine"),
        (("--cpus", "4"), "--ray and --cpus are of a run on this machine"),
        (("--task", "Own", "--task.url", "https://host/x.tar?X-Amz-Signature=hunter2"), "--task: holds a secret"),
        (("--seed", "hunter22"), "expected a whole number"),
        (("--address", "auto"), "give its URL, like http://127.0.0.1:8265"),
        (("--address", "http://me:hunter2@host:8265"), "credentials do not belong in a URL"),
        ((), "which cluster? give --address"),
    ],
)
def test_what_cannot_work_is_refused_here(flags: tuple[str, ...], reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        main(["soup", "smoke", *(() if "--store" in flags else ("--store", STORE)), *flags])
    assert reason in str(caught.value) and "hunter2" not in str(caught.value).replace("hunter22", "") and "\n" not in str(caught.value)


def test_a_secret_of_this_environment_is_sent_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "correct horse")
    settings.secrets.cache_clear()
    with pytest.raises(ValueError, match="--task: holds a secret") as caught:
        words("soup", "smoke", "--task", "Own", "--task.url", "s3://b/correct horse")
    assert "correct horse" not in str(caught.value)
    settings.secrets.cache_clear()


def test_a_shared_folder_is_a_store_where_it_is_said_to_be_one(tmp_path: Path, stockpot: Stockpot) -> None:
    done = stockpot("submit", "soup", "smoke", "--store", tmp_path / "store", "--shared", "--address", "http://127.0.0.1:9")
    assert done.returncode == INFRASTRUCTURE and "no cluster answers at http://127.0.0.1:9 (Connection refused); is the cluster up" in done.stderr
    assert not (tmp_path / "store").exists() and unseen(Asked(store=str(tmp_path / "none"))) == ""


def test_the_address_is_the_flag_or_what_ray_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://head:8265/")
    assert address_of("") == "http://head:8265" and address_of("https://other") == "https://other"


def test_the_wheel_is_this_source_and_asks_for_nothing(tmp_path: Path) -> None:
    """pip would fetch what it asks for, torch too, onto every node; and Ray takes two wheels of one name for the same."""
    first = Path(source.wheel(str(tmp_path)))
    (tmp_path / "again").mkdir()
    assert hashlib.sha256(first.read_bytes()).digest() == hashlib.sha256(Path(source.wheel(str(tmp_path / "again"))).read_bytes()).digest()
    assert source.digest() in first.name
    with zipfile.ZipFile(first) as archive:
        metadata = next(name for name in archive.namelist() if name.endswith("METADATA"))
        assert b"Requires-Dist" not in archive.read(metadata) and "infra/store/store.py" in archive.namelist()
        archive.extractall(tmp_path / "there")
    lines = ["from infra import source, settings", "print(source.digest(), source.ROOT)", "source.agree()"]
    ran = {"cwd": tmp_path, "capture_output": True, "text": True}
    for wanted, code in ((source.digest(), 0), ("another", 1)):
        env = {"PYTHONPATH": str(tmp_path / "there"), "STOCKPOT_SOURCE": wanted}
        done = subprocess.run([sys.executable, "-P", "-c", "\n".join(lines)], env=env, **ran)  # type: ignore[call-overload]
        assert done.stdout.split() == [source.digest(), str(tmp_path / "there")] and bool(done.returncode) == bool(code)
    assert "is another source" in done.stderr


def test_the_wheel_has_what_an_installation_has() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["*"]
    assert {pattern.removeprefix("**/*") for pattern in data} | {".py"} == source.SUFFIXES
    assert source.holds(str(ROOT / "components" / "models")) and not source.holds(str(ROOT / "docs"))


def run(id: str, state: str = "done", **more: Any) -> Submission:
    return Submission(id, state, {"study": "soup", "preset": "tiny", "store": STORE}, **more)


def test_a_run_is_named_by_its_beginning() -> None:
    first, second, other, going = run("soup-aa-1", "stopped"), run("soup-aa-2"), run("patch-bb-1"), run("soup-cc-1", "running")
    every = [first, second, other]
    assert picked(every, "soup-aa-1") == first and picked(every, "soup-aa") == second and picked(every, "pa") == other
    assert picked(every, "") == other and picked([going, *every], "") == going
    assert picked([], "") is None and picked(every, "wise") is None
    with pytest.raises(ValueError, match="which one? soup-aa-1, soup-aa-2, soup-cc-1".replace("?", r"\?")):
        picked([first, second, going], "soup")


@pytest.mark.parametrize(("state", "inside", "code"), [("done", 0, 0), ("in part", 3, 3), ("failed", 2, 2), ("failed", -9, 4), ("stopped", None, 4)])
def test_the_exit_code_is_that_of_the_run_inside(state: str, inside: int | None, code: int) -> None:
    assert run("soup-aa-1", state, exit_code=inside).code == code


def test_the_page_of_a_run_is_one_command() -> None:
    done = run("soup-aa-1", words=f"exec python -P -m pipelines run soup tiny '--task.prompts=[a {{}}]' --store={STORE} --ray=auto --tracking=none")
    assert report(done) == f"stockpot report soup tiny '--task.prompts=[a {{}}]' --store={STORE} --out ./page"


def test_a_run_under_way_with_other_flags_says_so() -> None:
    asked = words("soup", "smoke", "--on.workers", "2")
    runs = [f"exec python -P -m pipelines {shlex.join(sent)}" for sent in (asked, words("soup", "smoke"))]
    same, other = (Submission("soup-1234567890-1", "running", words=line) for line in runs)
    assert "its flags are others" in told(other, False, asked) and "its flags" not in told(same, False, asked) + told(same, True, asked)
