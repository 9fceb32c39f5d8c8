"""The microworld is a function of its fields: lengths are prefixes, seeds and fonts differ, and captions say what is shown."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from components.data import Mixture, Split
from components.data.microworld import Rendered, words
from components.types import Dataset, Local


@pytest.fixture
def run(tmp_path):
    return Local(str(tmp_path))


def pixels(data, run):
    opened = data.open(run)
    return np.stack(opened.images(range(len(opened))))


def test_a_longer_corpus_begins_with_the_shorter_one(run):
    short, long = Rendered(n=330), Rendered(n=1010)
    assert np.array_equal(pixels(short, run), pixels(long, run)[:330])
    a, b = short.open(run), long.open(run)
    assert list(a.ids) == list(b.ids[:330])
    assert list(a.labels) == list(b.labels[:330])
    assert a.captions == b.captions[:330]
    assert a.digest != b.digest
    assert short.parts() == long.parts()


def test_rendering_again_gives_the_same_bytes(run, tmp_path):
    assert np.array_equal(pixels(Rendered(n=40), run), pixels(Rendered(n=40), Local(str(tmp_path / "elsewhere"))))


def test_another_seed_font_or_style_is_another_corpus(run):
    first = Rendered(n=50, digits=1, garments=0, shapes=0)
    others = [
        Rendered(n=50, digits=1, garments=0, shapes=0, **change) for change in ({"seed": 1}, {"fonts": "held_out"}, {"style": "plain"})
    ]
    seen = {data.open(run).digest for data in (first, *others)}
    assert len(seen) == 4
    assert all((pixels(first, run) != pixels(other, run)).any(axis=(1, 2, 3)).mean() > 0.9 for other in others)
    assert len({data.parts()[0][0] for data in (first, *others)}) == 4
    joined = Mixture((first, *others)).open(run)  # refuses ids that appear twice
    assert len(joined) == 200


def test_classes_and_labels_are_those_of_the_subjects_with_a_share(run):
    opened = Rendered(n=600, digits=0, garments=1, shapes=0.5).open(run)
    assert opened.classes[:2] == ("t-shirt", "trouser")
    assert opened.classes[-1] == "moon"
    assert sorted(set(opened.labels.tolist())) == list(range(20))
    share = (opened.labels < 10).mean()
    assert 0.6 < share < 0.73


def test_captions_name_the_class_and_nothing_else_of_its_subject(run):
    opened = Rendered(n=400).open(run)
    for label, captions in zip(opened.labels, opened.captions, strict=True):
        name = opened.classes[label]
        assert len(captions) == 3
        assert all(name in caption for caption in captions)
    short = np.mean([caption.count(" ") <= 2 for captions in opened.captions for caption in captions])
    assert 0.55 < short < 0.85


def test_plain_images_are_white_on_black_and_mixed_ones_are_not(run):
    assert np.ptp(pixels(Rendered(n=100, style="plain"), run).astype(int), axis=3).max() == 0
    colourful = (np.ptp(pixels(Rendered(n=400), run).astype(int), axis=3).max(axis=(1, 2)) > 40).mean()
    assert 0.35 < colourful < 0.75


def test_every_image_shows_something(run):
    spread = pixels(Rendered(n=500, style="plain"), run).std(axis=(1, 2, 3))
    assert spread.min() > 8


def test_a_split_of_the_corpus_is_a_dataset(run):
    data = Rendered(n=300)
    assert isinstance(data, Dataset)
    low, high = (Split(data, *bounds).open(run) for bounds in ((0, 0.5), (0.5, 1)))
    assert sorted([*low.ids, *high.ids]) == sorted(data.open(run).ids)


@pytest.mark.parametrize("fields", [{"n": 0}, {"seed": -1}, {"digits": -0.1}, {"digits": 0, "garments": 0, "shapes": 0}])
def test_impossible_fields_are_refused(fields):
    with pytest.raises(ValueError, match="Rendered: "):
        Rendered(**fields)


def test_naming_the_corpus_loads_no_framework():
    code = "import sys; from components.data.microworld import Rendered; Rendered(); print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" not in said
    assert "PIL" not in said


def test_the_words_are_those_of_all_captions(run):
    said = {word for captions in Rendered(n=4000).open(run).captions for caption in captions for word in caption.split()}
    assert said == set(words().split())
