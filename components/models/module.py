"""From weights to a module that computes: `build` streams a checkpoint or a combination into the module's own storage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from components.weights.layout import some, widen

if TYPE_CHECKING:
    import numpy as np
    import torch

    from components.models.classifier import Classifier
    from components.weights import Vector

SIDE = ("head.", "objective.")  # keys that are not open_clip's


def build(source: Vector, device: str = "cpu", into: Classifier | None = None) -> Classifier:
    """The module of a checkpoint or of what was made of several, in float32, frozen to evaluation mode; of a Mixture, its coefficients are not.

    Values are computed in the module's own storage, by all cores: no file is written, and nothing is held twice. Keys and shapes must
    be exactly the model's (ValueError). `into` is overwritten and returned instead of a new module where it has the same architecture.
    """
    import torch

    from components.models.classifier import Classifier
    from components.models.mixture import Mixture

    if isinstance(source, Mixture):
        return source.module(build(source.uniform, device))
    spec = source.spec
    if spec.get("kind", "open_clip") != "open_clip":
        raise ValueError(f"a model of kind {spec['kind']} cannot be built: give one that open_clip builds")
    module = into if into is not None and into.fits(spec, device) else Classifier(spec, source.extras, device)
    module.eval().requires_grad_(False)
    slots, side = module.model.state_dict(keep_vars=True), {}
    layout = {key: entry for plan in source.assembly.plans.values() for key, entry in plan.layout.items()}
    _fits(slots, {key: entry.shape for key, entry in layout.items() if not key.startswith(SIDE)})
    if device == "cpu":
        side = {key: torch.empty(entry.shape) for key, entry in layout.items() if key.startswith(SIDE)}
        source.assembly.into({key: (side[key] if key in side else slots[key]).detach().numpy() for key in layout})
    else:
        with torch.no_grad():
            for key, array in source.tensors():
                if key.startswith(SIDE):
                    side[key] = tensor(array).clone()
                else:
                    slots[key].copy_(tensor(array))
    module.equip(spec, side)
    return module


def _fits(slots: Mapping[str, torch.Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """ValueError where the weights are not those of the module."""
    told = "weights do not fit their configuration"
    for key, shape in shapes.items():
        if key not in slots or slots[key].shape != shape:
            has = f"has shape {list(slots[key].shape)} there" if key in slots else "is not in it"
            raise ValueError(f"{told}: {key} {list(shape)} {has}; save the model with its own")
    if missing := sorted(set(slots) - set(shapes)):
        raise ValueError(f"{told}: {some(missing)} missing; save the model with its own")


def tensor(array: np.ndarray) -> torch.Tensor:
    """A torch tensor of an array as the engine hands it out, bfloat16 widened; it may share the array's memory."""
    import numpy as np
    import torch

    wide: Any = np.ascontiguousarray(widen(array)).reshape(array.shape)
    return torch.from_numpy(wide if wide.flags.writeable else wide.copy())
