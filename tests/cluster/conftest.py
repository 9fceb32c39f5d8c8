"""One cluster of three nodes, with its bucket, for all tests of this folder; MLflow once a test asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.world import World, world


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world"), nodes=3) as made:
        yield made


@pytest.fixture
def place(shared: World) -> World:
    """The cluster with three nodes, whatever the test before did to it."""
    shared.complete(3)
    return shared
