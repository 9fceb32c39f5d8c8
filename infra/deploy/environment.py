"""Print the Python of this checkout's virtual environment, built first where it is not there: `environment.py REQUIREMENT ...`.

It lies outside the checkout, in `${XDG_CACHE_HOME:-~/.cache}/stockpot/venv-<digest>`, where the digest is of what it is made from, so that
checkouts with the same requirements share one and a changed lock gives a new one. One process builds and the others wait. Only the
standard library is imported: this file runs before anything is installed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import venv
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
LOCK = CHECKOUT / "requirements.lock"


def folder(requirements: list[str]) -> Path:
    """Where the environment of this checkout, this Python and these further requirements lies."""
    identity = hashlib.sha256()
    for part in (LOCK.read_text(), *requirements, sys.version, sys.base_prefix, sys.platform, platform.machine()):
        identity.update(part.encode() + b"\0")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "stockpot" / f"venv-{identity.hexdigest()[:16]}"


def build(place: Path, requirements: list[str]) -> None:
    """A fresh environment at `place`; the file `complete` is written last and alone means done."""
    shutil.rmtree(place, ignore_errors=True)  # what a killed build left
    print(f"making {place}: some minutes, once", file=sys.stderr, flush=True)
    venv.create(place, with_pip=True)
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", str(LOCK), *requirements], check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    (place / "complete").touch()


def ready(requirements: list[str]) -> Path:
    """The Python of a complete environment; raises CalledProcessError where pip fails."""
    place = folder(requirements)
    if not (place / "complete").exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(f"{place}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # let go by the system when this process ends, however it ends
            if not (place / "complete").exists():
                build(place, requirements)
    return place / "bin" / "python"


if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036 (it runs under any Python that `make` finds)
        sys.exit(f"stockpot needs Python 3.11 or newer and this is {platform.python_version()}: make PYTHON3=/path/to/python3.11")
    try:
        print(ready(sys.argv[1:]))
    except subprocess.CalledProcessError as error:
        sys.exit(f"the environment was not made, pip ended with {error.returncode}: its reason is above; the same command continues")
