"""What a model answers on data, and the number that it earns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from components.predictions import Predictions
from components.predictors.head import Head
from components.types import Dataset, Diverged, Examples, Metric, Predictor, Run, Score, revision

if TYPE_CHECKING:
    import numpy as np

    from components.models.classifier import Classifier
    from components.weights import Checkpoint, Combination

BATCH = 256
_last: list[Classifier] = []  # the module of the previous call: the next checkpoint of a sweep or soup is streamed into it
_open: dict[tuple[str, str], Examples] = {}  # what was opened last, see `opened`


@revision(1)
def predict(checkpoint: Checkpoint | Combination, data: Dataset, *, predictor: Predictor = Head(), run: Run) -> Predictions:  # noqa: B008
    """The answers of a checkpoint or a combination on every example of `data`, seen through the evaluation view."""
    return outputs(checkpoint, data, predictor=predictor, run=run)


@revision(1)
def score(predictions: Predictions, metric: Metric, split: str = "") -> Score:
    """The metric of recorded predictions, under the name of the split."""
    return metric(predictions, split)


def outputs(checkpoint: Checkpoint | Combination, data: Dataset, *, predictor: Predictor = Head(), run: Run) -> Predictions:  # noqa: B008
    """What `predict` returns, as a plain function. Diverged names a checkpoint whose answers are not finite."""
    from components.models.heads import accelerator
    from components.models.module import build

    module = build(checkpoint, accelerator(), into=_last.pop() if _last else None)
    found = answers(module, predictor, opened(data, run), run, name=str(checkpoint))
    _last.append(module)
    return found


def opened(data: Dataset, run: Run) -> Examples:
    """`data.open(run)`; the last two are kept in this process, unless their source may change because nothing pins it."""
    key = (repr(data), run.cache)
    found = _open.pop(key, None) or data.open(run)
    if all(getattr(root, "pinned", "itself") for root, _, _ in data.parts()):
        _open[key] = found
        for old in list(_open)[:-2]:
            del _open[old]
    return found


def answers(module: Classifier, predictor: Any, examples: Examples, run: Run, *, name: str = "the model") -> Predictions:
    """The predictions of a module in evaluation mode."""
    import numpy as np
    import torch

    from components.data.views import evaluation

    if not len(examples):
        raise ValueError("no example to predict: the dataset or split is empty")
    labels = aligned(examples, module.classes)
    pixels, bound, device = evaluation(examples, module.preprocess, run), predictor.bind(module), module.mean.device
    rows: np.ndarray | None = None
    with torch.inference_mode():
        for at in range(0, len(pixels), BATCH):
            images = torch.from_numpy(np.array(pixels[at : at + BATCH])).to(device, non_blocking=True).permute(0, 3, 1, 2)
            logits = bound(images).float().cpu().numpy()
            if rows is None:
                rows = np.empty((len(pixels), logits.shape[1]), np.float32)
            rows[at : at + len(logits)] = logits
    assert rows is not None
    if not np.isfinite(rows).all():
        bad = int((~np.isfinite(rows)).any(axis=1).sum())
        raise Diverged(f"{name} answers {bad} of {len(rows)} examples with non-finite logits: its weights diverged, leave it out")
    return Predictions(np.asarray(examples.ids), labels, rows, examples.groups, module.classes or tuple(examples.classes), tuple(examples.skipped))


def aligned(examples: Examples, classes: Sequence[str]) -> np.ndarray:
    """The examples' labels as rows of a head with these classes, int64 [N].

    Where all of the source's class names are known to the head they are looked up, in whatever order and number; otherwise the counts must
    agree and positions count. ValueError where they do not, where a name that both have stands at different positions, or where a label
    is beyond the head.
    """
    import numpy as np

    labels, names = np.asarray(examples.labels, np.int64), tuple(examples.classes)
    if not classes:
        return labels
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
