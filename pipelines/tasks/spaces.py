"""Named search spaces."""

from __future__ import annotations

from infra.space import Integers, LogUniform, Sometimes, Space

# Ranges that were settled on the held-out part of the digits and on seeds that no reported number uses.
FINETUNE: Space = {
    "update.lr": LogUniform(5e-4, 3e-3),
    "update.weight_decay": LogUniform(1e-3, 0.3),
    "objective.smoothing": Sometimes(0.5, 0.0, 0.2),
    "objective.mixup": Sometimes(0.5, 0.0, 0.5),
    "objective.views.operations": Integers(0, 1),
    "objective.views.magnitude": Integers(1, 20),
    "update.seed": Integers(0, 999_999),
}

# The form of the random search of model soups (arXiv:2203.05482), with the ranges observed in its 72 published runs.
CLIP: Space = {
    "update.lr": LogUniform(1e-6, 1e-4),
    "update.weight_decay": LogUniform(1e-4, 0.5),
    "objective.smoothing": Sometimes(0.5, 0.0, 0.25),
    "objective.mixup": Sometimes(0.5, 0.0, 0.9),
    "objective.views.operations": Integers(0, 2),
    "objective.views.magnitude": Integers(1, 20),
    "update.seed": Integers(0, 999_999),
}

# The mild ranges of Model Ratatouille's runs (arXiv:2212.10445), whose code takes lr from 1e-5, 3e-5, 5e-5 and weight decay from 1e-6, 1e-4.
MILD: Space = {
    "update.lr": LogUniform(1e-5, 5e-5),
    "update.weight_decay": LogUniform(1e-6, 1e-4),
    "update.seed": Integers(0, 999_999),
}
