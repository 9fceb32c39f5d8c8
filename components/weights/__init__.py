"""The vector space of checkpoints and the engine that evaluates it."""

from components.weights.blend import Blend, Method
from components.weights.policy import NotFinite, Policy
from components.weights.space import Checkpoint, Combination, Vector, mean

__all__ = ["Blend", "Checkpoint", "Combination", "Method", "NotFinite", "Policy", "Vector", "mean"]
