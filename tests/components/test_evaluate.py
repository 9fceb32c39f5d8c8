from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from components import evaluate
from components.data.digits import CLASSES, Digits
from components.data.examples import Rows
from components.data.split import Split
from components.evaluate import aligned, answers, opened, predict, score
from components.metrics import Top1
from components.models import build
from components.models.heads import zero_shot
from components.models.openclip import fresh
from components.predictors.head import Head
from components.types import DataError, Dataset, Diverged, Local, Run
from components.weights import Checkpoint

TEST = Split(Digits(), 0.8, 1.0)


def examples(classes: tuple[str, ...], labels: list[int]) -> Rows:
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 32, 32, 3), dtype=np.uint8)
    return Rows(np.array([str(i) for i in range(len(labels))]), np.array(labels, np.int64), pixels, f"{classes}{labels}", classes=classes)


def test_predictions_are_the_module_s_logits_in_the_order_of_the_data(zero: Any, run: Local) -> None:
    found, opened = predict(zero, TEST, run=run), TEST.open(run)
    pixels = torch.from_numpy(np.stack(opened.images(range(len(opened))))).permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = build(zero)(pixels).numpy()
    assert found.logits == pytest.approx(expected, abs=1e-4)
    assert found.ids.tolist() == opened.ids.tolist() and found.labels.tolist() == opened.labels.tolist() and found.classes == CLASSES
    counted = score(found, Top1(), "test")
    assert (counted.split, counted.n, counted.correct) == ("test", len(opened), int((expected.argmax(1) == opened.labels).sum()))


def test_counts_do_not_depend_on_the_batch_size(zero: Any, run: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = predict(zero, TEST, run=run)
    for size in (1, 7, 1000):
        monkeypatch.setattr(evaluate, "BATCH", size)
        assert score(predict(zero, TEST, run=run), Top1()).correct == score(whole, Top1()).correct


def test_models_of_other_shapes_take_turns(tiny: Any, base: Any, zero: Any, run: Local) -> None:
    first = predict(zero, TEST, run=run).logits
    wider = zero_shot(fresh(replace(tiny, embed_dim=24), 0, run=run), ("zero", "one"), ("{}",), run=run)
    few = Rows(np.array(["a"]), np.array([0]), np.zeros((1, 32, 32, 3), np.uint8), "few")
    assert answers(build(wider), Head(), few, run).logits.shape == (1, 2)
    with pytest.raises(ValueError, match="needs a head"):
        predict(base, TEST, run=run)
    assert predict(zero, TEST, run=run).logits.tobytes() == first.tobytes()


def test_a_model_that_diverged_is_named(zero: Any, run: Local) -> None:
    tensors = dict(zero.tensors())
    broken = Checkpoint.of({**tensors, "head.bias": np.array([np.nan] + [0] * 9, np.float32)}, zero.spec)
    with pytest.raises(Diverged, match=r"Checkpoint.* non-finite logits"):
        predict(broken, TEST, run=run)


def test_what_nothing_pins_is_opened_anew(run: Local) -> None:
    assert opened(TEST, run) is opened(TEST, run)
    assert opened(TEST, Local(f"{run.dir}/elsewhere")) is not opened(TEST, run)

    @dataclass(frozen=True)
    class Source(Dataset):
        pinned: str = ""

        def open(self, run: Run) -> Rows:
            return examples(("a", "b"), [0, 1])

        def parts(self) -> Any:
            return ((self, 0.0, 1.0),)

    assert opened(Source(), run) is not opened(Source(), run)
    assert opened(Source("digest"), run) is opened(Source("digest"), run)


def test_an_empty_split_is_refused(zero: Any, run: Local) -> None:
    with pytest.raises(ValueError, match="empty"):
        answers(build(zero), Head(), examples(("a",), []), run)


def test_labels_follow_names_wherever_the_head_knows_them() -> None:
    assert aligned(examples(("b", "a"), [0, 1, 1, -1]), ("a", "b", "c")).tolist() == [1, 0, 0, -1]
    assert aligned(examples(("0", "1"), [0, 1]), ("zero", "one")).tolist() == [0, 1]  # other words: by position
    assert aligned(examples((), [0, 2]), ("a", "b", "c")).tolist() == [0, 2]
    assert aligned(examples(("a", "b"), [0, 1]), ()).tolist() == [0, 1]
    assert aligned(examples(("a", "a"), [0, 1]), ("a", "a")).tolist() == [0, 1]  # two classes of one name stay two


def test_classes_unlike_the_head_are_refused() -> None:
    with pytest.raises(ValueError, match=r"2 classes, the head 3; not in the head: x, y"):
        aligned(examples(("x", "y"), [0, 1]), ("a", "b", "c"))
    with pytest.raises(ValueError, match=r"1 of 3 labels are beyond the head's 2 classes \(highest 7\)"):
        aligned(examples((), [0, 1, 7]), ("a", "b"))


def test_a_shared_name_at_another_place_is_refused() -> None:
    assert aligned(examples(("rose", "lily-valley"), [0, 1]), ("rose", "lily of the valley")).tolist() == [0, 1]  # renamed in place
    with pytest.raises(ValueError, match="the head has class cat at another place than the data, and does not know fox"):
        aligned(examples(("cat", "dog", "fox"), [0, 1, 2]), ("dog", "cat", "wolf"))


class Shares(Local):
    """A run whose items see `data` as `change` makes it, in the place of what the component saw."""

    change: Any = staticmethod(lambda part: part)

    def map(self, fn: Any, items: Any) -> list[Any]:
        return [self.change(fn(**item)) for item in items]


@pytest.fixture
def shares(run: Local, monkeypatch: pytest.MonkeyPatch) -> Shares:
    monkeypatch.setattr(evaluate, "BATCH", 64)
    monkeypatch.setattr(evaluate, "SHARE", 128)
    return Shares(run.dir, run.cache, parallel=2)


@pytest.mark.parametrize("data", [TEST, Digits()])
def test_shares_give_the_bits_of_a_single_pass(data: Any, zero: Any, run: Local, shares: Shares) -> None:
    whole, found = predict(zero, data, run=run), predict(zero, data, run=shares)
    for name in ("ids", "labels", "logits"):
        assert getattr(found, name).tobytes() == getattr(whole, name).tobytes()
    assert (found.classes, found.groups, found.skipped) == (whole.classes, whole.groups, whole.skipped)


def test_answers_that_are_not_one_for_each_example_are_refused(zero: Any, shares: Shares) -> None:
    def cut(part: Any) -> Any:
        return replace(part, ids=part.ids[:-1], labels=part.labels[:-1], logits=part.logits[:-1])

    shares.change = cut
    with pytest.raises(DataError, match=r"\d+ answers for \d+ examples, or not for each of them"):
        predict(zero, TEST, run=shares)


def test_the_shares_of_one_call_find_the_model_as_it_is(zero: Any, shares: Shares, monkeypatch: pytest.MonkeyPatch) -> None:
    from components.models import module

    built: list[str] = []
    monkeypatch.setattr(module, "build", lambda source, *rest, **more: built.append(str(source)) or build(source, *rest, **more))
    predict(zero, TEST, run=shares)
    predict(zero, TEST, run=shares)
    assert len(built) == 2
