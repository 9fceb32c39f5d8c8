"""Classification heads from text: the zero-shot classifier of CLIP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from components.types import Dataset, Run, revision

if TYPE_CHECKING:
    import torch

    from components.models.classifier import Classifier
    from components.weights import Checkpoint

CHUNK = 256  # texts in one forward pass


@revision(1)
def zero_shot(
    model: Checkpoint,
    classes: tuple[str, ...],
    prompts: tuple[str, ...],
    data: Annotated[Dataset | None, "describes"] = None,
    *,
    run: Run,
) -> Checkpoint:
    """The model with a head whose rows are its own text features of the class names: no training.

    Each prompt, a string with `{}`, is filled with the name (underscores become spaces); its features are normalised, averaged over
    prompts, normalised again and multiplied by exp(logit_scale); the bias is 0 (arXiv:2103.00020, arXiv:2109.01903).
    classes: () takes the names that `data` knows. ValueError for fewer than two classes, or for a prompt without `{}`.
    """
    from components.models.module import build
    from components.weights import Checkpoint

    names = known(classes, data, run)
    if wrong := [prompt for prompt in prompts if prompt.count("{}") != 1] or ([] if prompts else ["(none)"]):
        raise ValueError(f"prompt {wrong[0]!r} has no place for the class name: write it like 'a photo of a {{}}.'")
    module = build(model, accelerator())
    head = text_head(module, names, tuple(prompts))
    tensors = {key: array for key, array in model.tensors() if not key.startswith("head.")}
    tensors |= {"head.weight": head.cpu().numpy(), "head.bias": head.new_zeros(len(names)).cpu().numpy()}
    return Checkpoint.of(tensors, {**model.spec, "classes": list(names), "prompts": list(prompts)}, model.extras)


@revision(1)
def blank(model: Checkpoint, classes: tuple[str, ...], data: Annotated[Dataset | None, "describes"] = None, *, run: Run) -> Checkpoint:
    """The model with a head of zeros for the class names: where a linear probe starts that knows nothing of their words.

    classes: () takes the names that `data` knows. ValueError for fewer than two classes.
    """
    import numpy as np
    import torch

    from components.models.module import build
    from components.weights import Checkpoint

    names = known(classes, data, run)
    module = build(model)
    size = module.preprocess["size"]
    height, width = (size, size) if isinstance(size, int) else size
    with torch.inference_mode():
        dim = module.eval().features(torch.zeros(1, 3, height, width)).shape[1]
    tensors = {key: array for key, array in model.tensors() if not key.startswith("head.")}
    tensors |= {"head.weight": np.zeros((len(names), dim), np.float32), "head.bias": np.zeros(len(names), np.float32)}
    return Checkpoint.of(tensors, {**model.spec, "classes": list(names), "prompts": []}, model.extras)


def known(classes: tuple[str, ...], data: Dataset | None, run: Run) -> tuple[str, ...]:
    """The class names, those that the data knows where none are given. ValueError for fewer than two."""
    names = tuple(classes) or (data.open(run).classes if data is not None else ())
    if len(names) < 2:
        so_far = f"only {names[0]}" if names else "none"
        remedy = "name them in the order of the labels (--task.classes rose,tulip), or give data that names them"
        raise ValueError(f"a classifier needs at least two classes and {so_far} is known; {remedy}")
    return names


def text_head(module: Classifier, names: tuple[str, ...], prompts: tuple[str, ...]) -> torch.Tensor:
    """The rows [K, D] of a zero-shot head."""
    import torch
    from torch.nn.functional import normalize

    texts = [prompt.replace("{}", name.replace("_", " ")) for name in names for prompt in prompts]
    with torch.inference_mode():
        chunks = [module.texts(module.tokenise(texts[at : at + CHUNK]).to(module.mean.device)) for at in range(0, len(texts), CHUNK)]
        means = torch.cat(chunks).view(len(names), len(prompts), -1).mean(dim=1)
        rows: torch.Tensor = normalize(means, dim=-1) * module.model.logit_scale.exp()
    return rows


def accelerator() -> str:
    """`cuda` where there is one, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"

