"""PAINT: new tasks for a model that keeps the old ones, by interpolation.

Ilharco et al. 2022, arXiv:2208.05592: single, sequential, parallel and joint patches. Measured in docs/studies/patch.md."""

from __future__ import annotations

from dataclasses import dataclass

from components.merge.patch import ALPHAS
from components.models.openclip import OpenClip, pretrained
from components.updates.sgd import AdamW
from infra.dag import Plan, call
from pipelines import tasks
from pipelines.report.compare import compare
from pipelines.stages.patching import Patches
from pipelines.tasks import Task


@dataclass(frozen=True)
class Patch:
    """Patch a model on some tasks while it keeps others; only the image tower moves, and every task keeps its zero-shot head."""

    patching: tuple[Task, ...] = (tasks.TYPOGRAPHIC, tasks.SCALED, tasks.COUNTING)  # in this order, where one patch follows another
    supported: tuple[Task, ...] = (tasks.GARMENTS, tasks.SHAPES, tasks.TYPEFACES)
    model: OpenClip = OpenClip("stockpot-tiny")
    update: AdamW = AdamW(lr=5e-4, batch=32, warmup=20)
    alphas: tuple[float, ...] = ALPHAS  # from 0, the base, to 1, the fine-tuned model
    seed: int = 0

    def plan(self) -> Plan:
        bare = call(pretrained, model=self.model)
        made = Patches(self.patching, self.supported, bare, self.update, self.alphas, self.seed)
        return compare(made.reported, made.candidates, winner="joint patch", baseline="unpatched", base=bare, exhibits=made.exhibits)


PRESETS = {
    "smoke": Patch(
        patching=(tasks.Attacked(tasks.SMOKE), tasks.Scaled(tasks.SMOKE), tasks.Counting(n=300, limit=40, steps=4)),
        supported=(tasks.Drawn("garments", limit=40), tasks.Drawn("shapes", limit=40)),
        alphas=(0.0, 0.5, 1.0),
    ),
    "tiny": Patch(),
    "paper": Patch(
        patching=tasks.NINE,
        supported=(tasks.IMAGENET, *tasks.SUPPORTED),
        model=OpenClip("ViT-L-14", "openai"),
        update=AdamW(lr=1e-5, batch=128, warmup=500),
    ),
}
