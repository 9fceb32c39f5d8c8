"""Model Ratatouille: recycle the fine-tunes of other tasks as starts, and average.

Rame et al. 2023, arXiv:2212.10445; beside it ERM, moving averages, DiWA, inter-training and fusing, one held-out domain after the other."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from components.models.openclip import OpenClip, pretrained
from components.models.stored import Stored
from infra.dag import Plan, call, draw
from infra.space import Space
from pipelines import tasks
from pipelines.stages.generalisation import told
from pipelines.stages.recycling import PUBLISHED, Fold, Recipe, auxiliary, check, stored
from pipelines.tasks import Domains, Task


@dataclass(frozen=True)
class Recycle:
    """Train with one domain held out after the other, from the pretrained model and from auxiliary fine-tunes of it, and average.

    models: fine-tunes of each auxiliary task. found: recycle what a store holds instead, `trials` - 1 models of it.
    """

    task: Domains = tasks.STYLES
    model: OpenClip = OpenClip("stockpot-tiny")
    auxiliaries: tuple[Task, ...] = tasks.AUXILIARIES
    models: int = 1
    found: Stored | None = None
    space: Space = field(default_factory=lambda: tasks.FINETUNE)
    recipe: Recipe = Recipe()
    trials: int = 5
    hold_out: int = 2
    accept: Literal["gt", "ge"] = "ge"
    seed: int = 0

    def plan(self) -> Plan:
        tasked = () if self.found else self.auxiliaries
        domains = check(self.task, tasked, models=self.models, trials=self.trials, hold_out=self.hold_out)
        recipe, base = self.recipe.seeded(self.seed), call(pretrained, model=self.model)
        points = draw(self.space, max(self.trials, self.models), seed=self.seed)
        if self.found:
            query = replace(self.found, model=self.model, avoid=tuple(self.task.domains.values()))
            origins = [stored(query, i) for i in range(self.trials - 1)]
        else:
            origins = [auxiliary(t, base, self.task, recipe, points[: self.models]) for t in self.auxiliaries]
        return told([Fold(self.task, name, base, origins, points[: self.trials], recipe, self.seed) for name in domains], self.accept)


PRESETS = {
    "smoke": Recycle(task=tasks.Styles(n=60, steps=4, limit=40), auxiliaries=(tasks.Drawn(steps=4, limit=40),), trials=2, hold_out=1,
                     recipe=Recipe(probe_steps=2, lp_steps=2, every=2)),
    "tiny": Recycle(),
    "paper": Recycle(tasks.PACS(), OpenClip("ViT-B-32", "openai"), tasks.DOMAINBED, models=4, space=tasks.MILD, recipe=PUBLISHED,
                     trials=20, hold_out=4),
}  # fmt: skip
