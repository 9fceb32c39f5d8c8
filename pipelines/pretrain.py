"""CLIP from nothing: contrastive pretraining on captioned images, and what the model can then name unseen.

Radford et al. 2021, arXiv:2103.00020. `tiny` makes the base model that is shipped, from 30,000 rendered images in four CPU-minutes, with
tower, corpus and rate settled on rendered images and on the training part of the real digits.
"""

from __future__ import annotations

from dataclasses import dataclass

from components.data import Augment
from components.data.microworld import Rendered, words
from components.data.webdataset import WebDataset
from components.models.openclip import Architecture, OpenClip, fresh
from components.models.small import Small
from components.objectives.contrastive import Contrastive
from components.train import train
from components.types import Dataset
from components.updates.sgd import AdamW
from infra.dag import GPU, Plan, call
from pipelines import tasks
from pipelines.report.compare import compare, model
from pipelines.tasks import Task


@dataclass(frozen=True)
class Pretrain:
    """Train both towers from their initialisation and read the result zero-shot on a task that it was not trained on."""

    architecture: Architecture = Small(words())
    data: Dataset = Rendered()
    objective: Contrastive = Contrastive(Augment(scale=1.0))
    update: AdamW = AdamW(lr=2e-3, weight_decay=0.05, batch=64, warmup=100, betas=(0.9, 0.98), eps=1e-6)
    steps: int = 4000
    seed: int = 0
    task: Task = tasks.DIGITS

    def plan(self) -> Plan:
        t = self.task
        start = call(fresh, model=self.architecture, seed=self.seed, label="untrained towers")
        base = call(train, on=GPU, init=start, data=self.data, objective=self.objective, update=self.update, steps=self.steps)
        before, after = tasks.named(t, start), tasks.named(t, base)
        candidates = [model("untrained", "single", before), model("pretrained", "zero_shot", after)]
        return compare(t, candidates, winner="pretrained", baseline="untrained", base=start)


PRESETS = {
    "smoke": Pretrain(data=Rendered(n=500), steps=10, task=tasks.SMOKE),
    "tiny": Pretrain(),
    "paper": Pretrain(
        architecture=OpenClip("ViT-B-32"),
        data=WebDataset("captioned/{00000..41455}.tar"),
        objective=Contrastive(),
        update=AdamW(lr=5e-4, weight_decay=0.2, batch=32_768, warmup=2000, betas=(0.9, 0.98), eps=1e-6, clip=0.0, precision="amp_bfloat16"),
        steps=390_625,  # 400 million pairs, 32 times
        task=tasks.IMAGENET,
    ),
}
