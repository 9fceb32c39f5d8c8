"""An MLflow server is killed during a sweep on a cluster and started again: the command notices nothing, and in the end everything is there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.tracking import mirror
from tests.cluster.world import SOUP, World, bucket
from tests.infra.tracking.server import Server
from tests.infra.tracking.test_mirror import held

pytestmark = [pytest.mark.cluster, pytest.mark.s3, pytest.mark.chaos]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "server").mkdir()
    made = Server(tmp_path / "server")
    made.start()
    yield made
    made.kill()


def test_a_server_that_was_away_during_a_sweep_has_heard_all_of_it(place: World, server: Server, tmp_path: Path) -> None:
    """As much as another one that hears of the whole journal afterwards."""
    words = (*SOUP, "--trials", "3", "--task.steps", "60")
    with place.command("heard", words, tracking=server.url) as process:
        place.until(process, "heard", lambda: any("/train-" in key and "/state/" in key for key in place.keys("heard", ".json")))
        server.kill()
        before = records(place)
        place.until(process, "heard", lambda: records(place) > before)
        server.start()
        place.ended(process, "heard")
    (folder,) = (place.folder / "heard" / "STOCKPOT_STATE").glob("*/runs/*")
    shutil.copytree(folder, tmp_path / "again" / "runs" / folder.name, ignore=shutil.ignore_patterns("mirror"))
    with bucket(place.server):
        assert mirror.replay(tmp_path / "again", mirror.local(tmp_path / "again"), everything=True) == []
    there = held(server.url)
    assert there == held(mirror.local(tmp_path / "again"))
    trials = [run for run in there["runs"] if run[0].startswith("trial ")]
    assert len(trials) == 3 and {run[1] for run in there["runs"]} == {"FINISHED"} and all(points for *_, points, _ in trials)


def records(world: World) -> int:
    """Trials that are recorded."""
    return len([key for key in world.keys("heard", "/record.json") if "/train-" in key])
