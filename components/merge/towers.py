"""A model without its classifier: what tasks of different classes have in common."""

from __future__ import annotations

from components.types import maps, revision
from components.weights import Checkpoint, Combination


@maps
@revision(1)
def towers(model: Checkpoint) -> Combination:
    """The towers of a model, byte for byte, without a head: models of tasks with different classes can then be combined."""
    return (model * [("head.*", 0), ("*", 1)]).describe(rule="towers")


@maps
@revision(1)
def equipped(model: Checkpoint, head: Checkpoint) -> Combination:
    """The towers of a model with the classifier, class names and prompts of another, each byte for byte."""
    return model.with_head(head).describe(rule="equipped")
