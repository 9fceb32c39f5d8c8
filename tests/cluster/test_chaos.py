"""Three schedules of `tests.cluster.chaos`, drawn anew by every commit: the study ends, with the digests of an undisturbed run."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.cluster.chaos import Chaos, chaos
from tests.cluster.nodes import ROOT
from tests.cluster.world import World

pytestmark = [pytest.mark.cluster, pytest.mark.s3, pytest.mark.chaos]

SEEDS = 3


@pytest.fixture(scope="module")
def schedules(shared: World) -> Iterator[Chaos]:
    with chaos(shared) as found:
        yield found


@pytest.mark.parametrize("number", range(SEEDS))
def test_whatever_is_killed_the_digests_are_equal(number: int, schedules: Chaos) -> None:
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    seed = SEEDS * int(head[:8] or "0", 16) + number  # a checkout without git has always the same
    print(f"python -m tests.cluster.chaos {seed}:{seed + 1}")
    print(schedules.run(seed))
