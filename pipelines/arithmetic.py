"""Task arithmetic: tasks added to a model, taken away from it, and made by analogy.

Ilharco et al. 2023, arXiv:2212.04089; beside it TIES (arXiv:2306.01708) and DARE (arXiv:2311.03099). Measured in docs/studies/arithmetic.md."""

from __future__ import annotations

from dataclasses import dataclass

from components.merge.coefficient import GRID
from components.models.openclip import OpenClip, pretrained
from components.updates.sgd import AdamW
from infra.dag import Plan, call
from pipelines.report.compare import compare
from pipelines.stages.vectors import Vectors
from pipelines.tasks import DIGITS, EIGHT, GARMENTS, IMAGENET, SHAPES, SMOKE, TYPEFACES, Drawn, Lettering, Scaled, Task

LETTERS = Lettering(n=3000, steps=150)


@dataclass(frozen=True)
class Arithmetic:
    """What fine-tuning did, as vectors: several tasks in one model, tasks forgotten, a task by analogy. Only the image tower moves."""

    tasks: tuple[Task, ...] = (DIGITS, TYPEFACES, GARMENTS, LETTERS)  # each has its vector; all are added, and each is forgotten
    control: Task = SHAPES  # what forgetting must not harm
    analogy: tuple[Task, ...] = (TYPEFACES, Scaled(TYPEFACES), DIGITS, Scaled(DIGITS))  # the first is to the second as the third to the fourth
    model: OpenClip = OpenClip("stockpot-tiny")
    update: AdamW = AdamW(lr=5e-4, batch=32, warmup=20)
    coefficients: tuple[float, ...] = GRID  # that are tried on held-out data
    keep: float = 0.95  # the part of the control's answers that must remain
    k: float = 20.0  # percent of each vector that TIES keeps
    p: float = 0.9  # share of each vector that DARE drops
    seed: int = 0

    def plan(self) -> Plan:
        base = call(pretrained, model=self.model)
        made = Vectors(self.tasks, self.control, base, self.update, self.coefficients, self.keep, self.seed)
        sums = made.sums(self.k, self.p)
        exhibits = [made.additions(sums), made.negations(), made.cosines(), *([made.analogy(self.analogy)] if self.analogy else [])]
        return compare(made.reported, made.candidates(sums), winner="task arithmetic", baseline="zero-shot", base=base, exhibits=exhibits)


SMALL = Drawn("digits", fonts="held_out", limit=40, steps=4)
PRESETS = {
    "smoke": Arithmetic(
        tasks=(SMOKE, Drawn("garments", limit=40, steps=4)),
        control=Drawn("shapes", limit=40),
        analogy=(SMALL, Scaled(SMALL), SMOKE, Scaled(SMOKE)),
        coefficients=(0.0, 0.5),
    ),
    "tiny": Arithmetic(),
    "paper": Arithmetic(EIGHT, IMAGENET, (), OpenClip("ViT-B-32", "openai"), AdamW(lr=1e-5, batch=128, warmup=500)),
}
