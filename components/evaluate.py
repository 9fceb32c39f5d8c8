"""What a model answers on data, and the number that it earns."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from components.predictions import Predictions
from components.predictors.head import Head
from components.types import DataError, Dataset, Diverged, Examples, Metric, Predictor, Run, Score, may_map, revision

if TYPE_CHECKING:
    import numpy as np

    from components.data.examples import Rows
    from components.models.classifier import Classifier
    from components.weights import Checkpoint, Combination

BATCH = 256
KEPT = 8  # datasets that stay open in a process
SHARE = 16 * BATCH  # examples of an item of a map: whole batches, whose composition decides the last bits of logits
_last: list[tuple[str, Classifier]] = []  # the module of the previous call: the next checkpoint of a sweep or soup is streamed into it
_open: dict[tuple[str, str], Examples] = {}  # what was opened last, see `opened`
_turn = threading.Lock()  # of the threads of a `run.map` for these two


@dataclass(frozen=True, eq=False)
class Count:
    """A model's correct answers, of all examples or as far as it was asked.

    right: bool [N], False where it was not asked; shown: images that it was asked about; most: the correct answers if all that were not
    asked were right; error: why there is no count.
    """

    right: np.ndarray
    shown: int
    most: int
    error: str = ""

    @classmethod
    def of(cls, predictions: Predictions) -> Count:
        """The count of recorded answers."""
        right = predictions.correct
        return cls(right, len(right), int(right.sum()))

    @property
    def complete(self) -> bool:
        """Whether `most` is the count."""
        return self.shown == len(self.right) and not self.error


@may_map
@revision(1)
def predict(
    checkpoint: Checkpoint | Combination, data: Dataset, *, predictor: Predictor = Head(), head: Checkpoint | None = None, run: Run  # noqa: B008
) -> Predictions:
    """The answers of a checkpoint or a combination on every example of `data`, seen through the evaluation view.

    Where there are many and several can be asked at once, `run.map` spreads shares of them, with the bits of a single pass. DataError
    where the answers are not of each example once: another process saw other data.

    head: the model whose classifier answers, with its class names, instead of the checkpoint's own
    """
    examples = opened(data, run)
    if run.parallel == 1 or len(examples) <= SHARE:
        return outputs(checkpoint, data, predictor=predictor, head=head, run=run)
    starts, call = range(0, len(examples), SHARE), uuid.uuid4().hex
    shared = {"checkpoint": checkpoint, "data": data, "predictor": predictor, "head": head, "call": call, "run": run}
    return joined(run.map(outputs, [{"start": start, **shared} for start in starts]), examples)


@revision(1)
def score(predictions: Predictions, metric: Metric, split: str = "") -> Score:
    """The metric of recorded predictions, under the name of the split."""
    return metric(predictions, split)


def outputs(
    checkpoint: Checkpoint | Combination,
    data: Dataset,
    *,
    predictor: Predictor = Head(),  # noqa: B008
    head: Checkpoint | None = None,
    start: int | None = None,
    call: str = "",
    run: Run,
) -> Predictions:
    """What `predict` returns, or the share of it that begins at `start`, as a plain function. Diverged: some answers are not finite.

    call: names the map that this is an item of; the next one in this process finds the model as it is.
    """
    examples = opened(data, run)
    with lent(checkpoint if head is None else checkpoint.with_head(head), call) as module:
        return answers(module, predictor, examples if start is None else share(examples, start), run, name=str(checkpoint))


def share(examples: Examples, start: int) -> Rows:
    """At most SHARE examples, from `start` on."""
    import numpy as np

    from components.data.examples import rows

    whole, stop = rows(examples), min(start + SHARE, len(examples))
    part = whole.take(np.arange(start, stop), f"{start}:{stop}")
    return replace(part, pixels=whole.pixels[start:stop]) if isinstance(whole.pixels, np.ndarray) else part


def joined(parts: Sequence[Predictions], examples: Examples) -> Predictions:
    """The shares of a dataset's answers, in their order, as one."""
    import numpy as np

    ids, groups = np.concatenate([part.ids for part in parts]), [part.groups for part in parts if part.groups is not None]
    if not np.array_equal(ids, examples.ids):
        raise DataError(f"{len(ids)} answers for {len(examples)} examples, or not for each of them: a node saw other data; pin it, and run again")
    labels, logits = (np.concatenate([getattr(part, name) for part in parts]) for name in ("labels", "logits"))
    return replace(parts[0], ids=ids, labels=labels, logits=logits, groups=np.concatenate(groups) if groups else None)


