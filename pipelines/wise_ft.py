"""WiSE-FT: fine-tune, then go part of the way back to the zero-shot model.

Wortsman et al. 2021, arXiv:2109.01903; effective robustness as in arXiv:2007.00644. Measured in docs/studies/wise_ft.md."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from components.merge import fisher, fisher_wise_ft, wise_ft
from components.models.openclip import OpenClip, pretrained
from components.objectives.classification import CrossEntropy
from components.train import train
from components.updates.sgd import AdamW
from infra.dag import GPU, Plan, call
from pipelines import tasks
from pipelines.report.compare import compare, model
from pipelines.stages.lines import Line, picked, places, shown
from pipelines.tasks import Task


@dataclass(frozen=True)
class WiseFt:
    """The line from a zero-shot model to its fine-tuned self: most of what fine-tuning wins, and less of what it forgets."""

    task: Task = tasks.DIGITS
    model: OpenClip = OpenClip("stockpot-tiny")
    update: AdamW = AdamW(lr=1e-3, batch=32, warmup=20)
    head_update: AdamW = AdamW(lr=0.1, batch=32, warmup=20)  # of the fine-tune of the classifier alone
    alphas: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    baselines: tuple[int, ...] = (10, 20, 40, 80, 150)  # steps of the fine-tunes that effective robustness is measured from
    examples: int = 256  # that Fisher information is estimated on
    seed: int = 0

    def plan(self) -> Plan:
        t, alphas, update = self.task, places(self.alphas), replace(self.update, seed=self.seed)
        base = tasks.named(t, call(pretrained, model=self.model))
        fit: dict[str, Any] = {"on": GPU, "init": base, "data": t.train, "objective": CrossEntropy()}
        tuned = call(train, update=update, steps=t.steps, label="fine-tuning", **fit)
        head = call(train, update=replace(self.head_update, seed=self.seed), params="head.*", steps=t.steps, label="head only", **fit)
        others = [call(train, update=replace(update, seed=self.seed + 1), steps=n, label=f"{n} steps", **fit) for n in sorted({*self.baselines})]
        known = [call(fisher, on=GPU, checkpoint=one, data=t.train, examples=self.examples, seed=self.seed) for one in (base, tuned)]
        lines = [Line("WiSE-FT", wise_ft, base, tuned), Line("WiSE-FT head", wise_ft, base, head)]
        curved = Line("WiSE-FT Fisher", fisher_wise_ft, base, tuned, {"statistics": known})
        judged = {"zero-shot": base, "fine-tuning": tuned, "head only": head, **picked([*lines, curved], alphas, t.held_out)}
        candidates = [
            *[model(name, "zero_shot" if node is base else "other", node) for name, node in judged.items() if name != "WiSE-FT 0.5"],
            model("WiSE-FT 0.5", "wise", judged["WiSE-FT 0.5"], alpha=0.5),
            *[model(f"WiSE-FT {a:g}", "wise", lines[0].at(a), alpha=a, main=False) for a in alphas if a != 0.5],
            *[model(node.title, "single", node, main=False) for node in others],
        ]
        told = shown(t, alphas, lines, judged, others)
        return compare(t, candidates, winner="WiSE-FT, held-out", baseline="fine-tuning", base=base, exhibits=told)


PRESETS = {
    "smoke": WiseFt(task=tasks.SMOKE, alphas=(0.0, 0.5, 1.0), baselines=(1, 30)),
    "tiny": WiseFt(),
    "paper": WiseFt(tasks.IMAGENET, OpenClip("ViT-L-14-336", "openai"), AdamW(3e-5, batch=512), AdamW(1e-3, batch=512), baselines=(500, 2000, 8000)),
}
