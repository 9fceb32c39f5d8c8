"""The source that runs here: its files, their digest, and a wheel of them that the nodes of a cluster install.

Ray installs a wheel of `py_modules` by `pip install WHEEL --target=FOLDER`, with what it requires and by its name alone. So this one requires
nothing (a node has torch and the rest already), and its version is the digest: another source is never taken for one that is there.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import os
import zipfile
from pathlib import Path

from infra import settings

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("components", "infra", "pipelines")
SUFFIXES = {".py", ".css", ".gz", ".html", ".js", ".json", ".md", ".npz", ".safetensors", ".svg", ".txt", ".yaml"}  # as in pyproject.toml
METADATA = "Metadata-Version: 2.1\nName: stockpot\nVersion: {version}\nRequires-Python: >=3.11\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: stockpot\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
EPOCH = (1980, 1, 1, 0, 0, 0)  # of all files: one source is one wheel


def files() -> dict[str, Path]:
    """{name in the wheel: file}, in the order of their names."""
    found = [path for room in ROOMS for path in (ROOT / room).rglob("*") if path.suffix in SUFFIXES and path.is_file()]
    return dict(sorted((path.relative_to(ROOT).as_posix(), path) for path in found))


def holds(path: str) -> bool:
    """Whether a file or a folder comes with the source."""
    return any(file.is_relative_to(os.path.abspath(path)) for file in files().values())


@functools.cache
def digest() -> str:
    """80 bits of sha256 over names and bytes, in hex."""
    identity = hashlib.sha256()
    for name, path in files().items():
        identity.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return identity.hexdigest()[:20]


def wheel(folder: str) -> str:
    """The path of a wheel of this source, made in a folder."""
    version = f"0+{digest()}"
    path, info = os.path.join(folder, f"stockpot-{version}-py3-none-any.whl"), f"stockpot-{version}.dist-info"
    content = {name: file.read_bytes() for name, file in files().items()}
    content |= {f"{info}/METADATA": METADATA.format(version=version).encode(), f"{info}/WHEEL": WHEEL.encode()}
    hashes = {name: base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=") for name, data in content.items()}
    rows = [f"{name},sha256={hashes[name]},{len(data)}" for name, data in content.items()]
    content[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""]).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, data)
    return path


def wanted() -> dict[str, str]:
    """What a driver tells the workers of a cluster; nothing where whoever submitted it has told them already. Raises ValueError as `agree` does."""
    agree()
    return {} if settings.source_wanted() else {"STOCKPOT_SOURCE": digest()}


@functools.cache
def agree() -> None:
    """Raises ValueError where whoever started this process on a cluster told it the digest of another source."""
    told = settings.source_wanted()
    if told and told != digest():
        raise ValueError(
            f"{ROOT} on this node is another source ({digest()}) than the run's ({told}); `stockpot submit` sends it along, "
            "and for --ray ADDRESS each node needs the same"
        )
