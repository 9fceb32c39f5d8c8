"""Checkpoint folders: what is written opens elsewhere, comes back bit for bit, and is refused once it is damaged."""

from __future__ import annotations

import json
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.types import DataError, File, in_order
from components.weights import Checkpoint, NotFinite, Vector, destination, files, mean
from components.weights.layout import BFLOAT16, CODES, DTYPES, arrange, parse, render

SPEC = {"kind": "open_clip", "model_cfg": {"embed_dim": 4}, "preprocess_cfg": {"size": 8}, "classes": ["ja", "näin"], "name": "tiny"}
WEIGHTS = "open_clip_model.safetensors"


def make(seed: int = 0, **spec: Any) -> Checkpoint:
    random = np.random.default_rng(seed)
    tensors = {"visual.proj": random.normal(size=(40, 9)).astype(np.float32), "logit_scale": np.float32(4.6), "ids": np.arange(9)}
    head = {"head.weight": random.normal(size=(2, 9)).astype(np.float32), "head.bias": np.zeros(2, np.float32)}
    kept = {"objective.context": random.normal(size=(4, 9)).astype(np.float16)}
    return Checkpoint.of({**tensors, **head, **kept}, {**SPEC, "ancestry": "root", **spec}, {"bpe.txt.gz": b"merges"})


def equal(a: Vector, b: Vector) -> None:
    left, right = dict(a.tensors()), dict(b.tensors())
    assert list(left) == list(right)
    assert all((x.dtype, x.shape, x.tobytes()) == (right[k].dtype, right[k].shape, right[k].tobytes()) for k, x in left.items())


@pytest.mark.parametrize("where", ["{tmp}/a folder/x", "file://{tmp}/x", "memory://stockpot-test/x/y"])
def test_a_round_trip_at_any_url(tmp_path: Path, where: str) -> None:
    url = where.format(tmp=tmp_path)
    one = make().describe(lr=0.1)
    written = one.save(url)
    assert [file.name for file in written] == [
        WEIGHTS, "head.safetensors", "objective.safetensors", "bpe.txt.gz", "card.md", "open_clip_config.json",
    ]  # fmt: skip
    for file in written:
        with fsspec.open(f"{url}/{file.name}", "rb") as stored:
            content = stored.read()
        assert (len(content), files.digest(content)) == (file.size, file.digest)
    back = Checkpoint.load(url)
    equal(back, one)
    assert (back.extras, back.digest, back.spec["facts"]) == ({"bpe.txt.gz": b"merges"}, one.digest, {"lr": 0.1})
    assert {key: back.spec[key] for key in SPEC} == SPEC
    copied = back.save(f"{url}-copy")
    assert copied == written
    assert mean([back]).summary()["lineage"]["leaves"] == [{"digest": one.digest, "weight": "1", "name": "tiny"}]
    json.dumps(back.summary())


@pytest.mark.parametrize("code", list(DTYPES))
def test_every_dtype_of_the_format_comes_back_bit_for_bit(tmp_path: Path, code: str) -> None:
    raw = np.random.default_rng(1).integers(0, 2 if code == "BOOL" else 256, size=24 * DTYPES[code].itemsize, dtype=np.uint8)
    array = raw.view(DTYPES[code]).reshape(2, 3, 4)
    odd = {"w": array, "slice": array[:, ::2], "scalar": array[0, 0, 0], "empty": array[:0], "turned": array.T}
    one = Checkpoint.of(odd, SPEC)
    one.save(f"{tmp_path}/x")
    found = dict(Checkpoint(f"{tmp_path}/x").tensors())
    for key, expected in odd.items():
        assert (CODES[found[key].dtype], found[key].shape, found[key].tobytes()) == (code, np.shape(expected), expected.tobytes())


