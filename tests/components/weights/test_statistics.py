from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from components.types import DataError
from components.weights.statistics import Statistics, read

ARRAYS = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array(2.5), "none": np.zeros((0, 4), np.float32)}
FACTS = {"is": "gram", "examples": 3}


def test_what_was_saved_is_read_again(tmp_path: Path) -> None:
    first = Statistics.of(ARRAYS, FACTS)
    files = first.save(f"{tmp_path}/one")
    again = Statistics.load(f"{tmp_path}/one")
    assert again.facts == FACTS and again.summary() == {**FACTS, "digest": files[0].digest, "arrays": 3} == first.summary()
    for key, array in ARRAYS.items():
        assert again.array(key).dtype == array.dtype and np.array_equal(again.array(key), array) and again.array(key).shape == array.shape
    assert read(again.part, "b", 2, 3).tolist() == [2, 3, 4]
    assert [file.digest for file in again.save(f"{tmp_path}/two")] == [file.digest for file in files]


def test_what_is_not_as_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no statistics at .*one"):
        Statistics(f"{tmp_path}/one").facts  # noqa: B018
    Statistics.of(ARRAYS, FACTS).save(f"{tmp_path}/one")
    config = tmp_path / "one" / "statistics.json"
    said = json.loads(config.read_text())
    for change, error in (({"format": 2}, ValueError), ({"files": []}, DataError), ({"facts": 3}, DataError)):
        config.write_text(json.dumps({**said, **change}))
        with pytest.raises(error, match="compute"):
            Statistics(f"{tmp_path}/one").part  # noqa: B018
    config.write_text(json.dumps(said))
    tensors = tmp_path / "one" / "statistics.safetensors"
    whole = tensors.read_bytes()
    tensors.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DataError, match="not as recorded"):
        Statistics.load(f"{tmp_path}/one").array("b")
    tensors.write_bytes(whole[:-1])
    with pytest.raises(DataError, match="not as recorded"):
        Statistics(f"{tmp_path}/one").array("b")
