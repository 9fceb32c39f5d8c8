"""`run` on images of one's own: class folders as flags, twice; the second time everything is a hit."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageOps

Stockpot = Callable[..., subprocess.CompletedProcess[str]]


def test_a_folder_of_ones_own_goes_through_the_study(stockpot: Stockpot, digits: Path, tmp_path: Path) -> None:
    shift = shutil.copytree(digits, tmp_path / "elsewhere")
    for path in shift.rglob("*.png"):
        ImageOps.mirror(Image.open(path)).save(path)
    own = ["--task", "Own", "--task.url", digits, "--task.steps", "4", "--task.prompts", "the digit {}", "--task.shift_urls.elsewhere", shift]
    words = ["run", "soup", "smoke", *own, "--store", tmp_path / "store", "--ray", "none", "--tracking", "none"]
    first = stockpot(*words)
    assert first.returncode == 0, first.stderr
    again = stockpot(*words)
    assert again.returncode == 0 and "every stage was there already" in again.stdout
    assert first.stdout.splitlines()[-8:] == again.stdout.splitlines()[-8:]
    leak = stockpot(*words, f"--task.shift_urls.same={digits}")
    assert leak.returncode == 2 and "would report on examples that were" in leak.stderr and leak.stderr.count("\n") == 1
    copied = stockpot(*words, f"--task.shift_urls.copied={shutil.copytree(digits, tmp_path / 'copied')}")
    assert copied.returncode == 5 and "would report on examples that were" in copied.stderr, "the same bytes at another address"
    labels = stockpot("predict", again.stdout.rsplit("\nmodel   ", 1)[1].split()[0], digits)
    assert labels.returncode == 0 and labels.stdout.splitlines()[0] == f"file,label,probability,{','.join(sorted(p.name for p in digits.iterdir()))}"