def test_the_reference_library_reads_what_we_write_and_we_what_it_writes(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    one = make()
    one.save(f"{tmp_path}/x")
    theirs = load_file(f"{tmp_path}/x/{WEIGHTS}")
    ours = {key: array for key, array in one.tensors() if not key.startswith(("head.", "objective."))}
    assert theirs.keys() == ours.keys()
    assert all(np.array_equal(theirs[key], ours[key]) for key in ours)
    (tmp_path / "foreign").mkdir()
    save_file(theirs, f"{tmp_path}/foreign/{WEIGHTS}")
    (tmp_path / "foreign" / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"embed_dim": 4}, "preprocess_cfg": {}}))
    foreign = Checkpoint(f"{tmp_path}/foreign")
    assert foreign.spec["ancestry"].startswith("sampled-")
    assert all(np.array_equal(array, ours[key]) for key, array in foreign.tensors())
    foreign.save(f"{tmp_path}/imported")
    assert Checkpoint(f"{tmp_path}/imported").parts["model"].digest == Checkpoint(f"{tmp_path}/x").parts["model"].digest


def test_foreign_files_in_another_tensor_order_average_to_the_same(tmp_path: Path) -> None:
    """Slabs that lie side by side in one file and not in another are still the same sum."""
    random = np.random.default_rng(0)
    tensors = [{f"k{i}": random.normal(size=(i + 1, 5)).astype(np.float32) for i in range(6)} for _ in range(3)]
    models = []
    for n, mine in enumerate(tensors):
        keys = sorted(mine, reverse=bool(n % 2), key=lambda key: (int(key[1:]) * 5 % 7 if n == 2 else 0, key))
        position, table, body = 0, {}, b""
        for key in keys:
            content = mine[key].tobytes()
            table[key] = {"dtype": "F32", "shape": list(mine[key].shape), "data_offsets": [position, position + len(content)]}
            position += len(content)
            body += content
        text = json.dumps(table).encode()
        folder = tmp_path / str(n)
        folder.mkdir()
        (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + body)
        (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {}, "stockpot": {"ancestry": "root"}}))
        models.append(Checkpoint(str(folder)))
    found = dict(mean(models).tensors())
    for key, array in found.items():
        total = sum(mine[key].astype(np.float64) for mine in tensors)
        assert np.array_equal(array, (total / 3).astype(np.float32))


def test_timm_models_have_their_own_names(tmp_path: Path) -> None:
    one = make(kind="timm", model_cfg={"architecture": "resnet18", "num_classes": 0})
    names = [file.name for file in one.save(f"{tmp_path}/x")]
    assert {"config.json", "model.safetensors"} <= set(names)
    back = Checkpoint(f"{tmp_path}/x")
    equal(back, one)
    assert (back.spec["kind"], back.spec["model_cfg"], back.spec["preprocess_cfg"]) == ("timm", one.spec["model_cfg"], {"size": 8})


def test_the_card_tells_lineage_recipe_and_how_to_load(tmp_path: Path) -> None:
    mean([make(0, base_model="tiny/base"), make(1, base_model="tiny/base")]).describe(rule="uniform").save(f"{tmp_path}/soup")
    card = (tmp_path / "soup" / "card.md").read_text()
    front = card.split("---")[1]
    assert 'base_model:\n- "tiny/base"' in front
    assert card.count("| 1/2 |") == 2
    assert '"rule": "uniform"' in card
    assert 'create_model_and_transforms("local-dir:FOLDER")' in card
    assert str(tmp_path) not in card


@pytest.mark.parametrize("size", [0, 1, files.CHUNK - 1, files.CHUNK, files.CHUNK + 1, 2 * files.CHUNK])
def test_a_digest_does_not_depend_on_how_the_bytes_arrive(size: int) -> None:
    import hashlib

    content = np.random.default_rng(0).bytes(size)
    chunks = [content[at : at + files.CHUNK] for at in range(0, size, files.CHUNK)] or [b""]
    expected = hashlib.sha256(b"".join(hashlib.sha256(chunk).digest() for chunk in chunks)).hexdigest()
    assert files.digest(content) == expected
    step = 5_000_001
    assert files.digest(content[at : at + step] for at in range(0, size, step)) == expected


