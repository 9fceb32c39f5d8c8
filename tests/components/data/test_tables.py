"""Arrays and tables: npz, parquet and MNIST's format, with everything that can be wrong in them."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.data import Idx, Npz, Parquet
from components.types import DataError, File, Local
from tests.components.data.pictures import encoded, photo

IMAGES = np.stack([photo(i) for i in range(12)])
LABELS = np.arange(12) % 3


@pytest.fixture
def run(tmp_path: Path) -> Local:
    return Local(str(tmp_path / "run"))


def npz(tmp_path: Path, **arrays: np.ndarray) -> str:
    np.savez_compressed(tmp_path / "x.npz", **arrays)
    return str(tmp_path / "x.npz")


def idx(path: Path, array: np.ndarray) -> None:
    content = struct.pack(f">HBB{array.ndim}i", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize("images", [IMAGES, IMAGES[..., 0], IMAGES[..., :1]], ids=["RGB", "grey", "one channel"])
@pytest.mark.parametrize("column", [False, True])
def test_npz(tmp_path: Path, run: Local, images: np.ndarray, column: bool) -> None:
    url = npz(tmp_path, train_images=images, train_labels=LABELS[:, None] if column else LABELS)
    found = Npz(url, "train_images", "train_labels", classes=("a", "b", "c")).open(run)
    wanted = IMAGES if images.shape[-1] == 3 else np.repeat(IMAGES[..., :1], 3, 3)
    assert np.array_equal(np.stack(found.images(range(12))), wanted)
    assert np.array_equal(found.labels, LABELS) and found.classes == ("a", "b", "c")
    assert found.ids[0] == "train_images/00" and found.ids[11] == "train_images/11"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": LABELS, "x": IMAGES}, "no array images; it has labels, x"),
        ({"images": IMAGES / 255, "labels": LABELS}, "images is float64"),
        ({"images": IMAGES.transpose(0, 3, 1, 2), "labels": LABELS}, r"images is uint8 \[12, 3, 12, 16\]"),
        ({"images": IMAGES, "labels": LABELS[:5]}, "give 12 integers"),
        ({"images": IMAGES, "labels": LABELS / 2}, "labels is float64"),
        ({"images": IMAGES, "labels": LABELS - 1}, r"labels are negative \(lowest -1; counts -1: 4, 0: 4, 1: 4\)"),
        ({"images": IMAGES, "labels": LABELS * 2}, r"2 of 5 classes have no images, first 1 \(counts 0: 4, 2: 4, 4: 4\)"),
        ({"images": IMAGES, "labels": LABELS * 0}, "one class"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "no images"),
        ({"images": IMAGES, "labels": LABELS + 10**12}, "1000000000000 of 1000000000003 classes have no images, first 0"),
    ],
)
def test_npz_that_makes_no_task(tmp_path: Path, run: Local, arrays: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Npz(npz(tmp_path, **arrays)).open(run)


def test_labels_beyond_the_named_classes(tmp_path: Path, run: Local) -> None:
    url = npz(tmp_path, images=IMAGES, labels=LABELS)
    with pytest.raises(ValueError, match=r"out of range \(highest 2 of 2 classes; counts 0: 4, 1: 4, 2: 4\)"):
        Npz(url, classes=("a", "b")).open(run)
    with pytest.raises(ValueError, match=r"1 of 4 classes have no images, first 3 \(d\)"):
        Npz(url, classes=("a", "b", "c", "d")).open(run)


def test_npz_never_unpickles(tmp_path: Path, run: Local) -> None:
    canary = tmp_path / "canary"

    class Evil:
        def __reduce__(self) -> tuple:
            return canary.touch, ()

    url = npz(tmp_path, images=np.array([Evil()] * 3, dtype=object), labels=np.array([0, 1, 1]))
    with pytest.raises(DataError, match="pickled object"):
        Npz(url).open(run)
    assert not canary.exists()


def test_damaged_npz(tmp_path: Path, run: Local) -> None:
    path = Path(npz(tmp_path, images=IMAGES, labels=LABELS))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"not an .npz file, or cut short"):
        Npz(str(path)).open(run)
    flipped = bytearray(whole)
    flipped[200:260] = b"\xff" * 60
    path.write_bytes(flipped)
    with pytest.raises(DataError, match="damaged"):
        Npz(str(path)).open(run)
    path.write_bytes(whole)
    run.cache_limit = 100
    with pytest.raises(ValueError, match=r"images exceed the cache of 100 bytes, and where they lie they cannot be read one by one"):
        Npz(str(path)).open(run)
    with pytest.raises(ValueError, match="is a folder"):
        Npz(str(tmp_path)).open(run)


def test_a_pinned_single_file_is_verified(tmp_path: Path, run: Local) -> None:
    from components.weights.files import digest

    url = npz(tmp_path, images=IMAGES, labels=LABELS)
    content = Path(url).read_bytes()
    run.manifest = lambda pin: [File("", len(content), digest(content))]  # type: ignore[method-assign]
    assert Npz(url, pinned="m").open(run).digest == Npz(url).open(run).digest
    Path(npz(tmp_path, images=IMAGES[::-1], labels=LABELS))
    fresh = Local(str(tmp_path / "fresh"))
    fresh.manifest = run.manifest  # type: ignore[method-assign]
    with pytest.raises(DataError, match=r"x.npz: .* pinned"):
        Npz(url, pinned="m").open(fresh)


def table(path: Path, metadata: dict | None = None, **columns: object) -> str:
    made = pa.table(columns)
    pq.write_table(made.replace_schema_metadata(metadata) if metadata else made, path, row_group_size=5)
    return str(path)


@pytest.mark.parametrize("kind", ["bytes", "struct", "lists", "grey lists"])
def test_parquet_columns(tmp_path: Path, run: Local, kind: str) -> None:
    wanted = IMAGES if kind != "grey lists" else np.repeat(IMAGES[..., :1], 3, 3)
    column = {
        "bytes": [encoded(image) for image in IMAGES], "struct": [{"bytes": encoded(image), "path": "x.png"} for image in IMAGES],
        "lists": IMAGES.tolist(), "grey lists": IMAGES[..., 0].tolist(),
    }[kind]  # fmt: skip
    url = table(tmp_path / "x.parquet", image=column, label=LABELS)
    found = Parquet(url).open(run)
    assert np.array_equal(np.stack(found.images(range(12))), wanted) and np.array_equal(found.labels, LABELS)
    assert found.ids[3] == "0000003"


def test_parquet_of_many_files_with_names_and_ids(tmp_path: Path, run: Local) -> None:
    names = np.array(["dog", "cat", "emu"])[LABELS]
    for part in range(3):
        rows = slice(4 * part, 4 * part + 4)
        keys = [f"k{i}" for i in range(12)][rows]
        table(tmp_path / f"{part}.parquet", img=[encoded(i) for i in IMAGES[rows]], species=names[rows], key=keys)
    found = Parquet(str(tmp_path), "img", "species", id="key").open(run)
    assert found.classes == ("cat", "dog", "emu") and found.ids.tolist() == [f"k{i}" for i in range(12)]
    assert [found.classes[label] for label in found.labels] == names.tolist()
    assert Parquet(str(tmp_path), "img", "species").open(run).ids[5] == "1.parquet/0000001"
    with pytest.raises(ValueError, match=r"labels that are no class \('emu': 4\); the classes are dog, cat"):
        Parquet(str(tmp_path), "img", "species", classes=("dog", "cat")).open(run)
    table(tmp_path / "3.parquet", img=[encoded(IMAGES[0])], species=["cat"], key=["k3"])
    with pytest.raises(ValueError, match="1 ids appear more than once, first 'k3'"):
        Parquet(str(tmp_path), "img", "species", id="key").open(run)


def test_parquet_takes_class_names_from_hugging_face(tmp_path: Path, run: Local) -> None:
    features = {"info": {"features": {"label": {"names": ["a", "b", "c"], "_type": "ClassLabel"}}}}
    url = table(tmp_path / "x.parquet", {"huggingface": json.dumps(features)}, image=[encoded(i) for i in IMAGES], label=LABELS)
    assert Parquet(url).open(run).classes == ("a", "b", "c")


def test_parquet_faults(tmp_path: Path, run: Local) -> None:
    images: list = [encoded(i) for i in IMAGES]
    with pytest.raises(ValueError, match="no column 'label'; it has image, target"):
        Parquet(table(tmp_path / "x.parquet", image=images, target=LABELS)).open(run)
    with pytest.raises(ValueError, match="2 of 12 images have no label"):
        Parquet(table(tmp_path / "x.parquet", image=images, label=[None, None, *LABELS[2:]])).open(run)
    with pytest.raises(ValueError, match=r"a label is float 0\.5"):
        Parquet(table(tmp_path / "x.parquet", image=images, label=LABELS + 0.5)).open(run)
    broken = Parquet(table(tmp_path / "x.parquet", image=[None, *images[1:]], label=LABELS)).open(run)
    assert broken.skipped == ("0000000: empty file",) and len(broken) == 11
    whole = Path(tmp_path / "x.parquet").read_bytes()
    for content in (whole[: len(whole) // 2], b"PAR1", b""):
        (tmp_path / "x.parquet").write_bytes(content)
        with pytest.raises(DataError, match=r"x\.parquet: is damaged"):
            Parquet(str(tmp_path / "x.parquet")).open(run)
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "x.csv").touch()
    with pytest.raises(ValueError, match=r"no \.parquet file among 1"):
        Parquet(str(tmp_path / "none")).open(run)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx(tmp_path: Path, run: Local, suffix: str) -> None:
    idx(tmp_path / f"images{suffix}", IMAGES[..., 0])
    idx(tmp_path / f"labels{suffix}", LABELS)
    data = Idx(f"{tmp_path}/images{suffix}", f"{tmp_path}/labels{suffix}", ("a", "b", "c"))
    found = data.open(run)
    assert np.array_equal(np.stack(found.images(range(12))), np.repeat(IMAGES[..., :1], 3, 3))
    assert np.array_equal(found.labels, LABELS) and found.ids[7] == "images/07"


def test_idx_faults(tmp_path: Path, run: Local) -> None:
    idx(tmp_path / "i.gz", IMAGES[..., 0])
    idx(tmp_path / "l.gz", LABELS)
    data = Idx("i.gz", "l.gz", url=str(tmp_path))
    assert data == Idx(f"{tmp_path}/i.gz", f"{tmp_path}/l.gz")
    with pytest.raises(ValueError, match="different folders"):
        Idx("/a/i.gz", "/b/l.gz")
    with pytest.raises(ValueError, match=r"no nothing.gz; the folder has i.gz, l.gz"):
        Idx("nothing.gz", "l.gz", url=str(tmp_path)).open(run)
    with pytest.raises(ValueError, match="do not match"):
        Idx("l.gz", "i.gz", url=str(tmp_path)).open(run)
    plain = gzip.decompress((tmp_path / "i.gz").read_bytes())
    for content, message in [
        (gzip.compress(plain)[:100], "is damaged"), (gzip.compress(plain[:-1]), "header says"), (plain + b"x", "header says"),
        (plain[:9], "ends within its header"), (b"\0\0\x0d\x03" + plain[4:], "is not an IDX file of bytes"), (b"", "is not an IDX"),
        (b"\0\0\x08\x03" + struct.pack(">3i", -1, 12, 16), "header says"),
        (b"\0\0\x08\x03" + struct.pack(">3i", 2**31 - 1, 2**31 - 1, 9), "header says"),
    ]:  # fmt: skip
        (tmp_path / "i.gz").write_bytes(content)
        with pytest.raises(DataError, match=message):
            data.open(run)


FASHION = Path("/usr/share/datasets/fashion-mnist")


@pytest.mark.skipif(not FASHION.is_dir(), reason="Fashion-MNIST is not installed (Debian: dataset-fashion-mnist)")
def test_fashion_mnist(run: Local) -> None:
    test = Idx(f"{FASHION}/t10k-images-idx3-ubyte.gz", f"{FASHION}/t10k-labels-idx1-ubyte.gz").open(run)
    assert len(test) == 10_000 and np.bincount(test.labels).tolist() == [1000] * 10
    assert test.images([9999])[0].shape == (28, 28, 3)
