"""Class folders: what is read, what is refused, and what is skipped and counted."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import fsspec
import numpy as np
import pytest

from components.data import Folder, Images
from components.types import DataError, File, Local
from components.weights.files import digest
from tests.components.data.pictures import class_folders, encoded, photo


class Pinned(Local):
    """A run that has pinned the files below a folder."""

    files: Sequence[File] = ()

    def manifest(self, digest: str) -> Sequence[File]:
        return self.files


def pin(root: Path, run_dir: Path) -> Pinned:
    run = Pinned(str(run_dir))
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    run.files = [File(str(path.relative_to(root)), path.stat().st_size, digest(path.read_bytes())) for path in paths]
    return run


@pytest.fixture
def run(tmp_path: Path) -> Local:
    return Local(str(tmp_path / "run"))


@pytest.mark.parametrize("sizes", [False, True])
def test_classes_are_sorted_folders_and_ids_relative_names(tmp_path: Path, run: Local, sizes: bool) -> None:
    root = class_folders(tmp_path / "pets", {"dog": 3, "cat": 4, "ä fox": 2}, sizes)
    found = Folder(str(root)).open(run)
    assert found.classes == ("cat", "dog", "ä fox")
    assert np.bincount(found.labels).tolist() == [4, 3, 2]
    assert "cat/deep/er/001.png" in found.ids and "dog/000.png" in found.ids
    index = list(found.ids).index("dog/002.png")
    assert np.array_equal(found.images([index])[0], photo(2, 14 if sizes else 12))
    assert found.skipped == () and found.labels.dtype == np.int64


def test_any_address_gives_the_same_examples(tmp_path: Path, run: Local) -> None:
    root = class_folders(tmp_path / "pets", {"dog": 3, "cat": 4})
    memory = fsspec.filesystem("memory")
    memory.put(str(root), "/pets", recursive=True)
    try:
        here, there = Folder(f"file://{root}/").open(run), Folder("memory://pets").open(Local(str(tmp_path / "other")))
        assert here.digest == there.digest == Folder(str(root)).open(run).digest
        assert list(here.ids) == list(there.ids)
        assert np.array_equal(np.stack(here.images(range(7))), np.stack(there.images(range(7))))
    finally:
        memory.rm("/pets", recursive=True)


def test_content_is_identity(tmp_path: Path, run: Local) -> None:
    root = class_folders(tmp_path / "pets", {"dog": 3, "cat": 4})
    before = Folder(str(root)).open(run).digest
    (root / "dog" / "000.png").write_bytes(encoded(photo(99)))
    after = Folder(str(root)).open(run)
    assert after.digest != before
    assert np.array_equal(after.images([list(after.ids).index("dog/000.png")])[0], photo(99))


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ({}, "no such file or folder"),
        ({"cat": 3}, r"one class folder \(cat\)"),
        ({"train": 3, "val": 3}, "are splits, not classes; give one of them"),
    ],
)
def test_folders_that_make_no_classes_are_refused(tmp_path: Path, run: Local, folders: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Folder(str(class_folders(tmp_path / "pets", folders))).open(run)


def test_a_class_without_images_is_refused(tmp_path: Path, run: Local) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 3, "dog": 2})
    (root / "emu").mkdir()
    with pytest.raises(ValueError, match=r"1 class folders have no images, first emu .cat: 3, dog: 2, emu: 0"):
        Folder(str(root)).open(run)
    (root / "emu" / "readme.txt").write_text("none yet")
    with pytest.raises(ValueError, match="first emu"):
        Folder(str(root)).open(run)
    (root / "emu" / "x.jpg").touch()
    with pytest.raises(ValueError, match=r"1 of 3 classes have no images, first 2 \(emu\)"):
        Folder(str(root)).open(run)  # the only image is unreadable


def test_images_outside_class_folders_and_other_files_are_passed_over_and_said(tmp_path: Path, run: Local) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 3, "dog": 2})
    (root / "title.png").write_bytes(encoded(photo()))
    (root / "cat" / "notes.txt").write_text("soft")
    (root / ".git").mkdir()
    (root / ".git" / "x.png").write_bytes(b"")
    found = Folder(str(root)).open(run)
    assert len(found) == 5
    assert found.notes == ("2 files are not images in a class folder and were passed over",)  # type: ignore[attr-defined]


def test_bad_images_are_skipped_within_the_budget_and_listed(tmp_path: Path, run: Local) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 60, "dog": 40})
    whole = (root / "cat" / "000.png").read_bytes()
    (root / "cat" / "000.png").write_bytes(whole[: len(whole) // 2])
    found = Folder(str(root)).open(run)
    assert len(found) == 99 and len(found.skipped) == 1  # one bad image never stops a run
    assert found.skipped[0].startswith("cat/000.png: damaged (")
    with pytest.raises(ValueError, match="1 of 100 images unreadable, 0 allowed"):
        Folder(str(root), bad=0).open(run)
    (root / "dog" / "000.png").write_bytes(b"")
    (root / "dog" / "002.png").write_bytes(b"GIF, or so it says")
    with pytest.raises(ValueError, match=r"3 of 100 images unreadable, 1 allowed \(cat/000.png: damaged .*; dog/000.png: empty file; dog"):
        Folder(str(root)).open(run)
    assert len(Folder(str(root), bad=0.03).open(run)) == 97


def test_the_message_lists_the_first_five(tmp_path: Path, run: Local) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 9, "dog": 2})
    for path in root.glob("cat/**/*.png"):
        path.write_bytes(b"")
    with pytest.raises(ValueError) as caught:
        Folder(str(root)).open(run)
    assert str(caught.value).count("empty file") == 5 and "\n" not in str(caught.value)


def test_pinned_bytes_are_verified(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 3, "dog": 2})
    run = pin(root, tmp_path / "run")
    pinned, listed = Folder(str(root), pinned="m").open(run), Folder(str(root)).open(Local(str(tmp_path / "other")))
    assert pinned.digest == listed.digest

    other = pin(root, tmp_path / "fresh")
    victim = root / "cat" / "002.png"
    content = victim.read_bytes()
    victim.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError, match=r"cat/002.png: its content is not what was pinned"):
        Folder(str(root), pinned="m").open(other)
    victim.write_bytes(content + b"x")
    with pytest.raises(DataError, match=r"cat/002.png: has \d+ bytes where \d+ were pinned"):
        Folder(str(root), pinned="m").open(other)
    victim.unlink()
    with pytest.raises(DataError, match=r"cat/002.png: is not there any more"):
        Folder(str(root), pinned="m").open(other)
    assert len(Folder(str(root), pinned="m").open(run)) == 5  # decoded before: the cache needs no source


def test_a_file_that_came_after_pinning_is_not_read(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 3, "dog": 2})
    run = pin(root, tmp_path / "run")
    (root / "cat" / "new.png").write_bytes(encoded(photo()))
    assert len(Folder(str(root), pinned="m").open(run)) == 5


@pytest.mark.parametrize("name", ["../secret.png", "cat/../../secret.png", "/etc/secret.png", "%2e%2e/secret.png", "file:///etc/x.png"])
def test_names_in_a_manifest_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 3, "dog": 2})
    (tmp_path / "secret.png").write_bytes(encoded(photo()))
    run = pin(root, tmp_path / "run")
    run.files = [*run.files, File(name, 1, "0")]
    with pytest.raises(DataError, match="is refused"):
        Folder(str(root), pinned="m").open(run)


def test_links_that_leave_the_folder_are_refused(tmp_path: Path, run: Local) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 3, "dog": 2})
    (tmp_path / "secret.png").write_bytes(encoded(photo()))
    os.symlink(root / "cat" / "000.png", root / "dog" / "same.png")
    assert len(Folder(str(root)).open(run)) == 6  # a link within is a file
    os.symlink(tmp_path / "secret.png", root / "dog" / "link.png")
    with pytest.raises(DataError, match=r"dog/link.png: is a link that leaves"):
        Folder(str(root)).open(run)
    os.remove(root / "dog" / "link.png")
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", root / "dog" / "more")
    with pytest.raises(DataError, match="dog/more is a link to a folder"):
        Folder(str(root)).open(run)


def test_secrets_in_an_address_are_not_shown(tmp_path: Path, run: Local) -> None:
    with pytest.raises(ValueError) as caught:
        Folder("memory://user:hunter2@nowhere").open(run)
    assert "hunter2" not in str(caught.value)


def test_images_without_labels(tmp_path: Path, run: Local) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 3})
    (root / "top.png").write_bytes(encoded(photo(7)))
    found = Images(str(root)).open(run)
    assert len(found) == 4 and set(found.labels) == {-1} and found.classes == ()
    single = Images(str(root / "top.png")).open(run)
    assert single.ids.tolist() == ["top.png"] and np.array_equal(single.images([0])[0], photo(7))
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "readme.txt").write_text("")
    with pytest.raises(ValueError, match="no images"):
        Images(str(tmp_path / "none")).open(run)
