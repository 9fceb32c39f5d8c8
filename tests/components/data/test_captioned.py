"""Captioned and tarred data: pairs, separators, encodings, and archives that lie."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import fsspec
import numpy as np
import pytest

from components.data import Captions, WebDataset
from components.data.webdataset import expanded
from components.types import DataError, Local
from tests.components.data.pictures import encoded, photo


@pytest.fixture
def run(tmp_path: Path) -> Local:
    return Local(str(tmp_path / "run"))


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for i in range(4):
        (tmp_path / "pets" / "img").mkdir(parents=True, exist_ok=True)
        (tmp_path / "pets" / "img" / f"{i}.png").write_bytes(encoded(photo(i)))
    return tmp_path / "pets"


def write(folder: Path, text: str | bytes, name: str = "t.csv") -> str:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return str(folder / name)


@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
def test_the_separator_is_found(pets: Path, run: Local, separator: str) -> None:
    lines = [("n", "filepath", "title"), ("1", "img/0.png", '"a cat, grey; old|tabby\ttail"'), ("2", "./img/1.png", "ein Löwe 猫")]
    url = write(pets, "\ufeff" + "\r\n".join(separator.join(line) for line in lines))
    found = Captions(url).open(run)
    assert found.ids.tolist() == ["img/0.png", "img/1.png"] and set(found.labels) == {-1}
    assert found.captions is not None
    assert [list(texts) for texts in found.captions] == [["a cat, grey; old|tabby tail"], ["ein Löwe 猫"]]
    assert np.array_equal(found.images([1])[0], photo(1))


def test_rows_of_one_image_are_its_captions(pets: Path, run: Local) -> None:
    found = Captions(write(pets, "image,text\nimg/0.png,a\nimg/1.png,b\nimg/0.png,c\n"), "image", "text").open(run)
    assert found.captions is not None and [list(texts) for texts in found.captions] == [["a", "c"], ["b"]]


def test_a_table_by_address_is_a_table_in_a_pinned_folder() -> None:
    assert Captions("s3://b/pets/train.csv") == Captions("s3://b/pets", table="train.csv")
    assert Captions("train.tsv") == Captions(".", table="train.tsv")
    assert Captions("s3://b/pets").table == "" and Captions("s3://b/pets", table="x.csv").table == "x.csv"


def test_columns_are_listed_when_one_is_missing(pets: Path, run: Local) -> None:
    with pytest.raises(ValueError, match="no columns 'filepath' and 'title'; it has id, image, text; set image= and caption="):
        Captions(write(pets, "id;image;text\n1;img/0.png;a\n")).open(run)
    with pytest.raises(ValueError, match="no column 'title'; it has filepath,title"):
        Captions(write(pets, "filepath,title\nimg/0.png,a\n"), separator="\t", image="filepath,title").open(run)
    with pytest.raises(ValueError, match="it has none"):
        Captions(write(pets, "")).open(run)


def test_the_first_five_missing_paths_are_named(pets: Path, run: Local) -> None:
    rows = "".join(f"img/{i}.png,x\n" for i in range(20))
    with pytest.raises(ValueError, match=r"16 of 20 images are missing, first img/4.png, .*, img/8.png; paths"):
        Captions(write(pets, "filepath,title\n" + rows)).open(run)


@pytest.mark.parametrize("path", ["/etc/x.png", "../x.png", "file:///x.png", "%2e%2e/x.png", "img/../../x.png"])
def test_paths_that_leave_the_folder_are_refused(pets: Path, run: Local, path: str) -> None:
    (pets.parent / "x.png").write_bytes(encoded(photo()))
    with pytest.raises(DataError, match="is refused"):
        Captions(write(pets, f"filepath,title\nimg/0.png,a\n{path},b\n")).open(run)


def test_bad_captions_are_counted(pets: Path, run: Local) -> None:
    text = b"filepath,title\nimg/0.png,caf\xe9\nimg/0.png,ok\nimg/1.png,\nimg/2.png,fine\nimg/3.png,nan\nimg/3.png,also\n"
    strict = Captions(write(pets, text)).open(run)
    assert strict.captions is not None
    texts = dict(zip(strict.ids.tolist(), map(list, strict.captions), strict=True))
    assert texts == {"img/0.png": ["ok"], "img/2.png": ["fine"], "img/3.png": ["also"]}
    assert strict.skipped == ("img/1.png: no usable caption",)
    assert strict.notes == ("2 captions are empty and were left out", "1 captions are not UTF-8 (strict)")  # type: ignore[attr-defined]
    replaced = Captions(str(pets / "t.csv"), text="replace").open(run)
    assert replaced.captions is not None and list(replaced.captions[0]) == ["caf\ufffd", "ok"]
    with pytest.raises(ValueError, match="2 of 4 images unreadable, 1 allowed"):
        Captions(write(pets, text.replace(b"also", b"").replace(b"fine", b"x"))).open(run)


def test_tables_that_are_not_there_or_not_one(pets: Path, run: Local) -> None:
    with pytest.raises(ValueError, match=r"needs one table none.csv, found none"):
        Captions(str(pets / "none.csv")).open(run)
    write(pets, "filepath,title\nimg/0.png,a\n", "a.csv")
    assert len(Captions(str(pets)).open(run)) == 1
    write(pets, "filepath,title\nimg/0.png,a\n", "b.csv")
    with pytest.raises(ValueError, match=r"found a.csv, b.csv; name it with table="):
        Captions(str(pets)).open(run)
    huge = "x" * 200_000
    with pytest.raises(ValueError, match="the row after line 2 cannot be read"):
        Captions(write(pets, f"filepath,title\nimg/0.png,a\nimg/1.png,{huge}\n")).open(run)


def tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def labelled(start: int, count: int) -> dict[str, bytes]:
    files = {}
    for i in range(start, start + count):
        files |= {f"{i:04d}.png": encoded(photo(i)), f"{i:04d}.cls": str(i % 2).encode()}
    return files


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("address", ["{}", "{}/x-*.tar*", "{}/x-{{0..1}}.tar*"])
def test_tars_by_folder_and_pattern(tmp_path: Path, run: Local, mode: str, address: str) -> None:
    for part in range(2):
        tar(tmp_path / "t" / f"x-{part}.tar{'.gz' if mode != 'w' else ''}", labelled(3 * part, 3), mode)
    found = WebDataset(address.format(tmp_path / "t")).open(run)
    assert len(found) == 6 and found.labels.tolist() == [0, 1, 0, 1, 0, 1] and found.captions is None
    assert found.ids[4] == f"x-1.tar{'.gz' if mode != 'w' else ''}/0004"
    assert np.array_equal(found.images([4])[0], photo(4))


def test_labels_and_captions_of_every_form(tmp_path: Path, run: Local) -> None:
    tar(tmp_path / "b" / "x.tar", {
        "a.png": encoded(photo(0)), "a.json": json.dumps({"label": 1, "caption": "one"}).encode(),
        "b.json": json.dumps({"cls": 0}).encode(), "b.PNG": encoded(photo(1)), "b.txt": b"zero\n",
        "c.cls": b"1", "c.png": encoded(photo(2)),
    })  # fmt: skip
    found = WebDataset(str(tmp_path / "b")).open(run)
    assert found.labels.tolist() == [1, 0, 1] and found.captions is not None
    assert [list(texts) for texts in found.captions] == [["one"], ["zero"], []]
    tar(tmp_path / "c" / "x.tar", {"a.png": encoded(photo(0)), "a.cls": b"dog", "b.png": encoded(photo(1)), "b.cls": b"cat"})
    assert WebDataset(str(tmp_path / "c")).open(run).classes == ("cat", "dog")
    tar(tmp_path / "d" / "x.tar", {"a.png": encoded(photo(0)), "a.txt": b"a dog", "b.png": encoded(photo(1)), "b.txt": b"a cat"})
    captioned = WebDataset(str(tmp_path / "d")).open(run)
    assert captioned.labels.tolist() == [-1, -1] and captioned.captions is not None and list(captioned.captions[1]) == ["a cat"]


def test_examples_without_their_pair(tmp_path: Path, run: Local) -> None:
    files = labelled(0, 10)
    for i in (1, 3, 5, 6, 8, 9):
        del files[f"{i:04d}.cls" if i % 2 else f"{i:04d}.png"]
    tar(tmp_path / "t" / "x.tar", files)
    with pytest.raises(ValueError, match=r"6 examples lack .*, first x.tar/0001 \(label\), .*0006 \(image\), x.tar/0008 \(image\); add"):
        WebDataset(str(tmp_path / "t")).open(run)


def test_damaged_members_are_counted(tmp_path: Path, run: Local) -> None:
    files = labelled(0, 10) | {"0003.png": b"\x89PNG, cut", "0010.png": b"", "0010.cls": b"1"}
    files |= {"0011.png": encoded(photo()), "0011.json": b"{"}
    tar(tmp_path / "t" / "x.tar", files)
    found = WebDataset(str(tmp_path / "t"), bad=0.3).open(run)
    assert len(found) == 9
    assert [line.split(" (")[0] for line in found.skipped] == [
        "x.tar/0003: not an image in a known format", "x.tar/0010: empty file", "x.tar/0011: damaged text",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="3 of 12 images unreadable, 1 allowed"):
        WebDataset(str(tmp_path / "t")).open(run)


@pytest.mark.parametrize("cut", [0, 100, 512 * 3, 512 * 6 + 100, 512 * 12])
def test_cut_tars_are_noticed(tmp_path: Path, run: Local, cut: int) -> None:
    path = tar(tmp_path / "t" / "x.tar", labelled(0, 6))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises((DataError, ValueError), match=r"x\.tar: (is damaged|is cut short|no files)"):
        WebDataset(str(tmp_path / "t")).open(run)


@pytest.mark.parametrize("name", ["../x.png", "/etc/x.png", "a/%2e%2e/%2e%2e/x.png"])
def test_members_that_climb_out_are_refused(tmp_path: Path, run: Local, name: str) -> None:
    tar(tmp_path / "t" / "x.tar", labelled(0, 3) | {name: encoded(photo())})
    with pytest.raises(DataError, match="is refused"):
        WebDataset(str(tmp_path / "t")).open(run)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_in_a_tar_are_refused(tmp_path: Path, run: Local, kind: bytes) -> None:
    path = tar(tmp_path / "t" / "x.tar", labelled(0, 3))
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo("0009.png")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(DataError, match=r"0009.png is a link"):
        WebDataset(str(tmp_path / "t")).open(run)


def test_patterns() -> None:
    assert expanded("a-{08..10}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar"]
    assert expanded("{train,val}-{0..1}.tar") == ["train-0.tar", "train-1.tar", "val-0.tar", "val-1.tar"]
    assert expanded("*.tar") == ["*.tar"] and expanded("a{") == ["a{"]
    assert WebDataset("s3://b/x/t-{00..12}.tar") == WebDataset("s3://b/x", pattern="t-{00..12}.tar")
    assert WebDataset("s3://b/x").pattern == "*.tar*"


def test_no_tar(tmp_path: Path, run: Local) -> None:
    tar(tmp_path / "t" / "x.tar", labelled(0, 3))
    with pytest.raises(ValueError, match=r"y-\*\.tar: no tar among 0 files"):
        WebDataset(str(tmp_path / "t" / "y-*.tar")).open(run)


@pytest.mark.parametrize("memory", [False, True])
def test_a_pattern_looks_at_nothing_else_in_its_folder(tmp_path: Path, run: Local, memory: bool) -> None:
    """Which may be a whole bucket: others' names and links there are no business of this dataset."""
    for name in ("t-0.tar", "t-1.tar", "v-0.tar", "t-2/t-0.tar", "other/t-0.tar"):
        tar(tmp_path / "t" / name, labelled(int(name[2] == "1") * 3, int(name[2] == "1") * 3 + 3))
    (tmp_path / "t" / "other" / "a#b?.tar").write_bytes(b"")
    (tmp_path / "t" / "v%2e%2e.tar").write_bytes(b"")
    (tmp_path / "t" / "other" / "link").symlink_to(tmp_path / "t" / "t-2")
    url = f"memory://{tmp_path.name}" if memory else str(tmp_path / "t")
    if memory:
        (tmp_path / "t" / "other" / "link").unlink()
        fsspec.filesystem("memory").put(f"{tmp_path}/t", f"/{tmp_path.name}", recursive=True)
    assert {name.split("/")[0] for name in WebDataset(f"{url}/t-*.tar").open(run).ids} == {"t-0.tar", "t-1.tar"}
    assert {name.split("/")[0] for name in WebDataset(f"{url}/t-{{1..1}}.tar").open(run).ids} == {"t-1.tar"}


def test_a_header_whose_checksum_is_no_number_is_damage(tmp_path: Path, run: Local) -> None:
    path = tar(tmp_path / "t" / "x.tar", labelled(0, 3))
    content = bytearray(path.read_bytes())
    content[148:154] = b"999999"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.tar: is damaged"):
        WebDataset(str(tmp_path / "t")).open(run)
