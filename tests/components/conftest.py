"""A tower small enough to train in a test, and the digits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components.data.digits import CLASSES
from components.models.heads import zero_shot
from components.models.openclip import Config, fresh
from components.types import Local

VISION = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8}
TEXT = {"context_length": 10, "width": 16, "heads": 2, "layers": 1}
TINY = Config(16, json.dumps(VISION), json.dumps(TEXT))


@pytest.fixture
def run(tmp_path: Path) -> Local:
    return Local(str(tmp_path / "run"))


@pytest.fixture(scope="session")
def tiny() -> Config:
    return TINY


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The tiny tower, untrained, without a head."""
    return fresh(TINY, 0, run=Local(str(tmp_path_factory.mktemp("base"))))


@pytest.fixture(scope="session")
def zero(base: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The tiny tower with a head for the digits."""
    return zero_shot(base, CLASSES, ("a photo of the digit {}.", "the number {}"), run=Local(str(tmp_path_factory.mktemp("zero"))))