def test_a_file_whose_chunks_fail_leaves_nothing(tmp_path: Path) -> None:
    def chunks() -> Any:
        yield b"half"
        raise RuntimeError("power")

    for url in (f"{tmp_path}/x", "memory://stockpot-test/abandoned"):
        with pytest.raises(RuntimeError, match="power"):
            destination.write(url, "payload", chunks())
        assert files.size(f"{url}/payload") is None


Damage = Callable[[bytes], bytes]


def header(change: Callable[[dict[str, Any]], Any]) -> Damage:
    def damage(content: bytes) -> bytes:
        length = struct.unpack("<Q", content[:8])[0]
        table = json.loads(content[8 : 8 + length])
        changed = change(table)
        text = changed if isinstance(changed, bytes) else json.dumps(table if changed is None else changed).encode()
        return struct.pack("<Q", len(text)) + text + content[8 + length :]

    return damage


def entry(**changes: Any) -> Damage:
    return header(lambda table: table["visual.proj"].update(changes))


def duplicate(table: dict[str, Any]) -> bytes:
    text = json.dumps(table)
    return (text[:-1] + ',"logit_scale":' + json.dumps(table["logit_scale"]) + "}").encode()


def shifted(table: dict[str, Any]) -> None:
    table["logit_scale"]["data_offsets"] = [0, 4]


def hole(table: dict[str, Any]) -> None:
    del table["logit_scale"]


