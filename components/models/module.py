"""From weights to a module that computes: `build` streams a checkpoint or a combination into the module's own storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from components.weights.layout import widen

if TYPE_CHECKING:
    import numpy as np
    import torch

    from components.models.classifier import Classifier
    from components.weights import Vector

SIDE = ("head.", "objective.")  # keys that are not open_clip's


def build(source: Vector, device: str = "cpu", into: Classifier | None = None) -> Classifier:
    """The module of a checkpoint or combination, in float32, frozen to evaluation mode, on `device`; of a Mixture, its coefficients are not.

    Values are streamed: no file is written, and memory holds the module and one tensor. Keys and shapes must be exactly the
    model's (ValueError). `into` is overwritten and returned instead of a new module where it has the same architecture.
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
    missing = set(slots)
    with torch.no_grad():
        for key, array in source.tensors():
            if key.startswith(SIDE):
                side[key] = tensor(array).clone()
            elif key in slots and slots[key].shape == array.shape:
                slots[key].copy_(tensor(array))
                missing.discard(key)
            else:
                has = f"has shape {list(slots[key].shape)} there" if key in slots else "is not in it"
                raise ValueError(f"weights do not fit their configuration: {key} {list(array.shape)} {has}; save the model with its own")
    if missing:
        raise ValueError(f"weights do not fit their configuration: {', '.join(sorted(missing)[:5])} missing; save the model with its own")
    module.equip(spec, side)
    return module


def tensor(array: np.ndarray) -> torch.Tensor:
    """A torch tensor of an array as the engine hands it out, bfloat16 widened; it may share the array's memory."""
    import numpy as np
    import torch

    wide: Any = np.ascontiguousarray(widen(array)).reshape(array.shape)
    return torch.from_numpy(wide if wide.flags.writeable else wide.copy())
