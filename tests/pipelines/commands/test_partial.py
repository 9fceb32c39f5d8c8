"""A folder appears complete or not at all; what the dead left is removed, what the living write is not."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from components.weights.statistics import Statistics
from pipelines.commands.partial import refuse_taken, whole

ROOT = Path(__file__).parents[3]
WRITER = """
import sys
from pathlib import Path
from pipelines.commands.partial import whole
with whole(sys.argv[1]) as folder:
    (Path(folder) / "half").write_text("half")
    print("half", flush=True)
    sys.stdin.read()
"""


def write(url: str) -> None:
    with whole(url) as folder:
        (Path(folder) / "a").write_text("a")
        assert not Path(url.removeprefix("file://")).joinpath("a").exists()


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_nothing_is_seen_before_all_is_there(tmp_path: Path, scheme: str) -> None:
    write(f"{scheme}{tmp_path}/deep/new/")
    (tmp_path / "empty").mkdir()
    write(f"{scheme}{tmp_path}/empty")
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert found == ["deep/new/a", "empty/a"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_fails_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), whole(str(tmp_path / "new")) as folder:
        (Path(folder) / "a").write_text("a")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_of_two_writers_the_first_wins_and_the_second_is_refused(tmp_path: Path) -> None:
    url = str(tmp_path / "new")
    with pytest.raises(ValueError, match="another command"), whole(url) as folder:
        (Path(folder) / "b").write_text("b")
        write(url)
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "a"]


def test_the_next_writer_removes_what_a_dead_one_left_and_not_what_a_living_one_writes(tmp_path: Path) -> None:
    url, other = str(tmp_path / "new[1]"), str(tmp_path / "other")
    words = [sys.executable, "-c", WRITER]
    writers = [subprocess.Popen([*words, name], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for name in (url, url, other)]
    assert all(writer.stdout is not None and writer.stdout.readline() == b"half\n" for writer in writers)
    dead, living, elsewhere = writers
    for writer in (dead, elsewhere):
        writer.send_signal(signal.SIGKILL)
        writer.communicate(timeout=60)
    assert len(list(tmp_path.glob(".*.partial-*"))) == 3
    write(url)
    left = sorted(path.name.rpartition("-")[0] for path in tmp_path.glob(".*"))
    assert left == [".new[1].partial", ".other.partial"]
    _, _ = living.communicate(timeout=60)
    assert living.returncode == 1 and sorted(path.name for path in Path(url).iterdir()) == ["a"]


def test_what_is_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes").write_text("")
    refused = {"model": "holds a model already", "other": "is not empty", "other/notes": "is a file", "other/notes/a/b": "notes is a file"}
    for name, told in refused.items():
        with pytest.raises(ValueError, match=told):
            refuse_taken(str(tmp_path / name))
    refuse_taken(str(tmp_path / "new"))


def test_statistics_are_not_replaced_either() -> None:
    Statistics.of({"w": np.zeros(3, np.float32)}, {"is": "fisher"}).save("memory://partial/fisher")
    with pytest.raises(ValueError, match="holds statistics already"):
        refuse_taken("memory://partial/fisher")
