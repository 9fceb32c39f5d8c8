"""Model soups: fine-tune many times, average what helps.

Wortsman et al. 2022, arXiv:2203.05482; beside them ensembles and WiSE-FT (arXiv:2109.01903). Measured in docs/results.md."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from components.evaluate import predict
from components.merge import best, greedy, greedy_ensemble, uniform, wise_ft
from components.models.openclip import OpenClip, pretrained
from components.objectives.classification import CrossEntropy
from components.train import train
from components.updates.sgd import AdamW
from infra.dag import GPU, Plan, call, draw, sweep
from infra.space import Space
from pipelines import tasks
from pipelines.report.compare import compare, ensembled, model
from pipelines.tasks import Task


@dataclass(frozen=True)
class Soup:
    """Sweep, soup and report: one model as accurate as the best single fine-tune, and more robust where the evidence shows it."""

    task: Task = tasks.DIGITS
    model: OpenClip = OpenClip("stockpot-tiny")
    space: Space = field(default_factory=lambda: tasks.FINETUNE)
    update: AdamW = AdamW(batch=32, warmup=20)
    trials: int = 8
    alphas: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    accept: Literal["gt", "ge"] = "ge"  # as the paper's text; the authors' code is "gt"
    seed: int = 0

    def plan(self) -> Plan:
        t, points = self.task, draw(self.space, self.trials, seed=self.seed)
        base = tasks.named(t, call(pretrained, model=self.model))
        fit: dict[str, Any] = {"objective": CrossEntropy(), "update": self.update, "steps": t.steps, "data": t.train}
        tuned = sweep(train, on=GPU, over=points, label="trial", init=base, **fit)
        chosen = [call(predict, on=GPU, checkpoint=m, data=t.held_out, label=f"{m.label} on held-out") for m in tuned]
        single = call(best, models=tuned, predictions=chosen, at_least=2)
        wise = {a: call(wise_ft, zero_shot=base, tuned=single, alpha=a, label=f"WiSE-FT {a}") for a in self.alphas}
        candidates = [
            model("zero-shot", "zero_shot", base),
            model("best single", "best", single),
            model("uniform soup", "uniform", call(uniform, models=tuned, at_least=2)),
            model("greedy soup", "greedy", call(greedy, on=GPU, models=tuned, predictions=chosen, data=t.held_out, accept=self.accept, at_least=2)),
            ensembled("ensemble", "ensemble", tuned),
            ensembled("greedy ensemble", "greedy_ensemble", tuned, call(greedy_ensemble, predictions=chosen, at_least=2)),
            *[model(f"WiSE-FT {a}", "wise", node, alpha=a, main=a == 0.5) for a, node in wise.items()],
        ]
        return compare(t, candidates, winner="greedy soup", baseline="best single", base=base, trials=tuned, held_out=chosen)


PRESETS = {
    "smoke": Soup(task=tasks.SMOKE, trials=2, alphas=(0.5,)),
    "tiny": Soup(),
    "paper": Soup(task=tasks.IMAGENET, model=OpenClip("ViT-B-32", "openai"), space=tasks.CLIP, update=AdamW(batch=512, warmup=500), trials=72),
}
