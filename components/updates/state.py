"""Training state on disk: safetensors and JSON, everything that the next step depends on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import torch

from components.types import DataError

FORMAT = 1
TENSORS, FACTS = "state.safetensors", "state.json"
Tensors = dict[str, torch.Tensor]


def write(folder: str, groups: Mapping[str, Mapping[str, torch.Tensor]], facts: Mapping[str, Any]) -> None:
    """Write named groups of tensors, and facts, into a folder."""
    from safetensors.torch import save_file

    flat = {f"{group}:{key}": value.detach().cpu().contiguous().clone() for group, named in groups.items() for key, value in named.items()}
    os.makedirs(folder, exist_ok=True)
    save_file(flat, os.path.join(folder, TENSORS))
    with open(os.path.join(folder, FACTS), "w", encoding="utf-8") as file:
        json.dump({"format": FORMAT, "tensors": len(flat), **facts}, file)


def read(folder: str) -> tuple[dict[str, Tensors], dict[str, Any]]:
    """What `write` wrote. DataError where it is damaged or of another format: nothing restarts silently."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with open(os.path.join(folder, FACTS), encoding="utf-8") as file:
            facts = json.load(file)
        flat = load_file(os.path.join(folder, TENSORS))
    except (OSError, ValueError, SafetensorError) as error:
        raise DataError(f"{folder} is no training state ({error}): remove it and the trial starts again") from error
    if facts.get("format") != FORMAT:
        raise DataError(f"{folder} is a training state of format {facts.get('format')}, this version reads {FORMAT}: remove it")
    if facts.get("tensors") != len(flat):
        raise DataError(f"{folder} has {len(flat)} of {facts.get('tensors')} tensors of a training state: remove it and start again")
    groups: dict[str, Tensors] = {}
    for path, value in flat.items():
        group, _, key = path.partition(":")
        groups.setdefault(group, {})[key] = value
    return groups, facts


def fill(slots: Mapping[str, torch.Tensor], saved: Mapping[str, torch.Tensor], folder: str) -> None:
    """Copy saved values into live tensors of the same names and shapes. DataError where one is missing or unlike."""
    wrong = sorted(set(slots) ^ set(saved)) or [key for key in slots if slots[key].shape != saved[key].shape]
    if wrong:
        raise DataError(f"{folder} is the training state of something else ({', '.join(wrong[:5])} differ): remove it and start again")
    with torch.no_grad():
        for key, value in saved.items():
            slots[key].copy_(value)
