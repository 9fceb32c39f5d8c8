"""Model soups: fine-tune many times, average what helps.

Wortsman et al. 2022, arXiv:2203.05482; beside them ensembles and WiSE-FT (arXiv:2109.01903). Measured in docs/results.md."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from components.merge import best
from components.models.openclip import OpenClip, pretrained
from components.objectives.classification import CrossEntropy
from components.train import train
from components.updates.sgd import AdamW
from infra.dag import GPU, Plan, call, draw, sweep
from infra.space import Space
from pipelines import tasks
from pipelines.report.compare import compare, model
from pipelines.stages.methods import line
from pipelines.stages.search import asked
from pipelines.stages.soups import flat, pairwise, soups, unseen
from pipelines.tasks import Task


@dataclass(frozen=True)
class Soup:
    """Sweep, soup and report: one model as accurate as the best single fine-tune, and more robust where the evidence shows it."""

    task: Task = tasks.DIGITS
    model: OpenClip = OpenClip("stockpot-tiny")
    space: Space = field(default_factory=lambda: tasks.FINETUNE)
    update: AdamW = AdamW(lr=1e-3, batch=32, warmup=20)
    trials: int = 8
    alphas: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    accept: Literal["gt", "ge"] = "ge"  # as the paper's text; the authors' code is "gt"
    others: tuple[Task, ...] = (tasks.GARMENTS, tasks.SHAPES)  # of the soup that answers `task` unseen
    seed: int = 0

    def plan(self) -> Plan:
        t, points, bare = self.task, draw(self.space, self.trials, seed=self.seed), call(pretrained, model=self.model)
        base = tasks.named(t, bare)
        tuned = sweep(train, on=GPU, over=points, label="trial", init=base, data=t.train, objective=CrossEntropy(), update=self.update, steps=t.steps)
        chosen = asked(tuned, t.held_out)
        single = call(best, models=tuned, predictions=chosen, at_least=2)
        wise = line(base, single, self.alphas, "WiSE-FT")
        candidates = [
            model("zero-shot", "zero_shot", base),
            model("best single", "best", single),
            *soups(tuned, chosen, t.held_out, self.accept),
            *[model(f"WiSE-FT {a}", "wise", node, alpha=a, main=a == 0.5) for a, node in wise.items()],
        ]
        shown = [*flat({0: base, **wise, 1: single}, t.test), *pairwise(tuned, base, t.test), *unseen(t, bare, self.others, self.update, self.seed)]
        return compare(t, candidates, winner="greedy soup", baseline="best single", base=base, trials=tuned, held_out=chosen, exhibits=shown)


PRESETS = {
    "smoke": Soup(task=tasks.SMOKE, trials=2, alphas=(0.5,), others=()),
    "tiny": Soup(),
    "paper": Soup(tasks.IMAGENET, OpenClip("ViT-B-32", "openai"), tasks.CLIP, AdamW(batch=512, warmup=500), trials=72, others=tasks.EIGHT),
}
