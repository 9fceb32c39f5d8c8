"""Our training step and evaluation against bare loops on the same arrays: `python -m tests.benchmarks.learning`.

The bare loops are what one writes by hand with open_clip: the same augmentation, torch's AdamW as it comes, no resume, no reports.
Rounds are interleaved, CPU seconds are counted, and the ratio is the median over rounds, so that other work on the machine falls on neither.
Our training includes its set-up and its result.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np
import open_clip
import torch
from torch.nn.functional import cross_entropy, normalize

from components.data import order
from components.data.digits import CLASSES, Digits
from components.data.split import Split
from components.data.views import Augment, evaluation
from components.evaluate import answers, outputs
from components.models import build
from components.models.heads import zero_shot
from components.models.openclip import OpenClip, fresh, pretrained
from components.objectives.classification import CrossEntropy
from components.predictors.head import Head
from components.train import train
from components.types import Local
from components.updates.sgd import AdamW
from components.weights import Checkpoint

DATA = Split(Digits(), 0.0, 0.8)


class Bare:
    """An open_clip model and a linear head, by hand."""

    def __init__(self, checkpoint: Checkpoint, folder: str) -> None:
        checkpoint.save(folder)
        self.model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
        head = {key: torch.from_numpy(value) for key, value in checkpoint.tensors() if key.startswith("head.")}
        self.head = torch.nn.Linear(head["head.weight"].shape[1], len(head["head.weight"]))
        self.head.load_state_dict({key.removeprefix("head."): value for key, value in head.items()})
        shown = checkpoint.spec["preprocess_cfg"]
        self.mean, self.std = (torch.tensor(shown[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
        self.preprocess = shown

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(normalize(self.model.encode_image((images.float() / 255 - self.mean) / self.std), dim=-1))

    def fit(self, examples: object, labels: torch.Tensor, steps: int, batch: int, views: Augment) -> None:
        parameters = [*self.model.visual.parameters(), *self.head.parameters()]
        optimiser = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.1)
        self.model.train()
        for step in range(steps):
            indices = order.batch(len(labels), batch, 0, step)
            images = views(examples.images(indices), self.preprocess, order.seeds(batch, 0, step))  # type: ignore[attr-defined]
            loss = cross_entropy(self.logits(images), labels[indices])
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()

    def evaluate(self, pixels: np.ndarray) -> np.ndarray:
        self.model.eval()
        with torch.inference_mode():
            found = [self.logits(torch.from_numpy(pixels[at : at + 256].transpose(0, 3, 1, 2).copy())) for at in range(0, len(pixels), 256)]
        return torch.cat(found).numpy()


def compared(name: str, ours: Callable[[], object], bare: Callable[[], object], count: int, rounds: int) -> None:
    """Print one row: items a second of both, and their ratio."""
    times: dict[str, list[float]] = {"ours": [], "bare": []}
    for turn in range(rounds + 1):
        pair = [("ours", ours), ("bare", bare)]
        for label, work in pair if turn % 2 else reversed(pair):
            begin = time.process_time()
            work()
            if turn:  # the first round warms up
                times[label].append(time.process_time() - begin)
    fast, slow = (count / statistics.median(times[label]) for label in ("ours", "bare"))
    ratios = [b / o for o, b in zip(times["ours"], times["bare"], strict=True)]
    print(f"{name:45s} {fast:10.1f} {slow:10.1f} {statistics.median(ratios):7.3f}   {min(ratios):.3f} to {max(ratios):.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        run = Local(folder)
        models = {"stockpot-tiny": pretrained(OpenClip(), run=run), "ViT-S-32-alt": fresh(OpenClip("ViT-S-32-alt"), run=run)}
        examples = DATA.open(run)
        labels = torch.from_numpy(np.asarray(examples.labels))
        print(f"{'':45s} {'ours /s':>10s} {'bare /s':>10s} {'ratio':>7s}   per round")
        for name, model in models.items():
            init = zero_shot(model, CLASSES, ("a photo of the digit {}.",), run=run)
            bare, module = Bare(init, f"{folder}/{name}"), build(init)
            pixels, small = evaluation(examples, init.spec["preprocess_cfg"], run), name == "stockpot-tiny"
            steps, batch, rounds = options.steps, 32, options.rounds
            shown = examples if small else examples.take(np.arange(128), "128")  # type: ignore[attr-defined]
            pixels = pixels if small else pixels[:128]
            for views in (Augment(), Augment(operations=2)) if small else ():
                update, objective = AdamW(lr=1e-4, batch=batch), CrossEntropy(views=views)
                compared(
                    f"{name}: step, batch {batch}, RandAugment {views.operations}",
                    lambda: train(init, DATA, objective, update=update, steps=steps, run=run),  # noqa: B023
                    lambda: bare.fit(examples, labels, steps, batch, views),  # noqa: B023
                    steps,
                    rounds,
                )
            compared(
                f"{name}: images, forward", lambda: answers(module, Head(), shown, run), lambda: bare.evaluate(pixels), len(pixels), rounds  # noqa: B023
            )
            if small:
                compared(
                    f"{name}: images, whole predict",
                    lambda: outputs(init, DATA, run=run),  # noqa: B023
                    lambda: bare.evaluate(pixels),  # noqa: B023
                    len(pixels),
                    rounds,
                )


if __name__ == "__main__":
    main()
