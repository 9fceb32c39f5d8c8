"""The vector space of checkpoints and the engine that evaluates it."""

from components.weights.policy import NotFinite, Policy
from components.weights.space import Checkpoint, Combination, Vector, mean

__all__ = ["Checkpoint", "Combination", "NotFinite", "Policy", "Vector", "mean"]
