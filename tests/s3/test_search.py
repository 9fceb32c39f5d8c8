"""A search whose only storage is a bucket: it is killed and goes on, and what it found is found again."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.dag import ASHA, Optuna, search, top
from infra.space import Uniform
from tests.infra.toys import climb
from tests.infra.world import Refuses, World
from tests.s3.models import Bucket

pytestmark = pytest.mark.s3


def test_a_killed_search_goes_on_with_its_rungs(tmp_path: Path, bucket: Bucket) -> None:
    marker = tmp_path / "marker"
    node = search(climb, over={"slope": Uniform(0.0, 1.0)}, n=6, monitor=1, to=8, marker=str(marker), scheduler=ASHA(8, 2, 2), searcher=Optuna())
    marker.write_bytes(b"many")
    expected = World(tmp_path / "disk").run(s=node).value(node)
    marker.unlink()
    killed = World(tmp_path / "bucket", bucket.url("store"))
    finished = killed.run(s=node, best=top(node, 1)[0])
    assert finished.retries == 1 and finished.value(node) == expected
    assert set(World(tmp_path / "again", bucket.url("store")).run(Refuses(), s=node).state.values()) == {"hit"}
