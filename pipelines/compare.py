"""Every method on the same trials: one table, one figure, one recommendation. Sources: docs/studies/compare.md."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from components.merge import greedy, greedy_ensemble, uniform
from components.models.openclip import OpenClip, pretrained
from components.objectives.classification import CrossEntropy
from components.train import train
from components.updates.sgd import AdamW
from infra.dag import GPU, Plan, call, draw, sweep
from infra.space import Space
from pipelines import tasks
from pipelines.report.compare import advised, compare, ensembled, model
from pipelines.stages.methods import line, merged, patched, recycled
from pipelines.stages.search import asked, chosen
from pipelines.tasks import Task


@dataclass(frozen=True)
class Compare:
    """Which method should I use? All of them on the same task, trials and held-out split."""

    task: Task = tasks.DIGITS
    others: tuple[Task, ...] = (tasks.GARMENTS, tasks.SHAPES)  # what PAINT is not to forget, and what recycling starts from
    model: OpenClip = OpenClip("stockpot-tiny")
    space: Space = field(default_factory=lambda: tasks.FINETUNE)
    update: AdamW = AdamW(lr=1e-3, batch=32, warmup=20)
    trials: int = 8
    alphas: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    examples: int = 256  # that Fisher information and Gram matrices are estimated on
    seed: int = 0

    def plan(self) -> Plan:
        t, points, bare = self.task, draw(self.space, self.trials, seed=self.seed), call(pretrained, model=self.model)
        base, others = tasks.named(t, bare), [other for other in self.others if other.name != t.name]
        fit: dict[str, Any] = {"objective": CrossEntropy(), "update": self.update, "steps": t.steps, "data": t.train}
        tuned = sweep(train, on=GPU, over=points, label="trial", init=base, **fit)
        held, single, many = asked(tuned, t.held_out), chosen(tuned, t.held_out, "best single"), dict[str, Any](models=tuned, at_least=2)
        wise = line(base, single, self.alphas, "WiSE-FT")
        soup = call(greedy, on=GPU, predictions=held, data=t.held_out, accept="ge", **many)
        made = merged(base, tuned, t, examples=self.examples, seed=self.seed)
        made |= {"WiSE-FT, held-out alpha": chosen(list(wise.values()), t.held_out, "WiSE-FT, held-out alpha")} if wise else {}
        if others:
            again = recycled(t, bare, others, points, fit, self.update, self.seed)
            made |= {"PAINT": patched(t, bare, others, self.update, self.seed), "recycled soup": call(uniform, models=again, at_least=2)}
        rows = [model("zero-shot", "zero_shot", base), model("best single", "best", single), model("uniform soup", "uniform", call(uniform, **many))]
        rows += [model("greedy soup", "greedy", soup), *(model(name, "other", node) for name, node in made.items())]
        rows += [model(node.label, "wise", node, alpha=a, main=a == 0.5) for a, node in wise.items()] + [ensembled("ensemble", "ensemble", tuned)]
        rows += [ensembled("greedy ensemble", "greedy_ensemble", tuned, call(greedy_ensemble, predictions=held, at_least=2))]
        return advised(compare(t, rows, winner="greedy soup", baseline="best single", base=base, trials=tuned, held_out=held))


PRESETS = {
    "smoke": Compare(task=tasks.SMOKE, others=(tasks.Drawn("garments", limit=60, steps=4),), trials=2, alphas=(0.5,), examples=16),
    "tiny": Compare(),
    "paper": Compare(tasks.IMAGENET, tasks.EIGHT, OpenClip("ViT-B-32", "openai"), tasks.CLIP, AdamW(batch=512, warmup=500), trials=72),
}
