"""The digits are the recorded ones, and describing data is light."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from components.data import Digits
from components.types import DataError, Local


def test_the_digits_are_scikit_learns(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    ours, theirs = Digits().open(Local(str(tmp_path))), load_digits()
    assert len(ours) == 1797 and ours.ids[0] == "digits/0000" and ours.ids[-1] == "digits/1796"
    assert np.array_equal(ours.labels, theirs.target) and len(ours.classes) == 10
    images = np.stack(ours.images(range(1797)))
    assert images.shape == (1797, 32, 32, 3) and images.dtype == np.uint8
    middle = images[:, 4:28, 4:28, 0].reshape(-1, 8, 3, 8, 3).mean(axis=(2, 4))
    assert np.corrcoef(middle.ravel(), theirs.images.ravel())[0, 1] > 0.98
    assert images[:, :4].max() == images[:, 28:].max() == images[:, :, :4].max() == 0
    assert hashlib.sha256(images.tobytes()).hexdigest() == GOLDEN


def test_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "sklearn" / "datasets" / "data"
    folder.mkdir(parents=True)
    (tmp_path / "sklearn" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "sklearn", raising=False)
    (folder / "digits.csv.gz").write_bytes(gzip.compress(b"0,1\n"))
    with pytest.raises(DataError, match="not the file that was recorded"):
        Digits().open(Local(str(tmp_path)))
    (folder / "digits.csv.gz").write_bytes(gzip.compress(b"0,1\n" * 1000)[:20])
    with pytest.raises(DataError, match="cannot be read"):
        Digits().open(Local(str(tmp_path)))


def test_describing_data_is_light() -> None:
    heavy = {"torch", "sklearn", "pandas", "pyarrow", "torchvision", "webdataset", "open_clip", "PIL", "numpy"}
    code = f"import sys, components.data; print(sorted({heavy!r} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


GOLDEN = "91e72a50c62f6941477a370d88d009a758f204a6437c0312d38ea8949f0531cb"
