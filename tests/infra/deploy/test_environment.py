"""The environment of a checkout: one for each set of requirements, complete or made again, never half."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.deploy import environment


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "lock").write_text("")
    monkeypatch.setattr(environment, "LOCK", tmp_path / "lock")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_other_requirements_are_another_environment(cache: Path) -> None:
    places = [environment.folder([]), environment.folder(["torch"])]
    (cache / "lock").write_text("numpy==1.0\n")
    places += [environment.folder([]), environment.folder(["torch"])]
    assert len(set(places)) == 4 and all(cache in place.parents for place in places)


@pytest.mark.slow
def test_an_environment_is_made_once_and_used_again(cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    python = environment.ready([])
    assert subprocess.run([python, "-c", "import pip"]).returncode == 0
    (environment.folder([]) / "mine").touch()
    assert environment.ready([]) == python and (environment.folder([]) / "mine").exists()
    assert capfd.readouterr().out == ""  # the caller reads the path from there


@pytest.mark.slow
def test_what_a_killed_build_left_is_made_again(cache: Path) -> None:
    left = environment.folder([]) / "bin" / "python"
    left.parent.mkdir(parents=True)
    left.write_text("half")
    assert subprocess.run([environment.ready([]), "-c", ""]).returncode == 0


@pytest.mark.slow
def test_a_failed_install_is_not_complete_and_says_why(cache: Path) -> None:
    (cache / "lock").write_text("./no-such-folder\n")
    with pytest.raises(subprocess.CalledProcessError):
        environment.ready([])
    assert not (environment.folder([]) / "complete").exists()


@pytest.mark.slow
def test_two_at_once_build_one(cache: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from infra.deploy import environment as e;"
        "e.LOCK = Path(sys.argv[1]); print(e.ready([]))"
    )
    command = [sys.executable, "-c", script, str(cache / "lock")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}) for _ in range(2)]
    told = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert told[0][0] == told[1][0] and sum("making" in errors for _, errors in told) == 1
