"""The command line as a person meets it: help, exit codes, and one line for everything that is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.__main__ import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "ray", "mlflow", "open_clip", "sklearn", "matplotlib")


def said(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of a command in this process."""
    try:
        code = main(words)
    except SystemExit as stop:
        code = int(stop.code or 0)
    told = capsys.readouterr()
    return code, told.out, told.err


def test_help_lists_commands_and_studies_without_importing_a_study(tmp_path: Path) -> None:
    script = "import json, sys; from pipelines.__main__ import main; main(['--help']); print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    *shown, modules = done.stdout.strip().splitlines()
    text = "\n".join(shown)
    assert all(f"\n  {name} " in text for name in (*COMMANDS, "soup", "pretrain"))
    assert not {"pipelines.soup", "numpy", "jsonargparse", "yaml", *HEAVY} & set(json.loads(modules))


@pytest.mark.parametrize("command", list(COMMANDS))
def test_each_command_has_a_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = said([command, "--help"], capsys)
    stored = command not in ("copy", "status", "logs", "stop")
    assert (code, err) == (0, "") and out.startswith(f"usage: stockpot {command}") and ("--store TEXT" in out) == stored


NOWHERE = "/dev/null/store"  # below a file: nobody can write there, root included
BAD = [
    (2, ["cook"], "'cook' is not a command"),
    (2, ["run", "souq"], "did you mean 'soup'"),
    (2, ["run", "soup", "smok"], "did you mean 'smoke'"),
    (2, ["run", "soup", "smoke", "--trails", "3"], "did you mean '--trials'"),
    (2, ["plan", "soup", "smoke", "--ray", "none"], "unknown flag --ray"),
    (2, ["show", "--store", NOWHERE], "no store is here"),
    (2, ["verify", "--store", NOWHERE], "no store is here"),
    (2, ["report", "soup", "--store", NOWHERE], "no store is here"),
    (2, ["predict", "soup"], "takes a MODEL and a FOLDER"),
    (2, ["predict", "./nowhere", "."], "no model at ./nowhere"),
    (2, ["eval", "stockpot-tiny"], "takes one MODEL and --data"),
    (2, ["eval", "stockpot-tiny", "--data", "Foldr"], "did you mean 'Folder'"),
    (2, ["merge", "unifrom", "a", "b", "--out", "x"], "did you mean 'uniform'"),
    (2, ["merge", "uniform", "a", "--out", "x"], "two models or more"),
    (2, ["merge", "uniform", "a", "b"], "--out"),
    (4, ["run", "soup", "smoke", "--store", NOWHERE], "cannot be written"),
    (2, ["run", "soup", "smoke", "--task", "Own", "--task.url", "/nowhere", "--ray", "none"], "/nowhere: no such file or folder"),
]


@pytest.mark.parametrize(("expected", "words", "told"), BAD)
def test_what_is_wrong_is_one_line_and_a_class(
    expected: int, words: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = said(words, capsys)
    assert code == expected and told in err, err
    assert err.startswith("stockpot: ") and err.count("\n") == 1


STORES = [
    ("garbage", "has format unknown, this stockpot reads 1"),
    ("[]", "has format unknown, this stockpot reads 1"),
    (json.dumps({"stockpot": {"format": 99}}), "has format 99, this stockpot reads 1"),
]


@pytest.mark.parametrize("words", [["run", "soup", "smoke"], ["plan", "soup", "smoke"], ["show"], ["verify"], ["report", "soup", "smoke"]])
@pytest.mark.parametrize(("content", "told"), STORES)
def test_a_store_that_is_none_of_ours_is_left_alone(
    content: str, told: str, words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "store.json").write_text(content)
    code, _, err = said([*words, "--store", str(tmp_path)], capsys)
    assert code == 5 and told in err and err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["store.json"]


def test_secrets_in_an_address_are_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    _, _, err = said(["predict", "memory://me:hunter2@host/model", "."], capsys)
    assert "hunter2" not in err and "credentials do not belong in a URL" in err


def test_a_bug_of_ours_is_said_to_be_one(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import pipelines.commands.show

    def broken(argv: list[str]) -> int:
        raise KeyError("x")

    monkeypatch.setattr(pipelines.commands.show, "main", broken)
    code, _, err = said(["show"], capsys)
    assert code == 1 and "Traceback" in err and err.endswith("this is a bug of ours, not of yours; nothing finished is lost\n")


def test_a_reader_that_has_seen_enough_ends_it_quietly() -> None:
    script = f"{sys.executable} -m pipelines run soup --help | head -1"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("usage:") and done.stderr == ""


def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "pipelines", "run", "soup", "smoke", "--task.steps", "500", "--ray", "none", "--tracking", "none"]
    words += ["--store", str(tmp_path / "store"), "--space", "{update.lr: 'LogUniform(1e-4, 1e-3)'}"]
    env = {**os.environ, "STOCKPOT_CACHE": str(tmp_path / "cache")}
    run = subprocess.Popen(words, cwd=ROOT, env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not any(b'"metric"' in path.read_bytes() for path in tmp_path.glob("store/runs/*/journal/*.jsonl")):
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 130 and "Traceback" not in err
    assert "a second Ctrl-C does not wait" in out.splitlines()[-1]
    assert err.strip() == "stopped; what was finished is kept, and the same command goes on from there"
    assert list(tmp_path.glob("store/train-*/state/*.json")), "the training state was saved on the way out"