def counted(checkpoint: Checkpoint | Combination, data: Dataset, *, order: np.ndarray, needed: int, run: Run) -> Count:
    """The correct answers of a classifier, asked about the examples in this order until fewer than `needed` are possible.

    order: int [N], each index of `data` once. A model whose weights or answers are not finite has a count with an error, not an
    exception: one such candidate does not end the others of a `run.map`. All batches have one shape, the last is filled up: where an
    example stands in the order, and beside which others, does not change its logits (bit-equal on a CPU, as a test shows).
    """
    import numpy as np

    from components.weights import NotFinite

    try:
        with lent(checkpoint) as module:
            examples, size = opened(data, run), stage(len(order))
            if len(order) != len(examples):
                raise DataError(f"an order of {len(order)} examples, the data has {len(examples)}: predict on the data that selects")
            labels = asked(examples, module)[0]
            batches = [order[at : at + size] for at in range(0, len(order), size)]
            rows = answered(module, Head(), examples, (np.resize(batch, size) for batch in batches), run)
            logits = (found[: len(batch)] for batch, found in zip(batches, rows, strict=True))
            right = (broken(each, str(checkpoint)) or each.argmax(axis=1) == labels[batch] for batch, each in zip(batches, logits, strict=True))
            return tally(batches, right, labels >= 0, needed)
    except NotFinite as error:
        return Count(np.zeros(len(order), bool), 0, 0, str(error))


def tally(batches: Sequence[np.ndarray], answers: Iterable[np.ndarray | str], known: np.ndarray, needed: int) -> Count:
    """Count right answers, bool [B] for each batch of indices or why there is none, until fewer than `needed` are possible.

    known: bool [N], which examples have a label; the others cannot be right.
    """
    import numpy as np

    right, shown, most = np.zeros(len(known), bool), 0, int(known.sum())
    for batch, found in zip(batches, answers, strict=False):
        shown += len(batch)
        if isinstance(found, str):
            return Count(right, shown, 0, found)
        right[batch] = found
        most -= int((known[batch] & ~found).sum())
        if most < needed:
            break
    return Count(right, shown, most)