# file order: ids [0, 72), logit_scale [72, 76), visual.proj [76, 1516)
FAULTS: dict[str, tuple[Damage, str]] = {
    "empty": (lambda content: b"", "truncated: expected at least 8 bytes, found 0"),
    "no header": (lambda content: content[:5], "truncated: expected at least 8 bytes, found 5"),
    "half a header": (lambda content: content[:60], r"truncated: expected at least \d+ bytes, found 60"),
    "truncated": (lambda content: content[:-100], "it is truncated: expected 1516 bytes of tensors, found 1416"),
    "trailing": (lambda content: content + b"x", "it has trailing bytes: expected 1516 bytes of tensors, found 1517"),
    "over-long": (lambda content: struct.pack("<Q", 1 << 62) + content[8:], "its header claims 4611686018427387904 bytes"),
    "not JSON": (header(lambda table: b"{'a': 1}"), "not valid JSON"),
    "not UTF-8": (header(lambda table: b'{"\xff": 1}'), "not valid JSON"),
    "a list": (header(lambda table: [1]), "not a JSON object"),
    "nested": (header(lambda table: b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"), "nests too deep"),
    "NaN": (header(lambda table: b'{"a": NaN}'), "NaN is not JSON"),
    "duplicate": (header(duplicate), "duplicate key logit_scale"),
    "overlap": (header(shifted), "overlaps logit_scale, which ends at 4"),
    "hole": (header(hole), "visual.proj at byte 76 leaves a hole after ids, which ends at 72"),
    "unknown dtype": (entry(dtype="F31"), "unknown dtype 'F31'"),
    "shape": (entry(shape=[40, 10]), r"F32 \[40, 10\], which is not the"),
    "negative": (entry(shape=[-40, -9]), "not counts"),
    "float shape": (entry(shape=[40.0, 9]), "not counts"),
    "true shape": (entry(shape=[True, 360]), "not counts"),
    "huge shape": (entry(shape=[1 << 62, 1 << 62]), "which is not the"),
    "offsets": (entry(data_offsets=[76]), "which is not the"),
    "backwards": (entry(data_offsets=[1516, 76]), "which is not the"),
    "extra field": (entry(strange=1), "does not have exactly"),
    "metadata": (header(lambda table: {**table, "__metadata__": {"a": 1}}), "__metadata__ is not a table of strings"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_damaged_safetensors_are_refused_by_name(tmp_path: Path, fault: str) -> None:
    """The file of a foreign folder, without a record that could give it away sooner."""
    damage, message = FAULTS[fault]
    make().save(f"{tmp_path}/x")
    path = tmp_path / "x" / WEIGHTS
    path.write_bytes(damage(path.read_bytes()))
    (tmp_path / "x" / "open_clip_config.json").write_text('{"model_cfg": {}}')
    with pytest.raises(DataError, match=message) as caught:
        list(Checkpoint(f"{tmp_path}/x").tensors())
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=200), st.integers(0, 1000))
def test_no_header_raises_anything_but_what_is_wrong_with_it(text: bytes, room: int) -> None:
    with pytest.raises(ValueError, match=r"its header|it is|it has|does not|not counts|unknown|metadata"):
        parse(b'{"w":' + text, room)


@given(st.dictionaries(st.text(max_size=5).filter(lambda key: key != "__metadata__"), st.sampled_from(sorted(DTYPES)), max_size=6))
def test_a_rendered_layout_parses_back(dtypes: dict[str, str]) -> None:
    layout = arrange({key: (code, (2, i)) for i, (key, code) in enumerate(dtypes.items())})
    text = render(layout)
    assert len(text) % 8 == 0
    assert parse(text[8:], max((entry.stop for entry in layout.values()), default=0)) == layout


@pytest.mark.parametrize("seed", [1, 0])  # 0: a copy of the other, whose equal record lets it go unread in the sum
@pytest.mark.parametrize("name", [WEIGHTS, "head.safetensors"])
def test_flipped_bytes_and_short_files_are_found_against_the_record(tmp_path: Path, name: str, seed: int) -> None:
    for i, each in enumerate((0, seed)):
        make(each).save(f"{tmp_path}/{i}")
    path = tmp_path / "1" / name
    sound = path.read_bytes()
    broken = bytearray(sound)
    broken[-3] ^= 1
    soup = lambda: mean([Checkpoint.load(f"{tmp_path}/{i}") for i in range(2)])  # noqa: E731
    path.write_bytes(bytes(broken))
    for use in (
        lambda: soup().save(f"{tmp_path}/soup"),
        lambda: list(Checkpoint.load(f"{tmp_path}/1").tensors()),
        lambda: mean([Checkpoint(f"{tmp_path}/{i}") for i in range(2)]).verify(),
    ):
        with pytest.raises(DataError, match=f"{name} is not as recorded: expected digest"):
            use()
    path.write_bytes(sound[:-5])
    with pytest.raises(DataError, match=f"{name} is not as recorded: expected {len(sound)} bytes, found {len(sound) - 5}"):
        soup().spec  # noqa: B018
    assert not (tmp_path / "soup" / "open_clip_config.json").exists()


def test_part_of_a_file_is_checked_as_well(tmp_path: Path) -> None:
    """Reading out of the file's order, or only some keys, still verifies every byte of it."""
    make(0).save(f"{tmp_path}/0")
    path = tmp_path / "0" / WEIGHTS
    broken = bytearray(path.read_bytes())
    broken[-3] ^= 1  # in visual.proj
    path.write_bytes(bytes(broken))
    with pytest.raises(DataError, match="not as recorded"):
        list(Checkpoint.load(f"{tmp_path}/0").only("logit_scale").tensors())


def test_a_file_is_checked_once_in_a_process_and_again_when_it_was_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(0).save(f"{tmp_path}/0")
    read: list[str] = []
    digest = files.digest_and_crc32s
    monkeypatch.setattr(files, "digest_and_crc32s", lambda url: read.append(url) or digest(url))
    for _ in range(3):
        list(Checkpoint.load(f"{tmp_path}/0").tensors())
    assert len(read) == len(set(read)) == 3  # the model's file, the head's and the objective's
    path = tmp_path / "0" / WEIGHTS
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))
    checked, trusted = Checkpoint.load(f"{tmp_path}/0"), Checkpoint(f"{tmp_path}/0")
    for damaged in (checked, trusted + checked, checked * 2 - trusted):
        with pytest.raises(DataError, match="not as recorded"):
            list(damaged.tensors())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda config: config["stockpot"].update(format=2), ValueError, "has checkpoint format 2, this stockpot reads 1"),
        (lambda config: config["stockpot"].update(files=[["../../etc/passwd", 1, "x"]]), DataError, "not a plain name"),
        (lambda config: config["stockpot"].update(files=[[1]]), DataError, "lists its files"),
        (lambda config: config.update(stockpot=[]), DataError, "not a table"),
    ],
)
def test_a_configuration_that_is_not_ours_is_refused(tmp_path: Path, change: Any, error: type[Exception], message: str) -> None:
    make().save(f"{tmp_path}/x")
    path = tmp_path / "x" / "open_clip_config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))
    with pytest.raises(error, match=message):
        Checkpoint(f"{tmp_path}/x").spec  # noqa: B018


