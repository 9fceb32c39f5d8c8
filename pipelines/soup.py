"""Model soups: fine-tune many times, average what helps.

Wortsman et al. 2022, arXiv:2203.05482. Eight fine-tunes of the tiny base on real handwritten digits, the uniform and the greedy soup, the
ensembles as the honest baselines, and WiSE-FT (arXiv:2109.01903) of the best single run. Measured in docs/results.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from components.evaluate import predict
from components.merge.best import best
from components.merge.ensemble import ensemble, greedy_ensemble
from components.merge.greedy import greedy
from components.merge.uniform import uniform
from components.merge.wise_ft import wise_ft
from components.models.heads import zero_shot
from components.models.openclip import OpenClip, pretrained
from components.objectives.classification import CrossEntropy
from components.train import train
from components.updates.sgd import AdamW
from infra.dag import GPU, Plan, call, draw, sweep
from infra.space import Space
from pipelines import tasks
from pipelines.report.compare import Candidate, compare, model
from pipelines.tasks import Task


@dataclass(frozen=True)
class Soup:
    """Sweep, soup and report: one model as accurate as the best single fine-tune, and more robust where the evidence shows it."""

    task: Task = tasks.DIGITS
    model: OpenClip = OpenClip("stockpot-tiny")
    space: Space = field(default_factory=lambda: tasks.FINETUNE)
    update: AdamW = AdamW(batch=32, warmup=20)
    trials: int = 8
    seed: int = 0

    def plan(self) -> Plan:
        t, k = self.task, {"on": GPU, "at_least": 2}
        base = call(zero_shot, model=call(pretrained, model=self.model), classes=t.classes, prompts=t.prompts, data=None if t.classes else t.train)
        points = draw(self.space, self.trials, seed=self.seed)
        tuned = sweep(train, on=GPU, over=points, label="trial", init=base, data=t.train, objective=CrossEntropy(), update=self.update, steps=t.steps)
        chosen = [call(predict, on=GPU, checkpoint=m, data=t.held_out, label=f"{m.label} on held-out") for m in tuned]
        single = call(best, models=tuned, predictions=chosen, at_least=2)
        wise = {a / 10: call(wise_ft, zero_shot=base, tuned=single, alpha=a / 10, label=f"WiSE-FT {a / 10}") for a in range(1, 10)}
        members = call(greedy_ensemble, predictions=chosen, at_least=2)
        candidates = [
            model("zero-shot", "zero_shot", base),
            model("best single", "best", single),
            model("uniform soup", "uniform", call(uniform, models=tuned, at_least=2)),
            model("greedy soup", "greedy", call(greedy, models=tuned, predictions=chosen, data=t.held_out, **k)),
            Candidate("ensemble", "ensemble", lambda data: call(ensemble, predictions=[call(predict, on=GPU, checkpoint=m, data=data) for m in tuned], at_least=2)),
            Candidate(
                "greedy ensemble",
                "greedy_ensemble",
                lambda data: call(ensemble, predictions=[call(predict, on=GPU, checkpoint=m, data=data) for m in tuned], members=members, at_least=2),
            ),
            *[model(f"WiSE-FT {a}", "wise", node, alpha=a, main=a == 0.5) for a, node in wise.items()],
        ]
        return compare(t, candidates, winner="greedy soup", baseline="best single", base=base, trials=tuned, held_out=chosen)


PRESETS = {
    "smoke": Soup(task=tasks.SMOKE, trials=2),
    "tiny": Soup(),
    "paper": Soup(task=tasks.IMAGENET, model=OpenClip("ViT-B-32", "openai"), space=tasks.CLIP, update=AdamW(batch=512, warmup=500), trials=72),
}
