"""One model with the classifiers of several tasks, one below the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.types import revision

if TYPE_CHECKING:
    from components.weights import Checkpoint


@revision(1)
def joined_heads(models: list[Checkpoint], names: tuple[str, ...]) -> Checkpoint:
    """The first model's towers with the rows of all models' heads, in order; the classes are `task: class`, as those of a `Union` are.

    names: of the tasks, one for each model. ValueError where a model has no head or other towers than the first, or where names repeat.
    """
    import numpy as np

    from components.weights import Checkpoint

    if not models or len(models) != len(set(names)) or len(names) != len(models):
        raise ValueError(f"{len(models)} heads and the names {', '.join(names) or '(none)'}: give one or more heads, and each a name of its own")
    first = models[0]
    for name, one in zip(names, models, strict=True):
        if "head" not in one.parts:
            raise ValueError(f"the model for {name} has no head to join: build one with zero_shot")
        if one.parts["model"].digest != first.parts["model"].digest:
            raise ValueError(f"the model for {name} has other towers than that for {names[0]}: join heads that were made for one model")
    sides = [{key: array for key, array in one.tensors() if key.startswith("head.")} for one in models]
    tensors = {key: array for key, array in first.tensors() if not key.startswith("head.")}
    tensors |= {key: np.concatenate([side[key] for side in sides]) for key in sides[0]}
    classes = [f"{name}: {each}" for name, one in zip(names, models, strict=True) for each in one.spec["classes"]]
    return Checkpoint.of(tensors, {**first.spec, "classes": classes, "prompts": []}, first.extras)