def test_folders_without_weights_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no checkpoint at"):
        Checkpoint(f"{tmp_path}/none").spec  # noqa: B018
    (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {}}')
    with pytest.raises(ValueError, match=r"open_clip_model\.safetensors is missing; fetch or save it again"):
        Checkpoint(str(tmp_path)).spec  # noqa: B018
    (tmp_path / "open_clip_pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(ValueError, match=r"open_clip_pytorch_model\.bin is a pickle, which is never read here: use stockpot import"):
        Checkpoint(str(tmp_path)).spec  # noqa: B018
    (tmp_path / "open_clip_config.json").write_text("{")
    with pytest.raises(DataError, match="is not JSON"):
        Checkpoint(str(tmp_path)).spec  # noqa: B018


def test_only_a_head_is_not_a_checkpoint_to_save(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs the model's own weights, not only head"):
        make().only("head.*").save(f"{tmp_path}/x")


def test_a_file_that_is_recorded_and_gone_or_changed_is_named(tmp_path: Path) -> None:
    make().save(f"{tmp_path}/x")
    (tmp_path / "x" / "bpe.txt.gz").write_bytes(b"merged")
    with pytest.raises(DataError, match=r"bpe\.txt\.gz is not as recorded"):
        Checkpoint(f"{tmp_path}/x").extras  # noqa: B018
    (tmp_path / "x" / "bpe.txt.gz").unlink()
    with pytest.raises(DataError, match=r"bpe\.txt\.gz is missing"):
        Checkpoint(f"{tmp_path}/x").extras  # noqa: B018
    (tmp_path / "x" / "head.safetensors").unlink()
    with pytest.raises(DataError, match=r"head\.safetensors is missing"):
        list(Checkpoint(f"{tmp_path}/x").tensors())


@pytest.mark.parametrize("name", ["x", "x/", "./x", "link", "y/../x"])
def test_saving_over_an_ingredient_is_refused_however_it_is_spelled(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make(0).save(f"{tmp_path}/x")
    (tmp_path / "link").symlink_to("x")
    (tmp_path / "y").mkdir()
    monkeypatch.chdir(tmp_path)
    before = (tmp_path / "x" / WEIGHTS).read_bytes()
    for url in (name, f"{tmp_path}/{name}", f"file://{tmp_path}/{name}"):
        with pytest.raises(ValueError, match="holds an ingredient that is being read"):
            mean([Checkpoint("x"), make(1)]).save(url)
    assert (tmp_path / "x" / WEIGHTS).read_bytes() == before


@pytest.mark.parametrize("fact", [float("nan"), {1, 2}, np.float32(1)])
def test_facts_that_are_not_json_are_refused_before_the_long_part(tmp_path: Path, fact: object) -> None:
    with pytest.raises(ValueError, match="a fact is not JSON"):
        make().describe(fact=fact).save(f"{tmp_path}/x")
    assert not (tmp_path / "x").exists()
    with pytest.raises(ValueError, match="kind 'keras' is unknown; say one of open_clip, timm"):
        make(kind="keras").save(f"{tmp_path}/x")


def test_models_and_their_errors_cross_processes(tmp_path: Path) -> None:
    """Ray moves arguments and errors with pickle; nothing at rest is pickled."""
    make().save(f"{tmp_path}/x")
    soup = mean([Checkpoint(f"{tmp_path}/x"), make(1)])
    soup.spec  # noqa: B018
    equal(pickle.loads(pickle.dumps(soup)), soup)
    error = pickle.loads(pickle.dumps(NotFinite("trial", "w", 2.0)))
    assert (str(error), error.key) == (str(NotFinite("trial", "w", 2.0)), "w")


MERGE = """
import resource, sys
from components.weights import Checkpoint, mean
folder, n = sys.argv[1], int(sys.argv[2])
mean([Checkpoint(f"{folder}/{i}") for i in range(1)]).save(f"{folder}/warm")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
mean([Checkpoint(f"{folder}/{i}") for i in range(n)]).save(f"{folder}/soup")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_memory_does_not_grow_with_the_number_or_size_of_checkpoints(tmp_path: Path) -> None:
    """12 files of 48 MB: the peak grows by less than half of one file. A child process, because the peak is the process's."""
    tensor = np.random.default_rng(0).normal(size=(4, 1_000_000)).astype(np.float32)
    for i in range(12):
        tensor[0, 0] = i
        Checkpoint.of({"a": tensor, "b": tensor, "c": tensor}, {**SPEC, "ancestry": "root"}).save(f"{tmp_path}/{i}")
    out = subprocess.run([sys.executable, "-c", MERGE, str(tmp_path), "12"], capture_output=True, text=True, check=True)
    assert int(out.stdout) < 24, f"{out.stdout.strip()} MB more at the peak"
    assert (tmp_path / "soup" / WEIGHTS).stat().st_size > 48_000_000


def test_open_clip_opens_the_folder_and_answers_the_same(tmp_path: Path) -> None:
    import open_clip
    import torch

    config = {
        "embed_dim": 64,
        "vision_cfg": {"image_size": 32, "layers": 3, "width": 64, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 12, "vocab_size": 64, "width": 64, "heads": 4, "layers": 2},
    }
    torch.manual_seed(0)
    models = [open_clip.model.CLIP(**json.loads(json.dumps(config))).eval() for _ in range(2)]
    spec = {"model_cfg": config, "preprocess_cfg": {"size": 32, "mean": [0.5] * 3, "std": [0.5] * 3}, "ancestry": "root"}
    stored = [Checkpoint.of({key: value.numpy() for key, value in model.state_dict().items()}, spec) for model in models]
    mean([stored[0]]).save(f"{tmp_path}/copy")
    mean(stored).describe(rule="uniform").save(f"{tmp_path}/soup")
    images, text = torch.rand(3, 3, 32, 32), torch.randint(0, 64, (3, 12))
    for name in ("copy", "soup"):
        opened, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}/{name}")
        with torch.no_grad():
            if name == "soup":
                for mine, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
                    mine.copy_(((mine.double() + other.double()) / 2).float())
            for ours, theirs in zip(models[0](images, text), opened.eval()(images, text), strict=True):
                assert torch.equal(ours, theirs)
        assert tuple(preprocess.transforms[-1].mean) == (0.5, 0.5, 0.5)


def test_bfloat16_of_torch_comes_back(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    tensor = torch.randn(7, 3).to(torch.bfloat16)
    Checkpoint.of({"w": tensor.view(torch.int16).numpy().view(BFLOAT16)}, SPEC).save(f"{tmp_path}/x")
    assert torch.equal(load_file(f"{tmp_path}/x/{WEIGHTS}")["w"], tensor)


def test_records_are_what_the_runner_expects(tmp_path: Path) -> None:
    assert all(isinstance(file, File) for file in make().save(f"{tmp_path}/x", in_order))
