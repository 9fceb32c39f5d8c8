"""The module that every predictor and objective sees: an open_clip model, its preprocessing, its tokeniser and perhaps a head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.nn.functional import normalize
from torch.overrides import TorchFunctionMode

from components.models.openclip import instantiate, tokeniser

FILLS = {torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.erfinv_}
DRAWS = {torch.randn, torch.rand}


class Uninitialised(TorchFunctionMode):
    """Skips random initialisation while it is active: every value is about to be overwritten, and the global generator stays untouched."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in FILLS or getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return (torch.empty if func in DRAWS else func)(*args, **kwargs)


class Classifier(nn.Module):
    """Images to logits [B, K], or to unit features [B, D] where there is no head.

    `model` is open_clip's; `head` an affine map on unit features or None; `preprocess` its preprocess_cfg; `classes` the names of
    the head's rows or (); `kept` what an objective left in the checkpoint (`objective.*`).
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, spec: Mapping[str, Any], extras: Mapping[str, bytes], device: str = "cpu") -> None:
        super().__init__()
        self.spec, self.extras = dict(spec), extras
        self.kept: dict[str, torch.Tensor] = {}
        with Uninitialised():
            self.model: Any = instantiate(spec["model_cfg"], spec["preprocess_cfg"])
        self.preprocess: Mapping[str, Any] = spec["preprocess_cfg"]
        self.classes: tuple[str, ...] = ()
        self.head: nn.Linear | None = None
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(self.preprocess[name]).view(1, -1, 1, 1), persistent=False)
        self.to(device)

    def fits(self, spec: Mapping[str, Any], device: str) -> bool:
        """Whether weights of this specification may be streamed into this module."""
        return self.mean.device.type == torch.device(device).type and all(self.spec[key] == spec[key] for key in ("model_cfg", "preprocess_cfg"))

    def equip(self, spec: Mapping[str, Any], side: Mapping[str, torch.Tensor]) -> None:
        """Put on the head and what objectives kept."""
        self.spec, self.head, device = dict(spec), None, self.mean.device
        self.kept = {key: value.to(device) for key, value in side.items() if key.startswith("objective.")}
        self.classes = tuple(spec.get("classes") or ())
        if "head.weight" in side:
            rows, columns = side["head.weight"].shape
            self.head = nn.Linear(columns, rows, device=device).requires_grad_(False).eval()
            self.head.load_state_dict({key.removeprefix("head."): value for key, value in side.items() if key.startswith("head.")})

    def slots(self) -> dict[str, torch.Tensor]:
        """The module's own parameters and buffers by their name in a checkpoint: open_clip's keys, and `head.*`."""
        slots = dict(self.model.state_dict(keep_vars=True))
        if self.head is not None:
            slots |= {f"head.{key}": value for key, value in self.head.state_dict(keep_vars=True).items()}
        return slots

    def normalised(self, images: torch.Tensor) -> torch.Tensor:
        """float32 images as the tower wants them: (x / 255 - mean) / std of uint8 [B, 3, H, W]; float32 passes."""
        if images.dtype == torch.uint8:
            images = images.to(torch.float32).div_(255).sub_(self.mean).div_(self.std)
        return images

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Unit features [B, D] of images: uint8 [B, 3, H, W], or float32 that is already normalised."""
        return normalize(self.model.encode_image(self.normalised(images)), dim=-1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.features(images)
        return features if self.head is None else self.head(features)

    def texts(self, tokens: torch.Tensor) -> torch.Tensor:
        """Unit features [B, D] of tokens int64 [B, context]."""
        return normalize(self.model.encode_text(tokens), dim=-1)

    @cached_property
    def tokenise(self) -> Callable[[list[str]], torch.Tensor]:
        """Texts to tokens int64 [N, context]."""
        return tokeniser(self.spec["model_cfg"], self.extras)