def stage(n: int) -> int:
    """Examples that are asked about before the next look at the count: about n / 32, in multiples of 16, at most a full batch."""
    return min(BATCH, 16 * -(-n // 512))


@contextlib.contextmanager
def lent(checkpoint: Checkpoint | Combination, call: str = "") -> Iterator[Classifier]:
    """The module of a checkpoint, streamed into one that an earlier call gave back; of the same `call` it is that one."""
    from components.models.heads import accelerator
    from components.models.module import build

    with _turn:
        known, used = _last.pop() if _last else ("", None)
    module = used if used is not None and call and call == known else build(checkpoint, accelerator(), into=used)
    yield module
    _last.append((call, module))


def opened(data: Dataset, run: Run) -> Examples:
    """`data.open(run)`; the last KEPT are kept in this process, unless their source may change because nothing pins it."""
    key = (repr(data), run.cache)
    with _turn:
        found = _open.pop(key, None) or data.open(run)
        if all(getattr(root, "pinned", "itself") for root, _, _ in data.parts()):
            _open[key] = found
            for old in list(_open)[:-KEPT]:
                del _open[old]
    return found


def answers(module: Classifier, predictor: Any, examples: Examples, run: Run, *, name: str = "the model") -> Predictions:
    """The predictions of a module in evaluation mode."""
    import numpy as np

    if not len(examples):
        raise ValueError("no example to predict: the dataset or split is empty")
    (labels, classes), n = asked(examples, module), len(examples)
    batches = [np.arange(at, min(at + BATCH, n)) for at in range(0, n, BATCH)]
    rows: np.ndarray | None = None
    for batch, logits in zip(batches, answered(module, predictor, examples, batches, run), strict=True):
        if rows is None:
            rows = np.empty((n, logits.shape[1]), np.float32)
        rows[batch] = logits
    assert rows is not None
    if reason := broken(rows, name):
        raise Diverged(reason)
    return Predictions(np.asarray(examples.ids), labels, rows, examples.groups, classes, tuple(examples.skipped))


def answered(module: Classifier, predictor: Any, examples: Examples, batches: Iterable[np.ndarray], run: Run) -> Iterator[np.ndarray]:
    """The rows float32 [B, K] of each batch of indices, when it is asked for; K are the data's own classes where a head of more covers them."""
    import numpy as np
    import torch

    from components.data.views import evaluation

    pixels, bound, device = evaluation(examples, module.preprocess, run), predictor.bind(module), module.mean.device
    for batch in batches:
        with torch.inference_mode():
            images = torch.from_numpy(np.array(pixels[batch])).to(device, non_blocking=True).permute(0, 3, 1, 2)
            rows: np.ndarray = bound(images).float().cpu().numpy()
        run.alive()
        yield projected(rows, examples.columns) if examples.columns and rows.shape[1] == examples.width else rows


def projected(rows: np.ndarray, columns: Sequence[Sequence[int]]) -> np.ndarray:
    """Logits [B, K] of K groups of columns of [B, W]: of each group the largest."""
    import numpy as np

    starts = np.cumsum([0, *map(len, columns[:-1])])
    best: np.ndarray = np.maximum.reduceat(rows[:, [column for group in columns for column in group]], starts, axis=1)
    return best


def asked(examples: Examples, module: Classifier) -> tuple[np.ndarray, tuple[str, ...]]:
    """(labels int64 [N], class names) of what a model answers on some examples: its own head's, or the data's where the head covers more."""
    import numpy as np

    width = len(module.classes) or (0 if module.head is None else module.head.out_features)
    if examples.columns and width == examples.width:
        return np.asarray(examples.labels, np.int64), tuple(examples.classes)
    if examples.columns and width not in (0, len(examples.columns)):
        told = f"the data has {len(examples.columns)} of {examples.width} classes, the head {width}"
        raise ValueError(f"{told}: build one of all {examples.width} (--task ImageNet names them), or of the data's own")
    return aligned(examples, module.classes), module.classes or tuple(examples.classes)


def broken(rows: np.ndarray, name: str) -> str:
    """Why these answers are none, "" where all are finite."""
    import numpy as np

    if bad := int((~np.isfinite(rows)).any(axis=1).sum()):
        return f"{name} answers {bad} of {len(rows)} examples with non-finite logits: its weights diverged, leave it out"
    return ""


def aligned(examples: Examples, classes: Sequence[str]) -> np.ndarray:
    """The examples' labels as rows of a head with these classes, int64 [N].

    Where all of the source's class names are known to the head they are looked up, in whatever order and number; otherwise the counts must
    agree and positions count; data of some classes of the head says where these stand. ValueError where counts do not agree, where a name
    that both have stands at different positions, where several rows of the head are one class, or where a label is beyond the head.
    """
    import numpy as np

    labels, names = np.asarray(examples.labels, np.int64), tuple(examples.classes)
    if not classes:
        return labels
    if examples.columns and len(classes) == examples.width:
        if wide := [name for name, group in zip(names, examples.columns, strict=True) if len(group) > 1]:
            raise ValueError(f"{wide[0]} is several classes of the head, so that it has no label there: it can be predicted, and not trained on")
        return np.array([*(group[0] for group in examples.columns), -1])[labels]
    if names and len(set(classes)) == len(classes) and set(names) <= set(classes):
        rows = np.array([classes.index(name) for name in names] + [-1])
        labels = rows[labels]
    elif names and len(names) != len(classes):
        unknown = ", ".join([name for name in names if name not in classes][:5])
        raise ValueError(f"the data has {len(names)} classes, the head {len(classes)}; not in the head: {unknown}; name the classes alike")
    elif moved := [name for i, name in enumerate(names) if name in classes and name != classes[i]]:
        unknown = ", ".join([name for name in names if name not in classes][:5])
        raise ValueError(f"the head has class {moved[0]} at another place than the data, and does not know {unknown}; name the classes alike")
    if (beyond := labels >= len(classes)).any():
        raise ValueError(
            f"{int(beyond.sum())} of {len(labels)} labels are beyond the head's {len(classes)} classes (highest {int(labels.max())}): "
            "build a head for this data"
        )
    return labels
