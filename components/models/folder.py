"""Where models lie: in this package, in a folder, or at any fsspec URL."""

from __future__ import annotations

import os

from components.types import DataError, Run
from components.weights import files

SHIPPED = "stockpot-tiny"  # lies in this package
VOCABULARY = "bpe.txt.gz"  # the merges of a tokeniser of its own
CONFIG = "open_clip_config.json"


def address(name: str) -> str:
    """The path or URL of the folder that `name` means; "" where it names an architecture. ValueError for an empty folder."""
    path = os.path.join(os.path.dirname(__file__), SHIPPED) if name == SHIPPED else name.removeprefix("local-dir:")
    if files.size(files.join(path, CONFIG)) is not None:
        return path
    if path != name or "://" in path or os.path.isdir(path):
        raise ValueError(f"{path} has no {CONFIG}: give a folder that open_clip or stockpot saved")
    return ""


def configuration(folder: str) -> dict[str, dict[str, object]]:
    """What a folder's configuration says: model_cfg, preprocess_cfg, and stockpot's facts where stockpot saved it."""
    config = files.document(files.join(folder, CONFIG)) or {}
    if not isinstance(config.get("model_cfg"), dict):
        raise DataError(f"{files.join(folder, CONFIG)} has no model_cfg: fetch or write it again")
    return config


def fetched(url: str, run: Run) -> str:
    """A file or folder on this machine: where `url` is remote, a copy in the run's scratch folder. ValueError where there is nothing."""
    import fsspec

    if "://" not in url:
        return url
    filesystem, path = fsspec.url_to_fs(url)
    if not filesystem.exists(path):
        raise ValueError(f"{url} does not exist: give the URL of a weights file, or of a folder with {CONFIG}")
    target = os.path.join(run.dir, "fetched", os.path.basename(path.rstrip("/")))
    found = sorted(filesystem.find(path)) if filesystem.isdir(path) else [path]
    for each in found:
        place = os.path.normpath(os.path.join(target, os.path.relpath(each, path)))
        os.makedirs(os.path.dirname(place), exist_ok=True)
        filesystem.get_file(each, place)
    return target
