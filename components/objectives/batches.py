"""From opened examples to the batches of an objective: its views of the images, the labels, one caption each."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from components.data import chance
from components.data.lookahead import Lookahead, lookahead
from components.models.classifier import Classifier
from components.types import Batch, Examples

WAITING = 4  # batches that wait for their bytes at a time, whatever the cores


class Batches:
    """Called with indices and their seeds, makes a Batch on the CPU: a pure function of both."""

    def __init__(self, examples: Examples, labels: NDArray[np.int64], objective: Any, classifier: Classifier, seed: int) -> None:
        self.examples, self.labels, self.views, self.seed = examples, labels, objective.views, seed
        self.preprocess = classifier.preprocess
        self.captions: Callable[[int], Sequence[str]] | None = None
        if objective.captioned:
            self.captions, self.tokenise = captions(examples, labels, objective.prompts, classifier.classes), classifier.tokenise

    def coming(self, draw: Callable[[int, int], tuple[NDArray[np.int64], Any]], start: int, steps: int) -> Lookahead | None:
        """What goes ahead of the steps where the examples are read from afar; `draw(n, step)` says which ones a step reads."""
        return lookahead(self.examples, lambda step: draw(len(self.examples), step)[0], start, steps)

    def __call__(self, indices: NDArray[np.int64], seeds: NDArray[np.uint64]) -> Batch:
        images = self.views(self.examples.images(indices), self.preprocess, seeds)
        labels = torch.from_numpy(self.labels[indices])
        if self.captions is None:
            return Batch(images, labels, None, self.seed)
        rows = [self.captions(int(index)) for index in indices]
        chosen = [row[int(draw % np.uint64(len(row)))] for row, draw in zip(rows, chance.bits(3, seeds), strict=True)]
        return Batch(images, labels, self.tokenise(chosen), self.seed)


def ahead(
    make: Callable[[int], Batch], start: int, steps: int, device: str, coming: Lookahead | None = None
) -> Iterator[tuple[int, Batch]]:
    """(step, make(step)) in order. They are made in threads for an accelerator while it computes, and where examples come from afar.

    A CPU has no time to spare, but waiting is not computing. `coming` is told how far this is.
    """
    if device == "cpu" and coming is None:
        yield from ((step, make(step)) for step in range(start, steps))
        return
    threads = max(WAITING if coming else 1, len(os.sched_getaffinity(0)))
    pool, waiting = ThreadPoolExecutor(threads), deque[Future[Batch]]()
    with coming or contextlib.nullcontext():
        try:
            for step in range(start, steps):
                waiting.extend(pool.submit(make, later) for later in range(step + len(waiting), min(step + threads + 1, steps)))
                if coming:
                    coming.reached(step)
                yield step, waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def captions(
    examples: Examples, labels: NDArray[np.int64], prompts: Sequence[str], classes: Sequence[str]
) -> Callable[[int], Sequence[str]]:
    """The captions of example i: prompts filled with its class where there are prompts, else its own. ValueError for neither."""
    own, names = examples.captions, classes or examples.classes
    if prompts and names:
        filled = [[prompt.replace("{}", name.replace("_", " ")) for prompt in prompts] for name in names]
        return lambda index: filled[labels[index]]
    if own is None or prompts:
        raise ValueError("Contrastive needs captions and these examples have none: give captioned data, or prompts and class names")
    return lambda index: own[index]
